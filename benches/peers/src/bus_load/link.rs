//! One connection of a played node, and the table of all of them.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use clusterbus_peers_bench::Failure;
use clusterbus_peers_bench::framer::Framer;
use clusterbus_peers_bench::transport::Transport;
use rustix::event::epoll;

/// The kind of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This node dialled the server: PINGs go out, PONGs come back.
    Dialled(usize),
    /// The server dialled this node: PINGs come, PONGs go back.
    Accepted(usize),
    /// A client of the server.
    Client,
}

/// A connection.
pub struct Link {
    /// Its socket.
    pub transport: Transport,
    /// Its kind.
    pub role: Role,
    /// The position in its stream.
    pub framer: Framer,
    /// When each message in flight was sent, oldest first.
    pub sent_ns: VecDeque<u64>,
    /// Whether a PONG, or the server's first PING, has come.
    pub is_linked: bool,
    waits_to_write: bool,
}

impl Link {
    /// A new connection.
    pub fn new(transport: Transport, role: Role) -> Link {
        Link {
            transport,
            role,
            framer: Framer::default(),
            sent_ns: VecDeque::new(),
            is_linked: false,
            waits_to_write: false,
        }
    }
}

/// The tokens of links are below this number, those of listeners start at it.
pub const FIRST_LISTENER_TOKEN: u64 = 1 << 32;
/// The token of the metronome.
pub const METRONOME_TOKEN: u64 = u64::MAX;

/// All connections, by token.
#[derive(Default)]
pub struct Links {
    slots: Vec<Option<Link>>,
    free: Vec<usize>,
}

impl Links {
    /// Adds a connection and registers it with epoll.
    ///
    /// # Errors
    /// When epoll refuses it.
    pub fn insert(&mut self, epoll: &OwnedFd, mut link: Link) -> Result<usize, Failure> {
        let token = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        link.waits_to_write = link.transport.wants_write();
        let data = epoll::EventData::new_u64(token as u64);
        epoll::add(epoll, &link.transport, data, interest(link.waits_to_write))?;
        self.slots[token] = Some(link);
        Ok(token)
    }

    /// How many messages in flight have not been answered.
    pub fn unanswered(&self) -> usize {
        self.slots.iter().flatten().map(|link| link.sent_ns.len()).sum()
    }

    /// Takes a connection out to work on it; `None` when it has ended meanwhile.
    pub fn take(&mut self, token: usize) -> Option<Link> {
        self.slots.get_mut(token)?.take()
    }

    /// Puts a connection back and registers the readiness that it now waits for.
    ///
    /// # Errors
    /// When epoll refuses it.
    pub fn put_back(
        &mut self,
        epoll: &OwnedFd,
        token: usize,
        mut link: Link,
    ) -> Result<(), Failure> {
        let wants = link.transport.wants_write();
        if wants != link.waits_to_write {
            link.waits_to_write = wants;
            let data = epoll::EventData::new_u64(token as u64);
            epoll::modify(epoll, &link.transport, data, interest(wants))?;
        }
        self.slots[token] = Some(link);
        Ok(())
    }

    /// Frees the place of a connection that was taken out and has ended.
    pub fn forget(&mut self, token: usize) {
        self.free.push(token);
    }
}

fn interest(waits_to_write: bool) -> epoll::EventFlags {
    if waits_to_write {
        epoll::EventFlags::IN | epoll::EventFlags::OUT
    } else {
        epoll::EventFlags::IN
    }
}
