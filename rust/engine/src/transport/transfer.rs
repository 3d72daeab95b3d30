//! What plain and TLS links share: the deframer, the batch being sent, and the reports of both directions.
//!
//! Runs on whatever thread runs the job, and belongs to that job meanwhile.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use clusterbus_wire::{
    FrameError, IP_LEN_BYTES, MessageClass, MessageType, Packet, PacketError, message_class_of,
    message_type_of, peek_frame_len,
};

use crate::gossip::{
    GossipScratch, IdBytes, Verdict, View, compare, encode_heartbeat, heartbeat_len_bytes,
};
use crate::limits::{
    ANONYMOUS_FREE_BYTES, DROPPED_LISTED, READ_BUDGET_BYTES, READ_CHUNK_BYTES,
    READ_CHUNK_MAX_BYTES, READ_CHUNK_SPARE_BYTES, WRITE_BUDGET_BYTES, WRITE_BUFFERS,
};
use crate::reason::EndReason;
use crate::transport::anonymous::{AnonymousBytes, Held};

/// Bytes and messages by class, in the order of [`MessageClass`].
pub(crate) type ByClass = [u64; 3];

pub(crate) fn class_index(class: MessageClass) -> usize {
    match class {
        MessageClass::Cluster => 0,
        MessageClass::Pubsub => 1,
        MessageClass::Module => 2,
    }
}

/// The first byte of a TLS connection: of a handshake, if the peer dialled, or of the alert by which it refuses our plain
/// bytes. On a plain link it means that the peer has TLS on and we do not (H35).
const TLS_HANDSHAKE_RECORD: u8 = 0x16;
const TLS_ALERT_RECORD: u8 = 0x15;

/// Why reading stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadStop {
    /// Everything that was there has been read.
    WouldBlock,
    /// More may be there, but other links go first (R7).
    Budget,
    /// The stream is over.
    Ended { reason: EndReason, detail: String },
}

impl ReadStop {
    pub(crate) fn eof() -> Self {
        Self::Ended { reason: EndReason::Eof, detail: "the peer ended the connection".to_owned() }
    }

    pub(crate) fn error(error: &dyn std::fmt::Display) -> Self {
        Self::Ended { reason: EndReason::Error, detail: error.to_string() }
    }

    fn broken(error: &FrameError) -> Self {
        let reason = match error {
            FrameError::BadSignature {
                position: 0,
                found: TLS_HANDSHAKE_RECORD | TLS_ALERT_RECORD,
                ..
            } => EndReason::TlsOnPlain,
            FrameError::BadSignature { .. } => EndReason::BadSignature,
            FrameError::BadLength { .. } => EndReason::BadLength,
        };
        Self::Ended { reason, detail: error.to_string() }
    }
}

/// A packet, and what of it is news to the view that it was compared with.
#[derive(Debug)]
pub struct Received {
    /// The whole packet.
    pub packet: Packet,
    /// None if all of the packet must be looked at.
    pub verdict: Option<Verdict>,
}

/// What packets are compared with as they come in.
#[derive(Clone, Copy)]
pub(crate) struct Comparer<'a> {
    pub(crate) view: Option<&'a View>,
    /// The peer's address, as the wire writes it.
    pub(crate) peer_ip: &'a [u8; IP_LEN_BYTES],
    /// The node that the link is bound to. A packet that names another sender is looked at in full, and nothing of
    /// it is noted here (H21): the state judges whether to believe it.
    pub(crate) node: Option<&'a IdBytes>,
}

impl Comparer<'_> {
    fn compare(&self, packet: &Packet) -> Option<Verdict> {
        let view = self.view?;
        let is_proven = packet.packet_ref().header()?.sender == *self.node?;
        is_proven.then(|| compare(view, packet, self.peer_ip, view.now_ms())).flatten()
    }
}

/// What one read brought: whole packets in order, then the reason why it stopped.
#[derive(Debug)]
pub(crate) struct ReadReport {
    pub(crate) packets: Vec<Received>,
    /// How many packets were taken off the front of `packets`, because they needed no main loop.
    pub(crate) taken_len: usize,
    pub(crate) bytes_by_class: ByClass,
    /// The first few refused packets; the counts below cover all of them.
    pub(crate) dropped: Vec<PacketError>,
    pub(crate) dropped_len: u32,
    /// Refused packets, by `PacketError::index`.
    pub(crate) dropped_by_kind: [u32; PacketError::NAMES.len()],
    /// Refused packets, by the number of the message type that they announce (P35).
    pub(crate) dropped_by_type: [u32; MessageType::ALL.len()],
    /// How many of the packets are PONGs.
    pub(crate) pongs: u64,
    /// Bytes read from the socket, whether they completed a frame or not.
    pub(crate) read_bytes: usize,
    pub(crate) stop: ReadStop,
}

