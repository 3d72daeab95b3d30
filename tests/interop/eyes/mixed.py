"""Three Valkey and three clusterbus nodes, and what happens to them: a failover, a partition, a node with another id.

Owns the layout, and which node meets which trouble. Each trouble returns when all who can know of it do.

    number  kind        role
    0       Valkey      primary of slots 0-5460, which has the keys     fails over to 3
    1       clusterbus  primary of slots 5461-10922                     cut off together with 4
    2       Valkey      primary of slots 10923-16383
    3       Valkey      replica of 0
    4       clusterbus  replica of 1
    5       clusterbus  replica of 2                                    comes back with another id
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from clusterbus.testing import BlockingCluster, NodeHandle, blocking_cluster
from clusterbus.testing.processes import ProcessNode

NODE_TIMEOUT_MS: Final = 1_000
VALKEY: Final = (0, 2, 3)
OURS: Final = (1, 4, 5)
WAIT_S: Final = 30.0


@dataclass(frozen=True)
class Failover:
    """A primary was killed, and its replica is the primary now."""

    old: NodeHandle
    new: NodeHandle


@dataclass(frozen=True)
class Partition:
    """The nodes of the minority, and the others, which hold the primary of the minority failed."""

    minority: tuple[NodeHandle, ...]
    majority: tuple[NodeHandle, ...]


@dataclass(frozen=True)
class Replaced:
    """A node that came back at its address with another id."""

    handle: NodeHandle
    old_id: str
    new_id: str


class Mixed:
    """The cluster by number. `cluster` has everything else that a `BlockingCluster` does."""

    def __init__(self, cluster: BlockingCluster) -> None:
        self.cluster = cluster

    @property
    def nodes(self) -> tuple[NodeHandle, ...]:
        """All nodes, running or not: `host`, `port`, `bus_port`, `node_id`, `kind`, `is_running`."""
        return self.cluster.ask(lambda made: made.handles)

    @property
    def running(self) -> list[NodeHandle]:
        return [node for node in self.nodes if node.is_running]

    @property
    def seed(self) -> str:
        """host:port of node 2, a Valkey primary that no trouble meets."""
        return self.address(2)

    def address(self, n: int) -> str:
        return f"{self.nodes[n].host}:{self.nodes[n].port}"

    def call(self, n: int, *words: str | int) -> Any:
        """The reply of a node to a command, text for a string."""
        node = self.nodes[n]
        assert isinstance(node, ProcessNode)
        reply = self.cluster.run(lambda _made: node.command(*words))
        return reply.decode() if isinstance(reply, bytes) else reply

    def log(self, n: int) -> str:
        """The last lines that a node has logged."""
        node = self.nodes[n]
        assert isinstance(node, ProcessNode)
        return "\n".join(self.cluster.ask(lambda _made: list(node.log)))

    # ------------------------------------------------------------ troubles

    def failover(self) -> Failover:
        """Kills primary 0; returns when everybody knows that 3 has been elected in its place. Once in a cluster."""
        old, new = self.nodes[0], self.nodes[3]
        self.cluster.fail(0)
        self.cluster.wait_ok(timeout_s=WAIT_S)
        return Failover(old, new)

    def come_back(self) -> None:
        """What `failover` killed starts again, as a replica of its successor; returns when all is well."""
        self.cluster.restart(0)
        self.cluster.wait_ok(timeout_s=WAIT_S)

    def partition(self) -> Partition:
        """Cuts off 1 and 4; returns when the majority holds 1 failed. An observer and clients reach both sides."""
        minority = (1, 4)
        majority = tuple(n for n in range(len(self.nodes)) if n not in minority)
        self.cluster.partition(minority, majority)
        self.cluster.wait_failed(1, WAIT_S)
        nodes = self.nodes
        return Partition(tuple(nodes[n] for n in minority), tuple(nodes[n] for n in majority))

    def heal(self) -> None:
        """Ends the partition; returns when all is well."""
        self.cluster.heal()
        self.cluster.wait_ok(timeout_s=WAIT_S)

    def come_back_with_another_id(self) -> Replaced:
        """Node 5 loses its nodes.conf and comes back, introduced to node 2. The old id is held failed by now."""
        old_id = self.nodes[5].node_id
        new_id = self.cluster.replace(5, by=2)
        return Replaced(self.nodes[5], old_id, new_id)


@contextlib.contextmanager
def mixed_cluster(**directives: Any) -> Iterator[Mixed]:
    """The cluster; `ours`, a mapping of directives, goes to clusterbus nodes alone, or a function of their number."""
    ours = directives.pop("ours", {})
    only: Any = {n: ours(n) if callable(ours) else dict(ours) for n in OURS}
    common: dict[str, Any] = {"cluster_node_timeout": NODE_TIMEOUT_MS, "enable_debug_command": "yes"}
    with blocking_cluster(
        primaries=3, replicas=1, processes=True, valkey=VALKEY, only=only, **(common | directives)
    ) as made:
        yield Mixed(made)
