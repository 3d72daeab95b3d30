//! The two halves of a plain TCP link and the jobs that run on them (R13: both may run at once).
//!
//! A half is owned by the job while it is away; nobody else can touch it.

use std::io::ErrorKind;
use std::sync::Arc;

use clusterbus_wire::IP_LEN_BYTES;

use crate::gossip::{GossipScratch, View};
use crate::limits::{READ_BUDGET_BYTES, WRITE_BUDGET_BYTES};
use crate::socket::Socket;
use crate::transfer::{Batch, Deframer, Digester, LastRead, ReadReport, ReadStop, WriteReport};

/// What a link needs to receive.
pub(crate) struct RecvHalf {
    socket: Arc<dyn Socket>,
    last_read: Arc<LastRead>,
    /// Where the link comes from, as the wire writes it.
    peer_ip: [u8; IP_LEN_BYTES],
    deframer: Deframer,
    /// The peer ended its stream: read on until its end shows, a short read proves nothing any more.
    pub(crate) expect_eof: bool,
}

impl RecvHalf {
    pub(crate) fn new(
        socket: Arc<dyn Socket>,
        last_read: Arc<LastRead>,
        peer_ip: [u8; IP_LEN_BYTES],
    ) -> Self {
        Self { socket, last_read, peer_ip, deframer: Deframer::default(), expect_eof: false }
    }

    /// Reads until would-block or the budget, and frames what came.
    pub(crate) fn read(&mut self, view: Option<&View>) -> ReadReport {
        let mut report = ReadReport::new();
        report.stop = self.fill(&mut report.read_bytes);
        self.deframer.take_frames(&mut report, Digester { view, peer_ip: &self.peer_ip });
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

    /// Sends the batch until it is gone, the socket is full, or the budget is used up.
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
