"""Our vote for a node that wants slots: under which conditions, and at most one in an epoch.

Owns nothing: `Core.last_vote_epoch` is shared with the elections of replicas (`failover.vote`), so that one epoch has
one winner of either kind. Must never send a vote that is not on disk. Main thread.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.claims import electorate, promises
from clusterbus.cluster.claims.letters import REASONS, Denial, Kind, Letter
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import epoch_bound, epochs
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.refusal import Refusal


def handle_ask(core: Core, sender: Node, letter: Letter) -> None:
    """A member asks for our vote. It gets an answer, unless its epoch is none that we believe (H28)."""
    if not epoch_bound.is_credible(core, max(letter.epoch, letter.other_epoch)):
        epoch_bound.refuse(core, sender, max(letter.epoch, letter.other_epoch))
        return
    denial = refusal(core, sender, letter)
    if denial is not None:
        core.count_refused(Refusal.CLAIM_VOTE_REQUEST)
        core.log("verbose", f"No vote for {sender.name} in epoch {letter.epoch}: this node {REASONS[denial]}")
        reply = Letter(
            Kind.DENY,
            electorate.has_data(core),
            epoch=letter.epoch,
            other_epoch=core.current_epoch,
            count=denial,
        )
        electorate.write(core, sender, reply)
        if denial is Denial.MORE_MEMBERS:
            electorate.ask_unknown(core)
        return
    epochs.observe(core, letter.epoch)
    core.last_vote_epoch = letter.epoch
    core.save_now()
    core.counters["claim_votes"] += 1
    electorate.write(core, sender, Letter(Kind.VOTE, electorate.has_data(core), epoch=letter.epoch))
    core.log("notice", f"Vote for {sender.name} in epoch {letter.epoch}, to take {letter.slots.bit_count()} slots")


def refusal(core: Core, candidate: Node, letter: Letter) -> Denial | None:
    """Why a candidate, who may be this node, does not get our vote; None if it does."""
    if core.now_ms < core.claims.blind_until_ms:
        return Denial.BLIND
    if letter.epoch < core.current_epoch:
        return Denial.BEHIND
    if core.last_vote_epoch >= letter.epoch:
        return Denial.VOTED
    if len(electorate.members(core)) > letter.count:
        return Denial.MORE_MEMBERS
    claimed = letter.slots & ~core.slots.not_claimed
    for owner in core.slots.owners_of(claimed):
        if owner is candidate:
            continue
        if owner.config_epoch > letter.other_epoch:
            if owner is not core.myself and candidate.link is not None:
                heartbeat.send_update(core, candidate.link, owner)
            return Denial.NEWER_OWNER
        if owner.slot_bits & claimed & ~letter.living and not owner.flags & c.FAILING:
            return Denial.OWNER_UP
    if promises.promised_to_others(core, candidate, core.now_ms) & letter.slots & ~letter.living:
        return Denial.PROMISED
    return None
