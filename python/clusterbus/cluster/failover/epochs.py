"""Epochs: the current one never goes down or wraps, and no two primaries keep the same config epoch.

Owns the rules by which epochs rise; which epochs of others are believed is in `epoch_bound`. Must never take an epoch
from an unknown sender (H28). Main thread. Source:
`clusterGetMaxEpoch`, `clusterHandleConfigEpochCollision`, `clusterBumpConfigEpochWithoutConsensus`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import election, epoch_bound
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.history.change import Cause
from clusterbus.cluster.membership import observing
from clusterbus.cluster.model.node import Node, Succession
from clusterbus.cluster.model.refusal import Refusal


def observe(core: Core, current_epoch: int) -> None:
    """Raises our current epoch to that of a known sender, which must be one that is believed (`epoch_bound`)."""
    if current_epoch > core.current_epoch:
        core.current_epoch = current_epoch


def observe_config(core: Core, sender: Node, config_epoch: int) -> None:
    """Raises the config epoch of a known primary to the one that it is said to have. It may end our election (P12)."""
    if config_epoch > sender.config_epoch:
        core.set_config_epoch(sender, config_epoch)
        election.note_claim(core, sender)


def resolve_collision(core: Core, sender: Node) -> None:
    """Two primaries have the same config epoch: the one with the smaller id takes a new one, once (H27).

    Not so if we were elected in the place of the sender, which took its epoch without votes: its greater epoch would
    win our slots back, and with them go the writes since the election. Then it is we who take an epoch, whatever the
    ids are, and leave one out, because the sender may take the next at this moment (P16).
    """
    myself = core.myself
    if sender.config_epoch != myself.config_epoch or not sender.is_primary or not myself.is_primary:
        return
    if observing.is_on(core):
        return  # its epoch is worth nothing to it, and a new one would be news to everybody
    overtakes = sender.succession is Succession.PREDECESSOR and sender.shard_id == myself.shard_id
    if sender.node_id <= myself.node_id and not overtakes:
        return
    with core.history.because(Cause.EPOCH_COLLISION):
        is_taken = _take_next_epoch(core, skipped=int(overtakes))
    if is_taken:
        core.log(
            "notice",
            f"configEpoch collision with node {sender.name}. configEpoch set to {myself.config_epoch}",
        )


def bump(core: Core, *, announces: bool = True) -> bool:
    """CLUSTER BUMPEPOCH: takes a new config epoch without votes, unless ours is the greatest. True if there is one.

    Everybody is told at once, but for `announces` False: then the caller has more to tell.
    """
    myself = core.myself
    if myself.config_epoch != 0 and myself.config_epoch == epoch_bound.max_epoch(core):
        return False
    if not _take_next_epoch(core, announces=announces):
        return False
    core.log("notice", f"New configEpoch set to {myself.config_epoch}")
    return True


def _take_next_epoch(core: Core, *, skipped: int = 0, announces: bool = True) -> bool:
    """Takes the epoch after the current one, or after `skipped` more, as our config epoch. It is on disk before a
    message announces it (H28), which happens at once (P15).
    """
    if core.current_epoch + skipped >= c.EPOCH_MAX:
        core.refuse(Refusal.EPOCH_EXHAUSTED, "cluster", "the current epoch has reached its maximum")
        return False
    core.current_epoch += 1 + skipped
    core.set_config_epoch(core.myself, core.current_epoch)
    core.save_now()
    if announces:
        heartbeat.broadcast_pong(core)
    return True
