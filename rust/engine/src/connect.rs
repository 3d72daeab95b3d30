//! How links come to be: dialled, accepted, or attached by a test. Main thread only.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clusterbus_wire::{IP_LEN_BYTES, IpText};
use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::io::Errno;
use rustls::Connection;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};

use crate::engine::{Engine, TlsSide};
use crate::event::Event;
use crate::limits;
use crate::link::{Half, Io, Life, Link, LinkId, Origin};
use crate::listener::source_address;
use crate::plain::{RecvHalf, SendHalf};
use crate::reason::LossReason;
use crate::socket::{Socket, TcpSocket};
use crate::tls::TlsTransport;
use crate::transfer::LastRead;

/// The peer address of links that have none.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

impl Engine {
    /// Starts a dial and returns its link at once; `Connected` or `Lost` tells how it ended.
    ///
    /// # Errors
    /// No socket can be had, or the caps on links is reached, or TLS is asked for without keys. What the peer does is never an error here.
    pub fn connect(
        &mut self,
        peer: SocketAddr,
        owner: u64,
        tls: bool,
        source_ip: Option<IpAddr>,
    ) -> io::Result<LinkId> {
        if tls && self.config.tls.is_none() {
            return Err(no_tls_keys());
        }
        if self.links.len() >= self.config.max_links {
            let text = format!("{} links are open", self.config.max_links);
            return Err(io::Error::other(text));
        }
        let socket = RawSocket::new(
            Domain::for_address(peer),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        if let Some(ip) = source_ip {
            socket.bind(&source_address(ip).into())?;
        }
        // The deadline counts from the dial, not from the last step.
        self.now = Instant::now();
        let outcome = socket.connect(&peer.into());
        let origin = Origin::Dialled { owner };
        let link = self.insert(socket.into(), peer, origin, Io::Connecting { tls })?;
        self.deadlines.expect_open(link, self.now, self.config.handshake_timeout);
        match outcome {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                self.lose(link, LossReason::Connect, error.to_string());
            }
            _ => {}
        }
        Ok(link)
    }

