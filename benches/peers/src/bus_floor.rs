//! `bus-floor`: the cost of a packet if nothing is done with it.
//!
//! A bare level-triggered epoll loop on one thread: it reads, frames, and writes one prepared PONG for each PING. For
//! each command on its client port it writes a prepared PUBLISH to every link. It keeps no state and decides nothing.
#![forbid(unsafe_code)]

use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use clusterbus_peers_bench::arguments::Arguments;
use clusterbus_peers_bench::framer::Framer;
use clusterbus_peers_bench::packets::{ready_made_pong, ready_made_publish};
use clusterbus_peers_bench::roster::Roster;
use clusterbus_peers_bench::transport::{Received, Transport};
use clusterbus_peers_bench::{EVENTS_PER_WAIT, Failure, READ_LEN_BYTES, publish_command};
use clusterbus_wire::MessageType;
use rustix::event::epoll;

const BUS_TOKEN: u64 = u64::MAX;
const CLIENT_TOKEN: u64 = u64::MAX - 1;
const PING: u16 = MessageType::Ping.number();

struct Peer {
    transport: Transport,
    framer: Framer,
    /// How many bytes of a client's unfinished command have come; `None` for a link.
    command_bytes: Option<usize>,
    waits_to_write: bool,
}

struct Floor {
    epoll: OwnedFd,
    pong: Vec<u8>,
    publish: Vec<u8>,
    command_len: usize,
    peers: Vec<Option<Peer>>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bus-floor: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut arguments = Arguments::parse(std::env::args().skip(1))?;
    let nodes_conf: PathBuf = arguments.take("nodes-conf")?;
    let client_port: u16 = arguments.take_or("client-port", 0)?;
    arguments.finish()?;
    let roster = Roster::read(&nodes_conf)?;
    let mut floor = Floor {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        pong: ready_made_pong(&roster)?,
        publish: ready_made_publish(&roster)?,
        command_len: publish_command().len(),
        peers: Vec::new(),
    };
    let address = roster.server.bus_address();
    let listen = |address: SocketAddrV4, token| -> Result<TcpListener, Failure> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(token);
        epoll::add(&floor.epoll, &listener, data, epoll::EventFlags::IN)?;
        Ok(listener)
    };
    let bus = listen(address, BUS_TOKEN)?;
    let clients = listen(SocketAddrV4::new(*address.ip(), client_port), CLIENT_TOKEN)?;
    let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
    let mut buffer = vec![0; READ_LEN_BYTES];
    loop {
        match epoll::wait(&floor.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                BUS_TOKEN => floor.accept(&bus, None)?,
                CLIENT_TOKEN => floor.accept(&clients, Some(0))?,
                token => floor.handle(token as usize, event.flags, &mut buffer)?,
            }
        }
    }
}

impl Floor {
    fn accept(
        &mut self,
        listener: &TcpListener,
        command_bytes: Option<usize>,
    ) -> Result<(), Failure> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let transport = Transport::new(stream, None)?;
            let token = epoll::EventData::new_u64(self.peers.len() as u64);
            epoll::add(&self.epoll, &transport, token, epoll::EventFlags::IN)?;
            let framer = Framer::default();
            self.peers.push(Some(Peer { transport, framer, command_bytes, waits_to_write: false }));
        }
    }

    fn handle(
        &mut self,
        token: usize,
        flags: epoll::EventFlags,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        let Some(mut peer) = self.peers[token].take() else { return Ok(()) };
        if flags.contains(epoll::EventFlags::OUT) {
            peer.transport.flush()?;
        }
        if flags.contains(epoll::EventFlags::IN) {
            let len = match peer.transport.receive(buffer)? {
                Received::Bytes(len) => len,
                Received::Nothing => 0,
                Received::Closed => return Ok(()),
            };
            match peer.command_bytes {
                None => self.answer(&mut peer, &buffer[..len])?,
                Some(bytes) => {
                    let bytes = bytes + len;
                    peer.command_bytes = Some(bytes % self.command_len);
                    self.fan_out(&mut peer, bytes / self.command_len)?;
                }
            }
        }
        self.watch(token, &mut peer)?;
        self.peers[token] = Some(peer);
        Ok(())
    }

    fn answer(&self, peer: &mut Peer, bytes: &[u8]) -> Result<(), Failure> {
        let mut pings = 0;
        peer.framer.feed(bytes, |message_type, _| {
            pings += usize::from(message_type == PING);
            Ok(())
        })?;
        for _ in 0..pings {
            peer.transport.send(&[&self.pong])?;
        }
        Ok(())
    }

    /// Writes to each link once, however many commands one read brought.
    fn fan_out(&mut self, client: &mut Peer, commands: usize) -> Result<(), Failure> {
        let messages = self.publish.repeat(commands);
        for token in 0..self.peers.len() {
            let Some(mut link) = self.peers[token].take() else { continue };
            if link.command_bytes.is_none() {
                link.transport.send(&[&messages])?;
                self.watch(token, &mut link)?;
            }
            self.peers[token] = Some(link);
        }
        Ok(client.transport.send(&[&b":0\r\n".repeat(commands)])?)
    }

    fn watch(&self, token: usize, peer: &mut Peer) -> Result<(), Failure> {
        let wants = peer.transport.wants_write();
        if wants != peer.waits_to_write {
            peer.waits_to_write = wants;
            let also = if wants { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(token as u64);
            epoll::modify(&self.epoll, &peer.transport, data, epoll::EventFlags::IN | also)?;
        }
        Ok(())
    }
}
