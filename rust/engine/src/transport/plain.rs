//! The two halves of a plain TCP link and the work that jobs do on them; both halves may be worked on at once (R13).
//!
//! While a half is away, its job owns it and nobody else can touch it.

use std::io::ErrorKind;
use std::sync::Arc;

use clusterbus_wire::IP_LEN_BYTES;

use crate::gossip::{GossipScratch, IdBytes, View};
use crate::limits::{READ_BUDGET_BYTES, WRITE_BUDGET_BYTES};
use crate::transport::anonymous::AnonymousBytes;
use crate::transport::socket::Socket;
use crate::transport::times::LinkTimes;
use crate::transport::transfer::{Batch, Comparer, Deframer, ReadReport, ReadStop, WriteReport};

/// What a link needs to receive.
pub(crate) struct RecvHalf {
    socket: Arc<dyn Socket>,
    times: Arc<LinkTimes>,
    /// The peer's address, as the wire writes it.
    peer_ip: [u8; IP_LEN_BYTES],
    deframer: Deframer,
    /// The peer has ended its stream, so read until the end is seen: a short read no longer proves that everything was
    /// read.
    pub(crate) expect_eof: bool,
    /// The node that the link was bound to when the job left, if any.
    pub(crate) node: Option<IdBytes>,
}

impl RecvHalf {
    pub(crate) fn new(
        socket: Arc<dyn Socket>,
        times: Arc<LinkTimes>,
        peer_ip: [u8; IP_LEN_BYTES],
    ) -> Self {
        let deframer = Deframer::default();
        Self { socket, times, peer_ip, deframer, expect_eof: false, node: None }
    }

    /// What it holds while the link's node is not known counts against `all`.
    pub(crate) fn count_in(&mut self, all: &Arc<AnonymousBytes>) {
        self.deframer.count_in(all);
    }

    /// The link's node is known, so what this holds counts no more.
    pub(crate) fn node_is_known(&mut self) {
        self.deframer.node_is_known();
    }

    /// Reads until nothing is left or the budget is used up, and cuts what came into packets.
    pub(crate) fn read(&mut self, view: Option<&View>) -> ReadReport {
        let mut report = ReadReport::new();
        report.stop = self.fill(&mut report.read_bytes);
        let comparer = Comparer { view, peer_ip: &self.peer_ip, node: self.node.as_ref() };
        self.deframer.take_frames(&mut report, comparer);
        self.times.pongs_came(report.pongs);
        report
    }

