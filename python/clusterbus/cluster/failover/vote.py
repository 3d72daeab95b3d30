"""Our votes in the elections of other nodes (S5): for which candidates, and at most one in an epoch.

Owns `Core.last_vote_epoch`. Must never send a vote that is not on disk: the durable save comes before the message, and
the driver withholds the message if the save fails. Time plays no part: a shard may change its primary as often as
epochs allow (P11). Main thread. Source: `clusterSendFailoverAuthIfNeeded`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.history.change import ChangeKind
from clusterbus.cluster.model.node import Link, Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.cluster.model.slots import bits_from_wire
from clusterbus.wire import Packet


def handle_request(core: Core, link: Link, sender: Node, packet: Packet) -> None:
    """A FAILOVER_AUTH_REQUEST of a known node. Answers with FAILOVER_AUTH_ACK, or not at all."""
    if not core.myself.is_voting:
        return  # not worth a log line, because the request goes to all nodes, with a vote or without
    refusal = _refusal(core, sender, packet)
    if not refusal:
        rival = _newer_owner(core, sender, packet)
        if rival is not None:
            refusal = f"a slot's epoch {rival.config_epoch} is greater than {packet.config_epoch}"
            if sender.link is not None:
                heartbeat.send_update(core, sender.link, rival)
    if refusal:
        core.count_refused(Refusal.VOTE_REQUEST)
        core.history.say(ChangeKind.VOTE_REFUSED, sender.node_id, str(packet.current_epoch), refusal)
        core.log("warning", f"Failover auth denied to {sender.name} for epoch {packet.current_epoch}: {refusal}")
        return
    core.last_vote_epoch = core.current_epoch
    core.save_now()
    heartbeat.send_header(core, sender.link or link, c.AUTH_ACK)
    core.history.say(ChangeKind.VOTE_GIVEN, sender.node_id, str(core.current_epoch))
    core.log("notice", f"Failover auth granted to {sender.name} for epoch {core.current_epoch}")


def _refusal(core: Core, sender: Node, packet: Packet) -> str:
    """Why the sender does not get our vote; "" if only its claimed slots remain to be checked."""
    primary = sender.replicaof
    if packet.current_epoch < core.current_epoch:
        return f"the epoch is behind {core.current_epoch}"
    if core.last_vote_epoch >= core.current_epoch:
        return f"already voted for epoch {core.last_vote_epoch}"
    if not sender.is_replica:
        return "it is a primary"
    if primary is None:
        return "its primary is not known"
    if not (primary.is_failed or packet.mflags & c.MFLAG_FORCE_ACK):
        return "its primary is up"
    return ""


def _newer_owner(core: Core, sender: Node, packet: Packet) -> Node | None:
    """An owner of a claimed slot whose config epoch is greater than that of the claim."""
    claimed = bits_from_wire(packet.myslots) & ~core.slots.not_claimed
    for owner in core.slots.owners.values():
        if owner is not sender and owner.config_epoch > packet.config_epoch and owner.slot_bits & claimed:
            return owner
    return None
