//! One non-blocking connection, plain or TLS, with the same calls for both.
//!
//! Owns the bytes that could not be written yet. Must never block; [`Transport::wants_write`] says whether to wait.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::Connection;

use crate::Failure;

/// A connection.
pub struct Transport {
    stream: TcpStream,
    tls: Option<Box<Connection>>,
    /// Bytes for a plain connection's socket; it has not taken those from `written` on.
    unwritten: Vec<u8>,
    written: usize,
}

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// This many bytes came.
    Bytes(usize),
    /// Nothing is there to read now.
    Nothing,
    /// The peer closed.
    Closed,
}

impl Transport {
    /// Starts a connection from `source` (any port) to `target`.
    ///
    /// # Errors
    /// When the socket cannot be made or the dial fails at once.
    pub fn dial(
        source: Ipv4Addr,
        target: SocketAddrV4,
        tls: Option<Connection>,
    ) -> Result<Transport, Failure> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))?;
        match rustix::net::connect(&socket, &target) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Transport::new(TcpStream::from(socket), tls)
    }

    /// Takes an accepted connection.
    ///
    /// # Errors
    /// When its options cannot be set.
    pub fn new(stream: TcpStream, tls: Option<Connection>) -> Result<Transport, Failure> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Transport { stream, tls: tls.map(Box::new), unwritten: Vec::new(), written: 0 })
    }

    /// Whether a TLS handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Whether there are bytes that the socket has not taken.
    pub fn wants_write(&self) -> bool {
        match &self.tls {
            Some(tls) => tls.wants_write(),
            None => self.written < self.unwritten.len(),
        }
    }

    /// Sends the slices as one message. What the socket does not take now is kept for [`Transport::flush`].
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, slices: &[&[u8]]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            for slice in slices {
                tls.writer().write_all(slice)?;
            }
            return self.flush();
        }
        let mut sent = 0;
        if !self.wants_write() {
            let mut vector = [IoSlice::new(&[]); 4];
            for (place, slice) in vector.iter_mut().zip(slices) {
                *place = IoSlice::new(slice);
            }
            sent = would_block_is_nothing((&self.stream).write_vectored(&vector))?;
        }
        for slice in slices {
            let skipped = sent.min(slice.len());
            sent -= skipped;
            self.unwritten.extend_from_slice(&slice[skipped..]);
        }
        Ok(())
    }

    /// Sends the bytes that are left.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                if would_block_is_nothing(tls.write_tls(&mut &self.stream))? == 0 {
                    return Ok(());
                }
            }
            return Ok(());
        }
        if self.wants_write() {
            let rest = &self.unwritten[self.written..];
            self.written += would_block_is_nothing((&self.stream).write(rest))?;
            if self.written == self.unwritten.len() {
                self.unwritten.clear();
                self.written = 0;
            }
        }
        Ok(())
    }

    /// Reads what is there, once.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<Received, Failure> {
        let Some(tls) = &mut self.tls else {
            return Ok(received((&self.stream).read(into))?);
        };
        match received(tls.read_tls(&mut &self.stream))? {
            Received::Bytes(_) => {}
            other => return Ok(other),
        }
        tls.process_new_packets()?;
        self.flush()?;
        self.receive_more(into)
    }

    /// Reads bytes that TLS has decrypted and the last read did not take.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn receive_more(&mut self, into: &mut [u8]) -> Result<Received, Failure> {
        match &mut self.tls {
            Some(tls) => Ok(received(tls.reader().read(into))?),
            None => Ok(Received::Nothing),
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn would_block_is_nothing(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(0),
        other => other,
    }
}

fn received(result: io::Result<usize>) -> io::Result<Received> {
    match result {
        Ok(0) => Ok(Received::Closed),
        Ok(len) => Ok(Received::Bytes(len)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Nothing),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Received::Closed),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Received::Closed),
        Err(error) => Err(error),
    }
}
