"""Epochs: the current one never goes down or wraps, and no two primaries keep the same config epoch.

Owns the rules by which epochs rise. Must never take an epoch from an unknown sender (H28). Main thread. Source:
`clusterGetMaxEpoch`, `clusterHandleConfigEpochCollision`, `clusterBumpConfigEpochWithoutConsensus`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import election
from clusterbus.cluster.model.node import Node


def observe(core: Core, sender: Node, current_epoch: int) -> None:
    """Raises our current epoch to that of a known sender. A huge jump is followed too, but counted and logged."""
    if current_epoch <= core.current_epoch:
        return
    if current_epoch - core.current_epoch > c.EPOCH_JUMP_SUSPECT:
        core.refuse("epoch_jump", sender.node_id, f"current epoch jumps to {current_epoch}")
    core.current_epoch = current_epoch


def observe_config(core: Core, sender: Node, config_epoch: int) -> None:
    """Raises the config epoch of a known primary to the one that it is said to have. It may end our election (P12)."""
    if config_epoch > sender.config_epoch:
        core.set_config_epoch(sender, config_epoch)
        election.note_claim(core, sender)


def max_epoch(core: Core) -> int:
    """The greatest epoch that we know of, config epochs included."""
    return max(core.current_epoch, max(node.config_epoch for node in core.table))


def resolve_collision(core: Core, sender: Node) -> None:
    """Two primaries have the same config epoch: the one with the smaller id takes a new one, once (H27)."""
    myself = core.myself
    if sender.config_epoch != myself.config_epoch or not sender.is_primary or not myself.is_primary:
        return
    if sender.node_id <= myself.node_id:
        return
    if _take_next_epoch(core):
        core.log(
            "notice",
            f"configEpoch collision with node {sender.name}. configEpoch set to {myself.config_epoch}",
        )


def bump(core: Core) -> bool:
    """CLUSTER BUMPEPOCH: takes a new config epoch without votes, unless ours is the greatest. True if there is one."""
    myself = core.myself
    if myself.config_epoch != 0 and myself.config_epoch == max_epoch(core):
        return False
    if not _take_next_epoch(core):
        return False
    core.log("notice", f"New configEpoch set to {myself.config_epoch}")
    return True


def _take_next_epoch(core: Core) -> bool:
    """Raises the current epoch by one and makes it our config epoch, on disk before a message announces it (H28)."""
    if core.current_epoch >= c.EPOCH_MAX:
        core.refuse("epoch_exhausted", "cluster", "the current epoch has reached its maximum")
        return False
    core.current_epoch += 1
    core.set_config_epoch(core.myself, core.current_epoch)
    core.save_now()
    return True
