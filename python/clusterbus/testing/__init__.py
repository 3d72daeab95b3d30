"""Clusters for tests: up in about a second, in the process of the test or as processes, with faults on demand.

    from clusterbus.testing import cluster

    async with cluster(primaries=3, replicas=1) as c:
        await c.fail(0)
        await c.wait_until(lambda: c.nodes[3].me.is_primary)

Nobody waits for handshakes: the roles, slots and epochs of a cluster are planned, and each node starts from a
nodes.conf that says so, as after a restart. So all kinds of nodes start alike: buses of the test, `clusterbus node`,
real Valkey.
The ports are drawn first and kept as long as the cluster lives, so that a node that comes back has its address again.

Its files in reading order:

    ports      free ports for servers of the test's own
    plan       who has which role, slots and epoch, as nodes.conf of each node
    view       what one node sees of the cluster
    handle     `NodeHandle`: what the cluster does with a node of any kind
    buses      nodes in this process
    processes  nodes that are processes, and the commands that stand for method calls there
    proxies    the network between processes, which can be cut
    clusters   `Cluster` and `cluster`
    blocking   the same for plain code: its loop runs in a thread
    plugin     fixtures for pytest, which finds them by the package's entry point

The layer beside the buses; nothing below imports it. A name is imported when it is first asked for, because pytest
loads the plugin in every run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clusterbus.testing.blocking import BlockingCluster, blocking_cluster
    from clusterbus.testing.clusters import Cluster, cluster
    from clusterbus.testing.handle import NodeHandle, NodeKind
    from clusterbus.testing.plugin import RunCoroutine, StartCluster
    from clusterbus.testing.ports import free_port_pair, free_ports

__all__ = [
    "BlockingCluster",
    "Cluster",
    "NodeHandle",
    "NodeKind",
    "RunCoroutine",
    "StartCluster",
    "blocking_cluster",
    "cluster",
    "free_port_pair",
    "free_ports",
]

_MODULE_OF = {
    "BlockingCluster": "clusterbus.testing.blocking",
    "blocking_cluster": "clusterbus.testing.blocking",
    "Cluster": "clusterbus.testing.clusters",
    "cluster": "clusterbus.testing.clusters",
    "NodeHandle": "clusterbus.testing.handle",
    "NodeKind": "clusterbus.testing.handle",
    "RunCoroutine": "clusterbus.testing.plugin",
    "StartCluster": "clusterbus.testing.plugin",
    "free_port_pair": "clusterbus.testing.ports",
    "free_ports": "clusterbus.testing.ports",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _MODULE_OF:
            value = globals()[name] = getattr(importlib.import_module(_MODULE_OF[name]), name)
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