    fn fill(&mut self, read_bytes: &mut usize) -> ReadStop {
        loop {
            let space = self.deframer.space(READ_BUDGET_BYTES - *read_bytes);
            let room = space.capacity() - space.len();
            let read = match self.socket.recv_spare(space) {
                Ok(0) => return ReadStop::eof(),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return ReadStop::WouldBlock,
                Err(error) => return ReadStop::error(&error),
            };
            self.times.touch();
            *read_bytes += read;
            if let Err(stop) = self.deframer.scan() {
                return stop;
            }
            if read < room {
                if self.socket.short_read_drains() && !self.expect_eof {
                    return ReadStop::WouldBlock;
                }
            } else {
                self.deframer.grow();
            }
            if *read_bytes >= READ_BUDGET_BYTES {
                return ReadStop::Budget;
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn buffer_capacity_bytes(&self) -> usize {
        self.deframer.capacity_bytes()
    }
}

/// What a link needs to send.
pub(crate) struct SendHalf {
    socket: Arc<dyn Socket>,
    times: Arc<LinkTimes>,
    pub(crate) batch: Batch,
}

impl SendHalf {
    pub(crate) fn new(socket: Arc<dyn Socket>, times: Arc<LinkTimes>) -> Self {
        Self { socket, times, batch: Batch::default() }
    }

    /// Sends from the batch until it is empty, the socket is full, or the budget is used up.
    pub(crate) fn write(
        &mut self,
        view: Option<&View>,
        scratch: &mut GossipScratch,
    ) -> WriteReport {
        self.batch.encode(view, scratch);
        self.times.pings_go(self.batch.take_pings());
        let mut report = WriteReport::default();
        let mut budget_bytes = WRITE_BUDGET_BYTES;
        while !self.batch.is_empty() && budget_bytes > 0 {
            match self.socket.send(&self.batch.slices(budget_bytes)) {
                Ok(0) => {
                    report.error = Some("the socket took nothing".to_owned());
                    break;
                }
                Ok(sent_bytes) => {
                    self.batch.advance(sent_bytes, &mut report);
                    budget_bytes -= sent_bytes;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    report.blocked = true;
                    break;
                }
                Err(error) => {
                    report.error = Some(error.to_string());
                    break;
                }
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;
    use crate::limits::{ANONYMOUS_FREE_BYTES, READ_CHUNK_BYTES, READ_CHUNK_MAX_BYTES};
    use crate::reason::EndReason;

    /// Bytes to read, then would-block.
    struct Source(Mutex<Vec<u8>>);

    impl Socket for Source {
        fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut bytes = self.0.lock().expect("no test panics with the lock held");
            let taken = bytes.len().min(buffer.len());
            if taken == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            buffer[..taken].copy_from_slice(&bytes[..taken]);
            bytes.drain(..taken);
            Ok(taken)
        }

        fn send(&self, _buffers: &[IoSlice<'_>]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }
    }

    /// A PUBLISH with a light header, `len` bytes long in all.
    fn packet(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[..4].copy_from_slice(b"RCmb");
        bytes[4..8].copy_from_slice(&(len as u32).to_be_bytes());
        bytes[8..10].copy_from_slice(&1u16.to_be_bytes());
        bytes[12..14].copy_from_slice(&0x8004u16.to_be_bytes());
        bytes[20..24].copy_from_slice(&(len as u32 - 24).to_be_bytes());
        bytes
    }

    fn half_reading(bytes: Vec<u8>) -> RecvHalf {
        let source = Arc::new(Source(Mutex::new(bytes)));
        RecvHalf::new(source, LinkTimes::new(Instant::now(), None), [0; IP_LEN_BYTES])
    }

    #[test]
    fn r7_a_read_job_stops_exactly_at_its_budget() {
        let packet = packet(1024);
        let full = packet.repeat(READ_BUDGET_BYTES / packet.len());
        for (more, first_stop, first_bytes) in [
            (-1, ReadStop::WouldBlock, READ_BUDGET_BYTES - 1),
            (0, ReadStop::Budget, READ_BUDGET_BYTES),
            (1, ReadStop::Budget, READ_BUDGET_BYTES),
        ] {
            let mut bytes = [full.clone(), packet.clone()].concat();
            bytes.truncate((full.len() as isize + more) as usize);
            let mut half = half_reading(bytes);
            let report = half.read(None);
            assert_eq!((report.stop, report.read_bytes), (first_stop, first_bytes), "{more}");
            assert_eq!(report.packets.len(), first_bytes / packet.len());
            let rest = half.read(None);
            assert_eq!(rest.stop, ReadStop::WouldBlock);
            assert_eq!(rest.read_bytes, usize::from(more > 0));
        }
    }

    #[test]
    fn r8_after_a_burst_the_buffer_holds_no_more_than_the_partial_packet() {
        for partial in [0, 1, 700] {
            let mut bytes = packet(1000).repeat(900);
            bytes.extend(&packet(1000)[..partial]);
            let mut half = half_reading(bytes);
            assert_eq!(half.read(None).packets.len(), 900);
            assert_eq!(half.buffer_capacity_bytes(), partial);
        }
    }

    #[test]
    fn r8_a_link_at_rest_holds_no_buffer() {
        let mut half = half_reading(Vec::new());
        assert_eq!(half.read(None).read_bytes, 0);
        assert_eq!(half.buffer_capacity_bytes(), 0);
    }

    #[test]
    fn h3_a_promised_length_is_not_reserved() {
        let mut half = half_reading(packet(8 * 1024 * 1024)[..100].to_vec());
        assert_eq!(half.read(None).read_bytes, 100);
        assert!(half.buffer_capacity_bytes() <= 2 * READ_CHUNK_MAX_BYTES);
    }

    const LONG_BYTES: usize = 3 << 20;

    /// A half of nobody known, which counts in a budget of `max_bytes`, and what its peer sends.
    fn anonymous_half(max_bytes: usize) -> (RecvHalf, Arc<Source>, Arc<AnonymousBytes>) {
        let source = Arc::new(Source(Mutex::default()));
        let times = LinkTimes::new(Instant::now(), None);
        let mut half = RecvHalf::new(source.clone(), times, [0; IP_LEN_BYTES]);
        let all = AnonymousBytes::new(max_bytes);
        half.count_in(&all);
        (half, source, all)
    }

    fn read_all(half: &mut RecvHalf, source: &Source, bytes: &[u8]) -> ReadReport {
        source.0.lock().expect("no test panics with the lock held").extend(bytes);
        loop {
            let report = half.read(None);
            if report.stop != ReadStop::Budget {
                return report;
            }
        }
    }

    fn is_refused(report: &ReadReport) -> bool {
        matches!(&report.stop, ReadStop::Ended { reason: EndReason::AnonymousBytes, .. })
    }

    #[test]
    fn h30_what_a_stranger_leaves_unfinished_counts_until_it_is_whole() {
        let (mut half, source, all) = anonymous_half(LONG_BYTES);
        let long = packet(LONG_BYTES);
        let mut before = 0;
        for part in long[..LONG_BYTES - 1].chunks(300_000) {
            assert_eq!(read_all(&mut half, &source, part).stop, ReadStop::WouldBlock);
            let room_bytes = half.buffer_capacity_bytes();
            assert_eq!(
                all.held_bytes(),
                room_bytes - ANONYMOUS_FREE_BYTES,
                "the room is what counts"
            );
            assert!(all.held_bytes() >= before, "{before}");
            before = all.held_bytes();
        }
        assert_eq!(read_all(&mut half, &source, &long[LONG_BYTES - 1..]).packets.len(), 1);
        assert_eq!((all.held_bytes(), half.buffer_capacity_bytes()), (0, 0));
    }

    #[test]
    fn h30_the_room_of_a_long_packet_is_hardly_longer_than_the_packet() {
        let longest = packet(8 << 20);
        for (part_bytes, most) in
            [(100_000, 512 << 10), (3 << 20, 7 << 20), ((8 << 20) - 1, 9 << 20)]
        {
            let (mut half, source, all) = anonymous_half(0);
            for part in longest[..part_bytes].chunks(70_000) {
                read_all(&mut half, &source, part);
            }
            let room_bytes = half.buffer_capacity_bytes();
            assert!((part_bytes..most).contains(&room_bytes), "{part_bytes}: {room_bytes}");
            drop(half);
            assert_eq!(all.held_bytes(), 0, "a link that ends gives back what it held");
        }
    }

    /// However its bytes come, and whatever others hold.
    #[test]
    fn h30_a_packet_as_long_as_is_free_never_counts() {
        let free = packet(ANONYMOUS_FREE_BYTES);
        for piece_bytes in [1_448, READ_CHUNK_BYTES, 30_000, 63_000, ANONYMOUS_FREE_BYTES] {
            let (mut half, source, all) = anonymous_half(1);
            for piece in free.chunks(piece_bytes) {
                assert_eq!(read_all(&mut half, &source, piece).stop, ReadStop::WouldBlock);
                assert_eq!(all.held_bytes(), 0);
                assert!(half.buffer_capacity_bytes() <= ANONYMOUS_FREE_BYTES, "{piece_bytes}");
            }
        }
    }

    #[test]
    fn h30_what_does_not_fit_ends_the_link_and_is_freed_at_once() {
        let (mut half, source, all) = anonymous_half(1 << 20);
        let mut other = RecvHalf::new(source.clone(), half.times.clone(), [0; IP_LEN_BYTES]);
        other.count_in(&all);
        let (whole, long) = (packet(1_000), packet(LONG_BYTES));
        assert_eq!(read_all(&mut half, &source, &long[..600_000]).stop, ReadStop::WouldBlock);
        let held_bytes = all.held_bytes();
        let report = read_all(&mut other, &source, &[&whole, &long[..600_000]].concat());
        assert!(is_refused(&report), "{:?}", report.stop);
        assert_eq!(report.packets.len(), 1, "what was whole before counts");
        assert_eq!((other.buffer_capacity_bytes(), all.held_bytes()), (0, held_bytes));
        assert_eq!(
            read_all(&mut half, &source, &long[600_000..800_000]).stop,
            ReadStop::WouldBlock
        );
    }

    #[test]
    fn h30_the_links_of_known_nodes_do_not_count() {
        let (mut half, source, all) = anonymous_half(1 << 20);
        let long = packet(LONG_BYTES);
        read_all(&mut half, &source, &long[..600_000]);
        assert!(all.held_bytes() > 0);
        half.node_is_known();
        assert_eq!(all.held_bytes(), 0, "at once");
        half.node = Some([b'a'; 40]);
        assert_eq!(
            read_all(&mut half, &source, &long[600_000..2_900_000]).stop,
            ReadStop::WouldBlock
        );
        assert_eq!(all.held_bytes(), 0);
        assert_eq!(read_all(&mut half, &source, &long[2_900_000..]).packets.len(), 1);
    }

    #[test]
    fn h30_a_link_that_ends_for_another_reason_keeps_that_one() {
        let (mut half, source, all) = anonymous_half(1);
        let report = read_all(&mut half, &source, &[packet(100), vec![b'x'; 600_000]].concat());
        let is_bad =
            matches!(&report.stop, ReadStop::Ended { reason: EndReason::BadSignature, .. });
        assert!(is_bad, "{:?}", report.stop);
        assert_eq!((half.buffer_capacity_bytes(), all.held_bytes()), (0, 0));
    }
}
