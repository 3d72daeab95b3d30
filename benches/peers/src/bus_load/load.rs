//! The event loop: it brings up the links, warms up, and measures windows.

mod join;
mod traffic;

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clusterbus_peers_bench::churn::{Churn, expected_nodes};
use clusterbus_peers_bench::metronome::Metronome;
use clusterbus_peers_bench::packets::Packets;
use clusterbus_peers_bench::record::Record;
use clusterbus_peers_bench::roster::Roster;
use clusterbus_peers_bench::tls::Tls;
use clusterbus_peers_bench::transport::Transport;
use clusterbus_peers_bench::{EVENTS_PER_WAIT, Failure, READ_LEN_BYTES};
use rustix::event::{Timespec, epoll};

use self::join::Join;
use crate::link::{FIRST_LISTENER_TOKEN, Link, Links, METRONOME_TOKEN, Role};
use crate::plan::{Mode, Plan};
use crate::window::{Counts, Window};

/// The server and its links must be up within this time.
const JOIN_DEADLINE: Duration = Duration::from_secs(60);
/// After the last window the server must answer what is in flight within this time.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// `epoll_wait` returns at least this often, so that deadlines are noticed.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

enum Phase {
    Joining {
        deadline: Instant,
    },
    Pausing {
        until: Instant,
    },
    Measuring(Window),
    Starting(Join),
    /// Nothing more is sent, so that the server's state can be compared with ours once every PING is answered.
    Draining {
        deadline: Instant,
    },
    Done,
}

/// A run.
pub struct Load {
    plan: Plan,
    roster: Roster,
    packets: Packets,
    tls: Option<Tls>,
    epoll: OwnedFd,
    listeners: Vec<TcpListener>,
    links: Links,
    /// The tokens of the dialled links, by peer number minus `first_peer`.
    dialled: Vec<usize>,
    client: Option<usize>,
    counts: Counts,
    phase: Phase,
    server: u32,
    windows_left: usize,
    dialled_up: usize,
    accepted_up: usize,
    received: u64,
    published_in_flight: usize,
    /// How many links have received the oldest PUBLISH in flight.
    delivered: usize,
    started: Instant,
    wall_at_start: Duration,
    patched_s: u32,
    metronome: Option<Metronome>,
    churn: Churn,
    beats: u64,
    next_paced: usize,
    buffer: Vec<u8>,
    seen: Vec<u16>,
}

impl Load {
    /// Reads the roster, prepares the packets, and listens as the nodes.
    ///
    /// # Errors
    /// The roster cannot be read, the plan does not fit it, or a port cannot be opened.
    pub fn prepare(plan: Plan) -> Result<Load, Failure> {
        let roster = Roster::read(&plan.nodes_conf)?;
        let mut packets = Packets::prepare(&roster, plan.failing)?;
        if plan.news {
            packets.claim_foreign_slots(&roster);
        }
        let tls = plan.certificates.as_deref().map(Tls::read).transpose()?;
        if plan.first_peer + plan.links + plan.failing > roster.peers.len() {
            return Err("more links than healthy nodes".into());
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut listeners = Vec::new();
        let listening = if plan.expect_dials > 0 { roster.peers.as_slice() } else { &[] };
        for (peer, node) in listening.iter().enumerate() {
            let listener = TcpListener::bind(node.bus_address())?;
            listener.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(FIRST_LISTENER_TOKEN + peer as u64);
            epoll::add(&epoll, &listener, data, epoll::EventFlags::IN)?;
            listeners.push(listener);
        }
        let now = Instant::now();
        Ok(Load {
            windows_left: plan.windows,
            plan,
            roster,
            packets,
            tls,
            epoll,
            listeners,
            links: Links::default(),
            dialled: Vec::new(),
            client: None,
            counts: Counts::default(),
            phase: Phase::Joining { deadline: now + JOIN_DEADLINE },
            server: 0,
            dialled_up: 0,
            accepted_up: 0,
            received: 0,
            published_in_flight: 0,
            delivered: 0,
            started: now,
            wall_at_start: SystemTime::now().duration_since(UNIX_EPOCH)?,
            patched_s: 0,
            metronome: None,
            churn: Churn::default(),
            beats: 0,
            next_paced: 0,
            buffer: vec![0; READ_LEN_BYTES],
            seen: Vec::new(),
        })
    }

    /// Runs to the end against the server with this process id.
    ///
    /// # Errors
    /// The server breaks a link, sends bad bytes, or dies.
    pub fn run(&mut self, server: u32) -> Result<(), Failure> {
        self.server = server;
        let deadline = Instant::now() + JOIN_DEADLINE;
        self.phase = match self.plan.mode {
            Mode::Join => Phase::Starting(Join::begin(server, deadline)?),
            _ => Phase::Joining { deadline },
        };
        self.patch_times();
        let timeout = Timespec::try_from(LONGEST_WAIT)?;
        let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
        while !matches!(self.phase, Phase::Done) {
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                let token = event.data.u64();
                if token == METRONOME_TOKEN {
                    self.send_paced()?;
                } else if token >= FIRST_LISTENER_TOKEN {
                    self.accept((token - FIRST_LISTENER_TOKEN) as usize)?;
                } else {
                    self.handle_link(token as usize, event.flags)?;
                }
            }
            self.patch_times();
            self.step_phase()?;
        }
        if let Some(file) = &self.plan.expect_file {
            std::fs::write(file, expected_nodes(&self.roster))?;
            Record::new("expected").print()?;
        }
        Ok(())
    }

