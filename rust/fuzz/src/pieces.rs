//! A socket in memory: gives the engine bytes in pieces of chosen lengths, takes what it sends, and then ends.
//!
//! Only the main thread uses it, since the engines of this crate have no workers.

use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};

use clusterbus_engine::Socket;

/// Keeps at most this much of what the engine sends.
const KEPT_MAX_BYTES: usize = 1024 * 1024;

#[derive(Default)]
struct State {
    incoming: Vec<u8>,
    taken: usize,
    is_ended: bool,
    sent: Vec<u8>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct PieceSocket(Mutex<State>);

impl PieceSocket {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These bytes come in.
    pub(crate) fn deliver(&self, bytes: &[u8]) {
        self.state().incoming.extend_from_slice(bytes);
    }

    /// Nothing comes in after what was delivered.
    pub(crate) fn end(&self) {
        self.state().is_ended = true;
    }

    /// What the engine has sent since the last call.
    pub(crate) fn take_sent(&self) -> Vec<u8> {
        std::mem::take(&mut self.state().sent)
    }
}

impl Socket for PieceSocket {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        let waiting = &state.incoming[state.taken..];
        let taken = waiting.len().min(buffer.len());
        if taken == 0 {
            return if state.is_ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        buffer[..taken].copy_from_slice(&waiting[..taken]);
        state.taken += taken;
        Ok(taken)
    }

    fn send(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state();
        for buffer in buffers {
            state.sent.extend_from_slice(buffer);
        }
        assert!(state.sent.len() < KEPT_MAX_BYTES, "the engine talks without end");
        Ok(buffers.iter().map(|buffer| buffer.len()).sum())
    }
}
