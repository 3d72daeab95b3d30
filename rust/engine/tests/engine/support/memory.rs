//! A socket in memory that can misbehave at any byte: it stalls, splits, fails, ends, panics, or holds the calling
//! thread until it is released. Any thread may use either side.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use clusterbus_engine::Socket;

/// How a direction breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Error(ErrorKind),
    End,
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Recv,
    Send,
}

/// One direction: what it has carried, in what pieces, and where it breaks.
#[derive(Debug)]
struct Flow {
    carried: usize,
    per_call: usize,
    fault: Option<(usize, Fault)>,
    /// Whether callers are held inside the call.
    is_held: bool,
    calls_inside: usize,
}

impl Flow {
    fn new() -> Self {
        Self { carried: 0, per_call: usize::MAX, fault: None, is_held: false, calls_inside: 0 }
    }

    /// How many of the `offered` bytes may pass now; `Err` when the fault is due.
    fn allowed(&self, offered: usize) -> Result<usize, Fault> {
        let allowed = offered.min(self.per_call);
        match self.fault {
            Some((at, fault)) if at <= self.carried => Err(fault),
            Some((at, _)) => Ok(allowed.min(at - self.carried)),
            None => Ok(allowed),
        }
    }
}

#[derive(Debug)]
struct State {
    recv: Flow,
    send: Flow,
    inbound: VecDeque<u8>,
    /// The stream has ended: once `inbound` is empty, reads return 0.
    is_ended: bool,
    outbound: Vec<u8>,
    /// How many bytes the socket still takes before it would block.
    room: usize,
    readable_edge: bool,
    writable_edge: bool,
    most_inside: usize,
    /// How often two calls of one direction overlapped, which must never happen.
    overlaps: usize,
    send_pointers: Vec<usize>,
    send_sizes: Vec<(usize, usize)>,
}

#[derive(Debug)]
pub struct MemorySocket {
    state: Mutex<State>,
    changed: Condvar,
}

