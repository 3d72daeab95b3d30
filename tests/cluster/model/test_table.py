"""The table of nodes: all indexes agree, random picks are even, forgotten ids expire (S2, S9, H30)."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.table import ForgottenNodes, NodeTable
from hypothesis import given
from hypothesis import strategies as st


def node_named(number: int, flags: int = c.FLAG_PRIMARY) -> Node:
    node = Node(f"{number:040x}", flags, "", 0)
    node.ip, node.cport = f"10.0.0.{number}", 17000
    return node


def new_table() -> NodeTable:
    return NodeTable(node_named(0))


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=60))
def test_s2_all_indexes_of_the_table_agree(steps: list[tuple[bool, int]]) -> None:
    table = new_table()
    kept = {table.myself.node_id: table.myself}
    for adds, number in steps:
        name = f"{number:040x}"
        if adds and name not in kept:
            flags = c.FLAG_HANDSHAKE if number % 3 == 0 else c.FLAG_PRIMARY
            kept[name] = node_named(number, flags)
            kept[name].provisional = number % 4 == 0
            table.add(kept[name])
        elif not adds and name in kept:
            table.remove(kept.pop(name))
        assert table.nodes == kept
        assert {node.node_id for node in table} == set(kept)
        assert len(table) == len(kept)
        assert {node.node_id for node in table.handshakes.values()} == {
            name for name, node in kept.items() if node.in_handshake
        }
        assert table.provisional_count == sum(node.provisional for node in kept.values())
    seed = Random(1)
    assert {table.pick(seed).node_id for _ in range(40 * len(kept))} == set(kept)


def test_s2_picks_are_even() -> None:
    table = new_table()
    for number in range(1, 10):
        table.add(node_named(number))
    seed = Random(5)
    picks = Counter(table.pick(seed).node_id for _ in range(10_000))
    assert len(picks) == 10
    assert min(picks.values()) > 850


def test_s1_a_renamed_node_is_found_under_its_new_id_alone() -> None:
    table = new_table()
    node = node_named(3, c.FLAG_HANDSHAKE)
    table.add(node)
    table.rename(node, "a" * 40)
    assert table.find("a" * 40) is node
    assert table.find(f"{3:040x}") is None
    assert not node.in_handshake
    assert not table.handshakes
    with pytest.raises(ValueError, match="in the table already"):
        table.rename(node, table.myself.node_id)


def test_s1_an_id_is_in_the_table_once() -> None:
    table = new_table()
    with pytest.raises(ValueError, match="in the table already"):
        table.add(node_named(0))


def test_s9_forgotten_nodes_keep_out_until_their_time() -> None:
    forgotten = ForgottenNodes()
    forgotten.add("a" * 40, 5_000)
    assert forgotten.has("a" * 40, 4_999)
    assert not forgotten.has("a" * 40, 5_000)
    assert not forgotten.has("b" * 40, 0)
    assert list(forgotten.remaining(2_500)) == [("a" * 40, 2)]
    assert list(forgotten.remaining(4_500)) == []
    forgotten.add("a" * 40, 9_000)
    assert len(forgotten) == 1
    forgotten.expire(8_999)
    assert len(forgotten) == 1
    forgotten.expire(9_000)
    assert len(forgotten) == 0
