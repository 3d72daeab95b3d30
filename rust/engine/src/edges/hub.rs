//! Where workers wait: one epoll instance that they share, over the sockets of all links of all engines of a pool.
//!
//! Owns the epoll instance, the bell that wakes one worker for a job, and the alarm that wakes them all. Edges are taken
//! from the kernel by whoever waits, each by one worker. Knows a link by its tag and its engine's desk alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

use crate::docks::Edge;
use crate::limits::WORKER_READINESS_EVENTS;
use crate::link_id::{LinkId, LinkTag};
use crate::pool::{DeskNumber, Hub};

/// No link has one of these, since no desk has the number `DeskNumber::MAX`.
const BELL: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Clones share everything.
#[derive(Clone)]
pub(crate) struct EpollHub(Arc<Descriptors>);

struct Descriptors {
    epoll: OwnedFd,
    bell: OwnedFd,
    alarm: OwnedFd,
}

impl EpollHub {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let hub = Descriptors {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            bell: eventfd(0, flags)?,
            alarm: eventfd(0, flags)?,
        };
        let one_waiter = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&hub.epoll, &hub.bell, epoll::EventData::new_u64(BELL), one_waiter)?;
        let every_waiter = epoll::EventFlags::IN;
        epoll::add(&hub.epoll, &hub.alarm, epoll::EventData::new_u64(ALARM), every_waiter)?;
        Ok(Self(Arc::new(hub)))
    }

    /// Workers hear of the socket's edges from now on, and at once of what it is ready for already.
    pub(crate) fn add(
        &self,
        socket: BorrowedFd<'_>,
        desk: DeskNumber,
        link: LinkId,
    ) -> io::Result<()> {
        use epoll::EventFlags as F;
        let flags = F::IN | F::OUT | F::RDHUP | F::ET;
        let token = u64::from(desk) << LinkTag::BITS | link.tag().as_u64();
        Ok(epoll::add(&self.0.epoll, socket, epoll::EventData::new_u64(token), flags)?)
    }

    pub(crate) fn remove(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.0.epoll, socket)?)
    }
}

/// What a wait has filled.
#[derive(Default)]
pub(crate) struct Events {
    found: Vec<epoll::Event>,
    /// How many of them have been taken.
    taken: usize,
}

impl Hub for EpollHub {
    type Edge = (LinkTag, Edge);
    type Events = Events;

    fn wait(&self, events: &mut Events, blocks: bool) {
        events.taken = 0;
        events.found.clear();
        events.found.reserve_exact(WORKER_READINESS_EVENTS);
        let timeout = if blocks { None } else { Some(&NO_WAIT) };
        // The only error that can come is an interruption by a signal: then nothing is ready yet, and the worker comes
        // again.
        let _ = epoll::wait(self.0.epoll.as_fd(), spare_capacity(&mut events.found), timeout);
    }

    fn next(&self, events: &mut Events) -> Option<(DeskNumber, (LinkTag, Edge))> {
        use epoll::EventFlags as F;
        loop {
            let event = events.found.get(events.taken)?;
            events.taken += 1;
            // Copies, since the kernel's structure is packed.
            let (flags, data) = (event.flags, event.data);
            let token = data.u64();
            if token == BELL || token == ALARM {
                continue;
            }
            let edge = Edge {
                is_readable: flags.contains(F::IN),
                is_writable: flags.contains(F::OUT),
                is_ended: flags.intersects(F::RDHUP | F::HUP | F::ERR),
            };
            let desk = (token >> LinkTag::BITS) as DeskNumber;
            return Some((desk, (LinkTag::from_low_bits(token), edge)));
        }
    }

    fn ring(&self) {
        // Nobody reads the bell: each write is an edge of its own, which wakes one worker. Its counter would be full
        // after 2^64 rings.
        let _ = rustix::io::write(&self.0.bell, &1u64.to_ne_bytes());
    }

    fn alarm(&self, is_on: bool) {
        let _ = match is_on {
            true => rustix::io::write(&self.0.alarm, &1u64.to_ne_bytes()),
            false => rustix::io::read(&self.0.alarm, &mut [0; 8]),
        };
    }
}
