"""The arithmetic of slot bitmaps, and the rule that no slot has two owners (S4)."""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.slots import (
    MovingSlots,
    SlotMap,
    bits_from_wire,
    bits_of,
    bits_of_ranges,
    bits_to_wire,
    ranges_of,
    slots_in,
)
from hypothesis import given
from hypothesis import strategies as st

SLOT_SETS = st.sets(st.integers(0, c.SLOTS - 1), max_size=60)


@pytest.mark.parametrize(
    ("slots", "ranges"),
    [
        ([], ()),
        ([0], ((0, 0),)),
        ([16383], ((16383, 16383),)),
        ([0, 1, 2, 7, 9, 10], ((0, 2), (7, 7), (9, 10))),
        (range(16384), ((0, 16383),)),
    ],
)
def test_s4_ranges_of_a_bitmap(slots: list[int], ranges: tuple[tuple[int, int], ...]) -> None:
    assert ranges_of(bits_of(slots)) == ranges
    assert bits_of_ranges(ranges) == bits_of(slots)


@given(SLOT_SETS)
def test_s4_bitmap_wire_and_ranges_say_the_same(slots: set[int]) -> None:
    bits = bits_of(slots)
    assert {slot for first, last in ranges_of(bits) for slot in range(first, last + 1)} == slots
    assert list(slots_in(bits)) == sorted(slots)
    assert bits_from_wire(bits_to_wire(bits)) == bits
    assert bits.bit_count() == len(slots)


def test_s4_slot_n_is_bit_n_mod_8_of_byte_n_div_8() -> None:
    wire = bits_to_wire(bits_of([0, 9, 16383]))
    assert (wire[0], wire[1], wire[2047]) == (1, 2, 128)
    assert len(wire) == 2048


@given(st.lists(st.tuples(st.integers(0, 15), st.sampled_from("abc-!")), max_size=40))
def test_s4_the_bitmaps_of_moving_slots_are_those_of_the_moves(steps: list[tuple[int, str]]) -> None:
    """A step moves a slot to or from a node, ends its move ("-"), or ends all moves ("!")."""
    nodes = {letter: Node(letter * 40, c.FLAG_PRIMARY, "", 0) for letter in "abc"}
    moves = MovingSlots()
    plain: dict[int, Node] = {}
    for slot, what in steps:
        if what == "!":
            moves.clear()
            plain.clear()
        elif what == "-":
            assert moves.pop(slot, None) is plain.pop(slot, None)
        else:
            moves[slot] = plain[slot] = nodes[what]
        assert dict(moves) == plain
        assert moves.bits == bits_of(plain)
        for node in nodes.values():
            assert moves.with_node(node) == bits_of(slot for slot, other in plain.items() if other is node)
        assert set(moves.nodes()) == set(plain.values())


@pytest.mark.parametrize("slot", [-1, 16384])
def test_s4_a_number_that_is_not_a_slot_is_refused(slot: int) -> None:
    with pytest.raises(IndexError):
        bits_of([slot])


@given(st.lists(st.tuples(st.integers(0, 3), SLOT_SETS), max_size=12))
def test_s4_owners_never_share_a_slot(steps: list[tuple[int, set[int]]]) -> None:
    slots = SlotMap()
    nodes = [Node(letter * 40, c.FLAG_PRIMARY, "", 0) for letter in "abc"]
    for who, some in steps:
        bits = bits_of(some)
        if who == 3:
            slots.free(bits)
        else:
            slots.free(bits & slots.assigned)
            slots.give(nodes[who], bits)
        union = 0
        for node in nodes:
            assert not union & node.slot_bits
            union |= node.slot_bits
            assert (node.node_id in slots.owners) == bool(node.slot_bits)
            assert node.slots == bits_to_wire(node.slot_bits)
        assert union == slots.assigned
        for slot in some:
            owner = next((node for node in nodes if node.slot_bits >> slot & 1), None)
            assert slots.owner_of(slot) is owner
        owners = {node for node in nodes if node.slot_bits & bits}
        assert set(slots.owners_of(bits)) == owners
        assert len(slots.owners_of(bits)) == len(owners)
        assert slots.voting_count() == len(slots.owners)


def test_s4_a_slot_with_an_owner_is_not_given_away() -> None:
    slots = SlotMap()
    slots.give(Node("a" * 40, c.FLAG_PRIMARY, "", 0), bits_of([1]))
    with pytest.raises(ValueError, match="has an owner"):
        slots.give(Node("b" * 40, c.FLAG_PRIMARY, "", 0), bits_of([1, 2]))
    assert slots.owner_of(1) is slots.owners["a" * 40]
    assert slots.owner_of(2) is None
