"""Replica migration (S6): a replica moves to a primary that has no working replica left.

Owns `Node.orphaned_ms` and the choice of the one replica that moves. Must never move it while the state of the cluster
is fail, or if its primary would keep fewer replicas than cluster-migration-barrier. Main thread. Source:
`clusterHandleReplicaMigration`, `clusterCron`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import no_harm, replication
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.surveys import Survey

REPLICAS_SPARED_MIN = 2
"""A primary with fewer working replicas than this has none to spare."""


def consider(core: Core) -> None:
    """Once a second: moves this replica to an orphaned primary, if this is the replica to move."""
    my_primary = core.myself.replicaof
    if my_primary is None or not core.config.cluster_allow_replica_migration:
        return
    if core.survey.version != core.version.number:
        core.survey = _survey(core)
    working = core.survey.working
    orphans = [node for node in core.survey.orphans if no_harm.may_follow(core, node)]
    most = max(working.values(), default=0)
    if not orphans or not core.state_is_ok or most < REPLICAS_SPARED_MIN:
        return
    if working.get(my_primary, 0) != most or _working_replicas(my_primary) <= core.config.cluster_migration_barrier:
        return
    candidates = [replica.node_id for node, count in working.items() if count == most for replica in _working(node)]
    if core.myself.node_id != min(candidates):
        return
    target = min(orphans, key=lambda node: (node.orphaned_ms, node.node_id))
    if core.now_ms - target.orphaned_ms <= c.MIGRATION_DELAY_MS:
        return
    core.log("notice", f"Migrating to orphaned primary {target.name} in shard {target.shard_id}")
    replication.replicate(core, target)


def _survey(core: Core) -> Survey:
    """Finds the orphaned primaries, and notes since when they are.

    A primary is orphaned if it has slots and should have replicas, but none of them works.
    """
    orphans: list[Node] = []
    working: dict[Node, int] = {}
    for node in core.table.all_nodes:
        if not node.is_primary or node.is_failed:
            node.orphaned_ms = 0
            continue
        working[node] = _working_replicas(node)
        if working[node] or not node.slot_bits or not node.flags & c.FLAG_MIGRATE_TO:
            node.orphaned_ms = 0
            continue
        node.orphaned_ms = node.orphaned_ms or core.now_ms
        orphans.append(node)
    return Survey(core.version.number, orphans, working)


def _working(node: Node) -> list[Node]:
    """Its replicas that are not FAIL: PFAIL is our own suspicion alone, and no reason to leave our primary (P8)."""
    return [replica for replica in node.replicas.values() if not replica.is_failed]


def _working_replicas(node: Node) -> int:
    return len(_working(node))
