"""Roles and slots of other nodes, from their headers and from UPDATE, and what follows for our own role (S4).

Owns the switches between primary and replica, which node replicates which, and slot conflicts by config epoch. When a
shard loses its last slot, its nodes follow the node that took it: this node may so become a replica, or the replica of
another primary. Must never make this node a primary: only an election or an operator does. Main thread. Source:
`clusterProcessPacket`, `clusterSetNodeAsPrimary`, `clusterUpdateSlotsConfigWith`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import epoch_bound, epochs, no_harm, replication
from clusterbus.cluster.heartbeats import extensions, heartbeat
from clusterbus.cluster.model.node import JudgedClaims, Link, Node, Succession
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.cluster.model.slots import bits_from_wire
from clusterbus.cluster.operator import slot_moves
from clusterbus.wire import Packet, Update


def apply_header(core: Core, sender: Node, packet: Packet) -> None:
    """Applies role, primary and slots that a known sender's heartbeat announces."""
    was_replica = sender.is_replica
    primary_id = packet.replicaof
    if primary_id is not None:
        if sender.is_primary and _is_stale(core, sender, packet):
            core.count_refused(Refusal.STALE_ROLE)
            return
        _apply_replica(core, sender, primary_id, packet.config_epoch)
        return
    set_primary(core, sender)
    apply_header_claims(core, sender, packet.config_epoch, packet.myslots, was_replica=was_replica)


def apply_header_claims(
    core: Core, sender: Node, config_epoch: int, myslots: bytes, *, was_replica: bool = False
) -> None:
    """Applies what a primary's heartbeat claims. Who claims slots that have an owner with a greater epoch gets an
    UPDATE.

    A peer with older news repeats its claims in each heartbeat. If they changed nothing, and nothing else has changed
    since, there is nothing to look at again.
    """
    if not was_replica and myslots == sender.slots and not core.slots.not_claimed & sender.slot_bits:
        return
    version = core.version.number
    judged = sender.judged_claims
    if judged is not None and judged.is_of(version, config_epoch, myslots):
        newer = judged.newer
    else:
        bits = bits_from_wire(myslots)
        apply_claims(core, sender, config_epoch, bits)
        newer = _newer_owner(core, sender, config_epoch, bits)
        changed_nothing = version == core.version.number and core.myself.primary.slot_bits
        if changed_nothing and not core.slots.migrating and not core.slots.importing:
            sender.judged_claims = JudgedClaims(version, config_epoch, myslots, newer)
    if newer is not None and sender.link is not None:
        _send_update(core, sender, sender.link, newer)


def _is_stale(core: Core, sender: Node, packet: Packet) -> bool:
    """Whether a primary was still a replica when it sent this: the two links of a peer deliver in any order.

    Its current epoch was then below its config epoch of today, or equal to it if it was asking for votes already. So
    within a shard the config epoch decides too, which a replica announces for its primary: it only rises from one
    primary of the shard to the next (P10). A sender that has just not heard of its primary's last epoch gets an UPDATE.
    """
    if packet.current_epoch < sender.config_epoch:
        return True
    primary = core.table.find(packet.replicaof or "")
    if primary is None or primary is sender or primary.shard_id != sender.shard_id:
        return False
    if packet.config_epoch < primary.config_epoch and primary.is_primary and sender.link is not None:
        heartbeat.send_update(core, sender.link, primary)
    return packet.config_epoch < max(sender.config_epoch, primary.config_epoch)


def apply_update(core: Core, sender: Node, update: Update) -> None:
    """Applies an UPDATE: a node's newer slots and config epoch. Ignored if it is about us or an unknown id (H26), if
    its epoch is none that we believe (H28), or if the node is of another cluster or may turn out to be (`labels`).
    """
    node = core.table.find(update.node_id)
    if node is None or node is core.myself or node.in_handshake or node.is_hearsay:
        core.count_refused(Refusal.UPDATE_SUBJECT)
        return
    if node.is_outsider:
        core.refuse(Refusal.LABEL, sender.node_id, f"tells of slots of node {node.node_id}, of another cluster")
        return
    if update.config_epoch <= node.config_epoch:
        return
    if not epoch_bound.is_credible(core, update.config_epoch):
        epoch_bound.refuse(core, sender, update.config_epoch)
        return
    set_primary(core, node)
    epochs.observe_config(core, node, update.config_epoch)
    apply_claims(core, node, update.config_epoch, bits_from_wire(update.slots))


