//! The numbers and words of the Rust core with their Python names, in one table, so that Python repeats none of them.
//!
//! Owns only the names. The protocol's numbers are in the wire crate, limits and reasons in the engine crate.

use clusterbus_engine::{LossReason, RefusalReason, limits};
use clusterbus_wire::{self as wire, ExtensionType, MessageType, PacketError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

const fn number_of(message_type: MessageType) -> u64 {
    message_type.number() as u64
}

const fn extension(extension_type: ExtensionType) -> u64 {
    extension_type.number() as u64
}

const NUMBERS: &[(&str, u64)] = &[
    ("TYPE_PING", number_of(MessageType::Ping)),
    ("TYPE_PONG", number_of(MessageType::Pong)),
    ("TYPE_MEET", number_of(MessageType::Meet)),
    ("TYPE_FAIL", number_of(MessageType::Fail)),
    ("TYPE_PUBLISH", number_of(MessageType::Publish)),
    ("TYPE_FAILOVER_AUTH_REQUEST", number_of(MessageType::FailoverAuthRequest)),
    ("TYPE_FAILOVER_AUTH_ACK", number_of(MessageType::FailoverAuthAck)),
    ("TYPE_UPDATE", number_of(MessageType::Update)),
    ("TYPE_MFSTART", number_of(MessageType::ManualFailoverStart)),
    ("TYPE_MODULE", number_of(MessageType::Module)),
    ("TYPE_PUBLISHSHARD", number_of(MessageType::PublishShard)),
    ("LIGHT_TYPE_BIT", wire::LIGHT_TYPE_BIT as u64),
    ("FLAG_PRIMARY", wire::FLAG_PRIMARY as u64),
    ("FLAG_REPLICA", wire::FLAG_REPLICA as u64),
    ("FLAG_PFAIL", wire::FLAG_PFAIL as u64),
    ("FLAG_FAIL", wire::FLAG_FAIL as u64),
    ("FLAG_MYSELF", wire::FLAG_MYSELF as u64),
    ("FLAG_HANDSHAKE", wire::FLAG_HANDSHAKE as u64),
    ("FLAG_NOADDR", wire::FLAG_NOADDR as u64),
    ("FLAG_MEET", wire::FLAG_MEET as u64),
    ("FLAG_MIGRATE_TO", wire::FLAG_MIGRATE_TO as u64),
    ("FLAG_NOFAILOVER", wire::FLAG_NOFAILOVER as u64),
    ("FLAG_EXTENSIONS", wire::FLAG_EXTENSIONS as u64),
    ("FLAG_LIGHT_PUBLISH", wire::FLAG_LIGHT_PUBLISH as u64),
    ("FLAG_LIGHT_MODULE", wire::FLAG_LIGHT_MODULE as u64),
    ("FLAG_MY_PRIMARY_FAIL", wire::FLAG_MY_PRIMARY_FAIL as u64),
    ("MFLAG_PAUSED", wire::MFLAG_PAUSED as u64),
    ("MFLAG_FORCE_ACK", wire::MFLAG_FORCE_ACK as u64),
    ("MFLAG_EXTENSIONS", wire::MFLAG_EXTENSIONS as u64),
    ("EXTENSION_HOSTNAME", extension(ExtensionType::Hostname)),
    ("EXTENSION_HUMAN_NODENAME", extension(ExtensionType::HumanNodename)),
    ("EXTENSION_FORGOTTEN_NODE", extension(ExtensionType::ForgottenNode)),
    ("EXTENSION_SHARD_ID", extension(ExtensionType::ShardId)),
    ("EXTENSION_CLIENT_IPV4", extension(ExtensionType::ClientIpv4)),
    ("EXTENSION_CLIENT_IPV6", extension(ExtensionType::ClientIpv6)),
    ("EXTENSION_CLIENT_PORT", extension(ExtensionType::ClientPort)),
    ("EXTENSION_CLIENT_TLS_PORT", extension(ExtensionType::ClientTlsPort)),
    ("EXTENSION_AVAILABILITY_ZONE", extension(ExtensionType::AvailabilityZone)),
    ("PROTOCOL_VERSION", wire::PROTOCOL_VERSION as u64),
    ("SLOTS", wire::SLOTS as u64),
    ("BUS_PORT_OFFSET", wire::BUS_PORT_OFFSET as u64),
    ("NODE_ID_LEN", wire::NODE_ID_LEN_BYTES as u64),
    ("SLOT_BITMAP_LEN_BYTES", wire::SLOT_BITMAP_LEN_BYTES as u64),
    ("HEADER_LEN_BYTES", wire::HEADER_LEN_BYTES as u64),
    ("LIGHT_HEADER_LEN_BYTES", wire::LIGHT_HEADER_LEN_BYTES as u64),
    ("GOSSIP_ENTRY_LEN_BYTES", wire::GOSSIP_ENTRY_LEN_BYTES as u64),
    ("MAX_PACKET_LEN_BYTES", wire::MAX_PACKET_LEN_BYTES as u64),
    ("MAX_TEXT_LEN_BYTES", wire::MAX_TEXT_LEN_BYTES as u64),
    ("GOSSIP_MIN", wire::GOSSIP_MIN as u64),
    ("GOSSIP_PERCENT", wire::GOSSIP_PERCENT as u64),
    ("GOSSIP_TRIES", wire::GOSSIP_TRIES as u64),
    ("GOSSIP_ENTRIES_MAX", wire::GOSSIP_ENTRIES_MAX as u64),
    ("GOSSIP_FUTURE_MAX_MS", wire::GOSSIP_FUTURE_MAX_MS),
    ("TLS_HANDSHAKE_TIMEOUT_MS", limits::TLS_HANDSHAKE_TIMEOUT_MS),
    ("FIRST_PACKET_TIMEOUT_MS", limits::FIRST_PACKET_TIMEOUT_MS),
    ("LINKS_MAX", limits::LINKS_MAX as u64),
    ("TLS_HANDSHAKES_MAX", limits::TLS_HANDSHAKES_MAX as u64),
    ("IO_THREADS_MAX", limits::IO_THREADS_MAX as u64),
];

/// Adds all numbers and the lists of words.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for (name, number) in NUMBERS {
        module.add(*name, *number)?;
    }
    let words: [(&str, Vec<&str>); 4] = [
        ("MESSAGE_NAMES", MessageType::ALL.iter().map(|known| known.name()).collect()),
        ("PACKET_ERRORS", PacketError::NAMES.to_vec()),
        ("LOSS_REASONS", LossReason::all().map(LossReason::name).collect()),
        ("REFUSAL_REASONS", RefusalReason::all().map(RefusalReason::name).collect()),
    ];
    for (name, words) in words {
        module.add(name, PyTuple::new(module.py(), words)?)?;
    }
    Ok(())
}
