"""Which nodes most of the cluster cannot reach, whoever owns slots: the failures that a membership is about.

Owns `Node.is_unreachable` and the events about it. FAIL is the business of primaries that own slots (`failure`); here
each member that this node reaches counts, with the same failure reports. Must never change a failure flag or what a
heartbeat says. Runs at the tick. Main thread.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import NodeReachable, NodeUnreachable
from clusterbus.cluster.model.node import Node

REPORT_STANDS: Final = 1
"""A report counts here for this many node timeouts after it was repeated last: whoever holds a node PFAIL says so in
each of its heartbeats, at least two in a node timeout. For FAIL it counts longer."""
NOT_REACHED: Final = c.FAILING | c.FLAG_HANDSHAKE | c.FLAG_NOADDR
JUDGED_EACH_TICK_MAX: Final = 4_096
"""If the suspects times the members are more than this, suspects are judged once a second instead of at each tick."""


class Census(NamedTuple):
    """How many members this node reaches, itself included, of how many that it knows; observers are left out."""

    reached: int
    known: int


def census(core: Core) -> Census:
    """Counts the members. Nodes in handshake, and those that only a stranger has mentioned, are no members yet, and who
    only observes is none.
    """
    members = [node for node in core.table.all_nodes if not (node.in_handshake or node.provisional or node.is_observer)]
    return Census(sum(1 for node in members if _is_reached(node)), len(members))


def tick(core: Core, *, is_second: bool) -> None:
    """Judges all suspects, if anything has changed since the last time, and once a second, since reports lapse.
    `is_second`: of ten ticks this is the one.
    """
    table, version = core.table, core.version.number
    if core.judged_version == version and not is_second:
        return
    suspects = table.failing | table.reported | table.unreachable
    if len(suspects) * len(table) > JUDGED_EACH_TICK_MAX and not is_second:
        return
    core.judged_version = version
    if not suspects:
        return
    reached = census(core).reached
    for node in table.in_order(suspects.values()):
        if not (node.in_handshake or node.provisional):
            _judge(core, node, reached)


def _judge(core: Core, node: Node, reached: int) -> None:
    """Nobody is asked about itself: the members that count are those that this node reaches, without `node`."""
    of = reached - (_is_reached(node) and not node.is_observer)
    oldest_ms = core.now_ms - core.node_timeout_ms * REPORT_STANDS
    reporters = sum(
        1
        for reporter, told_ms in node.fail_reports.items()
        if max(told_ms, reporter.times.reports_repeated_ms) >= oldest_ms
        and _is_reached(reporter)
        and not reporter.is_observer
        and reporter is not node
    )
    suspected_by = (bool(node.flags & c.FAILING) and not core.myself.is_observer) + reporters
    is_unreachable = node.is_failed or suspected_by > of // 2
    if is_unreachable is node.is_unreachable:
        return
    node.is_unreachable = is_unreachable
    if is_unreachable:
        core.table.unreachable[node.node_id] = node
        core.log("notice", f"Node {node.name} is unreachable: so say {suspected_by} of {of} members within reach.")
        core.notify(NodeUnreachable(node.node_id, suspected_by, of))
    else:
        del core.table.unreachable[node.node_id]
        core.log("notice", f"Node {node.name} is reachable again.")
        core.notify(NodeReachable(node.node_id))


def _is_reached(node: Node) -> bool:
    """Whether this node counts on what a member says: it does not itself hold it as failing."""
    return not (node.flags & NOT_REACHED or node.provisional)
