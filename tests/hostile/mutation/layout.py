"""Where the fields of a packet are, and what their extremes are.

Owns the tables that damage aims with. The offsets are those of protocol version 1; they are written down here once more
on purpose, beside those of the Rust core. Reads packets that may be broken, and raises nothing. Any thread.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

HEADER_LEN, LIGHT_LEN, GOSSIP_LEN, EXTENSION_HEAD_LEN = 2256, 16, 104, 8
TOTLEN, TYPE, COUNT, SENDER, SLOTS, REPLICAOF, MYIP, EXTENSIONS, MFLAGS = 4, 12, 14, 40, 80, 2128, 2168, 2214, 2253
ID_LEN, SLOTS_LEN, IP_LEN = 40, 2048, 46
LIGHT_BIT: Final = 0x8000
HEARTBEATS: Final = (0, 1, 2)
PUBLISHES: Final = (4, 10)
MODULE, UPDATE, FAIL = 9, 7, 3


@dataclass(frozen=True, slots=True)
class Field:
    """A number in a packet: its name, where it is, and how many bytes it has."""

    name: str
    offset: int
    size: int


HEADER: Final = (
    Field("ver", 8, 2),
    Field("port", 10, 2),
    Field("type", TYPE, 2),
    Field("count", COUNT, 2),
    Field("currentEpoch", 16, 8),
    Field("configEpoch", 24, 8),
    Field("offset", 32, 8),
    Field("extensions", EXTENSIONS, 2),
    Field("pport", 2246, 2),
    Field("cport", 2248, 2),
    Field("flags", 2250, 2),
    Field("state", 2252, 1),
    Field("mflags[0]", MFLAGS, 1),
    Field("mflags[1]", MFLAGS + 1, 1),
)
LIGHT_HEADER: Final = (Field("ver", 8, 2), Field("unused", 10, 2), Field("type", TYPE, 2), Field("unused", 14, 2))
GOSSIP: Final = (
    Field("ping_sent", 40, 4),
    Field("pong_received", 44, 4),
    Field("port", 94, 2),
    Field("cport", 96, 2),
    Field("flags", 98, 2),
    Field("pport", 100, 2),
)
EXTENSION: Final = (Field("length", 0, 4), Field("type", 4, 2), Field("unused", 6, 2))
PUBLISH: Final = (Field("channel_len", 0, 4), Field("message_len", 4, 4))
MODULES: Final = (Field("module_id", 0, 8), Field("len", 8, 4), Field("type", 12, 1))


def number(packet: bytes | bytearray, offset: int, size: int) -> int:
    return int.from_bytes(packet[offset : offset + size], "big")


def put(packet: bytearray, field: Field, value: int) -> None:
    """Writes a number where there is room for it, cut to its bytes."""
    if field.offset + field.size <= len(packet):
        cut = value & ((1 << 8 * field.size) - 1)
        packet[field.offset : field.offset + field.size] = cut.to_bytes(field.size, "big")


def kind_of(packet: bytes | bytearray) -> int:
    return number(packet, TYPE, 2) & ~LIGHT_BIT


def is_light(packet: bytes | bytearray) -> bool:
    return bool(number(packet, TYPE, 2) & LIGHT_BIT)


def body_at(packet: bytes | bytearray) -> int:
    return LIGHT_LEN if is_light(packet) else HEADER_LEN


def gossip_at(packet: bytes | bytearray) -> list[int]:
    """Where the gossip entries begin that the packet has room for."""
    if is_light(packet) or kind_of(packet) not in HEARTBEATS:
        return []
    room = max(0, (len(packet) - HEADER_LEN) // GOSSIP_LEN)
    return [HEADER_LEN + GOSSIP_LEN * entry for entry in range(min(room, number(packet, COUNT, 2)))]


def extensions_at(packet: bytes | bytearray) -> list[tuple[int, int]]:
    """Begin and end of each extension, as far as their lengths make sense."""
    if is_light(packet) or kind_of(packet) not in HEARTBEATS:
        return []
    found = []
    at = HEADER_LEN + GOSSIP_LEN * number(packet, COUNT, 2)
    while at + EXTENSION_HEAD_LEN <= len(packet):
        end = at + number(packet, at, 4)
        if not at + EXTENSION_HEAD_LEN <= end <= len(packet):
            break
        found.append((at, end))
        at = end
    return found


def fields(packet: bytes | bytearray) -> list[Field]:
    """Every number in a packet but its length."""
    if is_light(packet):
        found = list(LIGHT_HEADER)
    else:
        found = list(HEADER)
        found += [_moved(field, at, "gossip") for at in gossip_at(packet)[:4] for field in GOSSIP]
        found += [_moved(field, at, "extension") for at, _ in extensions_at(packet)[:12] for field in EXTENSION]
    body, kind = body_at(packet), kind_of(packet)
    if kind in PUBLISHES:
        found += [_moved(field, body, "publish") for field in PUBLISH]
    elif kind == MODULE:
        found += [_moved(field, body, "module") for field in MODULES]
    elif kind == UPDATE:
        found.append(Field("update.configEpoch", body, 8))
    return [field for field in found if field.offset + field.size <= len(packet)]


def _moved(field: Field, by: int, of: str) -> Field:
    return Field(f"{of}.{field.name}", field.offset + by, field.size)


def ids(packet: bytes | bytearray) -> list[int]:
    """Where node ids are: of the sender, its primary, and whom the packet is about."""
    if is_light(packet):
        return []
    found = [SENDER, REPLICAOF, *gossip_at(packet)]
    body, kind = body_at(packet), kind_of(packet)
    found += [at + EXTENSION_HEAD_LEN for at, end in extensions_at(packet) if end - at >= ID_LEN + EXTENSION_HEAD_LEN]
    if kind == FAIL:
        found.append(body)
    elif kind == UPDATE:
        found.append(body + 8)
    return [at for at in found if at + ID_LEN <= len(packet)]


def bitmaps(packet: bytes | bytearray) -> list[int]:
    """Where slot bitmaps are."""
    if is_light(packet) or len(packet) < HEADER_LEN:
        return []
    in_update = kind_of(packet) == UPDATE and len(packet) >= HEADER_LEN + 48 + SLOTS_LEN
    return [SLOTS, HEADER_LEN + 48] if in_update else [SLOTS]


def addresses(packet: bytes | bytearray) -> list[int]:
    """Where addresses are to which the node may dial."""
    found = [] if is_light(packet) else [MYIP, *(at + 48 for at in gossip_at(packet))]
    return [at for at in found if at + IP_LEN <= len(packet)]


def set_length(packet: bytearray) -> None:
    """Makes totlen true."""
    if len(packet) >= TOTLEN + 4:
        struct.pack_into(">I", packet, TOTLEN, len(packet))


def ends_amid(packet: bytes) -> bool:
    """Whether the node waits for more bytes after these, so that what follows is swallowed."""
    at = 0
    while at < len(packet):
        if len(packet) - at < TOTLEN + 4:
            return True
        length = number(packet, at + TOTLEN, 4)
        if length < LIGHT_LEN:
            return False  # the link ends here
        at += length
    return at > len(packet)
