//! Listening sockets and the accepting of connections. Main thread only; TLS handshakes are jobs.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::connect::no_tls_keys;
use crate::engine::Engine;
use crate::event::Event;
use crate::limits;
use crate::link::Origin;
use crate::reason::{EndReason, RefusalReason};

/// Tokens from here up to the waker's are listeners; a link's id never gets there, its generation would have to wrap.
const FIRST_TOKEN: usize = usize::MAX - 65_536;

struct Listener {
    socket: TcpListener,
    tls: bool,
    /// An edge says that connections wait.
    is_ready: bool,
}

/// All listening sockets; a listener's number is its place.
#[derive(Default)]
pub(crate) struct Listeners {
    sockets: Vec<Option<Listener>>,
    paused_until: Option<Instant>,
}

impl Listeners {
    /// The listener of a token, if it is one of theirs.
    pub(crate) fn number(token: Token) -> Option<usize> {
        token.0.checked_sub(FIRST_TOKEN)
    }

    pub(crate) fn note_readable(&mut self, number: usize) {
        if let Some(Some(listener)) = self.sockets.get_mut(number) {
            listener.is_ready = true;
        }
    }

    /// Some listener has connections waiting, and accepting is not paused.
    pub(crate) fn any_ready(&self) -> bool {
        self.paused_until.is_none() && self.sockets.iter().flatten().any(|l| l.is_ready)
    }

    /// Until when accepting rests for want of file descriptors (H43).
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }
}

impl Engine {
    /// Opens a listening socket and returns its number. Port 0 asks the system for one.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn listen(&mut self, address: SocketAddr, tls: bool, backlog: i32) -> io::Result<u64> {
        let socket = RawSocket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        let socket: TcpListener = socket.into();
        let number = self.listeners.sockets.len();
        let token = Token(FIRST_TOKEN + number);
        self.poll.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            token,
            Interest::READABLE,
        )?;
        self.listeners.sockets.push(Some(Listener { socket, tls, is_ready: false }));
        Ok(number as u64)
    }

    /// The port a listener was given.
    #[must_use]
    pub fn listener_port(&self, listener: u64) -> Option<u16> {
        let listener = self.listeners.sockets.get(usize::try_from(listener).ok()?)?.as_ref()?;
        Some(listener.socket.local_addr().ok()?.port())
    }

    /// Closes a listening socket; links that came through it stay.
    pub fn stop_listening(&mut self, listener: u64) {
        if let Some(slot) =
            usize::try_from(listener).ok().and_then(|n| self.listeners.sockets.get_mut(n))
        {
            *slot = None;
        }
    }

    /// Accepts what waits, a bounded number from each listener.
    pub(crate) fn accept_ready(&mut self) {
        if let Some(until) = self.listeners.paused_until {
            if self.now < until {
                return;
            }
            self.listeners.paused_until = None;
        }
        for number in 0..self.listeners.sockets.len() {
            for _ in 0..limits::ACCEPTS_PER_POLL {
                if !self.accept_one(number) {
                    break;
                }
            }
        }
    }

    /// Accepts one connection; false when there is none, or none can be taken now.
    fn accept_one(&mut self, number: usize) -> bool {
        let Some(Some(listener)) = self.listeners.sockets.get_mut(number) else { return false };
        if !listener.is_ready {
            return false;
        }
        match listener.socket.accept() {
            Ok((stream, peer)) => {
                let tls = listener.tls;
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                self.admit(stream, peer, number as u64, tls);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                listener.is_ready = false;
                false
            }
            Err(error) if is_out_of_descriptors(&error) => {
                let pause = Duration::from_millis(limits::ACCEPT_PAUSE_MS);
                self.listeners.paused_until = Some(self.now + pause);
                *self.counters.refused.entry(RefusalReason::NoDescriptors).or_default() += 1;
                false
            }
            // The connection is gone already, or a network error of one connection: the next may do.
            Err(_) => true,
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr, listener: u64, tls: bool) {
        let refusal = if self.links.len() >= self.config.max_links {
            Some((RefusalReason::MaxLinks, format!("{} links are open", self.config.max_links)))
        } else if tls && self.handshakes >= self.config.max_handshakes {
            let detail = format!("{} handshakes under way", self.config.max_handshakes);
            Some((RefusalReason::MaxHandshakes, detail))
        } else {
            let opened = self.open_accepted(stream, peer, listener, tls);
            opened.err().map(|error| (RefusalReason::End(EndReason::Error), error.to_string()))
        };
        if let Some((reason, detail)) = refusal {
            self.refuse(listener, peer, reason, detail);
        }
    }

    fn open_accepted(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        listener: u64,
        tls: bool,
    ) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let origin = Origin::Accepted { listener };
        if !tls {
            let link = self.open_plain(stream, peer, origin)?;
            self.announce(link);
            return Ok(());
        }
        let setup = self.config.tls.clone().ok_or_else(no_tls_keys)?;
        let connection = setup.accepting().map_err(io::Error::other)?;
        self.open_tls(stream, peer, origin, connection)?;
        self.handshakes += 1;
        Ok(())
    }

    pub(crate) fn refuse(
        &mut self,
        listener: u64,
        peer: SocketAddr,
        reason: RefusalReason,
        detail: String,
    ) {
        *self.counters.refused.entry(reason).or_default() += 1;
        self.events.push(Event::Refused { listener, peer, reason, detail });
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

/// The address a socket is bound to before it dials.
pub(crate) fn source_address(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 0)
}
