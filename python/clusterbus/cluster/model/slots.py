"""The owner of each slot: `SlotMap`, and the arithmetic of slot bitmaps.

Owns every change of `Node.slot_bits` and `Node.slots`, so that no slot has two owners. A bitmap is an integer whose bit
n is slot n; on the wire the same number is little-endian in 2,048 bytes. Knows no epochs, and not which node may take
which slot (`roles` does). Main thread.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, MutableMapping

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
    """A bitmap as ascending inclusive (first, last) ranges."""
    if not bits:
        return ()
    offset = (bits & -bits).bit_length() - 1
    bits >>= offset
    end = (~bits & (bits + 1)).bit_length() - 1
    if not bits >> end:  # one range, as most nodes have
        return ((offset, offset + end - 1),)
    # Shifts copy the bitmap each time: a slot map in pieces would cost milliseconds, its digits cost microseconds.
    digits = f"{bits:b}"[::-1] + "0"
    ranges = []
    first = 0
    while first >= 0:
        end = digits.index("0", first)
        ranges.append((offset + first, offset + end - 1))
        first = digits.find("1", end)
    return tuple(ranges)


def slots_in(bits: int) -> Iterator[int]:
    """The slots of a bitmap, in ascending order."""
    for first, last in ranges_of(bits):
        yield from range(first, last + 1)


class MovingSlots(MutableMapping[int, Node]):
    """Slots on the move in one direction, each with the node at the other end.

    `bits` are all of them as a bitmap, `with_node` those of one node: a heartbeat is compared with these and not with
    every move, since a reshard leaves thousands open when it is ended.
    """

    def __init__(self) -> None:
        self.bits = 0
        self._others: dict[int, Node] = {}
        self._bits_of: dict[Node, int] = {}

    def __getitem__(self, slot: int) -> Node:
        return self._others[slot]

    def __setitem__(self, slot: int, other: Node) -> None:
        self.pop(slot, None)
        self._others[slot] = other
        self.bits |= 1 << slot
        self._bits_of[other] = self._bits_of.get(other, 0) | 1 << slot

    def __delitem__(self, slot: int) -> None:
        other = self._others.pop(slot)
        self.bits &= ~(1 << slot)
        self._bits_of[other] &= ~(1 << slot)
        if not self._bits_of[other]:
            del self._bits_of[other]

    def __iter__(self) -> Iterator[int]:
        return iter(self._others)

    def __len__(self) -> int:
        return len(self._others)

    def __contains__(self, slot: object) -> bool:
        return slot in self._others

    def items(self) -> ItemsView[int, Node]:
        return self._others.items()

    def with_node(self, other: Node) -> int:
        """The slots whose other end is that node, as a bitmap."""
        return self._bits_of.get(other, 0)

    def nodes(self) -> list[Node]:
        """The nodes at the other ends, each once."""
        return list(self._bits_of)


class SlotMap:
    """The owner of each slot.

    Invariants: `owners` are exactly the nodes with slots; their bitmaps are disjoint, and their union is `assigned`.
    `not_claimed` are slots whose owner has stopped claiming them. They stay with the owner until another node claims
    them, but our UPDATEs about the owner leave them out. `migrating` and `importing` are the slots that move from and
    to this node, with the node at the other end.
    """

    def __init__(self) -> None:
        self.owners: dict[str, Node] = {}
        self._owner_of: list[Node | None] = [None] * c.SLOTS
        self.assigned = 0
        self.not_claimed = 0
        self.migrating = MovingSlots()
        self.importing = MovingSlots()

    def owner_of(self, slot: int) -> Node | None:
        """The owner of one slot."""
        return self._owner_of[slot]

    def owners_of(self, bits: int) -> list[Node]:
        """The owners of these slots, each once."""
        if bits.bit_count() >= len(self.owners):
            return [node for node in self.owners.values() if node.slot_bits & bits]
        owners = (self._owner_of[slot] for slot in slots_in(bits))
        return list(dict.fromkeys(owner for owner in owners if owner is not None))

    def give(self, node: Node, bits: int) -> None:
        """Gives free slots to a node. Every slot of `bits` must be unassigned."""
        if bits & self.assigned:
            raise ValueError("a slot of the bitmap has an owner")
        if not bits:
            return
        self.assigned |= bits
        self.not_claimed &= ~bits
        self._set(node, node.slot_bits | bits)
        self._note_owner(node, bits)

    def free(self, bits: int) -> None:
        """Takes slots away from their owners."""
        bits &= self.assigned
        if not bits:
            return
        for node in self.owners_of(bits):
            self._set(node, node.slot_bits & ~bits)
        self._note_owner(None, bits)
        self.assigned &= ~bits
        self.not_claimed &= ~bits

    def settle(self, slot: int) -> None:
        """The slot no longer moves, in either direction."""
        self.migrating.pop(slot, None)
        self.importing.pop(slot, None)

    def forget(self, node: Node) -> None:
        """Ends the moves to and from a node."""
        for moves in (self.migrating, self.importing):
            for slot in slots_in(moves.with_node(node)):
                del moves[slot]

    def voting_count(self) -> int:
        """The size of the cluster: the number of primaries with slots."""
        return sum(1 for node in self.owners.values() if node.flags & c.FLAG_PRIMARY)

    def _note_owner(self, node: Node | None, bits: int) -> None:
        for first, last in ranges_of(bits):
            self._owner_of[first : last + 1] = [node] * (last + 1 - first)

    def _set(self, node: Node, bits: int) -> None:
        node.slot_bits = bits
        node.slots = bits_to_wire(bits) if bits else c.EMPTY_SLOTS
        if bits:
            self.owners[node.node_id] = node
        else:
            self.owners.pop(node.node_id, None)
