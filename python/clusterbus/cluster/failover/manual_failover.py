"""Manual failover (S6): an operator makes a replica the primary, without a failure and without losing writes.

Owns `Core.manual` until it ends. Must never let writes be paused for longer than promised. Main loop only.
Source: `clusterCommandSpecial` (FAILOVER), `clusterHandleManualFailover`, `clusterSendMFStart`.

    replica: MFSTART -> primary: writes paused, PINGs say so and where it stands -> replica: stands there too
             -> election with force-ack and no delay
    FORCE leaves the primary out of it; TAKEOVER takes a new epoch with nobody's vote
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import WritesPaused
from clusterbus.cluster.failover import election, epochs, replication
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.model.node import Link, Node
from clusterbus.errors import StateError
from clusterbus.wire import Packet


def order(core: Core, *, force: bool, takeover: bool) -> None:
    """CLUSTER FAILOVER [FORCE|TAKEOVER]; what comes of it is seen later. Raises StateError on a primary, for an
    unknown primary and, without either word, for one that is down.
    """
    myself = core.myself
    primary = myself.replicaof
    if myself.is_primary:
        raise StateError("You should send CLUSTER FAILOVER to a replica")
    if primary is None:
        raise StateError("I'm a replica but my master is unknown to me")
    if not (force or takeover) and (primary.is_failed or primary.link is None):
        raise StateError("Master is down or failed, please use CLUSTER FAILOVER FORCE")
    replication.end_manual_failover(core)
    if takeover:
        core.log("notice", "Taking over the primary (user request).")
        replication.end_election(core, "taken over")
        epochs.bump(core)
        replication.promote(core)
        return
    core.manual.end_ms = core.now_ms + core.config.cluster_manual_failover_timeout
    if force:
        core.log("notice", "Forced failover user request accepted.")
        core.manual.can_start = True
        election.step(core)
    elif primary.link is not None:
        core.log("notice", "Manual failover user request accepted.")
        heartbeat.send_header(core, primary.link, c.MFSTART)


def handle_start(core: Core, link: Link, sender: Node, _packet: Packet) -> None:
    """MFSTART of a replica of ours: writes pause, and it is told where we stand."""
    if sender.replicaof is not core.myself or not core.myself.is_primary:
        core.counters["refused_mfstart"] += 1
        return
    replication.end_manual_failover(core)
    timeout_ms = core.config.cluster_manual_failover_timeout
    core.manual.end_ms = core.now_ms + timeout_ms
    core.manual.replica = sender
    core.version.move_own_header()
    core.log("notice", f"Manual failover requested by replica {sender.name}.")
    core.notify(WritesPaused(core.now_ms + timeout_ms * c.MANUAL_FAILOVER_PAUSE))
    replication.refresh_offset(core)
    _tell_offset(core, sender, link)


def note_paused(core: Core, sender: Node) -> None:
    """A header says that its sender has paused writes, at the offset just noted for it."""
    manual = core.manual
    if sender is core.myself.replicaof and manual.primary_offset is None:
        manual.primary_offset = sender.repl_offset
        core.log("notice", f"Received replication offset of the paused primary: {manual.primary_offset}")
        _go_on(core)


def tick(core: Core) -> None:
    """Ends a manual failover that takes too long; else takes it on."""
    manual = core.manual
    if manual.end_ms is None:
        return
    replica = manual.replica
    if core.now_ms > manual.end_ms:
        core.log("warning", "Manual failover timed out.")
        replication.end_manual_failover(core)
    elif replica is None:
        _go_on(core)
    elif replica.replicaof is not core.myself:
        core.log("warning", "Manual failover ended: the replica is no longer ours.")
        replication.end_manual_failover(core)
    elif replica.link is not None:
        _tell_offset(core, replica, replica.link)


def _tell_offset(core: Core, replica: Node, link: Link) -> None:
    """A PING with our offset; one that waits for its PONG keeps its time, so that a silent replica is noticed."""
    waiting_since_ms = replica.ping_sent_ms
    heartbeat.send(core, replica.link or link, c.PING)
    if waiting_since_ms:
        replica.ping_sent_ms = waiting_since_ms


def _go_on(core: Core) -> None:
    """The replica's side: with all the primary has, the election may begin."""
    manual = core.manual
    if manual.primary_offset is None or manual.can_start or not core.myself.is_replica:
        return
    replication.refresh_offset(core)
    if core.repl_offset == manual.primary_offset:
        manual.can_start = True
        core.log("notice", "All primary replication stream processed, manual failover can start.")
        election.step(core)
