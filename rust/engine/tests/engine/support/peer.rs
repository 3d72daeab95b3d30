//! The other end of a link: plain or TLS, over memory or TCP. Driven by `pump`; never blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::Connection;
use rustls::pki_types::CertificateDer;

use super::memory::MemorySocket;

enum Wire {
    Memory { socket: Arc<MemorySocket>, taken: usize },
    Tcp(TcpStream),
}

struct State {
    wire: Wire,
    tls: Option<Connection>,
    outgoing: Vec<u8>,
    received: Vec<u8>,
    is_ended: bool,
    error: Option<String>,
}

/// Cheap to clone: the test holds one clone, and the rig that pumps it another.
#[derive(Clone)]
pub struct Peer(Arc<Mutex<State>>);

impl Peer {
    pub fn in_memory(socket: Arc<MemorySocket>, tls: Option<Connection>) -> Self {
        Self::new(Wire::Memory { socket, taken: 0 }, tls)
    }

    pub fn over_tcp(stream: TcpStream, tls: Option<Connection>) -> Self {
        stream.set_nonblocking(true).expect("a live socket");
        stream.set_nodelay(true).expect("a live socket");
        Self::new(Wire::Tcp(stream), tls)
    }

    fn new(wire: Wire, mut tls: Option<Connection>) -> Self {
        if let Some(tls) = &mut tls {
            tls.set_buffer_limit(None);
        }
        let state = State {
            wire,
            tls,
            outgoing: Vec::new(),
            received: Vec::new(),
            is_ended: false,
            error: None,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no peer panics")
    }

    /// The certificate that the other end has shown.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        let state = self.lock();
        let chain = state.tls.as_ref().and_then(|tls| tls.peer_certificates());
        chain.and_then(|chain| chain.first().cloned())
    }

    /// Sends application bytes, encrypted on a TLS link.
    pub fn send(&self, bytes: &[u8]) {
        let mut state = self.lock();
        match &mut state.tls {
            Some(tls) => tls.writer().write_all(bytes).expect("no limit is set"),
            None => state.outgoing.extend_from_slice(bytes),
        }
        state.pump();
    }

    /// Sends bytes as they are, without encryption.
    pub fn send_raw(&self, bytes: &[u8]) {
        let mut state = self.lock();
        state.outgoing.extend_from_slice(bytes);
        state.pump();
    }

    /// Encrypts without sending: the bytes that `send` would have put on the wire.
    pub fn encrypted(&self, bytes: &[u8]) -> Vec<u8> {
        let mut state = self.lock();
        let mut wire = Vec::new();
        match &mut state.tls {
            Some(tls) => {
                tls.writer().write_all(bytes).expect("no limit is set");
                while tls.wants_write() {
                    tls.write_tls(&mut wire).expect("a vector takes all");
                }
            }
            None => wire.extend_from_slice(bytes),
        }
        wire
    }

    /// Ends a TLS session with close_notify; does nothing on a plain link.
    pub fn close_notify(&self) {
        let mut state = self.lock();
        if let Some(tls) = &mut state.tls {
            tls.send_close_notify();
        }
        state.pump();
    }

    /// Ends the stream to the engine.
    pub fn end(&self) {
        let mut state = self.lock();
        state.pump();
        match &state.wire {
            Wire::Memory { socket, .. } => socket.end(),
            Wire::Tcp(stream) => drop(stream.shutdown(std::net::Shutdown::Write)),
        }
    }

    /// Moves bytes both ways, as many as possible.
    pub fn pump(&self) {
        self.lock().pump();
    }

    pub fn received(&self) -> Vec<u8> {
        self.lock().received.clone()
    }

    pub fn received_len(&self) -> usize {
        self.lock().received.len()
    }

    /// Moves the peer, then as `received_len`.
    pub fn pumped_len(&self) -> usize {
        self.pump();
        self.received_len()
    }

    /// Takes what was received.
    pub fn take_received(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().received)
    }

    /// Whether the engine ended or reset the connection, or TLS failed.
    pub fn is_ended(&self) -> bool {
        let state = self.lock();
        state.is_ended || state.error.is_some()
    }

    /// The error with which TLS failed, if it did.
    pub fn error(&self) -> Option<String> {
        self.lock().error.clone()
    }

    pub fn is_handshaking(&self) -> bool {
        self.lock().tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    pub fn local_addr(&self) -> std::net::SocketAddr {
        match &self.lock().wire {
            Wire::Tcp(stream) => stream.local_addr().expect("a bound socket"),
            Wire::Memory { .. } => panic!("a memory socket has no address"),
        }
    }
}

impl State {
    fn pump(&mut self) {
        self.take_in();
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.outgoing).expect("a vector takes all");
            }
        }
        self.give_out();
    }

    fn give_out(&mut self) {
        match &mut self.wire {
            Wire::Memory { socket, .. } => {
                if !self.outgoing.is_empty() {
                    socket.deliver(&std::mem::take(&mut self.outgoing));
                }
            }
            Wire::Tcp(stream) => {
                while !self.outgoing.is_empty() {
                    match stream.write(&self.outgoing) {
                        Ok(sent) => drop(self.outgoing.drain(..sent)),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(_) => {
                            self.is_ended = true;
                            break;
                        }
                    }
                }
            }
        }
    }

    fn take_in(&mut self) {
        let mut chunk = match self.wire {
            Wire::Memory { .. } => Vec::new(),
            Wire::Tcp(_) => vec![0; 64 * 1024],
        };
        loop {
            let read = match &mut self.wire {
                Wire::Memory { socket, taken } => {
                    let bytes = socket.sent_from(*taken);
                    *taken += bytes.len();
                    let read = bytes.len();
                    chunk = bytes;
                    if read == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(read) }
                }
                Wire::Tcp(stream) => stream.read(&mut chunk),
            };
            match read {
                Ok(0) => {
                    self.is_ended = true;
                    return;
                }
                Ok(read) => self.take(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_ended = true;
                    return;
                }
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        let Some(tls) = &mut self.tls else {
            self.received.extend_from_slice(bytes);
            return;
        };
        while !bytes.is_empty() && self.error.is_none() {
            if tls.read_tls(&mut bytes).expect("a slice can be read") == 0 {
                return;
            }
            if let Err(error) = tls.process_new_packets() {
                self.error = Some(error.to_string());
            }
            let mut plain = Vec::new();
            match tls.reader().read_to_end(&mut plain) {
                Ok(_) => self.is_ended = true,
                Err(error) => assert!(is_pause(&error), "{error}"),
            }
            self.received.extend_from_slice(&plain);
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::UnexpectedEof)
}
