//! The wire crate for Python: classes for its values, and `parse`, `decode`, `encode`, `key_slot`. No logic of its own.
//!
//! Every class is frozen, so any thread may read it.

mod arguments;
mod messages;
mod packet;
mod parts;

pub use arguments::Uint;
pub use messages::{Fail, HeaderOnly, Heartbeat, ModuleMessage, Publish, Unknown, Update, encode};
pub use packet::{Packet, decode, parse};
pub use parts::{Extension, GossipEntry, Header};

use pyo3::prelude::*;

/// The slot of a key: CRC16/XMODEM of the key, or of its {tag} if that is not empty, modulo 16,384.
#[pyfunction]
pub fn key_slot(key: &[u8]) -> u16 {
    clusterbus_wire::key_hash_slot(key)
}