    /// A dial's socket has news: it is up, or it failed, or it is too early to tell.
    pub(crate) fn finish_connect(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else { return };
        let (Io::Connecting { tls }, Some(stream)) = (&link.io, link.stream()) else { return };
        let tls = *tls;
        match stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => {
                return self.lose(id, LossReason::Connect, error.to_string());
            }
        }
        if stream.peer_addr().is_err() {
            return;
        }
        match self.upgrade(id, tls) {
            Ok(()) if tls => {}
            Ok(()) => self.announce(id),
            Err(error) => self.lose(id, LossReason::Connect, error.to_string()),
        }
    }

    /// Gives a connected dial the halves or the TLS transport it works with.
    fn upgrade(&mut self, id: LinkId, tls: bool) -> io::Result<()> {
        let setup = self.config.tls.clone();
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        let (socket, last_read) = (link.socket.clone(), link.last_read.clone());
        link.io = if tls {
            let setup = setup.ok_or_else(no_tls_keys)?;
            let connection = setup.dialling(link.peer.ip()).map_err(io::Error::other)?;
            tls_io(socket, connection, last_read, link.peer)
        } else {
            plain_io(socket, last_read, link.peer)
        };
        link.read_wanted = true;
        self.make_ready(id);
        Ok(())
    }

    pub(crate) fn open_plain(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        origin: Origin,
    ) -> io::Result<LinkId> {
        let id = self.insert(stream, peer, origin, Io::Connecting { tls: false })?;
        self.upgrade(id, false)?;
        Ok(id)
    }

    pub(crate) fn open_tls(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        origin: Origin,
        connection: Connection,
    ) -> io::Result<LinkId> {
        let id = self.insert(stream, peer, origin, Io::Connecting { tls: true })?;
        if let Some(link) = self.links.get_mut(id) {
            link.io = tls_io(link.socket.clone(), connection, link.last_read.clone(), peer);
            link.read_wanted = true;
        }
        self.deadlines.expect_open(id, self.now, self.config.handshake_timeout);
        self.make_ready(id);
        Ok(id)
    }

    /// A slot for a TCP stream, watched by the kernel.
    fn insert(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        origin: Origin,
        io: Io,
    ) -> io::Result<LinkId> {
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(limits::KEEPALIVE_S));
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        let fd = stream.as_raw_fd();
        let tcp = Arc::new(TcpSocket(stream));
        let last_read = LastRead::new(self.epoch);
        let id = self.links.insert(|id| new_link(id, origin, peer, tcp.clone(), last_read, io));
        if let Some(link) = self.links.get_mut(id) {
            link.tcp = Some(tcp);
            link.announced = matches!(origin, Origin::Dialled { .. });
        }
        let token = Token(id.as_u64() as usize);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), token, interest) {
            self.links.remove(id);
            return Err(error);
        }
        Ok(id)
    }

    pub(crate) fn attach_socket(
        &mut self,
        socket: Arc<dyn Socket>,
        owner: u64,
        tls: Option<TlsSide>,
    ) -> io::Result<LinkId> {
        let last_read = LastRead::new(self.epoch);
        let io = match tls {
            Some(side) => {
                let setup = self.config.tls.clone().ok_or_else(no_tls_keys)?;
                let connection = match side {
                    TlsSide::Accepts => setup.accepting(),
                    TlsSide::Dials => setup.dialling(NOWHERE.ip()),
                };
                let connection = connection.map_err(io::Error::other)?;
                tls_io(socket.clone(), connection, last_read.clone(), NOWHERE)
            }
            None => plain_io(socket.clone(), last_read.clone(), NOWHERE),
        };
        let origin = Origin::Dialled { owner };
        let id = self.links.insert(|id| new_link(id, origin, NOWHERE, socket, last_read, io));
        if let Some(link) = self.links.get_mut(id) {
            link.announced = true;
            link.read_wanted = true;
        }
        self.make_ready(id);
        Ok(id)
    }

    /// Tells the main loop of a link that is up.
    pub(crate) fn announce(&mut self, id: LinkId) {
        let (now, wait) = (self.now, self.config.first_packet_timeout);
        let Some(link) = self.links.get_mut(id) else { return };
        link.announced = true;
        let local_ip = link.local_ip();
        let event = match link.origin {
            Origin::Dialled { owner } => Event::Connected { link: id, owner, local_ip },
            Origin::Accepted { listener } => {
                self.deadlines.expect_packet(id, now, wait);
                Event::Accepted { link: id, listener, peer: link.peer, local_ip }
            }
        };
        self.events.push(event);
    }
}

pub(crate) fn no_tls_keys() -> io::Error {
    io::Error::other("no TLS keys are set")
}

/// An address as the wire writes it; empty when it is too long for the field, and then no heartbeat is quiet.
fn ip_field(peer: SocketAddr) -> [u8; IP_LEN_BYTES] {
    let text = peer.ip().to_string();
    IpText::new("peer", &text).map(|text| *text.as_field()).unwrap_or([0; IP_LEN_BYTES])
}

fn plain_io(socket: Arc<dyn Socket>, last_read: Arc<LastRead>, peer: SocketAddr) -> Io {
    Io::Plain {
        recv: Half::Home(RecvHalf::new(socket.clone(), last_read, ip_field(peer))),
        send: Half::Home(SendHalf::new(socket)),
    }
}

fn tls_io(
    socket: Arc<dyn Socket>,
    connection: Connection,
    last_read: Arc<LastRead>,
    peer: SocketAddr,
) -> Io {
    let transport = TlsTransport::new(socket, connection, last_read, ip_field(peer));
    Io::Tls { transport: Half::Home(transport), is_handshaking: true }
}

fn new_link(
    id: LinkId,
    origin: Origin,
    peer: SocketAddr,
    socket: Arc<dyn Socket>,
    last_read: Arc<LastRead>,
    io: Io,
) -> Link {
    Link {
        id,
        origin,
        peer,
        node: None,
        tcp: None,
        socket,
        last_read,
        io,
        life: Life::Up,
        announced: false,
        read_wanted: false,
        write_blocked: false,
        write_edge_while_away: false,
        write_error: None,
        peer_ended: false,
        is_awaited: false,
        is_ready: false,
        first_packet_seen: false,
        dropped_len: 0,
        queue: Default::default(),
        unsent_messages: 0,
        unsent_bytes: 0,
    }
}
