//! Every target takes the corpus, the captured packets and what once was a crash, without a fuzzer (H48).

use std::fs;
use std::path::{Path, PathBuf};

use clusterbus_engine::TlsSide;
use clusterbus_fuzz::{TARGETS, Target, packed, target, tls_seeds};
use clusterbus_wire::peek_frame_len;

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The inputs of a target that are kept, with their names.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder("corpus").join(target.name);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let mut inputs: Vec<_> = paths
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a readable file")))
        .collect();
    inputs.sort();
    inputs
}

fn captured() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for name in ["valkey-9.1.2", "redis-7.0.15"] {
        let path = folder("../../tests/data").join(format!("{name}.frames"));
        let bytes = fs::read(path).expect("the captures");
        let mut rest = &bytes[..];
        while let Some(len) = peek_frame_len(rest).expect("a captured stream is valid") {
            frames.push(rest[..len].to_vec());
            rest = &rest[len..];
        }
    }
    frames
}

/// The name of the input is printed when its target panics, because cargo shows the output of a failing test.
fn run(target: &Target, name: &str, input: &[u8]) {
    println!("{} {name}", target.name);
    (target.run)(input);
}

#[test]
fn h48_every_target_takes_its_corpus() {
    for target in &TARGETS {
        let inputs = corpus(target);
        assert!(inputs.len() > 5, "{} has {} inputs", target.name, inputs.len());
        inputs.iter().for_each(|(name, input)| run(target, name, input));
    }
}

#[test]
fn h48_targets_of_packets_take_all_captured_ones() {
    let frames = captured();
    assert!(frames.len() > 100);
    for target in TARGETS.iter().filter(|target| target.takes_packets) {
        for (index, frame) in frames.iter().enumerate() {
            let mut input = packed(frame);
            if target.name == "framing" {
                input.insert(0, (index % 256) as u8);
            }
            run(target, &format!("packet {index}"), &input);
        }
    }
}

#[test]
fn h48_a_good_handshake_is_no_crash() {
    for (name, side) in [("tls-server", TlsSide::Accepts), ("tls-client", TlsSide::Dials)] {
        let target = target(name).expect("a target of that name");
        for (index, seed) in tls_seeds(side).iter().enumerate() {
            run(target, &format!("seed {index}"), seed);
        }
    }
}

/// A corpus that is not run, or a target without one, is a mistake in a name.
#[test]
fn every_folder_of_the_corpus_is_that_of_a_target() {
    let folders = fs::read_dir(folder("corpus")).expect("the corpus");
    for entry in folders {
        let name = entry.expect("a readable folder").file_name().into_string().expect("a name");
        assert!(target(&name).is_some(), "{name}");
    }
}
