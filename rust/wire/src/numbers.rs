//! The numbers of protocol version 1 that are no message or extension type: lengths, limits, flags, gossip.
//!
//! Owns each number once; the engine, the Python module and the tests take them from here. Message types stand in the
//! table of `kind.rs`, extension types in that of `extension.rs`, offsets in `layout.rs`. Holds no logic.

/// What every message starts with.
pub const SIGNATURE: [u8; 4] = *b"RCmb";
/// The protocol version spoken.
pub const PROTOCOL_VERSION: u16 = 1;
/// Bit of the `type` field that announces the light header.
pub const LIGHT_TYPE_BIT: u16 = 0x8000;

/// Longest message the bus takes: covers the largest legal gossip packet (65,535 entries and extensions).
pub const MAX_PACKET_LEN_BYTES: usize = 8 * 1024 * 1024;
/// Length of the full header.
pub const HEADER_LEN_BYTES: usize = 2_256;
/// Length of the light header.
pub const LIGHT_HEADER_LEN_BYTES: usize = 16;
/// Length of one gossip entry.
pub const GOSSIP_ENTRY_LEN_BYTES: usize = 104;
/// Length of an extension's head, counted in its `length`.
pub const EXTENSION_HEAD_LEN_BYTES: usize = 8;
/// Longest single extension, head included (row H9).
pub const MAX_EXTENSION_LEN_BYTES: usize = 64 * 1024;
/// Length of a node or shard id: characters, each one byte.
pub const NODE_ID_LEN_BYTES: usize = 40;
/// Length of an address field, its NUL included.
pub const IP_LEN_BYTES: usize = 46;
/// Longest text of a string extension, its NUL not counted (row H12).
pub const MAX_TEXT_LEN_BYTES: usize = 255;

/// Number of hash slots of a cluster.
pub const SLOTS: u16 = 16_384;
/// Length of a slot bitmap.
pub const SLOT_BITMAP_LEN_BYTES: usize = SLOTS as usize / 8;
/// The bus port of a node that names none: its client port and this.
pub const BUS_PORT_OFFSET: u16 = 10_000;

/// Node flag: a primary.
pub const FLAG_PRIMARY: u16 = 1;
/// Node flag: a replica.
pub const FLAG_REPLICA: u16 = 2;
/// Node flag: its reporter gets no answer from it.
pub const FLAG_PFAIL: u16 = 4;
/// Node flag: failed by quorum.
pub const FLAG_FAIL: u16 = 8;
/// Node flag: the node that speaks; never said of others.
pub const FLAG_MYSELF: u16 = 16;
/// Node flag: its real id is not known yet; never said to others.
pub const FLAG_HANDSHAKE: u16 = 32;
/// Node flag: its address is not known.
pub const FLAG_NOADDR: u16 = 64;
/// Node flag: it is to be sent a MEET.
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

/// `mflags[0]`: the primary has paused its clients for a manual failover.
pub const MFLAG_PAUSED: u8 = 1;
/// `mflags[0]`: vote for the sender although its primary is up.
pub const MFLAG_FORCE_ACK: u8 = 2;
/// `mflags[0]`: the message carries extensions.
pub const MFLAG_EXTENSIONS: u8 = 4;

/// A heartbeat mentions at least this many nodes, if there are so many.
pub const GOSSIP_MIN: usize = 3;
/// A heartbeat mentions one node in this many: a tenth.
pub const GOSSIP_PARTS: usize = 10;
/// Random draws for each node wanted, before the choice ends with fewer.
pub const GOSSIP_TRIES: usize = 3;
/// Most entries of one message: what its 16-bit count can say.
pub const GOSSIP_ENTRIES_MAX: usize = u16::MAX as usize;
/// A PONG time in gossip may lie this far in our future; one beyond it is not believed.
pub const GOSSIP_FUTURE_MAX_MS: u64 = 500;
