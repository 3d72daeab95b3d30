//! The non-blocking byte stream under a link: a TCP socket, or whatever a test uses instead.
//!
//! Shared by a link's halves; every method takes `&self`, so that a read and a write can run at once.

use std::io::{self, IoSlice};
use std::net::TcpStream;

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

/// A connected stream that never blocks: it answers `WouldBlock` when it has nothing to read or no room to write.
pub trait Socket: Send + Sync + 'static {
    /// Reads into `buffer`; 0 means the end of the stream.
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Appends what it reads to `buffer`, at most as much as its spare capacity holds.
    fn recv_spare(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let held = buffer.len();
        buffer.resize(buffer.capacity(), 0);
        let outcome = self.recv(&mut buffer[held..]);
        buffer.truncate(held + outcome.as_ref().map_or(0, |read| *read));
        outcome
    }

    /// Writes from several buffers; may take fewer bytes than are offered.
    fn send(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether a read that does not fill its buffer proves that nothing more is there. True for TCP (epoll(7)), where
    /// it saves one system call for each packet.
    fn short_read_drains(&self) -> bool {
        false
    }
}

/// A TCP connection.
pub(crate) struct TcpSocket(pub(crate) TcpStream);

impl Socket for TcpSocket {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (read, _) = recv(&self.0, buffer, RecvFlags::empty())?;
        Ok(read)
    }

    fn recv_spare(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let (read, _) = recv(&self.0, spare_capacity(buffer), RecvFlags::empty())?;
        Ok(read)
    }

    fn send(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut no_ancillary = SendAncillaryBuffer::default();
        Ok(sendmsg(&self.0, buffers, &mut no_ancillary, SendFlags::NOSIGNAL)?)
    }

    fn short_read_drains(&self) -> bool {
        true
    }
}
