//! The plan of a run, read from its arguments.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clusterbus_peers_bench::Failure;
use clusterbus_peers_bench::arguments::Arguments;

/// What the played nodes do after their links are up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each link keeps its PINGs in flight: a PONG triggers the next PING.
    Ping,
    /// PINGs leave one at a time at a fixed rate, link after link, independent of the PONGs.
    Paced,
    /// A client publishes; the links receive.
    Publish,
    /// Connect, PING, PONG, disconnect, again and again.
    Storm,
    /// A server starts: answer its PINGs, send paced ones, until its heartbeats show that it has heard from all nodes.
    Join,
    /// Answer each PING and send one back, like two idle nodes.
    Idle,
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(text: &str) -> Result<Mode, ()> {
        match text {
            "ping" => Ok(Mode::Ping),
            "paced" => Ok(Mode::Paced),
            "publish" => Ok(Mode::Publish),
            "storm" => Ok(Mode::Storm),
            "join" => Ok(Mode::Join),
            "idle" => Ok(Mode::Idle),
            _ => Err(()),
        }
    }
}

/// The arguments.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `--mode`: what the played nodes do.
    pub mode: Mode,
    /// `--nodes-conf`: the nodes to play, and the address of the server.
    pub nodes_conf: PathBuf,
    /// `--certificates`: folder of the certificates; without it, plain TCP.
    pub certificates: Option<PathBuf>,
    /// `--links`: how many of the nodes dial the server.
    pub links: usize,
    /// `--first-peer`: the first of them.
    pub first_peer: usize,
    /// `--in-flight`: how many PINGs each link keeps in flight, or how many PUBLISH commands the client does.
    pub in_flight: usize,
    /// `--failing`: how many nodes every PING marks PFAIL.
    pub failing: usize,
    /// `--expect-dials`: how many nodes the server dials; with 0 no node listens.
    pub expect_dials: usize,
    /// `--client-port`: the port for the PUBLISH commands.
    pub client_port: u16,
    /// `--news`: 1 if every PING claims a slot that another node has under a greater epoch, so that it is news to the server.
    pub news: bool,
    /// `--churn`: one in this many PINGs of a pace announces a change of the cluster; 0 for none.
    pub churn_every: u64,
    /// `--expect-file`: where to write what the server should know of the nodes at the end.
    pub expect_file: Option<PathBuf>,
    /// `--idle-windows`: how many windows pass before the load begins.
    pub idle_windows: usize,
    /// `--pace`: how many PINGs a second mode `paced` sends in all.
    pub pace_per_s: u64,
    /// `--warm-up-ms`: time before the first window.
    pub warm_up: Duration,
    /// `--window-ms`: the longest time of a window.
    pub window: Duration,
    /// `--max-count`: a window ends early at this many messages.
    pub max_count: u64,
    /// `--windows`: the number of windows.
    pub windows: usize,
    /// `--gap-ms`: time between two windows.
    pub gap: Duration,
    /// `--check-every`: one in this many reads has its next PONG checked completely.
    pub check_every: u64,
}

impl Plan {
    /// Takes the plan from the arguments.
    ///
    /// # Errors
    /// An argument is missing or wrong.
    pub fn take(arguments: &mut Arguments) -> Result<Plan, Failure> {
        let certificates: String = arguments.take_or("certificates", String::new())?;
        let expect_file: String = arguments.take_or("expect-file", String::new())?;
        let mut milliseconds = |name, default| -> Result<Duration, Failure> {
            Ok(Duration::from_millis(arguments.take_or(name, default)?))
        };
        let (warm_up, window, gap) = (
            milliseconds("warm-up-ms", 500)?,
            milliseconds("window-ms", 1000)?,
            milliseconds("gap-ms", 300)?,
        );
        Ok(Plan {
            mode: arguments.take("mode")?,
            nodes_conf: arguments.take("nodes-conf")?,
            certificates: (!certificates.is_empty()).then(|| certificates.into()),
            links: arguments.take("links")?,
            first_peer: arguments.take_or("first-peer", 0)?,
            in_flight: arguments.take_or("in-flight", 1)?,
            failing: arguments.take_or("failing", 0)?,
            expect_dials: arguments.take_or("expect-dials", 0)?,
            client_port: arguments.take_or("client-port", 0)?,
            news: arguments.take_or("news", 0)? != 0,
            churn_every: arguments.take_or("churn", 0)?,
            expect_file: (!expect_file.is_empty()).then(|| expect_file.into()),
            idle_windows: arguments.take_or("idle-windows", 0)?,
            pace_per_s: arguments.take_or("pace", 2000)?,
            warm_up,
            window,
            max_count: arguments.take_or("max-count", u64::MAX)?,
            windows: arguments.take_or("windows", 1)?,
            gap,
            check_every: arguments.take_or("check-every", 64)?,
        })
    }
}
