"""Manual failover (S6): an operator makes a replica the primary, without a failure and without the loss of writes.

Owns `Core.manual` until it ends. Must never keep writes paused for longer than announced. Main thread. Source:
`clusterCommandSpecial` (FAILOVER), `clusterHandleManualFailover`, `clusterSendMFStart`.

    replica: MFSTART -> primary: pauses writes, and announces that and its offset in PINGs
             -> replica: has the same offset -> election with FORCE_ACK and without delay

FORCE leaves out the primary. TAKEOVER takes a new epoch without any vote.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import WritesPaused
from clusterbus.cluster.failover import election, epochs, no_harm, replication
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.model.node import Link, Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.errors import StateError
from clusterbus.wire import Packet


def order(core: Core, *, force: bool, takeover: bool) -> None:
    """CLUSTER FAILOVER [FORCE|TAKEOVER]. Except with TAKEOVER, the role changes later or not at all.

    Raises StateError on a primary, on an empty replica (P2), if the primary is unknown and, without FORCE or TAKEOVER,
    if the primary is down.
    """
    myself = core.myself
    primary = myself.replicaof
    if myself.is_primary:
        raise StateError("You should send CLUSTER FAILOVER to a replica")
    if primary is None:
        raise StateError("I'm a replica but my master is unknown to me")
    if not (force or takeover) and (primary.is_failed or primary.link is None):
        raise StateError("Master is down or failed, please use CLUSTER FAILOVER FORCE")
    if not no_harm.may_follow(core, primary):
        raise StateError(f"Failover refused: {no_harm.loss(core, primary)}")
    replication.end_manual_failover(core)
    if takeover:
        core.log("notice", "Taking over the primary (user request).")
        replication.end_election(core, "taken over")
        epochs.bump(core, announces=False)
        replication.promote(core)
        return
    core.manual.end_ms = core.now_ms + core.config.cluster_manual_failover_timeout
    if force:
        core.log("notice", "Forced failover user request accepted.")
        _begin_election(core)
    elif primary.link is not None:
        core.log("notice", "Manual failover user request accepted.")
        heartbeat.send_header(core, primary.link, c.MFSTART)


def handle_start(core: Core, link: Link, sender: Node, _packet: Packet) -> None:
    """MFSTART from a replica of ours: pauses writes and sends it our offset."""
    if sender.replicaof is not core.myself or not core.myself.is_primary:
        core.count_refused(Refusal.MFSTART)
        return
    replication.end_manual_failover(core)
    timeout_ms = core.config.cluster_manual_failover_timeout
    core.manual.end_ms = core.now_ms + timeout_ms
    core.manual.replica = sender
    core.version.move_own_header()
    core.log("notice", f"Manual failover requested by replica {sender.name}.")
    core.notify(WritesPaused(core.now_ms + timeout_ms * c.MANUAL_FAILOVER_PAUSE))
    replication.refresh_offset(core)
    _send_offset(core, sender, link)


def note_paused(core: Core, sender: Node) -> None:
    """A header announces that its sender has paused writes. The offset in the same header was noted just before."""
    manual = core.manual
    if sender is core.myself.replicaof and manual.primary_offset is None:
        manual.primary_offset = sender.repl_offset
        core.log("notice", f"Received replication offset of the paused primary: {manual.primary_offset}")
        _start_if_caught_up(core)


def tick(core: Core) -> None:
    """Ends a manual failover that takes too long, else takes its next step."""
    manual = core.manual
    if manual.end_ms is None:
        return
    replica = manual.replica
    if core.now_ms > manual.end_ms:
        core.log("warning", "Manual failover timed out.")
        replication.end_manual_failover(core)
    elif replica is None:
        _start_if_caught_up(core)
    elif replica.replicaof is not core.myself:
        core.log("warning", "Manual failover ended: the replica is no longer ours.")
        replication.end_manual_failover(core)
    elif replica.link is not None:
        _send_offset(core, replica, replica.link)


def _send_offset(core: Core, replica: Node, link: Link) -> None:
    """Sends a PING with our offset. A PING that waits for its PONG keeps its time, so a silent replica is noticed."""
    waiting_since_ms = replica.ping_sent_ms
    heartbeat.send(core, replica.link or link, c.PING)
    if waiting_since_ms:
        replica.ping_sent_ms = waiting_since_ms


def _start_if_caught_up(core: Core) -> None:
    """On the replica: begins the election once we have all data of the primary, or there is none."""
    manual = core.manual
    primary = core.myself.replicaof
    if manual.primary_offset is None or manual.can_start or primary is None:
        return
    replication.refresh_offset(core)
    if no_harm.may_follow(core, primary) if no_harm.is_empty(core) else core.repl_offset == manual.primary_offset:
        core.log("notice", "All primary replication stream processed, manual failover can start.")
        _begin_election(core)


def _begin_election(core: Core) -> None:
    """The votes of an election that is planned, open or was lost a moment ago are not waited for (P12)."""
    before = core.election
    if before.start_ms is not None:
        core.log(
            "warning",
            f"Failover election in progress for epoch {before.epoch}, but a manual failover begins. Resetting the"
            " election.",
        )
        replication.end_election(core, "a manual failover begins")
    core.manual.can_start = True
    election.step(core)
