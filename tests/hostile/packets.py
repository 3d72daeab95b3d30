"""Bytes that no server sends: sound packets with a part replaced, by the offsets of the wire.

Owns the offsets that the hostile tests write at. Plain functions of bytes.
"""

from __future__ import annotations

import struct

from clusterbus import wire
from clusterbus.cluster import constants as c

VER, TYPE, COUNT, SENDER, EXTENSIONS, MFLAGS = 8, 12, 14, 40, 2214, 2253
"""Where these fields stand in a full header."""
GOSSIP_IP = wire.HEADER_LEN_BYTES + 48
"""Where the address of the first gossip entry stands."""
IP_LEN_BYTES = 46
VERSION = 1
LIGHT = 0x8000
"""The bit of a type that says that the header is a light one."""


def head(totlen: int, type: int, *, count: int = 0) -> bytes:
    """The first 16 bytes of a message: enough to check its length, and nothing of its body."""
    return b"RCmb" + struct.pack(">IHHHH", totlen, VERSION, 0, type, count)


def at(data: bytes, place: int, patch: bytes) -> bytes:
    """The bytes with some of them replaced, at `place`."""
    return data[:place] + patch + data[place + len(patch) :]


def number_at(data: bytes, place: int, number: int) -> bytes:
    """The bytes with the 16 bits at `place` replaced."""
    return at(data, place, struct.pack(">H", number))


def sized(data: bytes) -> bytes:
    """The packet with its own length in its header."""
    return at(data, 4, struct.pack(">I", len(data)))


def extension(type: int, data: bytes, length: int | None = None) -> bytes:
    """One extension, with any length in its head."""
    return struct.pack(">IHH", 8 + len(data) if length is None else length, type, 0) + data


def with_extensions(heartbeat: bytes, *raw: bytes, count: int | None = None, flag: bool = True) -> bytes:
    """A heartbeat that had none, with these behind it: as many as `count` says, under the flag or without."""
    data = number_at(heartbeat, EXTENSIONS, len(raw) if count is None else count)
    return sized(at(data, MFLAGS, bytes([c.MFLAG_EXTENSIONS if flag else 0])) + b"".join(raw))


def publish_head(channel_len: int, message_len: int) -> bytes:
    """The lengths in front of the body of PUBLISH."""
    return struct.pack(">II", channel_len, message_len)


def module_head(length: int, module_id: int = 77, module_type: int = 1) -> bytes:
    """What stands in front of the data of MODULE."""
    return struct.pack(">QIB", module_id, length, module_type)
