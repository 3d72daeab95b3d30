"""A primary hands its slots over to a replica before it goes (P29).

Owns `Core.handover`: the choice of the replica, the wait for its failover, and when the wait is over. The failover
itself is a manual one (`manual_failover`), which the replica begins. Must never keep a node from going for longer than
`shutdown-timeout`. Main thread. Source: `clusterAutoFailoverOnShutdown`, where the replica is told by the replication
stream and begins at once.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import HandoverEnded
from clusterbus.cluster.failover import replication
from clusterbus.cluster.model.election_state import Handover
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.operator import shard_orders


def begin(core: Core, timeout_ms: int) -> bool:
    """Asks the best replica to take over. False if there is nothing to hand over, or nobody to take it.

    While this lasts, `core.handover` is set; it ends with the event HandoverEnded.
    """
    if not core.myself.is_voting:
        return False
    heirs = [replica for replica in core.myself.replicas.values() if _may_take_over(replica)]
    if not heirs:
        core.log("warning", "Failover on shutdown: there is no replica that could take over.")
        return False
    heir = max(heirs, key=lambda replica: (replica.repl_offset, replica.node_id))
    core.log("notice", f"Failover on shutdown: {heir.name} is asked to take over.")
    core.handover = Handover(core.now_ms, core.now_ms + timeout_ms, heir)
    shard_orders.ask_to_take_over(core, heir)
    return True


def tick(core: Core) -> None:
    """Ends a hand-over that is done, or that takes too long."""
    handover = core.handover
    if handover is None:
        return
    if not core.myself.is_voting:
        _end(core, "notice", f"Failover on shutdown: {handover.heir.name} took over.", done=True)
    elif core.now_ms > handover.end_ms:
        _end(core, "warning", "Failover on shutdown: not done in time.", done=False)
    elif core.manual.replica is None and core.now_ms > handover.begun_ms + c.HANDOVER_ANSWER_MS:
        _end(core, "warning", f"Failover on shutdown: {handover.heir.name} does not take over.", done=False)


def abort(core: Core) -> None:
    """The node stays after all. A failover that its replica has begun already may still succeed."""
    core.handover = None
    replication.end_manual_failover(core)


def _may_take_over(replica: Node) -> bool:
    return replica.link is not None and not replica.flags & (c.FAILING | c.FLAG_NOFAILOVER) and replica.has_told_offset


def _end(core: Core, level: str, text: str, *, done: bool) -> None:
    core.log(level, text)
    core.handover = None
    core.notify(HandoverEnded(done))