    // ------------------------------------------------------------ time

    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn patch_times(&mut self) {
        let now_s = (self.wall_at_start + self.started.elapsed()).as_secs() as u32;
        if now_s != self.patched_s {
            self.patched_s = now_s;
            self.packets.patch_pong_received(now_s);
        }
    }

    fn step_phase(&mut self) -> Result<(), Failure> {
        match &self.phase {
            Phase::Joining { deadline } => {
                let (dialled, accepted) = (self.dialled_up, self.accepted_up);
                let is_late = Instant::now() >= *deadline;
                let storm = self.plan.mode == Mode::Storm;
                // We dial once the server's own PINGs are answered; when our PINGs are answered too, the server has
                // seen those answers.
                if accepted >= self.plan.expect_dials && self.dialled.is_empty() {
                    self.dial_all()?;
                }
                if storm || dialled == self.plan.links && accepted >= self.plan.expect_dials {
                    Record::new("linked")
                        .number("dialled", dialled as u64)
                        .number("accepted", accepted as u64)
                        .number("entries", self.packets.entries() as u64)
                        .print()?;
                    if self.plan.idle_windows == 0 {
                        self.begin_load()?;
                    }
                    self.phase = Phase::Pausing { until: Instant::now() + self.plan.warm_up };
                } else if is_late {
                    return Err(format!(
                        "not linked in time: {dialled} of {} links answered, {accepted} of {} dials",
                        self.plan.links, self.plan.expect_dials
                    )
                    .into());
                }
            }
            Phase::Pausing { until } if Instant::now() >= *until => {
                self.counts.clear();
                self.phase = Phase::Measuring(Window::begin(self.server)?);
            }
            Phase::Measuring(window)
                if window.elapsed() >= self.plan.window
                    || self.counts.messages() >= self.plan.max_count =>
            {
                let until = Instant::now() + self.plan.gap;
                let pausing = std::mem::replace(&mut self.phase, Phase::Pausing { until });
                if let Phase::Measuring(window) = pausing {
                    window.end(&self.counts)?.print()?;
                }
                self.windows_left = self.windows_left.saturating_sub(1);
                if self.windows_left == 0 {
                    self.metronome = None;
                    self.phase = match self.plan.expect_file {
                        Some(_) => Phase::Draining { deadline: Instant::now() + DRAIN_DEADLINE },
                        None => Phase::Done,
                    };
                } else if self.plan.windows - self.windows_left == self.plan.idle_windows {
                    self.begin_load()?;
                }
            }
            Phase::Draining { deadline } => match self.links.unanswered() {
                0 => self.phase = Phase::Done,
                left if Instant::now() >= *deadline => {
                    return Err(format!("{left} PINGs were never answered").into());
                }
                _ => {}
            },
            Phase::Starting(_) => self.step_join()?,
            _ => {}
        }
        Ok(())
    }

    fn begin_load(&mut self) -> Result<(), Failure> {
        match self.plan.mode {
            Mode::Ping => {
                for index in 0..self.dialled.len() {
                    for _ in 0..self.plan.in_flight {
                        self.ping_on(self.dialled[index])?;
                    }
                }
            }
            Mode::Publish => {
                let ip = *self.roster.server.bus_address().ip();
                let address = SocketAddrV4::new(ip, self.plan.client_port);
                let tls = self.tls.as_ref().map(Tls::dialling).transpose()?;
                let transport = Transport::dial(Ipv4Addr::LOCALHOST, address, tls)?;
                let link = Link::new(transport, Role::Client);
                self.client = Some(self.links.insert(&self.epoll, link)?);
                self.publish()?;
            }
            Mode::Paced | Mode::Join => {
                let metronome = Metronome::start(self.plan.pace_per_s)?;
                let data = epoll::EventData::new_u64(METRONOME_TOKEN);
                epoll::add(&self.epoll, &metronome, data, epoll::EventFlags::IN)?;
                self.metronome = Some(metronome);
            }
            Mode::Storm | Mode::Idle => {}
        }
        Ok(())
    }
}
