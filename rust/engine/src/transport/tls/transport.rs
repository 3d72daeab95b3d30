//! A TLS link: rustls keeps one state for both directions, so one job at a time serves both (R13).
//!
//! While the transport is away, its job owns it. A handshake, inbound or outbound, is the same job in the second lane
//! (R16, R30). rustls is driven directly: read_tls, process_new_packets, write_tls.

use std::io::{self, BufRead, ErrorKind, IoSlice, Write};
use std::sync::Arc;

use clusterbus_wire::IP_LEN_BYTES;
use rustls::{Connection, InvalidMessage};

use crate::gossip::{GossipScratch, IdBytes, View};
use crate::limits::{HANDSHAKE_BYTES, READ_BUDGET_BYTES, WRITE_BUDGET_BYTES};
use crate::reason::EndReason;
use crate::transport::anonymous::AnonymousBytes;
use crate::transport::socket::Socket;
use crate::transport::times::LinkTimes;
use crate::transport::tls::identity::PeerIdentity;
use crate::transport::transfer::{Batch, Comparer, Deframer, ReadReport, ReadStop, WriteReport};

/// How a job left a TLS link, and what it wrote.
pub(crate) struct TlsReport {
    pub(crate) is_handshaking: bool,
    pub(crate) write: WriteReport,
}

/// Everything a TLS link needs to receive and to send.
pub(crate) struct TlsTransport {
    socket: Arc<dyn Socket>,
    connection: Connection,
    times: Arc<LinkTimes>,
    /// See `RecvHalf`.
    peer_ip: [u8; IP_LEN_BYTES],
    deframer: Deframer,
    handshake_bytes: usize,
    pub(crate) batch: Batch,
    /// See `RecvHalf::expect_eof`.
    pub(crate) expect_eof: bool,
    /// See `RecvHalf::node`.
    pub(crate) node: Option<IdBytes>,
}

impl TlsTransport {
    pub(crate) fn new(
        socket: Arc<dyn Socket>,
        connection: Connection,
        times: Arc<LinkTimes>,
        peer_ip: [u8; IP_LEN_BYTES],
    ) -> Box<Self> {
        Box::new(Self {
            socket,
            connection,
            times,
            peer_ip,
            deframer: Deframer::default(),
            handshake_bytes: 0,
            batch: Batch::default(),
            expect_eof: false,
            node: None,
        })
    }

    /// What it holds while the link's node is not known counts against `all`.
    pub(crate) fn count_in(&mut self, all: &Arc<AnonymousBytes>) {
        self.deframer.count_in(all);
    }

    /// The link's node is known, so what this holds counts no more.
    pub(crate) fn node_is_known(&mut self) {
        self.deframer.node_is_known();
    }