impl ReadReport {
    pub(crate) fn new() -> Self {
        Self {
            packets: Vec::new(),
            taken_len: 0,
            bytes_by_class: [0; 3],
            dropped: Vec::new(),
            dropped_len: 0,
            dropped_by_kind: [0; PacketError::NAMES.len()],
            dropped_by_type: [0; MessageType::ALL.len()],
            pongs: 0,
            read_bytes: 0,
            stop: ReadStop::WouldBlock,
        }
    }

    fn add(&mut self, frame: Bytes, comparer: Comparer<'_>) {
        let message_type = message_type_of(&frame);
        match Packet::new(frame) {
            Ok(packet) => {
                let class = class_index(packet.packet_ref().checked().class);
                self.bytes_by_class[class] += packet.bytes().len() as u64;
                self.pongs += u64::from(message_type == Some(MessageType::Pong));
                let verdict = comparer.compare(&packet);
                self.packets.push(Received { packet, verdict });
            }
            Err(error) => {
                self.dropped_len += 1;
                self.dropped_by_kind[error.index()] += 1;
                if let Some(message_type) = message_type {
                    self.dropped_by_type[usize::from(message_type.number())] += 1;
                }
                if self.dropped.len() < DROPPED_LISTED {
                    self.dropped.push(error);
                }
            }
        }
    }
}

/// The receive buffer of a link. Between two jobs it holds a partial packet at most.
#[derive(Debug, Default)]
pub(crate) struct Deframer {
    held: Held,
    buffer: Vec<u8>,
    /// The buffer holds whole frames up to here, and then the start of one.
    whole_len_bytes: usize,
    /// The length of the frame that starts at `whole_len_bytes`; 0 while it is not known.
    wanted_len_bytes: usize,
    chunk_bytes: usize,
}

impl Deframer {
    /// What it holds while its link's node is not known counts against `all`.
    pub(crate) fn count_in(&mut self, all: &Arc<AnonymousBytes>) {
        self.held = Held::of(all);
    }

    /// The buffer, with room at its end for the next read: about `limit_bytes` at most.
    pub(crate) fn space(&mut self, limit_bytes: usize) -> &mut Vec<u8> {
        let chunk_bytes = self.chunk_bytes.max(READ_CHUNK_BYTES);
        // A peer may announce a long packet and never send it, so a packet's bytes get no more room than one chunk
        // before they come.
        let missing_bytes = self.missing_bytes().min(READ_CHUNK_MAX_BYTES);
        let wanted_bytes = chunk_bytes.max(missing_bytes).min(limit_bytes);
        if self.buffer.len() < READ_BUDGET_BYTES {
            self.buffer.reserve_exact(wanted_bytes);
        } else {
            self.double(wanted_bytes);
        }
        &mut self.buffer
    }

    /// Appends bytes that the TLS transport has read and decrypted.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.double(bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes the packet that has begun still lacks; 0 while that is not known.
    fn missing_bytes(&self) -> usize {
        self.wanted_len_bytes.saturating_sub(self.buffer.len() - self.whole_len_bytes)
    }

    /// Makes room for `wanted_bytes` by doubling the buffer, so that its bytes are not copied for every chunk. One huge
    /// packet gets no more than it needs: while it is not whole, its room is what the link holds (H30).
    fn double(&mut self, wanted_bytes: usize) {
        if self.buffer.capacity() - self.buffer.len() >= wanted_bytes {
            return;
        }
        let more_bytes = match self.whole_len_bytes {
            0 => self.buffer.len().min(self.missing_bytes()),
            _ => self.buffer.len(),
        };
        self.buffer.reserve_exact(more_bytes.max(wanted_bytes));
    }

    /// The last read filled its space, so the next one asks for more.
    pub(crate) fn grow(&mut self) {
        let doubled = self.chunk_bytes.max(READ_CHUNK_BYTES).saturating_mul(2);
        self.chunk_bytes = doubled.min(READ_CHUNK_MAX_BYTES);
    }

