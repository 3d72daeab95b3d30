//! Writes inputs to begin with, made from captured packets and a good TLS handshake, into one folder for each target.
//!
//! `cargo run --package clusterbus-fuzz --example seeds CAPTURES FOLDER`, where CAPTURES is a folder of `.frames` files.
//! `make fuzz` calls it.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::{env, fs};

use clusterbus_engine::TlsSide;
use clusterbus_fuzz::{TARGETS, packed, tls_seeds};
use clusterbus_wire::peek_frame_len;

/// Bytes for targets whose inputs are no packets: a fuzzer goes on from any.
const PLAIN: [usize; 4] = [64, 256, 1024, 4096];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [captures, into] = &arguments[..] else { return Err("CAPTURES and FOLDER".into()) };
    let mut packets = BTreeSet::new();
    for entry in fs::read_dir(captures)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "frames") {
            let bytes = fs::read(path)?;
            let mut rest = &bytes[..];
            while let Some(len) = peek_frame_len(rest)? {
                packets.insert(packed(&rest[..len]));
                rest = &rest[len..];
            }
        }
    }
    for target in &TARGETS {
        let inputs: Vec<Vec<u8>> = match target.name {
            "framing" => packets.iter().map(|packet| [&[3], &packet[..]].concat()).collect(),
            "tls-server" => tls_seeds(TlsSide::Accepts),
            "tls-client" => tls_seeds(TlsSide::Dials),
            _ if target.takes_packets => packets.iter().cloned().collect(),
            _ => PLAIN.iter().map(|len| (0..*len).map(|at| (at * 37) as u8).collect()).collect(),
        };
        write(&Path::new(into).join(target.name), &inputs)?;
    }
    Ok(())
}

fn write(folder: &Path, inputs: &[Vec<u8>]) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for (index, input) in inputs.iter().enumerate() {
        fs::write(folder.join(format!("seed-{index}")), input)?;
    }
    Ok(())
}
