//! A socket in memory: reads return the bytes it was given, and writes are counted and dropped.

use std::io::{self, ErrorKind, IoSlice};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clusterbus_engine::Socket;

/// The socket.
#[derive(Default)]
pub struct MemorySocket {
    incoming: Mutex<(Vec<u8>, usize)>,
    /// Bytes written so far. Relaxed, since it synchronises nothing.
    sent_bytes: AtomicUsize,
}

impl MemorySocket {
    /// Adds bytes for the next reads.
    pub fn give(&self, bytes: &[u8]) {
        let mut incoming = self.incoming.lock().expect("no panic while it is locked");
        let (data, position) = &mut *incoming;
        data.drain(..*position);
        *position = 0;
        data.extend_from_slice(bytes);
    }

    /// Bytes written so far.
    pub fn sent_bytes(&self) -> usize {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}

impl MemorySocket {
    /// Takes at most `len` of the bytes it was given.
    fn take(&self, len: usize, use_bytes: impl FnOnce(&[u8])) -> io::Result<usize> {
        let mut incoming = self.incoming.lock().expect("no panic while it is locked");
        let (data, position) = &mut *incoming;
        let rest = &data[*position..];
        if rest.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let len = rest.len().min(len);
        use_bytes(&rest[..len]);
        *position += len;
        Ok(len)
    }
}

impl Socket for MemorySocket {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.take(buffer.len(), |bytes| buffer[..bytes.len()].copy_from_slice(bytes))
    }

    fn recv_spare(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.take(buffer.capacity() - buffer.len(), |bytes| buffer.extend_from_slice(bytes))
    }

    fn send(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        self.sent_bytes.fetch_add(len, Ordering::Relaxed);
        Ok(len)
    }
}
