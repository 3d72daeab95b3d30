"""Leases: which of our slots we hold, by the promises of a majority, and what we promise to others.

Owns `Claims.grants` and `Claims.promises`. Must never promise a slot to two nodes at once, nor count on a promise for
longer than it lasts: the holder counts from the moment at which it asked, the voter from the moment at which the
request arrived, and the holder for a part less. Main thread.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.claims import electorate
from clusterbus.cluster.claims.letters import Kind, Letter
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import epoch_bound
from clusterbus.cluster.model.claim_state import Promise
from clusterbus.cluster.model.node import Node


def own_bits(core: Core) -> int:
    """The slots that this node owns as a primary."""
    return core.myself.slot_bits if core.myself.is_primary else 0


def tick(core: Core) -> None:
    """Renews in time, and forgets promises that are over."""
    claims = core.claims
    if (
        claims.is_kept
        and own_bits(core)
        and core.now_ms - claims.renewed_ms >= core.node_timeout_ms // c.LEASE_RENEWALS
    ):
        renew(core)
    for kept in (claims.promises, claims.grants):
        for node_id in [node_id for node_id, promise in kept.items() if promise.until_ms <= core.now_ms]:
            del kept[node_id]


def follow_slots(core: Core) -> None:
    """Our slots may have changed. If so, the members are told at once: what we lost is free for its new owner."""
    if core.claims.is_kept and core.claims.told_bits != own_bits(core):
        renew(core)


def renew(core: Core) -> None:
    """Asks all members for promises about our slots. What was promised of others is given back by that."""
    claims = core.claims
    bits = own_bits(core)
    if claims.told_bits & ~bits:  # what was promised of these no longer counts, even if they come back
        claims.renewals.clear()
        claims.grants = {
            node_id: Promise(promise.bits & bits, promise.until_ms, promise.number)
            for node_id, promise in claims.grants.items()
        }
    claims.told_bits = bits
    claims.renewed_ms = core.now_ms
    claims.renewals_begun += 1
    claims.renewals[claims.renewals_begun] = core.now_ms, bits
    while len(claims.renewals) > c.RENEWALS_OPEN_MAX:
        del claims.renewals[next(iter(claims.renewals))]
    letter = Letter(
        Kind.RENEW,
        electorate.has_data(core),
        number=claims.renewals_begun,
        epoch=core.myself.config_epoch,
        count=core.node_timeout_ms,
        slots=bits,
    )
    electorate.write_all(core, letter)


def take_answer(core: Core, sender: Node, letter: Letter) -> None:
    """A member promised something."""
    claims = core.claims
    asked = claims.renewals.get(letter.number)
    before = claims.grants.get(sender.node_id)
    if asked is None or (before is not None and before.number > letter.number):
        return
    asked_ms, bits = asked
    length_ms = min(letter.count, core.node_timeout_ms)
    until_ms = asked_ms + length_ms * (c.LEASE_HELD_PARTS - 1) // c.LEASE_HELD_PARTS
    claims.grants[sender.node_id] = Promise(letter.slots & bits, until_ms, letter.number)


def answer(core: Core, sender: Node, letter: Letter) -> None:
    """A member asks for promises about its slots. It gets those that are not promised to another one, and whose owner
    it is under an epoch that is greater than that of any other owner that we know.
    """
    if not epoch_bound.is_credible(core, letter.epoch):
        epoch_bound.refuse(core, sender, letter.epoch)
        return
    claims = core.claims
    bits = 0 if core.now_ms < claims.blind_until_ms else letter.slots
    bits &= ~promised_to_others(core, sender, core.now_ms)
    for owner in core.slots.owners_of(bits):
        if owner is not sender and owner.config_epoch >= letter.epoch:
            bits &= ~(owner.slot_bits & ~core.slots.not_claimed)
    length_ms = min(letter.count, core.node_timeout_ms)
    claims.promises[sender.node_id] = Promise(bits, core.now_ms + length_ms)
    reply = Letter(Kind.RENEWED, electorate.has_data(core), number=letter.number, count=length_ms, slots=bits)
    electorate.write(core, sender, reply)


def promised_to_others(core: Core, node: Node, now_ms: int) -> int:
    """The slots that we have promised to nodes other than that one."""
    bits = 0
    for node_id, promise in core.claims.promises.items():
        if node_id != node.node_id and promise.until_ms > now_ms:
            bits |= promise.bits
    return bits


def held(core: Core, bits: int, now_ms: int) -> int:
    """Those of some slots that are ours, and that a majority of the members has promised to us until later than
    `now_ms`, which may be later than the last input.
    """
    claims = core.claims
    bits &= own_bits(core)
    if not bits or not claims.is_kept or not electorate.reaches_owners_of_other_kinds(core):
        return 0
    members = electorate.members(core)
    ballots = [grant.bits for node in members if (grant := claims.grants.get(node.node_id)) and grant.until_ms > now_ms]
    if now_ms >= claims.blind_until_ms:
        ballots.append(bits & ~promised_to_others(core, core.myself, now_ms))
    least = electorate.needed(core, len(members))
    if len(ballots) < least:
        return 0
    by_count = [bits] + [0] * least  # by_count[n]: slots on at least n ballots so far
    for ballot in ballots:
        for count in range(least, 0, -1):
            by_count[count] |= by_count[count - 1] & ballot
    return by_count[least]
