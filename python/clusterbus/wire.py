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

from clusterbus import _core
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
    "BUS_PORT_OFFSET",
    "CLUSTER_SLOTS",
    "GOSSIP_ENTRY_LEN_BYTES",
    "HEADER_LEN_BYTES",
    "LIGHT_HEADER_LEN_BYTES",
    "MAX_PACKET_LEN_BYTES",
    "NODE_ID_LEN",
    "PORT_MAX",
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

BUS_PORT_OFFSET: Final = _core.BUS_PORT_OFFSET
"""A bus port is the client port plus this number, unless another one is announced."""
PORT_MAX: Final = 2**16 - 1
"""Greatest port that the wire can carry."""
CLUSTER_SLOTS: Final = _core.SLOTS
"""Hash slots of a cluster."""
SLOT_BITMAP_LEN_BYTES: Final = _core.SLOT_BITMAP_LEN_BYTES
"""Length of a slot bitmap: slot n is bit n % 8, from the low end, of byte n // 8."""
NODE_ID_LEN: Final = _core.NODE_ID_LEN
"""Characters of a node or shard id, lower-case hex."""
HEADER_LEN_BYTES: Final = _core.HEADER_LEN_BYTES
"""Length of the full header."""
LIGHT_HEADER_LEN_BYTES: Final = _core.LIGHT_HEADER_LEN_BYTES
"""Length of the light header."""
GOSSIP_ENTRY_LEN_BYTES: Final = _core.GOSSIP_ENTRY_LEN_BYTES
"""Length of one gossip entry."""
MAX_PACKET_LEN_BYTES: Final = _core.MAX_PACKET_LEN_BYTES
"""Length of the longest message that the bus accepts."""
PROTOCOL_VERSION: Final = _core.PROTOCOL_VERSION
"""The `ver` of every message."""

Message: TypeAlias = Heartbeat | Fail | Publish | Update | ModuleMessage | HeaderOnly | Unknown
"""Any decoded message: `encode` takes one and `decode` returns one."""


class MessageType(IntEnum):
    """Message types (`CLUSTERMSG_TYPE_*` in `src/cluster_legacy.h`)."""

    PING = _core.TYPE_PING
    PONG = _core.TYPE_PONG
    MEET = _core.TYPE_MEET
    FAIL = _core.TYPE_FAIL
    PUBLISH = _core.TYPE_PUBLISH
    FAILOVER_AUTH_REQUEST = _core.TYPE_FAILOVER_AUTH_REQUEST
    FAILOVER_AUTH_ACK = _core.TYPE_FAILOVER_AUTH_ACK
    UPDATE = _core.TYPE_UPDATE
    MFSTART = _core.TYPE_MFSTART
    MODULE = _core.TYPE_MODULE
    PUBLISHSHARD = _core.TYPE_PUBLISHSHARD


class NodeFlag(IntFlag):
    """Flags of a node, in headers and gossip (`CLUSTER_NODE_*` in `src/cluster_legacy.h`)."""

    PRIMARY = _core.FLAG_PRIMARY
    REPLICA = _core.FLAG_REPLICA
    PFAIL = _core.FLAG_PFAIL
    FAIL = _core.FLAG_FAIL
    MYSELF = _core.FLAG_MYSELF
    HANDSHAKE = _core.FLAG_HANDSHAKE
    NOADDR = _core.FLAG_NOADDR
    MEET = _core.FLAG_MEET
    MIGRATE_TO = _core.FLAG_MIGRATE_TO
    NOFAILOVER = _core.FLAG_NOFAILOVER
    EXTENSIONS_SUPPORTED = _core.FLAG_EXTENSIONS
    LIGHT_HDR_PUBLISH_SUPPORTED = _core.FLAG_LIGHT_PUBLISH
    LIGHT_HDR_MODULE_SUPPORTED = _core.FLAG_LIGHT_MODULE
    MY_PRIMARY_FAIL = _core.FLAG_MY_PRIMARY_FAIL


class MessageFlag(IntFlag):
    """Flags of a message, `mflags` of its header (`CLUSTERMSG_FLAG0_*` in `src/cluster_legacy.h`).

    EXT_DATA without any extension tells the peer that the sender understands extensions.
    """

    PAUSED = _core.MFLAG_PAUSED
    FORCEACK = _core.MFLAG_FORCE_ACK
    EXT_DATA = _core.MFLAG_EXTENSIONS


class ExtensionType(IntEnum):
    """Extension types of heartbeats. Those from CLIENT_PORT on are numbered as in Valkey 9.1.2."""

    HOSTNAME = _core.EXTENSION_HOSTNAME
    HUMAN_NODENAME = _core.EXTENSION_HUMAN_NODENAME
    FORGOTTEN_NODE = _core.EXTENSION_FORGOTTEN_NODE
    SHARD_ID = _core.EXTENSION_SHARD_ID
    CLIENT_IPV4 = _core.EXTENSION_CLIENT_IPV4
    CLIENT_IPV6 = _core.EXTENSION_CLIENT_IPV6
    CLIENT_PORT = _core.EXTENSION_CLIENT_PORT
    CLIENT_TLS_PORT = _core.EXTENSION_CLIENT_TLS_PORT
    AVAILABILITY_ZONE = _core.EXTENSION_AVAILABILITY_ZONE


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