def set_primary(core: Core, node: Node) -> None:
    """Makes a node a primary, unless it is one."""
    if node.is_primary:
        return
    if node.replicaof is not None:
        extensions.set_shard_id(core, node, node.replicaof.shard_id)
        if node.replicaof is core.myself:
            node.succession = Succession.SUCCESSOR
        node.follow(None)
        if node is not core.myself:
            node.flags |= c.FLAG_MIGRATE_TO  # its shard had a replica, so it should have one again
    node.flags = (node.flags & ~c.FLAG_REPLICA) | c.FLAG_PRIMARY
    core.notify_role(node)
    core.want_save()
    core.want_state_update()


def apply_claims(core: Core, sender: Node, config_epoch: int, claimed: int) -> None:
    """A primary claims slots under a config epoch. It gets those that are free or have an owner with a lower epoch.

    Slots that it owns and no longer claims stay its own until another node claims them under any epoch. Our UPDATEs
    leave them out.
    """
    slots = core.slots
    ours = core.myself.primary
    before = ours.slot_bits
    not_claimed = slots.not_claimed & ~sender.slot_bits | sender.slot_bits & ~claimed
    if not_claimed != slots.not_claimed:
        slots.not_claimed = not_claimed
        sender.touch()  # while it leaves slots out, all its heartbeats are applied in full
    wanted = claimed & ~sender.slot_bits
    contested = wanted & slots.assigned & ~slots.not_claimed
    gained = wanted & ~contested
    has_yielded = False
    if contested:
        for owner in slots.owners_of(contested):
            overlap = owner.slot_bits & contested
            yields = _yields(core, owner, sender, config_epoch)
            if owner.config_epoch < config_epoch or yields:
                has_yielded = has_yielded or yields
                core.log(
                    "notice",
                    f"{overlap.bit_count()} slots moved from node {owner.name} to node {sender.name}",
                )
                gained |= overlap
    if slots.migrating or slots.importing:
        slot_moves.follow_claims(core, sender, config_epoch, claimed, gained)
    if gained:
        core.move_slots(sender, gained)
        if has_yielded:
            replication.announce_loss(core)
    if ours is not sender and not ours.slot_bits:
        _follow_taker(core, sender, config_epoch, is_taker=bool(before & gained), has_slots=bool(claimed))


def _yields(core: Core, owner: Node, claimer: Node, config_epoch: int) -> bool:
    """Whether we leave our slots to a claimer with the same config epoch: it was elected in our place, while we took
    the same epoch without votes. To raise our epoch, as of any two primaries the one with the smaller id does, would
    win the slots back and lose the writes since the election (P16). Who was elected in that epoch itself leaves
    nothing: the claim is an old one of the primary that it replaced.
    """
    return (
        owner is core.myself
        and core.elected_epoch != config_epoch
        and owner.config_epoch == config_epoch
        and claimer.succession is Succession.SUCCESSOR
        and claimer.shard_id == owner.shard_id
    )


def _follow_taker(core: Core, sender: Node, config_epoch: int, *, is_taker: bool, has_slots: bool) -> None:
    """Our shard has no slots left. We follow the node that took the last one: within our shard always, into another one
    only with cluster-allow-replica-migration, and without data never under a node that may have some (P4). Before that
    comes a newer primary of our shard, which has all slots but those that went elsewhere: two primaries in one shard is
    what must not stay. If no node took a slot, we follow a newer primary of our shard without slots.
    """
    myself = core.myself
    is_of_our_shard = sender.shard_id == myself.shard_id
    heir = _heir(core) if is_taker and not is_of_our_shard else None
    if heir is not None:
        sender = heir
    elif is_taker:
        may_move = core.config.cluster_allow_replica_migration and no_harm.may_follow(core, sender)
        if not is_of_our_shard and (not may_move or core.claims.is_kept):  # a program that takes slots may want more
            if myself.is_primary:
                core.log("notice", f"My last slot went to node {sender.name}. I am now an empty primary.")
            return
    elif has_slots or not is_of_our_shard or myself.primary.config_epoch >= config_epoch:
        return
    core.log("notice", f"Configuration change detected. Reconfiguring myself as a replica of {sender.name}")
    replication.replicate(core, sender)


def give_way(core: Core, other: Node) -> None:
    """Two primaries in one shard: the one without slots gives way to the one with the greater config epoch (P21).

    So we follow `other` if it is the newer one, and if we are the older one or its replica. That comes to light late if
    a node took the slots before it told its shard, or if a third node's UPDATE brought the news of it.
    """
    myself = core.myself
    ours = myself.primary
    if other is ours or not other.sends_shard_id or other.shard_id != myself.shard_id:
        return
    if other.is_primary and not ours.slot_bits and not other.flags & c.FAILING:
        _follow_taker(core, other, other.config_epoch, is_taker=False, has_slots=False)  # whoever has taken them


