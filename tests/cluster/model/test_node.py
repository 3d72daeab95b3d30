"""A new node: every field has its declared value, nothing is shared with another node, and later changes are noted."""

from __future__ import annotations

from dataclasses import fields

from clusterbus.cluster import constants as c
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.table import NodeTable


def new_node(letter: str) -> Node:
    return Node(letter * 40, c.FLAG_PRIMARY, "f" * 40, 7)


def test_a_new_node_has_every_field_and_shares_none_that_can_change() -> None:
    one, other = new_node("a"), new_node("b")
    assert (one.node_id, one.flags, one.shard_id) == ("a" * 40, c.FLAG_PRIMARY, "f" * 40)
    assert (one.created_ms, one.inbound_lost_ms) == (7, 7)
    for field in fields(Node):
        mine, others = getattr(one, field.name), getattr(other, field.name)
        assert mine is not others or not isinstance(mine, dict), field.name
    assert one.times is not other.times
    assert not one.times.gossiped_pong_ms


def test_the_first_change_after_the_constructor_moves_version_times_and_agenda() -> None:
    table = NodeTable(new_node("a"))
    node = new_node("b")
    table.add(node)
    table.agenda.put(node, 10_000)
    before = table.version.number
    node.hostname = "a.example"
    assert table.version.number > before
    node.dialing = ("10.0.0.1", 17000)
    assert table.agenda.due_ms(node) == 0
