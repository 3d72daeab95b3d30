//! `instructions CASE`: runs one path of the core on 64 packets inside `measured`, and prints how many there were.
//!
//! Callgrind collects only inside `measured`, so preparation is not counted, and no clock is read. The counts are the
//! same on every machine of a kind, and `check.py` compares them with its table. Without CASE it lists the cases.
#![forbid(unsafe_code)]

mod cases;
mod cluster;
mod memory_socket;

use std::process::ExitCode;

/// Runs the path that is counted; `check.py` passes the name of this function to callgrind.
#[inline(never)]
fn measured(path: &mut dyn FnMut()) {
    path();
}

fn main() -> ExitCode {
    let Some(wanted) = std::env::args().nth(1) else {
        for (name, _) in cases::CASES {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    match cases::CASES.iter().find(|(name, _)| *name == wanted) {
        Some((_, case)) => {
            println!("{}", case());
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("instructions: no such case: {wanted}");
            ExitCode::FAILURE
        }
    }
}