def give_way_to_newest(core: Core) -> None:
    """Once a second, `give_way` to the newest primary of our shard: our own role, slots or epoch may have changed."""
    myself = core.myself
    if core.gave_way_version == core.version.number:
        return  # nothing has changed since the last time
    core.gave_way_version = core.version.number
    if not myself.primary.slot_bits:
        mates = [node for node in core.table.all_nodes if node.shard_id == myself.shard_id]
        give_way(core, max(mates, key=lambda node: (node.is_primary, node.config_epoch)))


def _heir(core: Core) -> Node | None:
    """The primary that took our shard over under a greater config epoch while we were away, if there is one."""
    myself, ours = core.myself, core.myself.primary
    newer = [
        owner
        for owner in core.slots.owners.values()
        if owner.is_primary and owner.shard_id == myself.shard_id and owner.config_epoch > ours.config_epoch
    ]
    return max(newer, key=lambda owner: owner.config_epoch, default=None)


def _newer_owner(core: Core, sender: Node, config_epoch: int, claimed: int) -> Node | None:
    """An owner with a greater epoch of slots that a sender claims. It gets UPDATEs about one owner at a time."""
    contested = claimed & core.slots.assigned & ~core.slots.not_claimed & ~sender.slot_bits
    newer = (owner for owner in core.slots.owners_of(contested) if owner.config_epoch > config_epoch)
    return next(newer, None)


def _send_update(core: Core, sender: Node, link: Link, owner: Node) -> None:
    if core.logs_verbose:
        core.log(
            "verbose",
            f"Node {sender.name} has old slots configuration, sending an UPDATE message about {owner.name}",
        )
    heartbeat.send_update(core, link, owner)


def _apply_replica(core: Core, sender: Node, primary_id: str, config_epoch: int) -> None:
    primary = core.table.find(primary_id)
    if primary is sender or (primary is not None and primary.in_handshake):
        primary = None
    if sender.is_primary:
        _demote(core, sender, primary, config_epoch)
    elif not sender.is_replica:
        sender.flags |= c.FLAG_REPLICA
        core.want_save()
    if primary is not None and sender.replicaof is not primary:
        sender.follow(primary)
        core.log("notice", f"Node {sender.name} is now a replica of node {primary.name}")
        core.notify_role(sender)
        follow_primary_of_primary(core)
        extensions.set_shard_id(core, sender, primary.shard_id)
        core.want_save()


def follow_primary_of_primary(core: Core) -> None:
    """Our primary has become a replica. We follow its primary, because a replica has no replicas."""
    primary = core.myself.replicaof
    if primary is None or primary.replicaof is None or primary.replicaof is core.myself:
        return
    core.log("notice", f"I'm a sub-replica! Reconfiguring myself as a replica of {primary.replicaof.name}")
    replication.replicate(core, primary.replicaof)


def _demote(core: Core, sender: Node, primary: Node | None, config_epoch: int) -> None:
    """A primary became a replica. Within its shard that was a failover, and what it had is its successor's at once, not
    only when that one speaks (P19). Else its slots have no owner now.
    """
    if primary is not None and primary.shard_id == sender.shard_id:
        if primary is not core.myself:
            set_primary(core, primary)
            epochs.observe_config(core, primary, config_epoch)
            _hand_over(core, sender, primary)
    else:
        core.take_slots(sender.slot_bits)
    sender.succession = Succession.NONE
    sender.flags = (sender.flags & ~(c.FLAG_PRIMARY | c.FLAG_MIGRATE_TO)) | c.FLAG_REPLICA
    core.log("notice", f"Node {sender.name} is no longer a primary")
    if primary is None:
        core.notify_role(sender)
    core.want_save()
    core.want_state_update()


def _hand_over(core: Core, old: Node, new: Node) -> None:
    """Gives the slots of a deposed primary to its successor, and leads our open moves from and to it there."""
    bits = old.slot_bits
    if bits:
        doubtful = core.slots.not_claimed & bits
        core.move_slots(new, bits)
        core.slots.not_claimed |= doubtful
        core.log(
            "notice",
            f"A failover occurred in shard {old.shard_id}; node {old.name} lost {bits.bit_count()} slot(s) and failed"
            f" over to node {new.name} with a config epoch of {new.config_epoch}",
        )
    slot_moves.follow_failover(core, old, new)
