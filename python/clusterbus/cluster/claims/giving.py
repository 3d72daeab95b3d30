"""`move_slots` to a node of our own kind: it is told to take slots of ours, and does so as it would take any.

Owns `Claims.gifts`, and the checks on both sides. Must never give away a slot that holds keys: the bus moves none. An
order of another node is checked and refused, never raised. Main thread.
"""

from __future__ import annotations

from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.claims import electorate, taking
from clusterbus.cluster.claims.letters import Kind, Letter
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import SlotOrderEnded
from clusterbus.cluster.model.claim_state import Gift
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.cluster.model.slots import slots_in
from clusterbus.errors import StateError

KEY_SHOWN_MAX_BYTES: Final = 64


def begin(core: Core, bits: int, node_id: str, timeout_ms: int) -> int:
    """Tells a node to take slots of ours; returns the number that SlotOrderEnded will carry. Raises StateError."""
    heir = check(core, bits, node_id)
    if len(core.claims.gifts) >= c.CLAIMS_WAITING_MAX:
        raise StateError(f"{c.CLAIMS_WAITING_MAX} orders to move slots are waiting already")
    if not electorate.is_reachable(core, heir):
        raise StateError(f"node {node_id} cannot be reached")
    number = core.claims.next_number()
    core.claims.gifts[number] = Gift(bits, heir, core.now_ms + timeout_ms)
    count = min(timeout_ms, c.GIFT_MAX_MS)
    electorate.write(core, heir, Letter(Kind.GIVE, electorate.has_data(core), number=number, count=count, slots=bits))
    return number


def check(core: Core, bits: int, node_id: str) -> Node:
    """The node that slots of ours may go to. Raises StateError for one that cannot have them, for slots that are not
    ours, and for slots with keys.
    """
    if not bits:
        raise StateError("no slots were named")
    heir = core.table.find(node_id)
    if heir is None or heir.in_handshake:
        raise StateError(f"Unknown node {node_id}")
    if heir is core.myself:
        raise StateError("the slots cannot move to this node itself")
    if heir.is_replica:
        raise StateError(f"node {node_id} is a replica: slots move to primaries")
    not_ours = bits & ~core.myself.slot_bits
    if not_ours or core.myself.is_replica:
        slot = next(slots_in(not_ours or bits))
        raise StateError(f"slot {slot} is not of this node")
    for slot in slots_in(bits):
        if core.data_plane.count_keys_in_slot(slot):
            key = next(iter(core.data_plane.keys_in_slot(slot, 1)), b"")[:KEY_SHOWN_MAX_BYTES]
            raise StateError(f"slot {slot} holds keys, {key!r} among them: move them with redis-cli --cluster reshard")
    return heir


def tick(core: Core) -> None:
    """Ends what is done, or takes too long."""
    for number, gift in list(core.claims.gifts.items()):
        if not gift.bits & ~gift.heir.slot_bits:
            _end(core, number, "")
        elif core.now_ms > gift.end_ms:
            _end(core, number, f"node {gift.heir.node_id} has not taken the slots in time", is_late=True)


def receive(core: Core, sender: Node, letter: Letter) -> None:
    """Another node gives us slots. If we cannot take them it is told why."""
    reason = ""
    others = letter.slots & ~sender.slot_bits & ~core.myself.slot_bits
    if others:
        reason = f"slot {next(slots_in(others))} is not of the node that gives it, as this one sees it"
    elif any(wish.orderer == sender.node_id for wish in core.claims.wishes):
        reason = "an earlier order of the same node is under way"
    else:
        timeout_ms = min(letter.count, c.GIFT_MAX_MS)
        try:
            taking.begin(core, letter.slots, timeout_ms, giver=sender, number=letter.number)
        except StateError as error:
            reason = str(error)
    if reason:
        core.refuse(Refusal.SLOT_GIFT, sender.node_id, f"gives slots that are not taken: {reason}")
        answer = Letter(Kind.GAVE, electorate.has_data(core), number=letter.number, text=reason)
        electorate.write(core, sender, answer)


def take_answer(core: Core, sender: Node, letter: Letter) -> None:
    """The heir says how it went. Its claim says more than its word: `tick` looks for that."""
    gift = core.claims.gifts.get(letter.number)
    if gift is None or gift.heir is not sender:
        core.count_refused(Refusal.SLOT_GIFT_ANSWER)
    elif letter.text:
        _end(core, letter.number, f"node {sender.node_id} refused: {letter.text}")
    else:
        tick(core)


def call_off(core: Core, number: int) -> None:
    """Nobody waits for that gift any more. The heir may take the slots all the same."""
    core.claims.gifts.pop(number, None)


def abandon(core: Core, reason: str) -> None:
    """Ends the wait for all gifts."""
    for number in list(core.claims.gifts):
        _end(core, number, reason)


def _end(core: Core, number: int, reason: str, *, is_late: bool = False) -> None:
    del core.claims.gifts[number]
    core.notify(SlotOrderEnded(number, reason, is_late))
