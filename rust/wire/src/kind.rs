//! The message types as a table: number, name, class for the counters, and whether the header may be light.
//!
//! Owns only the table; must never look into a body.

use crate::layout::LightHeaderLayout;
use crate::numbers::LIGHT_TYPE_BIT;
use zerocopy::FromBytes;

/// The class under which a message is counted (row R10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageClass {
    /// Every message that is neither pub/sub nor a module's.
    Cluster,
    /// PUBLISH and PUBLISHSHARD.
    Pubsub,
    /// MODULE.
    Module,
}

macro_rules! message_types {
    ($($(#[$doc:meta])* $number:literal $variant:ident $name:literal $class:ident $light:literal;)*) => {
        /// The message types of protocol version 1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum MessageType { $($(#[$doc])* $variant = $number,)* }

        impl MessageType {
            /// Every type, by number.
            pub const ALL: &'static [MessageType] = &[$(MessageType::$variant,)*];

            /// The type with this number (without the light bit), if this version knows it.
            pub const fn from_number(number: u16) -> Option<MessageType> {
                match number { $($number => Some(MessageType::$variant),)* _ => None }
            }

            /// The name that Valkey's logs and counters use.
            pub const fn name(self) -> &'static str {
                match self { $(MessageType::$variant => $name,)* }
            }

            /// The class under which its messages are counted.
            pub const fn class(self) -> MessageClass {
                match self { $(MessageType::$variant => MessageClass::$class,)* }
            }

            /// Whether its messages may have a light header (row H16).
            pub const fn supports_light(self) -> bool {
                match self { $(MessageType::$variant => $light,)* }
            }
        }
    };
}

message_types! {
    /// A heartbeat that asks for a PONG.
    0 Ping "ping" Cluster false;
    /// A heartbeat that answers a PING or MEET, or that is sent unasked.
    1 Pong "pong" Cluster false;
    /// A PING that asks a stranger to take the sender into its cluster.
    2 Meet "meet" Cluster false;
    /// A quorum agreed that a node has failed.
    3 Fail "fail" Cluster false;
    /// Pub/sub message for every node.
    4 Publish "publish" Pubsub true;
    /// A replica asks for votes.
    5 FailoverAuthRequest "auth-req" Cluster false;
    /// A primary's vote.
    6 FailoverAuthAck "auth-ack" Cluster false;
    /// A newer configuration of the node that owns some slots.
    7 Update "update" Cluster false;
    /// A replica asks its primary to pause for a manual failover.
    8 ManualFailoverStart "mfstart" Cluster false;
    /// A module's message.
    9 Module "module" Module true;
    /// Pub/sub message for the nodes of one shard.
    10 PublishShard "publishshard" Pubsub true;
}

impl MessageType {
    /// Whether it is PING, PONG or MEET.
    pub const fn is_heartbeat(self) -> bool {
        matches!(self, MessageType::Ping | MessageType::Pong | MessageType::Meet)
    }

    /// The number on the wire, without the light bit.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// The type that an encoded message announces, whatever else is wrong with it; `None` for one that nobody knows.
pub fn message_type_of(bytes: &[u8]) -> Option<MessageType> {
    let (start, _) = LightHeaderLayout::ref_from_prefix(bytes).ok()?;
    MessageType::from_number(start.message_type.get() & !LIGHT_TYPE_BIT)
}

/// The class of an encoded message; anything that is not a known message counts as `Cluster`.
pub fn message_class_of(bytes: &[u8]) -> MessageClass {
    message_type_of(bytes).map_or(MessageClass::Cluster, MessageType::class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r10_classes_follow_the_type_with_and_without_the_light_bit() {
        let mut bytes = [0; 16];
        for (number, class) in [
            (0, MessageClass::Cluster),
            (4, MessageClass::Pubsub),
            (0x8004, MessageClass::Pubsub),
            (10, MessageClass::Pubsub),
            (0x8009, MessageClass::Module),
            (11, MessageClass::Cluster),
        ] {
            bytes[12..14].copy_from_slice(&u16::to_be_bytes(number));
            assert_eq!(message_class_of(&bytes), class, "{number}");
        }
        assert_eq!(message_class_of(b"RCmb"), MessageClass::Cluster);
    }

    #[test]
    fn numbers_are_dense_and_map_back() {
        for (index, message_type) in MessageType::ALL.iter().enumerate() {
            assert_eq!(message_type.number() as usize, index);
            assert_eq!(MessageType::from_number(message_type.number()), Some(*message_type));
        }
        assert_eq!(MessageType::from_number(MessageType::ALL.len() as u16), None);
    }
}