    /// Who the peer is by its certificate, once the handshake is done.
    pub(crate) fn peer_identity(&self) -> Option<PeerIdentity> {
        PeerIdentity::of(&self.connection)
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Reads what is there, within the budget, and cuts it into packets. `write` comes next.
    pub(crate) fn read(&mut self, view: Option<&View>, records: &mut [u8]) -> ReadReport {
        let mut report = ReadReport::new();
        report.stop = match self.fill(records, &mut report.read_bytes) {
            Ok(stop) | Err(stop) => stop,
        };
        let comparer = Comparer { view, peer_ip: &self.peer_ip, node: self.node.as_ref() };
        self.deframer.take_frames(&mut report, comparer);
        self.times.pongs_came(report.pongs);
        report
    }

    /// Writes what is waiting, within the budget; also after a failure to read, because the alert tells the peer why.
    pub(crate) fn write(
        &mut self,
        view: Option<&View>,
        gossip: &mut GossipScratch,
        read: &mut ReadReport,
    ) -> TlsReport {
        self.batch.encode(view, gossip);
        if !self.connection.is_handshaking() {
            self.times.pings_go(self.batch.take_pings());
        }
        let mut write = WriteReport::default();
        self.send(&mut write);
        let is_handshaking = self.connection.is_handshaking();
        if is_handshaking
            && read.stop == ReadStop::WouldBlock
            && let Some(error) = &write.error
        {
            // A handshake that cannot write cannot succeed.
            read.stop = ReadStop::error(error);
        }
        TlsReport { is_handshaking, write }
    }

    fn fill(&mut self, scratch: &mut [u8], read_bytes: &mut usize) -> Result<ReadStop, ReadStop> {
        loop {
            let read = match self.socket.recv(scratch) {
                Ok(0) => return Ok(ReadStop::eof()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(ReadStop::WouldBlock);
                }
                Err(error) => return Ok(ReadStop::error(&error)),
            };
            self.times.touch();
            *read_bytes += read;
            let mut records = &scratch[..read];
            while !records.is_empty() {
                self.decrypt(&mut records)?;
            }
            if read < scratch.len() && self.socket.short_read_drains() && !self.expect_eof {
                return Ok(ReadStop::WouldBlock);
            }
            if *read_bytes >= READ_BUDGET_BYTES {
                return Ok(ReadStop::Budget);
            }
        }
    }

    /// Decrypts some of `records`; `Err` when reading is over.
    fn decrypt(&mut self, records: &mut &[u8]) -> Result<(), ReadStop> {
        let offered = records.len();
        let taken = self.connection.read_tls(records).map_err(|error| ReadStop::error(&error))?;
        if self.connection.is_handshaking() {
            self.handshake_bytes += offered - records.len();
            if self.handshake_bytes > HANDSHAKE_BYTES {
                let detail = format!("handshake of more than {HANDSHAKE_BYTES} bytes");
                return Err(ReadStop::Ended { reason: EndReason::Tls, detail });
            }
        }
        let outcome = self.connection.process_new_packets();
        // Take the data whatever the outcome, because the records before a bad one are good (R6).
        let mut reader = self.connection.reader();
        while let Ok(chunk) = reader.fill_buf() {
            if chunk.is_empty() {
                break;
            }
            let len = chunk.len();
            self.deframer.append(chunk);
            reader.consume(len);
        }
        self.deframer.scan()?;
        let state = outcome.map_err(|error| failure_of(&error))?;
        if taken == 0 || state.peer_has_closed() { Err(ReadStop::eof()) } else { Ok(()) }
    }

    fn send(&mut self, report: &mut WriteReport) {
        let mut budget_bytes = WRITE_BUDGET_BYTES;
        loop {
            while self.connection.wants_write() {
                match self.connection.write_tls(&mut SocketWriter(&*self.socket)) {
                    Ok(0) => {
                        report.error = Some("the socket took nothing".to_owned());
                        return;
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        report.blocked = true;
                        return;
                    }
                    Err(error) => {
                        report.error = Some(error.to_string());
                        return;
                    }
                }
            }
            if self.connection.is_handshaking() || self.batch.is_empty() || budget_bytes == 0 {
                return;
            }
            match self.connection.writer().write_vectored(&self.batch.slices(budget_bytes)) {
                Ok(0) => return,
                Ok(taken_bytes) => {
                    self.batch.advance(taken_bytes, report);
                    budget_bytes -= taken_bytes;
                }
                Err(error) => {
                    report.error = Some(error.to_string());
                    return;
                }
            }
        }
    }
}

/// Sorts rustls' errors by what an operator would do about them (H35-H37).
fn failure_of(error: &rustls::Error) -> ReadStop {
    use rustls::Error as E;
    let reason = match error {
        E::InvalidMessage(InvalidMessage::InvalidContentType) => EndReason::NotTls,
        E::NoCertificatesPresented => EndReason::NoCertificate,
        E::InvalidCertificate(_) => EndReason::BadCertificate,
        E::AlertReceived(_) => EndReason::TlsAlert,
        _ => EndReason::Tls,
    };
    ReadStop::Ended { reason, detail: error.to_string() }
}

struct SocketWriter<'a>(&'a dyn Socket);

impl Write for SocketWriter<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.send(&[IoSlice::new(buffer)])
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
