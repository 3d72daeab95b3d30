"""The wire as Python sees it: messages, packets, and names for the numbers in them.

Owns the names; the Rust core reads and writes the bytes. Holds no socket, clock or state. Bytes that are not a packet
raise PeerError, which names offset and field; values that cannot be sent raise ConfigError, which names the field. Any
thread may use it, because every class is immutable.

    for packet in parse(data):
        if packet.type == MessageType.PING:
            print(packet.sender, [entry.node_id for entry in packet.gossip])
"""

from enum import IntEnum, IntFlag
from typing import Final, TypeAlias

from clusterbus._core import (
    Extension,
    Fail,
    GossipEntry,
    Header,
    HeaderOnly,
    Heartbeat,
    ModuleMessage,
    Packet,
    Publish,
    Unknown,
    Update,
    decode,
    encode,
    key_slot,
    parse,
)

__all__ = [
    "CLUSTER_SLOTS",
    "GOSSIP_ENTRY_LEN_BYTES",
    "HEADER_LEN_BYTES",
    "LIGHT_HEADER_LEN_BYTES",
    "MAX_PACKET_LEN_BYTES",
    "NODE_ID_LEN",
    "PROTOCOL_VERSION",
    "SLOT_BITMAP_LEN_BYTES",
    "Extension",
    "ExtensionType",
    "Fail",
    "GossipEntry",
    "Header",
    "HeaderOnly",
    "Heartbeat",
    "Message",
    "MessageFlag",
    "MessageType",
    "ModuleMessage",
    "NodeFlag",
    "Packet",
    "Publish",
    "Unknown",
    "Update",
    "WireState",
    "decode",
    "encode",
    "key_slot",
    "module_id",
    "parse",
]

CLUSTER_SLOTS: Final = 16_384
"""Hash slots of a cluster."""
SLOT_BITMAP_LEN_BYTES: Final = CLUSTER_SLOTS // 8
"""Length of a slot bitmap: slot n is bit n % 8, from the low end, of byte n // 8."""
NODE_ID_LEN: Final = 40
"""Characters of a node or shard id, lower-case hex."""
HEADER_LEN_BYTES: Final = 2_256
"""Length of the full header."""
LIGHT_HEADER_LEN_BYTES: Final = 16
"""Length of the light header."""
GOSSIP_ENTRY_LEN_BYTES: Final = 104
"""Length of one gossip entry."""
MAX_PACKET_LEN_BYTES: Final = 8 * 1024 * 1024
"""Length of the longest message that the bus accepts (H3)."""
PROTOCOL_VERSION: Final = 1
"""The `ver` of every message (H5)."""

Message: TypeAlias = Heartbeat | Fail | Publish | Update | ModuleMessage | HeaderOnly | Unknown
"""Any decoded message: `encode` takes one and `decode` returns one."""


class MessageType(IntEnum):
    """Message types (`CLUSTERMSG_TYPE_*` in `src/cluster_legacy.h`)."""

    PING = 0
    PONG = 1
    MEET = 2
    FAIL = 3
    PUBLISH = 4
    FAILOVER_AUTH_REQUEST = 5
    FAILOVER_AUTH_ACK = 6
    UPDATE = 7
    MFSTART = 8
    MODULE = 9
    PUBLISHSHARD = 10


class NodeFlag(IntFlag):
    """Flags of a node, in headers and gossip (`CLUSTER_NODE_*` in `src/cluster_legacy.h`)."""

    PRIMARY = 1
    REPLICA = 2
    PFAIL = 4
    FAIL = 8
    MYSELF = 16
    HANDSHAKE = 32
    NOADDR = 64
    MEET = 128
    MIGRATE_TO = 256
    NOFAILOVER = 512
    EXTENSIONS_SUPPORTED = 1024
    LIGHT_HDR_PUBLISH_SUPPORTED = 2048
    LIGHT_HDR_MODULE_SUPPORTED = 4096


class MessageFlag(IntFlag):
    """Flags of a message, `mflags` of its header (`CLUSTERMSG_FLAG0_*` in `src/cluster_legacy.h`).

    EXT_DATA without any extension tells the peer that the sender understands extensions.
    """

    PAUSED = 1
    FORCEACK = 2
    EXT_DATA = 4


class ExtensionType(IntEnum):
    """Extension types of heartbeats. Those from CLIENT_PORT on are numbered as in Valkey 9.1.2."""

    HOSTNAME = 0
    HUMAN_NODENAME = 1
    FORGOTTEN_NODE = 2
    SHARD_ID = 3
    CLIENT_IPV4 = 4
    CLIENT_IPV6 = 5
    CLIENT_PORT = 6
    CLIENT_TLS_PORT = 7
    AVAILABILITY_ZONE = 8


class WireState(IntEnum):
    """The state of the cluster as the sender of a header sees it (its field `state`)."""

    OK = 0
    FAIL = 1


_MODULE_NAME_CHARACTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_MODULE_NAME_LEN: Final = 9


def module_id(name: str) -> int:
    """The id that a server module of this name has in MODULE messages; 0 unless the name has nine valid characters.

    Servers send the number as it lies in their memory, so this is what little-endian machines send
    (`moduleTypeEncodeId` in `src/module.c`, `clusterSendModule`). Programs that only talk to each other may use any
    number.
    """
    if len(name) != _MODULE_NAME_LEN or any(letter not in _MODULE_NAME_CHARACTERS for letter in name):
        return 0
    number = 0
    for letter in name:
        number = number << 6 | _MODULE_NAME_CHARACTERS.index(letter)
    return int.from_bytes((number << 10).to_bytes(8, "little"), "big")
