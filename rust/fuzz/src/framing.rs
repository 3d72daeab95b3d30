//! Target `framing`: a stream of bytes through a plain link of an engine, in pieces of any length.
//!
//! Owns the comparison with what the stream says when it is cut by hand, whole: the same packets, the same refusals and
//! the same end, wherever the pieces end.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use clusterbus_engine::limits::{DROPPED_CLOSES, READ_CHUNK_MAX_BYTES};
use clusterbus_engine::{Engine, EngineConfig, Event, LinkId, LossReason};
use clusterbus_wire::{FrameError, check_packet, peek_frame_len};

use crate::packed::unpacked;
use crate::pieces::PieceSocket;

/// Between two packets of the input; one of the two bytes after it says how long the pieces are.
const SEPARATOR: &[u8] = b"\xff\x00\xfe";
/// Packets of one input.
const PACKETS_MAX: usize = 24;
/// Memory that the engine may have at once for each byte of the stream: the buffer grows by doubling, and a part of it
/// is copied.
const HELD_PER_BYTE: u64 = 4;
/// And besides that: room for reads, events and one packet's list of them.
const HELD_BESIDES: u64 = 4 * READ_CHUNK_MAX_BYTES as u64;
/// No input needs as many steps as this.
const STEPS_MAX: usize = 100_000;

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::new(plain_engine());
}

fn plain_engine() -> Engine {
    let config = EngineConfig { io_threads: 1, ..EngineConfig::default() };
    Engine::new(config).expect("the system gives a few descriptors")
}

/// What came of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    packets: Vec<Vec<u8>>,
    dropped: Vec<String>,
    /// None if the link still lives.
    end: Option<String>,
}

/// See the module.
pub(crate) fn framing(data: &[u8]) {
    let Some((&pieces, rest)) = data.split_first() else { return };
    let stream = stream_of(rest);
    let whole = cut_by_hand(&stream);
    let cuts = cuts_of(pieces, &stream);
    let mut told = Told::default();
    // The engine is made before it is measured.
    let allocations =
        ENGINE.with_borrow_mut(|engine| measure(|| told = through_engine(engine, &stream, &cuts)));
    assert_same(told, whole);
    let (held, len) = (allocations.bytes_max, stream.len() as u64);
    assert!(held <= HELD_PER_BYTE * len + HELD_BESIDES, "{held} bytes held for a stream of {len}");
}

/// Packets one after the other. What follows a separator is one.
fn stream_of(data: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut rest = data;
    for _ in 0..PACKETS_MAX {
        let end = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        stream.extend(unpacked(&rest[..end.unwrap_or(rest.len())]));
        let Some(end) = end else { break };
        rest = &rest[end + SEPARATOR.len()..];
    }
    stream
}

/// The lengths of the pieces: all alike, or growing from one byte on, as `pieces` says.
fn cuts_of(pieces: u8, stream: &[u8]) -> Vec<usize> {
    let few = stream.len() / 512 + 1;
    match pieces {
        0 => vec![stream.len().max(1)],
        1..=100 => {
            (0..).map(|step: usize| few * (1 + step * usize::from(pieces))).take(64).collect()
        }
        _ => vec![few * usize::from(pieces - 100)],
    }
}

/// What a stream says, looked at whole and by the rules alone: the signature and length of each frame, then its check.
fn cut_by_hand(stream: &[u8]) -> Told {
    let mut told = Told::default();
    let mut rest = stream;
    loop {
        match peek_frame_len(rest) {
            Err(error) => told.end = Some(reason_of(&error).to_owned()),
            Ok(Some(len)) if len <= rest.len() => {
                let (frame, after) = rest.split_at(len);
                rest = after;
                match check_packet(frame) {
                    Ok(_) => told.packets.push(frame.to_vec()),
                    Err(error) => told.dropped.push(error.to_string()),
                }
                continue;
            }
            Ok(_) => {}
        }
        return told;
    }
}

fn reason_of(error: &FrameError) -> &'static str {
    match error {
        FrameError::BadSignature { position: 0, found: 0x15 | 0x16, .. } => "tls-on-plain",
        FrameError::BadSignature { .. } => "bad-signature",
        FrameError::BadLength { .. } => "bad-length",
    }
}

fn through_engine(engine: &mut Engine, stream: &[u8], cuts: &[usize]) -> Told {
    let socket = Arc::new(PieceSocket::default());
    let link = engine.attach(socket.clone(), 1, None).expect("a plain link needs nothing");
    let mut told = Told::default();
    let mut rest = stream;
    let mut lengths = cuts.iter().chain(std::iter::repeat(cuts.last().unwrap_or(&1)));
    let mut steps = 0;
    while !rest.is_empty() && told.end.is_none() {
        let len = lengths.next().map_or(1, |len| (*len).clamp(1, rest.len()));
        let (piece, after) = rest.split_at(len);
        rest = after;
        socket.deliver(piece);
        settle(engine, link, &mut told);
        steps += 1;
        assert!(steps < STEPS_MAX);
    }
    if told.end.is_none() {
        socket.end();
        settle(engine, link, &mut told);
    }
    engine.close(link);
    settle(engine, link, &mut told);
    engine.free(link);
    let stats = engine.stats();
    assert_eq!(
        (stats["links"], stats["job_panics"]),
        (0, 0),
        "something is left, or a job panicked"
    );
    told
}

/// Steps until nothing more happens.
fn settle(engine: &mut Engine, link: LinkId, told: &mut Told) {
    engine.edge(link, true, true);
    loop {
        let events = engine.poll(Some(Duration::ZERO)).expect("the kernel waits");
        let is_over = events.is_empty() && !engine.flush();
        for event in events {
            match event {
                Event::Packets { packets, dropped, .. } => {
                    told.packets.extend(packets.iter().map(|one| one.packet.bytes().to_vec()));
                    told.dropped.extend(dropped.iter().map(ToString::to_string));
                }
                Event::Lost { reason, .. } => {
                    assert_eq!(told.end, None, "the link ended twice");
                    told.end = Some(name_of(reason));
                }
                _ => {}
            }
        }
        if is_over {
            return;
        }
    }
}

fn name_of(reason: LossReason) -> String {
    reason.name().to_owned()
}

fn assert_same(told: Told, mut whole: Told) {
    // The engine gives up on a peer after so many refusals, at the end of a read; where that is depends on the pieces.
    if told.dropped.len() >= DROPPED_CLOSES as usize {
        assert!(whole.packets.starts_with(&told.packets), "other packets");
        assert!(whole.dropped.starts_with(&told.dropped), "other refusals");
        assert!(told.end.is_some(), "{} refusals and the link lives", told.dropped.len());
        return;
    }
    whole.end.get_or_insert_with(|| "eof".to_owned());
    assert_eq!(told, whole);
}
