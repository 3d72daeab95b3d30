"""The numbers that the core exports are those of the protocol. They are repeated here to catch a typing mistake."""

from __future__ import annotations

import ast
from pathlib import Path

from clusterbus import _core, wire

STUB = Path(__file__).parent.parent / "python" / "clusterbus" / "_core.pyi"

PROTOCOL = {
    "TYPE_PING": 0, "TYPE_PONG": 1, "TYPE_MEET": 2, "TYPE_FAIL": 3, "TYPE_PUBLISH": 4,
    "TYPE_FAILOVER_AUTH_REQUEST": 5, "TYPE_FAILOVER_AUTH_ACK": 6, "TYPE_UPDATE": 7, "TYPE_MFSTART": 8,
    "TYPE_MODULE": 9, "TYPE_PUBLISHSHARD": 10, "LIGHT_TYPE_BIT": 0x8000,
    "FLAG_PRIMARY": 1, "FLAG_REPLICA": 2, "FLAG_PFAIL": 4, "FLAG_FAIL": 8, "FLAG_MYSELF": 16,
    "FLAG_HANDSHAKE": 32, "FLAG_NOADDR": 64, "FLAG_MEET": 128, "FLAG_MIGRATE_TO": 256, "FLAG_NOFAILOVER": 512,
    "FLAG_EXTENSIONS": 1024, "FLAG_LIGHT_PUBLISH": 2048, "FLAG_LIGHT_MODULE": 4096,
    "FLAG_MY_PRIMARY_FAIL": 8192,
    "MFLAG_PAUSED": 1, "MFLAG_FORCE_ACK": 2, "MFLAG_EXTENSIONS": 4,
    "EXTENSION_HOSTNAME": 0, "EXTENSION_HUMAN_NODENAME": 1, "EXTENSION_FORGOTTEN_NODE": 2, "EXTENSION_SHARD_ID": 3,
    "EXTENSION_CLIENT_IPV4": 4, "EXTENSION_CLIENT_IPV6": 5, "EXTENSION_CLIENT_PORT": 6,
    "EXTENSION_CLIENT_TLS_PORT": 7, "EXTENSION_AVAILABILITY_ZONE": 8,
    "PROTOCOL_VERSION": 1, "SLOTS": 16_384, "BUS_PORT_OFFSET": 10_000, "NODE_ID_LEN": 40,
    "SLOT_BITMAP_LEN_BYTES": 2_048, "HEADER_LEN_BYTES": 2_256, "LIGHT_HEADER_LEN_BYTES": 16,
    "GOSSIP_ENTRY_LEN_BYTES": 104, "MAX_PACKET_LEN_BYTES": 8 * 1024 * 1024, "MAX_TEXT_LEN_BYTES": 255,
    "GOSSIP_MIN": 3, "GOSSIP_PERCENT": 10, "GOSSIP_TRIES": 3, "GOSSIP_ENTRIES_MAX": 65_535, "GOSSIP_FUTURE_MAX_MS": 500,
}  # fmt: skip
LIMITS = {
    "TLS_HANDSHAKE_TIMEOUT_MS": 5_000, "TLS_HANDSHAKES_MAX": 256, "FIRST_PACKET_TIMEOUT_MS": 15_000,
    "LINKS_MAX": 10_000, "IO_THREADS_MAX": 256,
}  # fmt: skip


def test_every_number_has_its_value() -> None:
    exported = {name: value for name, value in vars(_core).items() if name.isupper() and isinstance(value, int)}
    assert exported == PROTOCOL | LIMITS


def test_the_stub_declares_them_and_restates_none() -> None:
    declared = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.AnnAssign)]
    numbers = {ast.unparse(node.target) for node in declared if ast.unparse(node.annotation) == "Final[int]"}
    assert numbers == set(PROTOCOL | LIMITS)
    assert not [ast.unparse(node) for node in declared if ast.unparse(node.target) in numbers and node.value]


def test_message_names_go_by_number() -> None:
    assert len(_core.MESSAGE_NAMES) == len(wire.MessageType)
    assert _core.MESSAGE_NAMES[_core.TYPE_PING] == "ping"
    assert _core.MESSAGE_NAMES[_core.TYPE_FAILOVER_AUTH_ACK] == "auth-ack"
    assert _core.MESSAGE_NAMES[_core.TYPE_PUBLISHSHARD] == "publishshard"


def test_lengths_are_those_of_encoded_messages() -> None:
    header = wire.Header(sender="a" * _core.NODE_ID_LEN, myslots=bytes(_core.SLOT_BITMAP_LEN_BYTES))
    assert len(wire.encode(wire.Heartbeat(_core.TYPE_PING, header))) == _core.HEADER_LEN_BYTES
    entry = wire.GossipEntry(node_id="b" * _core.NODE_ID_LEN)
    with_gossip = wire.encode(wire.Heartbeat(_core.TYPE_PING, header, [entry]))
    assert len(with_gossip) == _core.HEADER_LEN_BYTES + _core.GOSSIP_ENTRY_LEN_BYTES
