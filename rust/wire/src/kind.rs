//! The message types as a table: number, name, class for the counters, whether a light header may carry it.
//!
//! Owns nothing but the table; must never look into a body.

use crate::layout::LightHeaderLayout;
use crate::numbers::LIGHT_TYPE_BIT;
use zerocopy::FromBytes;

/// What a message's bytes are counted as (row R10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageClass {
    /// Everything the cluster itself says.
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

            /// The type of this number (light bit removed), if this version knows it.
            pub const fn from_number(number: u16) -> Option<MessageType> {
                match number { $($number => Some(MessageType::$variant),)* _ => None }
            }

            /// The name upstream logs and counters use.
            pub const fn name(self) -> &'static str {
                match self { $(MessageType::$variant => $name,)* }
            }

            /// What its bytes are counted as.
            pub const fn class(self) -> MessageClass {
                match self { $(MessageType::$variant => MessageClass::$class,)* }
            }

            /// May it come with a light header (row H16)?
            pub const fn supports_light(self) -> bool {
                match self { $(MessageType::$variant => $light,)* }
            }
        }
    };
}

message_types! {
    /// Heartbeat that wants a PONG.
    0 Ping "ping" Cluster false;
    /// Heartbeat that answers.
    1 Pong "pong" Cluster false;
    /// PING that asks a stranger to take the sender in.
    2 Meet "meet" Cluster false;
    /// A node failed by quorum.
    3 Fail "fail" Cluster false;
    /// Pub/sub message for every node.
    4 Publish "publish" Pubsub true;
    /// A replica asks for votes.
    5 FailoverAuthRequest "auth-req" Cluster false;
    /// A primary's vote.
    6 FailoverAuthAck "auth-ack" Cluster false;
    /// Newer configuration of some slots' owner.
    7 Update "update" Cluster false;
    /// A replica asks its primary to pause for a manual failover.
    8 ManualFailoverStart "mfstart" Cluster false;
    /// A module's message.
    9 Module "module" Module true;
    /// Pub/sub message for the nodes of one shard.
    10 PublishShard "publishshard" Pubsub true;
}

impl MessageType {
    /// PING, PONG or MEET.
    pub const fn is_heartbeat(self) -> bool {
        matches!(self, MessageType::Ping | MessageType::Pong | MessageType::Meet)
    }

    /// The number on the wire, without the light bit.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// What the bytes of an encoded message are counted as; anything that is no known message counts as cluster.
pub fn message_class_of(bytes: &[u8]) -> MessageClass {
    let Ok((start, _)) = LightHeaderLayout::ref_from_prefix(bytes) else {
        return MessageClass::Cluster;
    };
    MessageType::from_number(start.message_type.get() & !LIGHT_TYPE_BIT)
        .map_or(MessageClass::Cluster, MessageType::class)
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
