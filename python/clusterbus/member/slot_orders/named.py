"""How a program names slots: a number, a range, a (first, last) pair, or several of these.

Owns the check of that argument alone. Any thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from clusterbus import arguments
from clusterbus.cluster.constants import SLOTS
from clusterbus.cluster.model.slots import bits_of, bits_of_ranges, slots_in
from clusterbus.errors import StateError

Slots: TypeAlias = int | range | tuple[int, int] | Iterable[int | range | tuple[int, int]]
"""One slot, a range, a (first, last) pair with both included, or several of these."""


def bits_named(name: str, slots: object) -> int:
    """The bitmap of the slots that a program named. Raises TypeError, and StateError for a slot that there is not, one
    that is named twice, and none at all.
    """
    one = isinstance(slots, int | range) or _is_pair(slots)
    bits = 0
    for item in [slots] if one else arguments.sequence(name, slots, "slots, ranges or (first, last) pairs"):
        wanted = _bits_of_item(name, item)
        if wanted & bits:
            raise StateError(f"{name}: slot {next(slots_in(wanted & bits))} is named twice")
        bits |= wanted
    if not bits:
        raise StateError(f"{name} names no slot")
    return bits


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(end, int) for end in value)


def _bits_of_item(name: str, item: object) -> int:
    what = f"a slot of {name}"
    if isinstance(item, tuple):
        if len(item) != 2:
            raise StateError(f"{name}: {item!r} is no (first, last) pair")
        first, last = (arguments.integer(what, end, 0, SLOTS - 1) for end in item)
        if first > last:
            raise StateError(f"{name}: {item!r} runs backwards")
        return bits_of_ranges([(first, last)])
    if isinstance(item, range):
        for end in (item[0], item[-1]) if item else ():
            arguments.integer(what, end, 0, SLOTS - 1)
        return bits_of(item)
    return 1 << arguments.integer(what, item, 0, SLOTS - 1)
