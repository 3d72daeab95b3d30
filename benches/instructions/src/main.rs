//! `instructions CASE`: runs one path of the core on 64 packets inside `measured`, and prints how many there were.
//!
//! Callgrind collects inside `measured` alone, so preparation costs nothing and no clock is read: the counts are the
//! same on every machine of a kind, and `check.py` holds them to its table. Without a case it lists them.
#![forbid(unsafe_code)]

mod cases;
mod cluster;
mod memory_socket;

use std::process::ExitCode;

/// The path to be counted. Callgrind is told this name.
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
