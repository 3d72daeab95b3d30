//! The non-blocking byte stream under a link: a TCP socket, or anything a test puts in its place.
//!
//! Shared by a link's halves; every method takes `&self`, so that a read and a write can run at once.

use std::io::{self, IoSlice};
use std::net::TcpStream;

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

/// A connected stream that never blocks: `WouldBlock` is its way to say "later".
pub trait Socket: Send + Sync + 'static {
    /// Reads into `buffer`; 0 is the end of the stream.
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Reads behind what `buffer` holds, at most into its spare capacity.
    fn recv_spare(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let held = buffer.len();
        buffer.resize(buffer.capacity(), 0);
        let outcome = self.recv(&mut buffer[held..]);
        buffer.truncate(held + outcome.as_ref().map_or(0, |read| *read));
        outcome
    }

    /// Writes from several buffers; may take fewer bytes than offered.
    fn send(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether a read that left room proves that nothing more is there. True for TCP (epoll(7)); it saves a
    /// system call for each packet.
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
