"""Which epochs are believed: none that lies further above all known ones than an honest cluster can climb (H28).

Owns `Core.epoch_bound`. Must never believe a single member that jumps, and never shut out a cluster that is really
there: what most members say is believed. Main thread. Beyond the source: real servers follow any jump of a known node.

Honest epochs rise by one for each election, bump or move of a slot. So `cluster-epoch-jump-max` above the greatest one
known is never reached by honest steps that we missed; and since the greatest one known is measured once a second, many
packets within a second climb no further than one does. To 2^64 it takes more than a hundred years (docs/guide).
Who claims more is not believed, alone. Its claim is kept, and once a second (`weigh`) the claims are counted: what a
majority of the members says, this node among them, is taken over. A node that has no epoch yet counts only the others,
so it can join a cluster of any age. No jump leads beyond EPOCH_TOLD_MAX, so there is always room for elections.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.refusal import Refusal


def max_epoch(core: Core) -> int:
    """The greatest epoch that we know of, config epochs included."""
    return max(core.current_epoch, max(node.config_epoch for node in core.table.all_nodes))


def is_credible(core: Core, epoch: int) -> bool:
    """Whether one member's word is enough for an epoch."""
    if epoch <= core.current_epoch:
        return True
    jump_max = core.config.cluster_epoch_jump_max
    bound = core.epoch_bound
    if not jump_max or epoch <= bound.base + jump_max:
        return True
    if core.now_ms - bound.since_ms >= c.EPOCH_JUMP_INTERVAL_MS:
        bound.base, bound.since_ms = max_epoch(core), core.now_ms
    return epoch <= bound.base + jump_max


def believes(core: Core, sender: Node, epoch: int) -> bool:
    """`is_credible` of an epoch in a packet of `sender`. If it is not, that is counted and told, and remembered."""
    claims = core.epoch_bound.claims
    if is_credible(core, epoch):
        if claims:
            claims.pop(sender.node_id, None)
        return True
    refuse(core, sender, epoch)
    claims[sender.node_id] = epoch, core.now_ms
    return False


def refuse(core: Core, sender: Node, epoch: int) -> None:
    """Counts and tells a claim that is not believed."""
    text = (
        f"claims epoch {epoch}, more than cluster-epoch-jump-max above all that are known ({max_epoch(core)}): not"
        " taken over, and neither are the slots and the role that it claims"
    )
    core.refuse(Refusal.EPOCH_JUMP, sender.node_id, text)


def weigh(core: Core) -> None:
    """Once a second: takes over the greatest epoch that a majority of the members claims, if there is one."""
    bound = core.epoch_bound
    if not bound.claims:
        return
    known = max_epoch(core)
    oldest_ms = core.now_ms - max(c.EPOCH_CLAIM_TIMEOUTS * core.node_timeout_ms, c.EPOCH_CLAIM_MIN_MS)
    bound.claims = {
        node_id: (epoch, at_ms)
        for node_id, (epoch, at_ms) in bound.claims.items()
        if at_ms >= oldest_ms and epoch > known and core.table.find(node_id) is not None
    }
    others = [
        node
        for node in core.table.all_nodes
        if node is not core.myself and not node.in_handshake and not node.provisional
    ]
    if known:
        needed = (len(others) + 1) // 2 + 1  # this node speaks for what it knows
    else:
        others = [node for node in others if not node.flags & c.FAILING]
        needed = len(others) // 2 + 1
    told = [bound.claims[node.node_id][0] for node in others if node.node_id in bound.claims]
    told = sorted((epoch for epoch in told if epoch <= c.EPOCH_TOLD_MAX), reverse=True)
    if len(told) >= needed:
        epoch = told[needed - 1]
        core.log("warning", f"Current epoch goes from {core.current_epoch} to {epoch}, which {needed} members claim")
        core.current_epoch = epoch
        bound.forget()
        core.want_save()
