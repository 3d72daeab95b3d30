"""`take_slots`: rounds of votes until a majority of the members agrees, then the lease (see the room's opening).

Owns `Claims.wishes`: one is carried out after another. Must never take a slot of an owner that may have data without
the program's word (`no_harm`), nor one that another node got after the order was given. Main thread.

    ordered -> the owners' word on their data -> round: next epoch, on disk, ASK -> majority: taken, on disk, announced
                                                   -> too few: a pause by chance, next round            -> lease held
"""

from __future__ import annotations

from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.claims import electorate, promises, voting
from clusterbus.cluster.claims.letters import REASONS, Denial, Kind, Letter
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import SlotOrderEnded, SlotsTaken
from clusterbus.cluster.failover import epoch_bound, epochs, no_harm
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.model.claim_state import Wish
from clusterbus.cluster.model.node import Kin, Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.cluster.model.slots import ranges_of, slots_in
from clusterbus.errors import StateError

NAMED_MAX: Final = 5
"""The most nodes that one reason names."""


def begin(
    core: Core, bits: int, timeout_ms: int, *, force: bool = False, giver: Node | None = None, number: int = 0
) -> int:
    """Begins to take slots, and returns the number that SlotOrderEnded will carry. Raises StateError if that cannot be.

    `giver` owns the slots and has asked for this by its order `number`.
    """
    claims, myself = core.claims, core.myself
    if not bits:
        raise StateError("no slots were named")
    if myself.is_replica:
        raise StateError("this node is a replica: only a primary takes slots")
    if len(claims.wishes) >= c.CLAIMS_WAITING_MAX:
        raise StateError(f"{c.CLAIMS_WAITING_MAX} orders to take slots are waiting already")
    owners = _owners(core, bits)
    if not force and giver is None:
        for owner in owners:
            _check_harm(core, owner, bits)
    _check_majority(core)
    claims.is_kept = True
    wish = Wish(
        number=number or claims.next_number(),
        bits=bits,
        end_ms=core.now_ms + timeout_ms,
        owners={owner.node_id: owner.slot_bits & bits & ~core.slots.not_claimed for owner in owners},
        force=force or giver is not None,
        orderer=giver.node_id if giver is not None else "",
    )
    for owner in owners:
        if not owner.flags & c.FAILING:
            wish.living |= owner.slot_bits & bits
    claims.wishes.append(wish)
    step(core)
    return wish.number


def step(core: Core) -> None:
    """Moves the first wish on as far as possible. Called at every tick, and when a letter has come."""
    wishes = core.claims.wishes
    while wishes and _advance(core, wishes[0]):
        pass


def take_vote(core: Core, sender: Node, letter: Letter) -> None:
    """A member voted for us. Counts once for each voter, and only in the epoch that it was given for."""
    wishes = core.claims.wishes
    if wishes and wishes[0].epoch and wishes[0].epoch == letter.epoch:
        wishes[0].voters.add(sender.node_id)
        step(core)
    else:
        core.count_refused(Refusal.CLAIM_VOTE)


def take_denial(core: Core, sender: Node, letter: Letter) -> None:
    """A member did not vote for us."""
    if not epoch_bound.is_credible(core, letter.other_epoch):
        epoch_bound.refuse(core, sender, letter.other_epoch)
        return
    epochs.observe(core, letter.other_epoch)
    wishes = core.claims.wishes
    if wishes and wishes[0].epoch and wishes[0].epoch == letter.epoch:
        wishes[0].denials[sender.node_id] = REASONS[Denial(letter.count)]
        step(core)


def call_off(core: Core, number: int) -> None:
    """Ends our own program's wish with that number. Votes that still come are ignored."""
    wishes = core.claims.wishes
    wishes[:] = [wish for wish in wishes if wish.orderer or wish.number != number]


def abandon(core: Core, reason: str) -> None:
    """Ends all wishes."""
    while core.claims.wishes:
        _end(core, core.claims.wishes[0], reason)


# ---------------------------------------------------------------- the checks


def _owners(core: Core, bits: int) -> list[Node]:
    """The other nodes that own some of these slots and have not given them up."""
    owners = core.slots.owners_of(bits & ~core.slots.not_claimed)
    return [owner for owner in owners if owner is not core.myself]


