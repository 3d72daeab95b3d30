//! Node ids, and shard ids, which have the same form: 40 lower-case hex characters.
//!
//! Every [`NodeId`] is valid; nothing else in the crate checks ids.

use core::fmt;

use thiserror::Error;

use crate::numbers::NODE_ID_LEN_BYTES;

/// The bytes are not a node id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected 40 lower-case hex characters")]
pub struct InvalidNodeId;

/// A node id: 40 lower-case hex characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; NODE_ID_LEN_BYTES]);

impl NodeId {
    /// Takes the bytes of a wire field.
    ///
    /// # Errors
    /// When they are not 40 lower-case hex characters.
    pub fn new(bytes: &[u8]) -> Result<NodeId, InvalidNodeId> {
        match bytes.try_into() {
            Ok(bytes) if is_node_id(bytes) => Ok(NodeId(*bytes)),
            _ => Err(InvalidNodeId),
        }
    }

    /// The characters as bytes.
    pub fn as_bytes(&self) -> &[u8; NODE_ID_LEN_BYTES] {
        &self.0
    }

    /// The characters as text.
    pub fn as_str(&self) -> &str {
        // Lower-case hex is always UTF-8, so the default is never used.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Whether a field of the wire holds a node id.
pub(crate) fn is_node_id(bytes: &[u8; NODE_ID_LEN_BYTES]) -> bool {
    // No branch and no early exit, so that the loop vectorises; ids are nearly always valid.
    let bad = bytes.iter().fold(0, |bad, &byte| {
        let digit = byte.wrapping_sub(b'0') < 10;
        let letter = byte.wrapping_sub(b'a') < 6;
        bad | u8::from(!(digit | letter))
    });
    bad == 0
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NodeId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forty_lower_case_hex_characters_are_an_id() {
        let good = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(NodeId::new(good.as_bytes()).map(|id| id.to_string()), Ok(good.into()));
        for bad in [&good[1..], &good.replace('a', "A"), &good.replace('0', "g"), ""] {
            assert_eq!(NodeId::new(bad.as_bytes()), Err(InvalidNodeId), "{bad}");
        }
        assert_eq!(NodeId::new(format!("{good}0").as_bytes()), Err(InvalidNodeId));
    }
}
