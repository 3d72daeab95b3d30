"""The owner of each slot: `SlotMap`, and the arithmetic of slot bitmaps.

Owns every change of `Node.slot_bits` and `Node.slots`, so that no slot has two owners. A bitmap is an integer whose bit
n is slot n; on the wire the same number is little-endian in 2,048 bytes. Knows no epochs, and not which node may take
which slot (`roles` does). Main thread.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterbus.cluster import constants as c
from clusterbus.cluster.model.node import Node


def bits_of(slots: Iterable[int]) -> int:
    """The bitmap of some slots. Raises IndexError for a number that is not a slot."""
    bitmap = bytearray(c.SLOTS // 8)
    for slot in slots:
        if slot < 0:
            raise IndexError(slot)
        bitmap[slot >> 3] |= 1 << (slot & 7)
    return int.from_bytes(bitmap, "little")


def bits_of_ranges(ranges: Iterable[tuple[int, int]]) -> int:
    """The bitmap of some inclusive (first, last) ranges, each within 0..16383."""
    bits = 0
    for first, last in ranges:
        bits |= ((1 << (last - first + 1)) - 1) << first
    return bits


def bits_from_wire(slots: bytes) -> int:
    """The bitmap that a header or UPDATE carries."""
    return int.from_bytes(slots, "little")


def bits_to_wire(bits: int) -> bytes:
    """The 2,048 bytes of a bitmap."""
    return bits.to_bytes(c.SLOTS // 8, "little")


def ranges_of(bits: int) -> tuple[tuple[int, int], ...]:
    """A bitmap as ascending inclusive (first, last) ranges. The work grows with the number of ranges, not of slots."""
    ranges = []
    offset = 0
    while bits:
        gap = (bits & -bits).bit_length() - 1
        bits >>= gap
        run = (~bits & (bits + 1)).bit_length() - 1
        bits >>= run
        ranges.append((offset + gap, offset + gap + run - 1))
        offset += gap + run
    return tuple(ranges)


class SlotMap:
    """The owner of each slot.

    Invariants: `owners` are exactly the nodes with slots; their bitmaps are disjoint, and their union is `assigned`.
    `not_claimed` are slots whose owner has stopped claiming them. They stay with the owner until another node claims
    them, but our UPDATEs about the owner leave them out. `migrating` and `importing` are the slots that move from and
    to this node, with the node at the other end.
    """

    def __init__(self) -> None:
        self.owners: dict[str, Node] = {}
        self.assigned = 0
        self.not_claimed = 0
        self.migrating: dict[int, Node] = {}
        self.importing: dict[int, Node] = {}

    def owner_of(self, slot: int) -> Node | None:
        """The owner of one slot. Scans all owners, so it is for operators' questions and not for packets."""
        if not self.assigned >> slot & 1:
            return None
        return next(node for node in self.owners.values() if node.slot_bits >> slot & 1)

    def give(self, node: Node, bits: int) -> None:
        """Gives free slots to a node. Every slot of `bits` must be unassigned."""
        if bits & self.assigned:
            raise ValueError("a slot of the bitmap has an owner")
        if not bits:
            return
        self.assigned |= bits
        self.not_claimed &= ~bits
        self._set(node, node.slot_bits | bits)

    def free(self, bits: int) -> None:
        """Takes slots away from their owners."""
        bits &= self.assigned
        if not bits:
            return
        for node in list(self.owners.values()):
            if node.slot_bits & bits:
                self._set(node, node.slot_bits & ~bits)
        self.assigned &= ~bits
        self.not_claimed &= ~bits

    def settle(self, slot: int) -> None:
        """The slot no longer moves, in either direction."""
        self.migrating.pop(slot, None)
        self.importing.pop(slot, None)

    def forget(self, node: Node) -> None:
        """Ends the moves to and from a node."""
        for moves in (self.migrating, self.importing):
            for slot in [slot for slot, other in moves.items() if other is node]:
                del moves[slot]

    def voting_count(self) -> int:
        """The size of the cluster: the number of primaries with slots."""
        return sum(1 for node in self.owners.values() if node.flags & c.FLAG_PRIMARY)

    def _set(self, node: Node, bits: int) -> None:
        node.slot_bits = bits
        node.slots = bits_to_wire(bits) if bits else c.EMPTY_SLOTS
        if bits:
            self.owners[node.node_id] = node
        else:
            self.owners.pop(node.node_id, None)