def _check_majority(core: Core) -> None:
    members = electorate.members(core)
    needed = electorate.needed(core, len(members))
    reachable = sum(electorate.is_reachable(core, node) for node in members)
    if reachable < needed:
        raise StateError(f"this node reaches {reachable} of {len(members)} members, and {needed} must agree")
    if not electorate.reaches_owners_of_other_kinds(core):
        raise StateError("this node does not reach most of the primaries that own slots")


def _check_harm(core: Core, owner: Node, bits: int) -> None:
    """Raises StateError if an owner has data or may have some, and cannot be asked, or if a replica will replace it."""
    slot = next(slots_in(owner.slot_bits & bits))
    known = no_harm.owner_has_data(owner)
    cannot_say = owner.kin is Kin.OTHER or not electorate.is_reachable(core, owner)
    if known or (known is None and cannot_say):
        what = "has keys" if known else "may have keys"
        raise StateError(f"slot {slot} is of node {owner.node_id}, which {what}: they would be lost (force=True)")
    if owner.flags & c.FAILING:
        for replica in owner.replicas.values():
            if replica.link is not None and not replica.flags & (c.FAILING | c.FLAG_NOFAILOVER):
                raise StateError(
                    f"slot {slot} is of node {owner.node_id}, in whose place its replica {replica.node_id} is to be"
                    " elected (force=True)"
                )


def _lost_to(core: Core, wish: Wish) -> str:
    """Why a wish is void: a slot of it went to a node that did not own it when the order came. "" if none did."""
    claimed = wish.bits & ~core.slots.not_claimed
    for owner in _owners(core, wish.bits):
        new = owner.slot_bits & claimed & ~wish.owners.get(owner.node_id, 0)
        if new:
            return f"slot {next(slots_in(new))} went to node {owner.node_id} meanwhile"
    return ""


# ---------------------------------------------------------------- the steps


def _advance(core: Core, wish: Wish) -> bool:
    """Takes the next step of a wish. True if it has ended."""
    reason = _lost_to(core, wish)
    if not reason and core.myself.is_replica:
        reason = "this node is a replica now"
    if reason:
        return _end(core, wish, reason)
    if core.now_ms > wish.end_ms:
        return _end(core, wish, _why_late(core, wish), is_late=True)
    if not wish.bits & ~core.myself.slot_bits:
        if promises.held(core, wish.bits, core.now_ms) == wish.bits:
            return _end(core, wish, "")
        if not wish.is_taken or core.claims.renewed_ms < core.ticked_ms:
            wish.is_taken = True
            promises.renew(core)
            return promises.held(core, wish.bits, core.now_ms) == wish.bits and _end(core, wish, "")
        return False
    if not wish.force:
        if _awaits_word(core, wish):
            return False
        wish.force = True  # all have said that they have no data
        wish.round_ms = 0
    if wish.epoch:
        _count(core, wish)
    elif core.now_ms >= wish.round_ms:
        _ask(core, wish)
    return not wish.bits & ~core.myself.slot_bits and _advance(core, wish)


def _awaits_word(core: Core, wish: Wish) -> bool:
    """Asks owners that have not said yet whether they have data. True while one has not, or if one has."""
    for node_id in wish.owners:
        owner = core.table.find(node_id)
        if owner is None or owner is core.myself:
            continue
        known = no_harm.owner_has_data(owner)
        if known or owner.kin is Kin.OTHER:
            what = "has keys" if known else "may have keys"
            _end(core, wish, f"node {owner.node_id} {what}, which would be lost (force=True)")
            return True
        if known is None:
            if core.now_ms >= wish.round_ms:
                wish.round_ms = core.now_ms + _round_ms(core)
                electorate.write(core, owner, Letter(Kind.HELLO, electorate.has_data(core)))
            return True
    return False


