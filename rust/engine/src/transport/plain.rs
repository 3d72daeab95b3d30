//! The two halves of a plain TCP link and the work that jobs do on them; both halves may be worked on at once (R13).
//!
//! While a half is away, its job owns it and nobody else can touch it.

use std::io::ErrorKind;
use std::sync::Arc;

use clusterbus_wire::IP_LEN_BYTES;

use crate::gossip::{GossipScratch, IdBytes, View};
use crate::limits::{READ_BUDGET_BYTES, WRITE_BUDGET_BYTES};
use crate::transport::socket::Socket;
use crate::transport::transfer::{
    Batch, Comparer, Deframer, LastRead, ReadReport, ReadStop, WriteReport,
};

/// What a link needs to receive.
pub(crate) struct RecvHalf {
    socket: Arc<dyn Socket>,
    last_read: Arc<LastRead>,
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
        last_read: Arc<LastRead>,
        peer_ip: [u8; IP_LEN_BYTES],
    ) -> Self {
        let deframer = Deframer::default();
        Self { socket, last_read, peer_ip, deframer, expect_eof: false, node: None }
    }

    /// Reads until nothing is left or the budget is used up, and cuts what came into packets.
    pub(crate) fn read(&mut self, view: Option<&View>) -> ReadReport {
        let mut report = ReadReport::new();
        report.stop = self.fill(&mut report.read_bytes);
        let comparer = Comparer { view, peer_ip: &self.peer_ip, node: self.node.as_ref() };
        self.deframer.take_frames(&mut report, comparer);
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
            self.last_read.touch();
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
    pub(crate) batch: Batch,
}

impl SendHalf {
    pub(crate) fn new(socket: Arc<dyn Socket>) -> Self {
        Self { socket, batch: Batch::default() }
    }

    /// Sends from the batch until it is empty, the socket is full, or the budget is used up.
    pub(crate) fn write(
        &mut self,
        view: Option<&View>,
        scratch: &mut GossipScratch,
    ) -> WriteReport {
        self.batch.encode(view, scratch);
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
    use crate::limits::READ_CHUNK_MAX_BYTES;

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
        RecvHalf::new(source, LastRead::new(Instant::now()), [0; IP_LEN_BYTES])
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
}
