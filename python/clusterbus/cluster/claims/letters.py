"""The messages about claims: their kinds and their bytes.

Owns the form alone. They are MODULE messages under SLOT_CLAIMS_MODULE_ID, and the kind is the message's type. Must
never take bytes of another length than the kind has. Main thread.

    has data, 1 byte | number, 8 | epoch, 8 | other epoch, 8 | count, 4 | slots, 2,048 or 0 | living, 2,048 or 0 | text
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.model.slots import bits_from_wire, bits_to_wire

_HEAD: Final = struct.Struct(">?QQQI")
_BITMAP_LEN_BYTES: Final = c.SLOTS // 8
_COUNT_MAX: Final = 2**32 - 1


class Kind(IntEnum):
    """What a letter says, and which of its fields count."""

    HELLO = 0
    """Are you of our kind? Every node of ours answers HERE."""
    HERE = 1
    ASK = 2
    """Your vote in `epoch`: I want `slots`, whose owners' greatest epoch is `other_epoch`. `living` are those that I
    want from a living owner. I know `count` members."""
    VOTE = 3
    """You have my vote in `epoch`."""
    DENY = 4
    """You do not have it. `count` is the Denial, `other_epoch` my current epoch."""
    RENEW = 5
    """Promise me `slots`, mine under `epoch`, for `count` milliseconds. `number` counts these requests."""
    RENEWED = 6
    """I promised `slots` for `count` milliseconds, in answer to `number`."""
    GIVE = 7
    """Take `slots` of mine within `count` milliseconds. `number` is that of my order."""
    GAVE = 8
    """Your order `number` is done, or `text` says why it is not."""


_WITH_SLOTS: Final = frozenset({Kind.ASK, Kind.RENEW, Kind.RENEWED, Kind.GIVE})


class Denial(IntEnum):
    """Why there is no vote."""

    BEHIND = 0
    VOTED = 1
    NEWER_OWNER = 2
    OWNER_UP = 3
    PROMISED = 4
    BLIND = 5
    MORE_MEMBERS = 6


REASONS: Final = {
    Denial.BEHIND: "knows a later epoch",
    Denial.VOTED: "has voted for another node in that epoch",
    Denial.NEWER_OWNER: "knows a newer owner",
    Denial.OWNER_UP: "holds the owner for alive",
    Denial.PROMISED: "has promised the slots to their holder until its lease is over",
    Denial.BLIND: "has restarted within the node timeout",
    Denial.MORE_MEMBERS: "knows more members",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """One message. Slots are bitmaps."""

    kind: Kind
    has_data: bool
    number: int = 0
    epoch: int = 0
    other_epoch: int = 0
    count: int = 0
    slots: int = 0
    living: int = 0
    text: str = ""


def encode(letter: Letter) -> bytes:
    """The data of the MODULE message."""
    head = _HEAD.pack(letter.has_data, letter.number, letter.epoch, letter.other_epoch, min(letter.count, _COUNT_MAX))
    slots = bits_to_wire(letter.slots) if letter.kind in _WITH_SLOTS else b""
    living = bits_to_wire(letter.living) if letter.kind is Kind.ASK else b""
    return head + slots + living + letter.text[: c.CLAIM_REASON_LEN_MAX].encode("ascii", "replace")


def decode(kind: int, data: bytes) -> Letter:
    """Reads one. Raises ValueError for bytes that are none."""
    found = Kind(kind)
    end = _HEAD.size + _BITMAP_LEN_BYTES * ((found in _WITH_SLOTS) + (found is Kind.ASK))
    text = data[end:]
    if len(data) < end or len(text) > (c.CLAIM_REASON_LEN_MAX if found is Kind.GAVE else 0):
        raise ValueError(f"a letter of kind {found.name} with {len(data)} bytes")
    has_data, number, epoch, other_epoch, count = _HEAD.unpack_from(data)
    bitmaps = [
        bits_from_wire(data[start : start + _BITMAP_LEN_BYTES]) for start in range(_HEAD.size, end, _BITMAP_LEN_BYTES)
    ]
    slots, living = (*bitmaps, 0, 0)[:2]
    if found is Kind.DENY:
        count = Denial(count)
    shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in text)
    return Letter(found, has_data, number, epoch, other_epoch, count, slots, living, shown)
