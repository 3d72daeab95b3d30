"""Who has which role, slots and epoch in a cluster of a test, and nodes.conf of each node that says so.

Owns the layout: primaries first, then their replicas in turn, equal shares of the slots, one epoch for each primary.
Opens nothing. Any thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clusterbus.cluster.constants import FLAG_MYSELF, FLAG_PRIMARY, FLAG_REPLICA
from clusterbus.cluster.model.records import NodeRecord, NodesConf, text_of
from clusterbus.errors import StateError
from clusterbus.runtime.free_ports import PortPair
from clusterbus.wire import CLUSTER_SLOTS

NODES_MAX: Final = 200
HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """One node: `primary` is the number of the node that it replicates, None for a primary."""

    node_id: str
    shard_id: str
    primary: int | None
    config_epoch: int
    slots: tuple[tuple[int, int], ...]


def counts(nodes: int | None, primaries: int | None, replicas: int) -> tuple[int, int]:
    """How many primaries, and how many replicas of each. Raises StateError, which names the argument."""
    for name, value in (("nodes", nodes), ("primaries", primaries), ("replicas", replicas)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise StateError(f"{name} must be an int, not {type(value).__name__}")
    if (nodes is None) == (primaries is None):
        raise StateError("give either nodes or primaries")
    if replicas < 0:
        raise StateError(f"replicas is {replicas}, and cannot be negative")
    shard = 1 + replicas
    if primaries is None:
        assert nodes is not None
        if nodes < 1 or nodes % shard:
            raise StateError(f"nodes is {nodes}, and shards of {shard} do not make that up")
        primaries = nodes // shard
    if not 1 <= primaries * shard <= NODES_MAX:
        raise StateError(f"a cluster of {primaries * shard} nodes: 1 to {NODES_MAX} are possible")
    return primaries, replicas


def plan(primaries: int, replicas: int, *, slots: bool) -> list[PlannedNode]:
    """The nodes by number: primary 0 and so on, then a first replica of each, then a second one of each."""
    ends = [CLUSTER_SLOTS * number // primaries for number in range(primaries + 1)]
    planned = [
        PlannedNode(_new_id(), _new_id(), None, number + 1, ((ends[number], ends[number + 1] - 1),) if slots else ())
        for number in range(primaries)
    ]
    for _ in range(replicas):
        for number, primary in enumerate(planned[:primaries]):
            planned.append(PlannedNode(_new_id(), primary.shard_id, number, primary.config_epoch, ()))
    return planned


def nodes_conf(planned: Sequence[PlannedNode], ports: Sequence[PortPair], myself: int) -> str:
    """The text of nodes.conf for one node."""
    records = []
    for number, (node, pair) in enumerate(zip(planned, ports, strict=True)):
        flags = FLAG_PRIMARY if node.primary is None else FLAG_REPLICA
        records.append(
            NodeRecord(
                node_id=node.node_id,
                ip=HOST,
                port=pair.port,
                cport=pair.bus_port,
                flags=flags | (FLAG_MYSELF if number == myself else 0),
                aux={"shard-id": node.shard_id},
                primary_id=None if node.primary is None else planned[node.primary].node_id,
                config_epoch=node.config_epoch,
                connected=number == myself,
                slots=node.slots,
            )
        )
    epoch = max(node.config_epoch for node in planned)
    return text_of(NodesConf(tuple(records), current_epoch=epoch))


def _new_id() -> str:
    return secrets.token_hex(20)
