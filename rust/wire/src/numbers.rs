//! The numbers of protocol version 1 except message and extension types: lengths, limits, flags, gossip.
//!
//! Owns each number once; the engine, the Python module and the tests take it from here. Message types are in the table
//! of `kind.rs`, extension types in that of `extension.rs`, offsets in `layout.rs`. Holds no logic.

/// The first bytes of every message.
pub const SIGNATURE: [u8; 4] = *b"RCmb";
/// The protocol version that we speak.
pub const PROTOCOL_VERSION: u16 = 1;
/// The bit of the `type` field that says the header is a light one.
pub const LIGHT_TYPE_BIT: u16 = 0x8000;

/// The longest message that the bus takes. Covers the largest possible heartbeat (65,535 gossip entries, and
/// extensions).
pub const MAX_PACKET_LEN_BYTES: usize = 8 * 1024 * 1024;
/// Length of the full header.
pub const HEADER_LEN_BYTES: usize = 2_256;
/// Length of the light header.
pub const LIGHT_HEADER_LEN_BYTES: usize = 16;
/// Length of one gossip entry.
pub const GOSSIP_ENTRY_LEN_BYTES: usize = 104;
/// Length of an extension's head, which its `length` includes.
pub const EXTENSION_HEAD_LEN_BYTES: usize = 8;
/// Longest single extension, head included (row H9).
pub const MAX_EXTENSION_LEN_BYTES: usize = 64 * 1024;
/// Length of a node or shard id, whose characters have one byte each.
pub const NODE_ID_LEN_BYTES: usize = 40;
/// Length of an address field, including its NUL.
pub const IP_LEN_BYTES: usize = 46;
/// Longest text of a string extension, without its NUL (row H12).
pub const MAX_TEXT_LEN_BYTES: usize = 255;

/// Number of hash slots in a cluster.
pub const SLOTS: u16 = 16_384;
/// Length of a slot bitmap.
pub const SLOT_BITMAP_LEN_BYTES: usize = SLOTS as usize / 8;
/// A node that names no bus port has it this far above its client port.
pub const BUS_PORT_OFFSET: u16 = 10_000;

/// Node flag: a primary.
pub const FLAG_PRIMARY: u16 = 1;
/// Node flag: a replica.
pub const FLAG_REPLICA: u16 = 2;
/// Node flag: the node that says so gets no answer from it.
pub const FLAG_PFAIL: u16 = 4;
/// Node flag: failed by quorum.
pub const FLAG_FAIL: u16 = 8;
/// Node flag: the sender itself; never set in gossip about others.
pub const FLAG_MYSELF: u16 = 16;
/// Node flag: its real id is not known yet; never set in gossip.
pub const FLAG_HANDSHAKE: u16 = 32;
/// Node flag: its address is not known.
pub const FLAG_NOADDR: u16 = 64;
/// Node flag: it must be sent a MEET.
pub const FLAG_MEET: u16 = 128;
/// Node flag: a primary that replicas may move to.
pub const FLAG_MIGRATE_TO: u16 = 256;
/// Node flag: a replica that does not stand for election.
pub const FLAG_NOFAILOVER: u16 = 512;
/// Node flag: it takes extensions.
pub const FLAG_EXTENSIONS: u16 = 1_024;
/// Node flag: it takes PUBLISH with a light header.
pub const FLAG_LIGHT_PUBLISH: u16 = 2_048;
/// Node flag: it takes MODULE with a light header.
pub const FLAG_LIGHT_MODULE: u16 = 4_096;
/// Node flag: a replica that holds its own primary FAIL.
pub const FLAG_MY_PRIMARY_FAIL: u16 = 8_192;

/// `mflags[0]`: the primary has paused its clients for a manual failover.
pub const MFLAG_PAUSED: u8 = 1;
/// `mflags[0]`: vote for the sender even if its primary is up.
pub const MFLAG_FORCE_ACK: u8 = 2;
/// `mflags[0]`: the message carries extensions.
pub const MFLAG_EXTENSIONS: u8 = 4;

/// A heartbeat mentions at least this many nodes, if there are that many.
pub const GOSSIP_MIN: usize = 3;
/// Of a hundred nodes of the table a heartbeat mentions this many, if no one asks for another number.
pub const GOSSIP_PERCENT: usize = 10;
/// How many random draws each wanted node may take before the choice ends with fewer nodes.
pub const GOSSIP_TRIES: usize = 3;
/// The most gossip entries in one message: what a 16-bit count can hold.
pub const GOSSIP_ENTRIES_MAX: usize = u16::MAX as usize;
/// A PONG time in gossip may be this far ahead of our clock; a later one is not believed.
pub const GOSSIP_FUTURE_MAX_MS: u64 = 500;
