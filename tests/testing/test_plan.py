"""Roles, slots and epochs of a planned cluster, and what each node reads of them."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster.operator import persist
from clusterbus.errors import StateError
from clusterbus.runtime.free_ports import PortPair
from clusterbus.testing.plan import NODES_MAX, counts, nodes_conf, plan


def test_primaries_share_all_slots_and_replicas_follow_in_turn() -> None:
    planned = plan(3, 2, slots=True)
    assert [node.primary for node in planned] == [None, None, None, 0, 1, 2, 0, 1, 2]
    assert [node.slots for node in planned[:3]] == [((0, 5460),), ((5461, 10921),), ((10922, 16383),)]
    assert [node.config_epoch for node in planned] == [1, 2, 3] * 3
    assert all(node.shard_id == planned[node.primary or 0].shard_id for node in planned[3::3])
    assert all(not node.slots for node in planned[3:])
    assert all(not node.slots for node in plan(3, 0, slots=False))


def test_each_node_reads_the_same_cluster_from_its_own_place() -> None:
    planned = plan(2, 1, slots=True)
    pairs = [PortPair(7000 + number, 17000 + number, ()) for number in range(4)]
    for number in range(4):
        conf = persist.parse(nodes_conf(planned, pairs, number))
        assert persist.myself_of(conf).node_id == planned[number].node_id
        assert [(record.port, record.cport) for record in conf.nodes] == [(7000 + n, 17000 + n) for n in range(4)]
        assert [record.primary_id for record in conf.nodes] == [
            None, None, planned[0].node_id, planned[1].node_id
        ]  # fmt: skip
        assert conf.current_epoch == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((None, None, 0), "give either nodes or primaries"),
        ((3, 3, 0), "give either nodes or primaries"),
        ((5, None, 1), "nodes is 5, and shards of 2 do not make that up"),
        ((0, None, 0), "nodes is 0, and shards of 1 do not make that up"),
        ((None, 3, -1), "replicas is -1, and cannot be negative"),
        (("5", None, 0), "nodes must be an int, not str"),
        ((None, True, 0), "primaries must be an int, not bool"),
        ((None, 0, 1), "a cluster of 0 nodes: 1 to 200 are possible"),
        ((NODES_MAX + 1, None, 0), "a cluster of 201 nodes: 1 to 200 are possible"),
    ],
)
def test_impossible_numbers_are_refused(arguments: Any, text: str) -> None:
    with pytest.raises(StateError, match=text):
        counts(*arguments)


def test_the_numbers_of_nodes() -> None:
    assert counts(5, None, 0) == (5, 0)
    assert counts(6, None, 1) == (3, 1)
    assert counts(None, 3, 2) == (3, 2)
    assert counts(NODES_MAX, None, 0) == (NODES_MAX, 0)
