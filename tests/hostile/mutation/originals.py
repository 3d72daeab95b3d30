"""The sound packets that are damaged: captured from real servers, and those that our own encoder makes.

Owns the choice: one packet of each type, length and set of flags of the captures in `tests/data`, and of each kind that
we send, our own MODULE letters among them. Ids in them are of the pool that the attack may name. Any thread.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import Final

from clusterbus import wire
from clusterbus.cluster import constants as c
from clusterbus.cluster.claims import letters

DATA: Final = Path(__file__).parents[2] / "data"
CAPTURES: Final = ("redis-7.0.15", "valkey-9.1.2")
POOL: Final = tuple(f"{number:02x}" * 20 for number in range(0x40, 0x80))
"""The third nodes that damaged packets speak of: enough to be many, few enough to keep the table small."""
OURSELVES: Final = "d" * 40
"""The sender of every packet of ours. Who throws it puts its own id there."""
EXTENDED: Final = wire.NodeFlag.PRIMARY | wire.NodeFlag.EXTENSIONS_SUPPORTED
LIGHT: Final = wire.NodeFlag.LIGHT_HDR_PUBLISH_SUPPORTED | wire.NodeFlag.LIGHT_HDR_MODULE_SUPPORTED


@cache
def captured() -> tuple[bytes, ...]:
    """One packet of each type, length and set of flags."""
    seen: dict[tuple[int, int, int], bytes] = {}
    for capture in CAPTURES:
        for packet in wire.parse((DATA / f"{capture}.frames").read_bytes()):
            seen.setdefault((packet.type, len(packet), packet.flags), bytes(packet))
    return tuple(seen.values())


@cache
def encoded() -> tuple[bytes, ...]:
    """One packet of each kind that our encoder makes, with both headers where there are two."""
    return tuple(wire.encode(message) for message in (*_heartbeats(), *_orders(), *_messages()))


@cache
def light() -> tuple[bytes, ...]:
    """Those with a light header."""
    return tuple(packet for packet in encoded() + captured() if len(packet) < wire.HEADER_LEN_BYTES)


def _header(**fields: object) -> wire.Header:
    common: dict[str, object] = {"sender": OURSELVES, "port": 7000, "cport": 17000, "flags": EXTENDED | LIGHT}
    return wire.Header(**(common | fields))  # type: ignore[arg-type]


def _heartbeats() -> list[wire.Message]:
    entries = [
        wire.GossipEntry(
            node_id=node_id, ip="127.99.0.1", port=7001, cport=17001, flags=flags, ping_sent_s=9, pong_received_s=8
        )
        for node_id, flags in zip(POOL, (1, 2, 1 | 4, 1 | 8, 2 | 64, 1 | 512, 2 | 8), strict=False)
    ]
    every = [
        wire.Extension.hostname_of("liar.local"),
        wire.Extension.nodename_of("liar"),
        wire.Extension.forgotten_node_of(POOL[1], 60),
        wire.Extension.shard_id_of(POOL[2]),
        wire.Extension.client_ipv4_of("127.99.0.2"),
        wire.Extension.client_ipv6_of("::1"),
        wire.Extension.client_port_of(7000),
        wire.Extension.client_tls_port_of(7100),
        wire.Extension.availability_zone_of("zone-1"),
        wire.Extension(77, b"unknown."),
    ]
    some = bytes([0xFF]) * 40 + bytes(wire.SLOT_BITMAP_LEN_BYTES - 40)
    headers = (
        _header(current_epoch=7, config_epoch=3, myslots=some),
        _header(current_epoch=7, flags=wire.NodeFlag.REPLICA | LIGHT, replicaof=POOL[0], myslots=some, offset=900),
        _header(mflags=wire.MessageFlag.PAUSED | wire.MessageFlag.EXT_DATA, state=1, myip="127.99.0.3"),
    )
    shapes: tuple[tuple[list[wire.GossipEntry], list[wire.Extension]], ...] = (
        ([], []),
        (entries[:3], []),
        (entries, every),
        ([], every),
        (entries[:1], every[3:4]),
    )
    return [
        wire.Heartbeat(kind, header, gossip, extensions)
        for kind, header, (gossip, extensions) in product((c.PING, c.PONG, c.MEET), headers, shapes)
    ]


def _orders() -> list[wire.Message]:
    claim = bytes([0x0F]) * wire.SLOT_BITMAP_LEN_BYTES
    header = _header(current_epoch=8, config_epoch=8)
    asking = _header(current_epoch=9, flags=wire.NodeFlag.REPLICA, replicaof=POOL[0], myslots=claim)
    return [
        wire.Fail(header, POOL[3]),
        wire.Update(header, 9, POOL[4], claim),
        wire.HeaderOnly(c.AUTH_REQUEST, asking),
        wire.HeaderOnly(c.AUTH_REQUEST, _header(current_epoch=9, mflags=wire.MessageFlag.FORCEACK, replicaof=POOL[0])),
        wire.HeaderOnly(c.AUTH_ACK, header),
        wire.HeaderOnly(c.MFSTART, asking),
        wire.Unknown(11, header, b"what is this"),
        wire.Unknown(999, header, b""),
    ]


def _messages() -> list[wire.Message]:
    found: list[wire.Message] = []
    for header in (_header(), None):
        found += [
            wire.Publish(header, b"news", b"hello" * 9),
            wire.Publish(header, b"shard", b"", sharded=True),
            wire.ModuleMessage(header, 12345, 1, b"data"),
            wire.ModuleMessage(header, c.TAGS_MODULE_ID, 0, (5).to_bytes(8, "big") + b"\0\1a\0\1b\0\1c\0\2de"),
            wire.ModuleMessage(header, c.TAGS_MODULE_ID, 1, (5).to_bytes(8, "big")),
            wire.ModuleMessage(header, c.SHARD_ORDERS_MODULE_ID, 0, (99).to_bytes(2, "big") + POOL[5].encode()),
            wire.ModuleMessage(header, c.SHARD_ORDERS_MODULE_ID, 1, b""),
            wire.ModuleMessage(header, c.LEAVE_MODULE_ID, 0, b""),
            wire.ModuleMessage(header, c.LEAVE_MODULE_ID, 3, (POOL[6] + POOL[7]).encode()),
            wire.ModuleMessage(header, c.LEAVE_MODULE_ID, 1, b""),
        ]
        for kind in letters.Kind:
            text = "no" if kind is letters.Kind.GAVE else ""
            letter = letters.Letter(kind, False, number=3, epoch=8, other_epoch=2, count=4, slots=0b1111, text=text)
            found.append(wire.ModuleMessage(header, c.SLOT_CLAIMS_MODULE_ID, kind, letters.encode(letter)))
    return found
