//! What coverage-guided fuzzing runs (H48): one function for each parser of bytes that a peer chooses.
//!
//! # Theory of operation
//!
//! A target takes any bytes and panics when a rule is broken. It is an ordinary function: `tests/corpus.rs` runs the
//! corpus through it in a plain `cargo test`, and `main.rs` puts libFuzzer around it, only when `make fuzz` asks for
//! that. Nothing here knows which of the two calls it.
//!
//! More than "no panic" is asked of the code: two ways to the same answer are compared, a packet with the pieces that it
//! was cut into, a fast path with a slow one that is written here for that purpose, what was decoded with what it
//! encodes to; and what is allocated is held against what came in.
//!
//! Most of a real packet is a bitmap of slots in which a fuzzer would lose its way, and its length stands in two places,
//! which a fuzzer seldom changes together. So most targets take packets without the bitmap and with a length that is
//! set right unless the input says otherwise (`packed`). The corpus in `corpus/` is in that form.
//!
//! In reading order: `packed` (the form of the input), `framing`, `packets` (check, decode), `messages` (encode),
//! `views` (the model of a view, and what its heartbeats say), `news` (the comparison),
//! `handshakes` (TLS); `pieces` is the socket that two of them use.
#![forbid(unsafe_code)]

mod framing;
mod handshakes;
mod messages;
mod news;
mod packed;
mod packets;
mod pieces;
mod views;

pub use handshakes::tls_seeds;
pub use packed::packed;

/// One thing to fuzz.
pub struct Target {
    /// Its name, which is also that of its folder in the corpus.
    pub name: &'static str,
    /// Runs one input; panics when a rule is broken.
    pub run: fn(&[u8]),
    /// Whether its inputs are packets as `packed` writes them, so that captured ones can grow its corpus.
    pub takes_packets: bool,
}

/// All targets.
pub const TARGETS: [Target; 8] = [
    Target { name: "framing", run: framing::framing, takes_packets: true },
    Target { name: "check", run: packets::check, takes_packets: true },
    Target { name: "decode", run: packets::decode_packed, takes_packets: true },
    Target { name: "encode", run: messages::encode, takes_packets: false },
    Target { name: "view", run: views::view, takes_packets: false },
    Target { name: "news", run: news::news, takes_packets: false },
    Target { name: "tls-server", run: handshakes::server, takes_packets: false },
    Target { name: "tls-client", run: handshakes::client, takes_packets: false },
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
