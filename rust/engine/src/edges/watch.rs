//! Who waits for the edges of which socket: the workers at their hub or, when there are none, the main thread; for dials
//! under way always the main thread.
//!
//! Owns that choice and nothing else. Main thread only.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::hub::EpollHub;
use crate::link_id::LinkId;
use crate::links::Links;

pub(crate) struct Watch {
    /// What the main thread waits for.
    pub(crate) registry: Registry,
    hub: EpollHub,
    by_workers: bool,
}

impl Watch {
    pub(crate) fn new(registry: Registry, hub: EpollHub) -> Self {
        Self { registry, hub, by_workers: false }
    }

    /// A dial under way.
    pub(crate) fn add_dial(&self, socket: &impl AsRawFd, link: LinkId) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(link.as_u64() as usize),
            interest,
        )
    }

    /// A connection. Whatever it is ready for already counts as an edge.
    pub(crate) fn add(&self, socket: &(impl AsRawFd + AsFd), link: LinkId) -> io::Result<()> {
        if self.by_workers {
            self.hub.add(socket.as_fd(), link)
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
            self.registry.deregister(&mut SourceFd(&socket.as_raw_fd()))?;
            self.hub.add(socket.as_fd(), link)?;
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
                self.registry.deregister(&mut SourceFd(&socket.0.as_raw_fd()))
            };
        }
        self.by_workers = by_workers;
        for (link, socket) in links.connected_sockets() {
            let _ = self.add(&socket.0, link);
        }
    }
}
