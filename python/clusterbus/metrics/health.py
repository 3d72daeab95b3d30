"""Whether a node is ready to be relied on, and why not.

Owns the conditions of /readyz. Must never change anything. Main thread.
"""

from __future__ import annotations

from clusterbus.member.member import Member


def reasons_against(member: Member) -> list[str]:
    """Why this node is not ready; empty if it is.

    It is ready while it is a member, alone only with all slots its own; while it holds the cluster ok; and while its
    nodes.conf can be saved. Each reason is one line without secrets.
    """
    state = member.state
    reasons = []
    is_linked = any(not link.inbound and link.node is not None and not link.node.in_handshake for link in state.links)
    others = state.known_nodes_count - state.handshakes_count - 1
    if others and not is_linked:
        reasons.append(f"no link to any of {others} other members is up")
    elif not others and not state.is_ok:
        reasons.append("it is no member of a cluster")
    if not state.is_ok:
        reasons.append(f"the cluster is down: {state.reason.value}")
    if member.driver.saver.status.last_error:
        reasons.append(f"nodes.conf cannot be saved: {' '.join(member.driver.saver.status.last_error.split())}")
    return reasons