impl MemorySocket {
    pub fn new() -> Self {
        let state = State {
            recv: Flow::new(),
            send: Flow::new(),
            inbound: VecDeque::new(),
            is_ended: false,
            outbound: Vec::new(),
            room: usize::MAX,
            readable_edge: false,
            writable_edge: false,
            most_inside: 0,
            overlaps: 0,
            send_pointers: Vec::new(),
            send_sizes: Vec::new(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the lock held")
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let outcome = change(&mut self.lock());
        self.changed.notify_all();
        outcome
    }

    // ---- what the peer does

    /// Bytes come in.
    pub fn deliver(&self, bytes: &[u8]) {
        self.change(|state| {
            state.inbound.extend(bytes);
            state.readable_edge = true;
        });
    }

    /// The peer ends its stream.
    pub fn end(&self) {
        self.change(|state| {
            state.is_ended = true;
            state.readable_edge = true;
        });
    }

    /// The socket has room for `bytes` more.
    pub fn grant(&self, bytes: usize) {
        self.change(|state| {
            state.room = state.room.saturating_add(bytes);
            state.writable_edge = true;
        });
    }

    /// The socket takes nothing until `grant`.
    pub fn stall_sends(&self) {
        self.change(|state| state.room = 0);
    }

    /// From now on each call of this direction moves at most `bytes`.
    pub fn split(&self, side: Side, bytes: usize) {
        self.change(|state| flow(state, side).per_call = bytes);
    }

    /// The fault occurs when this direction has carried `after` more bytes.
    pub fn break_after(&self, side: Side, after: usize, fault: Fault) {
        self.change(|state| {
            let flow = flow(state, side);
            flow.fault = Some((flow.carried + after, fault));
            state.readable_edge |= side == Side::Recv;
            state.writable_edge |= side == Side::Send;
        });
    }

    /// Calls of this direction wait inside until `release`.
    pub fn hold(&self, side: Side) {
        self.change(|state| flow(state, side).is_held = true);
    }

    pub fn release(&self, side: Side) {
        self.change(|state| flow(state, side).is_held = false);
    }

    /// Waits until a call of this direction is inside.
    pub fn wait_inside(&self, side: Side) {
        let deadline = Instant::now() + super::DEADLINE;
        let mut state = self.lock();
        while flow(&mut state, side).calls_inside == 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(left > Duration::ZERO, "no {side:?} call was made");
            state =
                self.changed.wait_timeout(state, left).expect("nobody panics with the lock held").0;
        }
    }

    // ---- what the test sees

    /// What was sent after the first `from` bytes.
    pub fn sent_from(&self, from: usize) -> Vec<u8> {
        self.lock().outbound[from..].to_vec()
    }

    pub fn sent_len(&self) -> usize {
        self.lock().outbound.len()
    }

    /// Bytes delivered and not yet read.
    pub fn unread_len(&self) -> usize {
        self.lock().inbound.len()
    }

    /// Which edges came since the last call: readable, writable.
    pub fn take_edges(&self) -> (bool, bool) {
        let mut state = self.lock();
        (std::mem::take(&mut state.readable_edge), std::mem::take(&mut state.writable_edge))
    }

    /// The most calls that were inside at once.
    pub fn most_inside(&self) -> usize {
        self.lock().most_inside
    }

    pub fn overlaps(&self) -> usize {
        self.lock().overlaps
    }

    /// Where the buffers offered to sends start.
    pub fn send_pointers(&self) -> Vec<usize> {
        self.lock().send_pointers.clone()
    }

    /// For every send, how many buffers and bytes were offered.
    pub fn send_sizes(&self) -> Vec<(usize, usize)> {
        self.lock().send_sizes.clone()
    }

    /// What a read with this much room gets; no bytes mean the end of the stream.
    fn take(&self, room: usize) -> io::Result<Vec<u8>> {
        let mut state = self.enter(Side::Recv);
        let allowed = state.recv.allowed(room);
        let outcome = allowed.map(|allowed| {
            let taken = allowed.min(state.inbound.len());
            state.recv.carried += taken;
            if taken == 0 && !state.is_ended {
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(state.inbound.drain(..taken).collect())
        });
        self.leave(state, Side::Recv);
        outcome.unwrap_or_else(|fault| strike(fault).map(|_| Vec::new()))
    }

    fn enter(&self, side: Side) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        let flow_of_call = flow(&mut state, side);
        flow_of_call.calls_inside += 1;
        let is_overlap = flow_of_call.calls_inside > 1;
        state.overlaps += usize::from(is_overlap);
        let inside = state.recv.calls_inside + state.send.calls_inside;
        state.most_inside = state.most_inside.max(inside);
        self.changed.notify_all();
        while flow(&mut state, side).is_held {
            state = self.changed.wait(state).expect("nobody panics with the lock held");
        }
        state
    }

    fn leave(&self, mut state: MutexGuard<'_, State>, side: Side) {
        flow(&mut state, side).calls_inside -= 1;
    }
}

fn flow(state: &mut State, side: Side) -> &mut Flow {
    match side {
        Side::Recv => &mut state.recv,
        Side::Send => &mut state.send,
    }
}

fn strike(fault: Fault) -> io::Result<usize> {
    match fault {
        Fault::Error(kind) => Err(kind.into()),
        Fault::End => Ok(0),
        Fault::Panic => panic!("the socket was told to panic"),
    }
}

impl Socket for MemorySocket {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.take(buffer.len())?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn recv_spare(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let bytes = self.take(buffer.capacity() - buffer.len())?;
        buffer.extend_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn send(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.enter(Side::Send);
        let offered = buffers.iter().map(|buffer| buffer.len()).sum();
        state.send_sizes.push((buffers.len(), offered));
        state.send_pointers.extend(buffers.iter().map(|buffer| buffer.as_ptr() as usize));
        let allowed = state.send.allowed(offered);
        let outcome = allowed.map(|allowed| {
            let taken = allowed.min(state.room);
            let mut left = taken;
            for buffer in buffers {
                let part = left.min(buffer.len());
                state.outbound.extend_from_slice(&buffer[..part]);
                left -= part;
            }
            state.send.carried += taken;
            state.room -= if state.room == usize::MAX { 0 } else { taken };
            if taken > 0 || offered == 0 { Ok(taken) } else { Err(ErrorKind::WouldBlock.into()) }
        });
        self.leave(state, Side::Send);
        outcome.unwrap_or_else(strike)
    }
}
