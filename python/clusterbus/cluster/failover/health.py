"""The state of the cluster, ok or fail, as CLUSTER INFO and every header announce it, and why it is fail (S4, P42).

Owns `Core.state_is_ok`, `Core.state_reason` and the delays before the state may turn ok. Runs after an input that may
have changed coverage or majority, and at every tick while the state is fail. Main thread. Source: `clusterUpdateState`.
"""

from __future__ import annotations

from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import StateChanged
from clusterbus.cluster.model.state_reason import StateReason
from clusterbus.cluster.model.surveys import Coverage

_IN_WORDS: Final = {
    StateReason.STARTED: "this node has just started",
    StateReason.REJOINED: "this node has just rejoined the majority of primaries, and waits for news of its slots",
}


def update(core: Core) -> None:
    """Evaluates coverage and majority. A change is logged and reported as an event; a new reason is logged."""
    core.wants_state_update = False
    now_ms = core.now_ms
    is_primary, was_ok = core.myself.is_primary, core.state_is_ok
    has_just_started = core.switches.waits_after_start and now_ms - core.started_ms < c.WRITABLE_DELAY_MS
    if is_primary and not was_ok and has_just_started:
        return
    if core.coverage.version != core.version.number:
        core.coverage = _coverage(core)
    unserved, voting, reachable = core.coverage.unserved, core.coverage.voting, core.coverage.reachable
    reason = StateReason.NONE
    if unserved and (core.config.cluster_require_full_coverage or not voting):
        reason = StateReason.SLOTS_NOT_SERVED
    if reachable < voting // 2 + 1:
        core.minority_ms = now_ms
        reason = StateReason.MINORITY if voting else StateReason.SLOTS_NOT_SERVED
    rejoin_delay_ms = min(max(core.node_timeout_ms, c.REJOIN_DELAY_MIN_MS), c.REJOIN_DELAY_MAX_MS)
    if reason is StateReason.NONE and not was_ok and is_primary and now_ms - core.minority_ms < rejoin_delay_ms:
        reason = StateReason.REJOINED
    is_ok = reason is StateReason.NONE
    if is_ok != was_ok:
        core.state_is_ok = is_ok
        name = "ok" if is_ok else "fail"
        core.log("notice" if is_ok else "warning", f"Cluster state changed: {name}")
        core.notify(StateChanged(name))
    if reason is core.state_reason:
        return
    core.state_reason = reason
    if not is_ok:
        details = {
            StateReason.SLOTS_NOT_SERVED: f"{unserved} slots are not served by any node",
            StateReason.MINORITY: f"this node reaches only {reachable} of {voting} primaries that own slots",
        }
        core.log("warning", f"Cluster is currently down: {(_IN_WORDS | details)[reason]}")


def _coverage(core: Core) -> Coverage:
    unserved = (core.slots.assigned ^ c.ALL_SLOTS).bit_count()
    voting = reachable = 0
    for owner in core.slots.owners.values():
        if owner.flags & c.FLAG_FAIL:
            unserved += owner.slot_bits.bit_count()
        if owner.flags & c.FLAG_PRIMARY:
            voting += 1
            reachable += not owner.flags & c.FAILING
    return Coverage(core.version.number, unserved, voting, reachable)
