//! Listening sockets: opening them, and accepting the connections that wait. Main thread only.
//!
//! Knows no link: `gate` decides what becomes of a connection.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::limits;

/// Tokens from here up to the waker's belong to listeners. A link's id could be one of them only after four billion
/// uses of one place in the table.
const FIRST_TOKEN: usize = usize::MAX - 65_536;

struct Listener {
    socket: TcpListener,
    tls: bool,
    /// The kernel has reported waiting connections, and not all have been accepted since.
    is_ready: bool,
}

/// An inbound connection that is not a link yet.
pub(crate) struct Incoming {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: u64,
    /// Its listener speaks TLS.
    pub(crate) tls: bool,
}

/// The outcome of an attempt to accept.
pub(crate) enum Accept {
    Connection(Incoming),
    /// The connection is gone already or broken; the next one may be good.
    Broken,
    /// No connection is waiting.
    Nothing,
    /// No file descriptor or memory is left for a connection; accepting pauses for a while (H43).
    NoDescriptors,
}

/// All listening sockets; a listener's number is its place in the list.
#[derive(Default)]
pub(crate) struct Listeners {
    sockets: Vec<Option<Listener>>,
    paused_until: Option<Instant>,
}

impl Listeners {
    /// The number of the listener that the token belongs to, if it is a listener's.
    pub(crate) fn number(token: Token) -> Option<usize> {
        token.0.checked_sub(FIRST_TOKEN)
    }

    pub(crate) fn note_readable(&mut self, number: usize) {
        if let Some(Some(listener)) = self.sockets.get_mut(number) {
            listener.is_ready = true;
        }
    }

    /// Whether some listener has connections waiting and accepting is not paused.
    pub(crate) fn any_ready(&self) -> bool {
        self.paused_until.is_none() && self.sockets.iter().flatten().any(|l| l.is_ready)
    }

    /// When the pause for want of file descriptors ends (H43); none when there is no pause.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Opens a listening socket that the kernel watches, and returns its number.
    pub(crate) fn open(
        &mut self,
        registry: &Registry,
        address: SocketAddr,
        tls: bool,
        backlog: i32,
    ) -> io::Result<u64> {
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
        // A place that was closed is used again, so that listeners can move for ever.
        let free = self.sockets.iter().position(Option::is_none);
        let number = free.unwrap_or(self.sockets.len());
        let token = Token(FIRST_TOKEN + number);
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        let listener = Some(Listener { socket, tls, is_ready: false });
        match self.sockets.get_mut(number) {
            Some(place) => *place = listener,
            None => self.sockets.push(listener),
        }
        Ok(number as u64)
    }

    pub(crate) fn port(&self, listener: u64) -> Option<u16> {
        let listener = self.sockets.get(usize::try_from(listener).ok()?)?.as_ref()?;
        Some(listener.socket.local_addr().ok()?.port())
    }

    pub(crate) fn close(&mut self, listener: u64) {
        if let Some(slot) =
            usize::try_from(listener).ok().and_then(|number| self.sockets.get_mut(number))
        {
            *slot = None;
        }
    }

    /// Ends a pause that is over at `now`. Returns the numbers of the listeners to accept from; none during a pause.
    pub(crate) fn resume(&mut self, now: Instant) -> std::ops::Range<usize> {
        if self.paused_until.is_some_and(|until| now < until) {
            return 0..0;
        }
        self.paused_until = None;
        0..self.sockets.len()
    }

    /// Accepts one connection, if one is waiting.
    pub(crate) fn accept(&mut self, number: usize, now: Instant) -> Accept {
        let Some(Some(listener)) = self.sockets.get_mut(number) else { return Accept::Nothing };
        if !listener.is_ready {
            return Accept::Nothing;
        }
        match listener.socket.accept() {
            Ok((stream, peer)) => {
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                let tls = listener.tls;
                Accept::Connection(Incoming { stream, peer, listener: number as u64, tls })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                listener.is_ready = false;
                Accept::Nothing
            }
            Err(error) if is_out_of_descriptors(&error) => {
                self.paused_until = Some(now + Duration::from_millis(limits::ACCEPT_PAUSE_MS));
                Accept::NoDescriptors
            }
            Err(_) => Accept::Broken,
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}
