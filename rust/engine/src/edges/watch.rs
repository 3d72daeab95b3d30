//! Who waits for the edges of which socket: the workers at their hub or, when there are none, the main thread; for dials
//! under way always the main thread.
//!
//! Owns that choice and nothing else. Main thread only.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Registry, Token};

use super::hub::EpollHub;
use crate::link_id::LinkId;
use crate::links::Links;
use crate::pool::DeskNumber;

pub(crate) struct Watch {
    /// Where the main thread waits.
    pub(crate) poll: Poll,
    hub: EpollHub,
    /// Whose links they are, as the hub knows it.
    desk: DeskNumber,
    by_workers: bool,
}

impl Watch {
    pub(crate) fn new(poll: Poll, hub: EpollHub, desk: DeskNumber) -> Self {
        Self { poll, hub, desk, by_workers: false }
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// A dial under way.
    pub(crate) fn add_dial(&self, socket: &impl AsRawFd, link: LinkId) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(link.as_u64() as usize),
            interest,
        )
    }

    /// A connection. Whatever it is ready for already counts as an edge.
    pub(crate) fn add(&self, socket: &(impl AsRawFd + AsFd), link: LinkId) -> io::Result<()> {
        if self.by_workers {
            self.hub.add(socket.as_fd(), self.desk, link)
        } else {
            self.add_dial(socket, link)
        }
    }

    /// A dial has become a connection.
    pub(crate) fn dial_is_up(
        &self,
        socket: &(impl AsRawFd + AsFd),
        link: LinkId,
    ) -> io::Result<()> {
        if self.by_workers {
            self.registry().deregister(&mut SourceFd(&socket.as_raw_fd()))?;
            self.hub.add(socket.as_fd(), self.desk, link)?;
        }
        Ok(())
    }

    /// Hands all connections over if workers have come, or gone.
    pub(crate) fn hand_over(&mut self, links: &Links, by_workers: bool) {
        if self.by_workers == by_workers {
            return;
        }
        for (_, socket) in links.connected_sockets() {
            // A socket that is gone already fails here and in the call after; its link is on its way out. So is one that
            // the system lets nobody watch: it looks silent, and the node's own timeouts end it.
            let _ = if self.by_workers {
                self.hub.remove(socket.0.as_fd())
            } else {
                self.registry().deregister(&mut SourceFd(&socket.0.as_raw_fd()))
            };
        }
        self.by_workers = by_workers;
        for (link, socket) in links.connected_sockets() {
            let _ = self.add(&socket.0, link);
        }
    }
}
