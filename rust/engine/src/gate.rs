//! How links are made: accepted, dialled, or attached by a test. Main thread only.
//!
//! Owns the listeners, the TLS keys and the limits on links and handshakes. A new link is handed to `Links`, which owns
//! it from then on.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};

use crate::completion::{lose, tell_up};
use crate::docks::Io;
use crate::edges::Watch;
use crate::gossip::NodeTimes;
use crate::journal::Journal;
use crate::limits;
use crate::link_id::LinkId;
use crate::links::{Dial, Links, NewLink, Origin};
use crate::listeners::{Accept, Incoming, Listeners};
use crate::reason::{EndReason, LossReason, RefusalReason};
use crate::transport::anonymous::AnonymousBytes;
use crate::transport::socket::{Socket, TcpSocket};
use crate::transport::times::LinkTimes;
use crate::transport::tls::TlsSetup;

/// The peer address of links that have none.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// Which side of a TLS handshake an attached link plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsSide {
    /// It waits for the other side to start the handshake.
    Accepts,
    /// It starts the handshake.
    Dials,
}

/// Where to dial, and how.
pub(crate) struct DialOrder {
    pub(crate) peer: SocketAddr,
    pub(crate) owner: u64,
    pub(crate) tls: bool,
    pub(crate) source_ip: Option<IpAddr>,
    /// Gets the round trips of the PINGs on the link.
    pub(crate) node: Option<Arc<NodeTimes>>,
}

/// A TCP stream that becomes a link.
struct Open {
    stream: TcpStream,
    peer: SocketAddr,
    origin: Origin,
    /// See `DialOrder`.
    node: Option<Arc<NodeTimes>>,
}

/// Has the kernel end a connection whose peer's system acknowledges or takes nothing for `timeout` (P7). Only Linux has
/// this option. Elsewhere the keepalive and the main loop's own timeouts must do.
pub(crate) fn set_unacknowledged_timeout(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_user_timeout(Some(timeout))?;
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, timeout);
    Ok(())
}

/// Makes links, within the limits.
pub(crate) struct Gate {
    pub(crate) listeners: Listeners,
    /// Keys for TLS links; without them no TLS link can be made.
    pub(crate) tls: Option<TlsSetup>,
    /// How long the kernel waits for a peer's system on links made from now on (P7).
    pub(crate) unacknowledged_timeout: Duration,
    /// How many links there may be at once (H30).
    pub(crate) max_links: usize,
    /// How many inbound TLS handshakes there may be at once (H38).
    pub(crate) max_handshakes: usize,
    /// What links of nobody known may leave unfinished (H30).
    pub(crate) anonymous_bytes: Arc<AnonymousBytes>,
    /// The instant that `LinkTimes` counts from.
    pub(crate) clock_zero: Instant,
}

impl Gate {
    // ---- accepting

    /// Accepts waiting connections, a bounded number from each listener.
    pub(crate) fn accept_ready(
        &mut self,
        watch: &Watch,
        links: &mut Links,
        journal: &mut Journal,
        now: Instant,
    ) {
        for number in self.listeners.resume(now) {
            for _ in 0..limits::ACCEPTS_PER_POLL {
                match self.listeners.accept(number, now) {
                    Accept::Connection(incoming) => {
                        self.admit(watch, links, journal, incoming, now);
                    }
                    Accept::Broken => {}
                    Accept::Nothing => break,
                    Accept::NoDescriptors => {
                        journal.count_refusal(RefusalReason::NoDescriptors);
                        break;
                    }
                }
            }
        }
    }

    /// Makes a connection a link, or refuses it.
    fn admit(
        &self,
        watch: &Watch,
        links: &mut Links,
        journal: &mut Journal,
        incoming: Incoming,
        now: Instant,
    ) {
        let (listener, peer) = (incoming.listener, incoming.peer);
        let refusal = if links.len() >= self.max_links {
            (RefusalReason::MaxLinks, self.full())
        } else if incoming.tls && links.handshakes() >= self.max_handshakes {
            let detail = format!("{} handshakes under way", self.max_handshakes);
            (RefusalReason::MaxHandshakes, detail)
        } else {
            match self.open_accepted(watch, links, incoming, now) {
                Ok(Some(link)) => return tell_up(links, journal, link, None, now),
                Ok(None) => return,
                Err(error) => (RefusalReason::End(EndReason::Error), error.to_string()),
            }
        };
        journal.refused(listener, peer, refusal.0, refusal.1);
    }

    fn full(&self) -> String {
        format!("{} links are open", self.max_links)
    }

    /// Makes a link over the connection. Returns its id if it is up at once, as it is without TLS.
    fn open_accepted(
        &self,
        watch: &Watch,
        links: &mut Links,
        incoming: Incoming,
        now: Instant,
    ) -> io::Result<Option<LinkId>> {
        let Incoming { stream, peer, listener, tls } = incoming;
        stream.set_nonblocking(true)?;
        let open = Open { stream, peer, origin: Origin::Accepted { listener }, node: None };
        if !tls {
            let plain = |socket, times| Io::plain(socket, times, peer);
            return self.insert(watch, links, open, plain).map(Some);
        }
        let connection = self.tls_setup()?.accepting().map_err(io::Error::other)?;
        let handshake = |socket, times| Io::handshake(socket, connection, times, peer);
        let link = self.insert(watch, links, open, handshake)?;
        links.must_open(link, now);
        Ok(None)
    }

