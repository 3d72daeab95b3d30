"""The state of the cluster, ok or fail, as CLUSTER INFO and every header announce it (S4).

Owns `Core.state_is_ok` and the delays before it may turn ok. Runs after an input that may have changed coverage or
majority, and at every tick while the state is fail. Main thread. Source: `clusterUpdateState`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import StateChanged


def update(core: Core) -> None:
    """Evaluates coverage and majority. A change is logged and reported as an event."""
    core.wants_state_update = False
    myself = core.myself
    now_ms = core.now_ms
    if myself.is_primary and not core.state_is_ok and now_ms - core.started_ms < c.WRITABLE_DELAY_MS:
        return
    voting = reachable = 0
    covered = core.slots.assigned == c.ALL_SLOTS
    for owner in core.slots.owners.values():
        if owner.flags & c.FLAG_FAIL:
            covered = False
        if owner.flags & c.FLAG_PRIMARY:
            voting += 1
            reachable += not owner.flags & c.FAILING
    ok = covered or not core.config.cluster_require_full_coverage
    if reachable < voting // 2 + 1:
        ok = False
        core.minority_ms = now_ms
    if ok == core.state_is_ok:
        return
    rejoin_delay_ms = min(max(core.node_timeout_ms, c.REJOIN_DELAY_MIN_MS), c.REJOIN_DELAY_MAX_MS)
    if ok and myself.is_primary and now_ms - core.minority_ms < rejoin_delay_ms:
        return
    core.state_is_ok = ok
    name = "ok" if ok else "fail"
    core.log("notice" if ok else "warning", f"Cluster state changed: {name}")
    core.notify(StateChanged(name))
