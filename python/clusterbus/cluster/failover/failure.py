"""Failure detection: PFAIL by our own timeouts, FAIL by a quorum of reports, and recovery (S3).

Owns the flags PFAIL and FAIL of every node, and the failure reports. Those of all members are kept, and only those of
voting primaries count here; `reachability` counts the others too. `cron` measures which nodes are late; this module
decides what follows. Main thread. Source: `markNodeAsFailingIfNeeded`, `clearNodeFailureIfNeeded`,
`clusterNodeAddFailureReport`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import NodeFailed, NodeRecovered, NodeSuspected
from clusterbus.cluster.failover import replication
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.history.change import Cause
from clusterbus.cluster.membership import observing
from clusterbus.cluster.model.node import Node


def suspect(core: Core, node: Node) -> None:
    """A node was silent for longer than the node timeout: it is PFAIL, and FAIL if a quorum agrees."""
    if node.flags & c.FAILING:
        return
    with core.history.because(Cause.NODE_TIMEOUT):
        _set_suspected(core, node)


def _set_suspected(core: Core, node: Node) -> None:
    core.set_failure_flags(node, c.FLAG_PFAIL)
    core.log("notice", f"NODE {node.name} possibly failing.")
    core.notify(NodeSuspected(node.node_id))
    mark_failed_if_agreed(core, node)


def report(core: Core, node: Node, reporter: Node) -> None:
    """A member reports that a node is failing."""
    if reporter not in node.fail_reports:
        _log_report(core, node, reporter, "as not reachable")
        core.table.reported[node.node_id] = node
        node.touch()
        reporter.touch()
    node.fail_reports[reporter] = core.now_ms
    mark_failed_if_agreed(core, node)


def withdraw(core: Core, node: Node, reporter: Node) -> None:
    """The same member reports that the node is well."""
    if node.fail_reports.pop(reporter, None) is not None:
        node.touch()
        reporter.touch()
        _log_report(core, node, reporter, "is back online")
        count_reports(core, node)


def _log_report(core: Core, node: Node, reporter: Node, what: str) -> None:
    """As Valkey logs it. The reports of members that have no vote are many, and decide less."""
    if reporter.is_voting or core.logs_verbose:
        level = "notice" if reporter.is_voting else "verbose"
        core.log(level, f"Node {reporter.name} reported node {node.name} {what}.")


def count_reports(core: Core, node: Node) -> int:
    """The number of valid reports of voting primaries. Drops those of any that are older than 2 x node timeout."""
    oldest_ms = core.now_ms - core.node_timeout_ms * c.FAIL_REPORT_VALIDITY
    expired = [
        reporter
        for reporter, reported_ms in node.fail_reports.items()
        if reported_ms < oldest_ms and reporter.times.reports_repeated_ms < oldest_ms
    ]
    for reporter in expired:
        del node.fail_reports[reporter]
        node.touch()
        reporter.touch()
    if not node.fail_reports:
        core.table.reported.pop(node.node_id, None)
    return sum(1 for reporter in node.fail_reports if reporter.is_voting)


def mark_failed_if_agreed(core: Core, node: Node) -> None:
    """Flags a node FAIL and broadcasts it, if it is PFAIL here and a majority of the voting primaries agrees."""
    if not node.is_pfail:
        return
    votes = count_reports(core, node) + core.myself.is_voting
    if votes < core.slots.voting_count() // 2 + 1:
        return
    core.log("notice", f"Marking node {node.name} as failing (quorum reached).")
    _set_failed(core, node, reported_by=None)
    _tell_failed(core, node)


def give_up(core: Core, node: Node) -> None:
    """A node is nowhere to be found: it is FAIL without a quorum, and everybody is told (P6)."""
    if node.is_failed:
        return
    core.log("notice", f"Marking node {node.name} as failing (another node answers at its address).")
    _set_failed(core, node, reported_by=None)
    _tell_failed(core, node)


def _tell_failed(core: Core, node: Node) -> None:
    """Tells everybody that a node is FAIL; an observer keeps what it finds to itself."""
    if not observing.is_on(core):
        heartbeat.broadcast_fail(core, node)


def take_fail_message(core: Core, node: Node, sender: Node) -> None:
    """A known node broadcasts that `node` is FAIL: we believe it, unless it only observes."""
    if node.is_failed or node is core.myself or sender.is_observer:
        return
    core.log("notice", f"FAIL message received from {sender.name} about {node.name}")
    _set_failed(core, node, reported_by=sender.node_id)


def note_answer(core: Core, node: Node) -> None:
    """A node answered our PING: it is no longer PFAIL. FAIL ends only under conditions."""
    if not node.flags & c.FAILING:
        return
    with core.history.because(Cause.ANSWER):
        if node.is_failed:
            _clear_failed_if_due(core, node)
            return
        core.set_failure_flags(node, 0)
        core.notify(NodeRecovered(node.node_id, was_failed=False))
        core.want_save()


def _set_failed(core: Core, node: Node, *, reported_by: str | None) -> None:
    core.set_failure_flags(node, c.FLAG_FAIL)
    node.fail_time_ms = core.now_ms
    if node is core.myself.replicaof:  # a sibling may wait for this to be elected without delay (P13)
        replication.refresh_offset(core)
        heartbeat.broadcast_pong(core, node.replicas.values())
    core.notify(NodeFailed(node.node_id, reported_by))
    core.want_save()


def _clear_failed_if_due(core: Core, node: Node) -> None:
    """Clears FAIL: at once if the node has no slots, else if it still has them 2 x node timeout after the failure."""
    if node.is_voting:
        if core.now_ms - node.fail_time_ms <= core.node_timeout_ms * c.FAIL_UNDO:
            return
        why = "is reachable again and nobody is serving its slots after some time"
    else:
        why = f"{'replica' if node.is_replica else 'primary without slots'} is reachable again"
    core.log("notice", f"Clear FAIL state for node {node.name}: {why}.")
    core.set_failure_flags(node, 0)
    core.notify(NodeRecovered(node.node_id, was_failed=True))
    core.want_save()