    // ---- dialling

    /// Starts a dial and returns its link at once.
    pub(crate) fn dial(
        &self,
        watch: &Watch,
        links: &mut Links,
        journal: &mut Journal,
        order: DialOrder,
    ) -> io::Result<LinkId> {
        let DialOrder { peer, owner, tls, source_ip, node } = order;
        if tls {
            self.tls_setup()?;
        }
        if links.len() >= self.max_links {
            return Err(io::Error::other(self.full()));
        }
        let socket = RawSocket::new(
            Domain::for_address(peer),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        if let Some(ip) = source_ip {
            let any_port = 0;
            socket.bind(&SocketAddr::new(ip, any_port).into())?;
        }
        // The deadline counts from the dial, not from the step before it.
        let now = Instant::now();
        let outcome = socket.connect(&peer.into());
        let origin = Origin::Dialled { owner };
        let connecting = |_, _| Io::Connecting { tls };
        let open = Open { stream: socket.into(), peer, origin, node };
        let link = self.insert(watch, links, open, connecting)?;
        links.must_open(link, now);
        match outcome {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                lose(links, journal, link, LossReason::Connect, error.to_string());
            }
            _ => {}
        }
        Ok(link)
    }

    /// Looks at a dial whose socket became ready: it is up, it failed, or it is too early to tell.
    pub(crate) fn finish_dial(
        &self,
        watch: &Watch,
        links: &mut Links,
        journal: &mut Journal,
        link: LinkId,
        now: Instant,
    ) {
        let Some(dial) = links.pending_dial(link) else { return };
        let is_up = match dial.stream.take_error() {
            Ok(None) => dial.stream.peer_addr().is_ok(),
            Ok(Some(error)) | Err(error) => {
                return lose(links, journal, link, LossReason::Connect, error.to_string());
            }
        };
        if !is_up {
            return;
        }
        let tls = dial.tls;
        let io = watch.dial_is_up(dial.stream, link).and_then(|()| self.io_of(&dial));
        match io {
            Ok(io) => {
                links.connected(link, io);
                if !tls {
                    tell_up(links, journal, link, None, now);
                }
            }
            Err(error) => lose(links, journal, link, LossReason::Connect, error.to_string()),
        }
    }

    /// The halves or the TLS transport for a dial that is connected.
    fn io_of(&self, dial: &Dial<'_>) -> io::Result<Io> {
        let (socket, times) = (dial.socket.clone(), dial.times.clone());
        if !dial.tls {
            return Ok(Io::plain(socket, times, dial.peer).count_in(&self.anonymous_bytes));
        }
        let connection = self.tls_setup()?.dialling(dial.peer.ip()).map_err(io::Error::other)?;
        let io = Io::handshake(socket, connection, times, dial.peer);
        Ok(io.count_in(&self.anonymous_bytes))
    }

    // ---- both

    /// Makes a link over a TCP stream that the kernel watches.
    fn insert(
        &self,
        watch: &Watch,
        links: &mut Links,
        open: Open,
        make_io: impl FnOnce(Arc<dyn Socket>, Arc<LinkTimes>) -> Io,
    ) -> io::Result<LinkId> {
        let Open { stream, peer, origin, node } = open;
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(limits::KEEPALIVE_S))
            .with_interval(Duration::from_secs(limits::KEEPALIVE_INTERVAL_S));
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        set_unacknowledged_timeout(&stream, self.unacknowledged_timeout)?;
        let tcp = Arc::new(TcpSocket(stream));
        let socket: Arc<dyn Socket> = tcp.clone();
        let times = LinkTimes::new(self.clock_zero, node);
        let io = make_io(socket.clone(), times.clone()).count_in(&self.anonymous_bytes);
        let is_dial = matches!(io, Io::Connecting { .. });
        let new = NewLink { origin, peer, tcp: Some(tcp.clone()), socket, times, io };
        let id = links.insert(new);
        let watched = match is_dial {
            true => watch.add_dial(&tcp.0, id),
            false => watch.add(&tcp.0, id),
        };
        if let Err(error) = watched {
            links.remove(id);
            return Err(error);
        }
        Ok(id)
    }

    /// Makes a link over any transport, open at once or after its TLS handshake.
    pub(crate) fn attach(
        &self,
        links: &mut Links,
        socket: Arc<dyn Socket>,
        owner: u64,
        tls: Option<TlsSide>,
    ) -> io::Result<LinkId> {
        let times = LinkTimes::new(self.clock_zero, None);
        let io = match tls {
            None => Io::plain(socket.clone(), times.clone(), NOWHERE),
            Some(side) => {
                let setup = self.tls_setup()?;
                let connection = match side {
                    TlsSide::Accepts => setup.accepting(),
                    TlsSide::Dials => setup.dialling(NOWHERE.ip()),
                };
                let connection = connection.map_err(io::Error::other)?;
                Io::handshake(socket.clone(), connection, times.clone(), NOWHERE)
            }
        };
        let io = io.count_in(&self.anonymous_bytes);
        let origin = Origin::Dialled { owner };
        Ok(links.insert(NewLink { origin, peer: NOWHERE, tcp: None, socket, times, io }))
    }

    fn tls_setup(&self) -> io::Result<&TlsSetup> {
        self.tls.as_ref().ok_or_else(|| io::Error::other("no TLS keys are set"))
    }
}