    /// Finds the frames completed since the last call. A frame's length is checked before its body has come (H3).
    pub(crate) fn scan(&mut self) -> Result<(), ReadStop> {
        loop {
            let rest = &self.buffer[self.whole_len_bytes..];
            match peek_frame_len(rest) {
                Ok(Some(len)) if len <= rest.len() => {
                    self.whole_len_bytes += len;
                    self.wanted_len_bytes = 0;
                }
                Ok(wanted) => {
                    self.wanted_len_bytes = wanted.unwrap_or(0);
                    return Ok(());
                }
                Err(error) => return Err(ReadStop::broken(&error)),
            }
        }
    }

    /// Hands over the whole frames. What is left counts against the budget while the link's node is not known, and the
    /// link ends if it does not fit (H30); a link that has ended keeps nothing.
    pub(crate) fn take_frames(&mut self, report: &mut ReadReport, comparer: Comparer<'_>) {
        self.cut(report, comparer);
        if matches!(report.stop, ReadStop::Ended { .. }) {
            self.clear();
        } else if comparer.node.is_some() {
            self.node_is_known();
        } else if !self.hold() {
            self.clear();
            let detail =
                "unfinished packets on links of nobody known take too much room".to_owned();
            report.stop = ReadStop::Ended { reason: EndReason::AnonymousBytes, detail };
        }
    }

    /// The link's node is known, so what the link holds counts no more.
    pub(crate) fn node_is_known(&mut self) {
        self.held.release();
    }

    /// Counts the room of the buffer, used or not, beyond what is free. False if the budget has not so much left.
    fn hold(&mut self) -> bool {
        if self.buffer.len() <= ANONYMOUS_FREE_BYTES {
            // The room for another read would make an honest heartbeat count that is nearly as long as is free.
            self.buffer.shrink_to(ANONYMOUS_FREE_BYTES);
        }
        self.held.hold(self.buffer.capacity().saturating_sub(ANONYMOUS_FREE_BYTES))
    }

    fn clear(&mut self) {
        self.buffer = Vec::new();
        self.held.release();
    }

    /// Hands over the whole frames as slices of the buffer, without copying (R32). Only a partial frame is copied, to a
    /// new buffer no larger than needed (R8).
    fn cut(&mut self, report: &mut ReadReport, comparer: Comparer<'_>) {
        let whole_len_bytes = std::mem::take(&mut self.whole_len_bytes);
        // The next packets will probably be about as long as these. One read with room to spare takes them all, and
        // since it comes back short it shows that no more is there.
        self.chunk_bytes = (whole_len_bytes + READ_CHUNK_SPARE_BYTES).min(READ_CHUNK_MAX_BYTES);
        if whole_len_bytes == 0 {
            if self.buffer.is_empty() {
                self.buffer = Vec::new();
            }
            return;
        }
        let tail = self.buffer[whole_len_bytes..].to_vec();
        let mut whole = Bytes::from(std::mem::replace(&mut self.buffer, tail));
        whole.truncate(whole_len_bytes);
        while let Ok(Some(len)) = peek_frame_len(&whole) {
            report.add(whole.split_to(len), comparer);
        }
    }

    #[cfg(test)]
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

/// One message to send: either encoded once and shared by all links that it goes to (R11), or a heartbeat that is
/// decided on but not yet encoded (R34).
#[derive(Clone, Debug)]
pub struct OutMessage {
    payload: Payload,
    class: MessageClass,
    /// The bytes that it counts as unsent on its link until it is wholly sent; an estimate for a heartbeat.
    len_bytes: usize,
}

#[derive(Clone, Debug)]
enum Payload {
    Encoded(Bytes),
    Heartbeat { message_type: u16, receiver: IdBytes },
}

impl OutMessage {
    /// An encoded message; its type decides its class (R10).
    #[must_use]
    pub fn new(data: Bytes) -> Self {
        let (class, len_bytes) = (message_class_of(&data), data.len());
        Self { payload: Payload::Encoded(data), class, len_bytes }
    }

    /// A heartbeat to `receiver`, to be encoded when it is sent, from the view of that moment.
    pub(crate) fn heartbeat(view: &View, message_type: u16, receiver: IdBytes) -> Self {
        let len_bytes = heartbeat_len_bytes(view);
        let payload = Payload::Heartbeat { message_type, receiver };
        Self { payload, class: MessageClass::Cluster, len_bytes }
    }