def _ask(core: Core, wish: Wish) -> None:
    """Begins a round: a new epoch, our own vote in it on disk, and the question to all others."""
    members = electorate.members(core)
    wish.members, wish.needed = len(members), electorate.needed(core, len(members))
    wish.voters.clear()
    wish.denials.clear()
    wish.round_ms = core.now_ms + _round_ms(core)
    seen_epoch = max((owner.config_epoch for owner in _owners(core, wish.bits)), default=0)
    letter = Letter(
        Kind.ASK,
        electorate.has_data(core),
        epoch=core.current_epoch + 1,
        other_epoch=seen_epoch,
        count=len(members),
        slots=wish.bits,
        living=wish.living,
    )
    denial = voting.refusal(core, core.myself, letter)
    if denial is not None:
        wish.denials[core.myself.node_id] = REASONS[denial]
        return
    is_minority = sum(electorate.is_reachable(core, node) for node in members) < wish.needed
    if is_minority or not electorate.reaches_owners_of_other_kinds(core):
        return
    if core.current_epoch >= c.EPOCH_MAX:
        core.refuse(Refusal.EPOCH_EXHAUSTED, "cluster", "the current epoch has reached its maximum")
        return
    core.current_epoch += 1
    core.last_vote_epoch = wish.epoch = core.current_epoch
    wish.voters.add(core.myself.node_id)
    core.save_now()
    core.log("notice", f"Asking {len(members)} members for {wish.bits.bit_count()} slots in epoch {wish.epoch}.")
    electorate.write_all(core, letter)
    _count(core, wish)


def _count(core: Core, wish: Wish) -> None:
    """Wins with a majority; ends the round if there can be none."""
    members = electorate.members(core)
    wish.needed = max(wish.needed, electorate.needed(core, len(members)))
    if sum(node.node_id in wish.voters for node in members) >= wish.needed:
        _win(core, wish)
    elif core.now_ms >= wish.round_ms or len(wish.denials) > len(members) - wish.needed:
        wish.epoch = 0
        wish.round_ms = core.now_ms + _pause_ms(core)


def _win(core: Core, wish: Wish) -> None:
    """The slots are ours, under the epoch of the vote. All of it is on disk before it is announced."""
    epoch, wish.epoch = wish.epoch, 0
    gained = wish.bits & ~core.myself.slot_bits
    core.log("notice", f"{gained.bit_count()} slots taken under config epoch {epoch}, by {len(wish.voters)} votes.")
    core.elected_epoch = epoch
    if epoch > core.myself.config_epoch:  # a BUMPEPOCH meanwhile has given us a greater one
        core.set_config_epoch(core.myself, epoch)
    core.notify(SlotsTaken(epoch, ranges_of(gained)))
    core.move_slots(core.myself, gained)
    for slot in slots_in(core.slots.importing.bits & gained):
        del core.slots.importing[slot]
    core.save_now()
    heartbeat.broadcast_pong(core)


def _end(core: Core, wish: Wish, reason: str, *, is_late: bool = False) -> bool:
    core.claims.wishes.remove(wish)
    if wish.orderer:
        giver = core.table.find(wish.orderer)
        if giver is not None:
            electorate.write(core, giver, Letter(Kind.GAVE, electorate.has_data(core), number=wish.number, text=reason))
    else:
        core.notify(SlotOrderEnded(wish.number, reason, is_late))
    return True


def _why_late(core: Core, wish: Wish) -> str:
    members = electorate.members(core)
    needed = electorate.needed(core, len(members))
    if wish.is_taken:
        return f"the slots are ours, but {needed} of {len(members)} members have not promised them to us yet"
    if not wish.members:
        return "an owner of the slots has not said whether it has keys (force=True)"
    silent = [node.node_id for node in members if node.node_id not in wish.denials and node.node_id not in wish.voters]
    reasons = [f"{node_id} {reason}" for node_id, reason in wish.denials.items()]
    reasons += [f"{node_id} has not answered" for node_id in silent]
    named = "; ".join(reasons[:NAMED_MAX])
    return f"no majority: {needed} of {len(members)} members must agree ({named})"


def _round_ms(core: Core) -> int:
    return min(max(core.node_timeout_ms // 4, c.CLAIM_ROUND_MIN_MS), c.CLAIM_ROUND_MAX_MS)


def _pause_ms(core: Core) -> int:
    pause_ms = min(max(core.node_timeout_ms // 8, c.CLAIM_PAUSE_MIN_MS), c.CLAIM_PAUSE_MAX_MS)
    return pause_ms // 2 + int(core.random.random() * pause_ms / 2)
