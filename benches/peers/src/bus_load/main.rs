//! `bus-load`: plays all other nodes of a server's cluster, and measures that server from outside.
//!
//! One thread, one epoll. It prints `listening` when the nodes can be dialled, waits for the server's process id on
//! standard input, and prints one JSON line for each measured window. `bus-load certificates DIR` writes the
//! certificates of a run. See `benches/peers/README.md`.
#![forbid(unsafe_code)]

mod link;
mod load;
mod plan;
mod window;

use std::path::Path;
use std::process::ExitCode;

use clusterbus_peers_bench::Failure;
use clusterbus_peers_bench::arguments::Arguments;
use clusterbus_peers_bench::record::Record;
use clusterbus_peers_bench::tls::write_certificates;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::load::Load;
use crate::plan::Plan;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bus-load: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if(|word| word == "certificates").is_some() {
        let folder = words.next().ok_or("certificates: expected a folder")?;
        return write_certificates(Path::new(&folder));
    }
    let mut arguments = Arguments::parse(words)?;
    let plan = Plan::take(&mut arguments)?;
    arguments.finish()?;
    raise_file_limit()?;
    let mut load = Load::prepare(plan)?;
    Record::new("listening").print()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    load.run(line.trim().parse().map_err(|_| "expected the server's process id")?)
}

/// The generator holds several thousand sockets, more than the usual limit of a process.
fn raise_file_limit() -> Result<(), Failure> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