    /// The PONG that answers a PING of `receiver`, to be encoded when it is sent.
    pub(crate) fn answer(view: &View, receiver: IdBytes) -> Self {
        Self::heartbeat(view, MessageType::Pong.number(), receiver)
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// The bytes to send; empty for a heartbeat that is not encoded yet.
    fn data(&self) -> &[u8] {
        match &self.payload {
            Payload::Encoded(data) => data,
            Payload::Heartbeat { .. } => &[],
        }
    }
}

/// Messages that one link is sending, oldest first; the first may be partly sent.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    messages: VecDeque<OutMessage>,
    sent_of_first_bytes: usize,
    len_bytes: usize,
    /// So many of the first messages were looked at by `take_pings`.
    looked_at_len: usize,
}

/// What one write achieved.
#[derive(Debug, Default)]
pub(crate) struct WriteReport {
    pub(crate) bytes_by_class: ByClass,
    pub(crate) messages_by_class: ByClass,
    /// The `len_bytes` of the messages that were wholly sent, to take off the link's unsent bytes.
    pub(crate) released_bytes: usize,
    pub(crate) released_messages: usize,
    /// The socket was full.
    pub(crate) blocked: bool,
    pub(crate) error: Option<String>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// For each message, whether it is a heartbeat that is still to be encoded.
    #[cfg(all(test, loom))]
    pub(crate) fn heartbeats(&self) -> Vec<bool> {
        let is_heartbeat =
            |message: &OutMessage| matches!(message.payload, Payload::Heartbeat { .. });
        self.messages.iter().map(is_heartbeat).collect()
    }

    /// Takes from `queue` what one job may send, but at least one message, however long.
    pub(crate) fn fill(&mut self, queue: &mut VecDeque<OutMessage>) {
        while self.messages.len() < WRITE_BUFFERS && self.len_bytes < WRITE_BUDGET_BYTES {
            let Some(message) = queue.pop_front() else { break };
            self.len_bytes += message.len_bytes;
            self.messages.push_back(message);
        }
    }

    /// Encodes the heartbeats among the messages. Where there is a heartbeat to send there is a view.
    pub(crate) fn encode(&mut self, view: Option<&View>, scratch: &mut GossipScratch) {
        let Some(view) = view else { return };
        for message in &mut self.messages {
            if let Payload::Heartbeat { message_type, receiver } = &message.payload {
                let data = encode_heartbeat(view, *message_type, receiver, scratch);
                message.payload = Payload::Encoded(data);
            }
        }
    }

    /// How many PINGs, or MEETs, which are answered likewise, are among the messages that it has not counted before.
    /// The messages are encoded.
    pub(crate) fn take_pings(&mut self) -> u64 {
        let is_ping = |message: &&OutMessage| {
            let message_type = message_type_of(message.data());
            matches!(message_type, Some(MessageType::Ping | MessageType::Meet))
        };
        let pings = self.messages.range(self.looked_at_len..).filter(is_ping).count();
        self.looked_at_len = self.messages.len();
        pings as u64
    }

    /// The unsent bytes, for a vectored send.
    pub(crate) fn slices(&self, limit_bytes: usize) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.messages.len());
        let (mut skip, mut room) = (self.sent_of_first_bytes, limit_bytes);
        for message in &self.messages {
            let unsent = &message.data()[skip..];
            skip = 0;
            let taken = &unsent[..unsent.len().min(room)];
            room -= taken.len();
            slices.push(IoSlice::new(taken));
            if room == 0 {
                break;
            }
        }
        slices
    }

    /// The socket took `sent_bytes`: messages that are wholly sent leave the batch.
    pub(crate) fn advance(&mut self, mut sent_bytes: usize, report: &mut WriteReport) {
        while let Some(first) = self.messages.front() {
            let class = class_index(first.class);
            let unsent_bytes = first.data().len() - self.sent_of_first_bytes;
            if sent_bytes < unsent_bytes {
                self.sent_of_first_bytes += sent_bytes;
                report.bytes_by_class[class] += sent_bytes as u64;
                return;
            }
            sent_bytes -= unsent_bytes;
            report.bytes_by_class[class] += unsent_bytes as u64;
            report.messages_by_class[class] += 1;
            report.released_messages += 1;
            report.released_bytes += first.len_bytes;
            self.len_bytes -= first.len_bytes;
            self.sent_of_first_bytes = 0;
            self.looked_at_len = self.looked_at_len.saturating_sub(1);
            self.messages.pop_front();
        }
    }
}
