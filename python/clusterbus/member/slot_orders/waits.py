"""The orders: take slots, move them, replicate, failover; and what each waits for.

Owns the waits. The rules are the state's. Main thread.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeAlias, TypeVar

from clusterbus.cluster.events import ElectionLost, Event, SlotOrderEnded
from clusterbus.cluster.model.node import Kin
from clusterbus.cluster.model.slots import slots_in
from clusterbus.errors import StateError
from clusterbus.member.member import Member
from clusterbus.member.slot_orders import by_commands

Outcome = TypeVar("Outcome")
Order: TypeAlias = Generator[None, None, Outcome]

TIMEOUT_MAX_S: Final = 3_600.0


def add(member: Member, bits: int) -> None:
    """Takes slots without an owner, all or none."""
    member.state.add_slots(slots_in(bits), member.clock.now_ms())
    member.settle()


def delete(member: Member, bits: int) -> None:
    """Gives up slots of ours, all or none. Raises StateError for slots that are not ours, or hold keys."""
    others = bits & ~member.state.myself.slot_bits
    if others or member.state.myself.is_replica:
        raise StateError(f"slot {next(slots_in(others or bits))} is not of this node")
    for slot in slots_in(bits):
        if member.data_plane.count_keys_in_slot(slot):
            raise StateError(f"slot {slot} holds keys")
    member.state.del_slots(slots_in(bits), member.clock.now_ms())
    member.settle()


def take(member: Member, bits: int, *, force: bool, votes_min: int, timeout_s: float) -> Order[int]:
    """Takes slots by votes, and returns the config epoch under which they are ours, once they are held."""
    with _Ending(member) as ending:
        timeout_ms = int(timeout_s * 1000)
        now_ms = member.clock.now_ms()
        number = member.state.take_slots(bits, timeout_ms, now_ms, force=force, votes_min=votes_min)
        yield from ending.of(number)
    return member.state.myself.config_epoch


def move(member: Member, bits: int, node_id: str, *, timeout_s: float) -> Order[None]:
    """Moves slots of ours to another primary."""
    state = member.state
    state.check_move(bits, node_id)
    end_ms = member.clock.now_ms() + int(timeout_s * 1000)
    heir = state.find(node_id)
    assert heir is not None
    if heir.kin is Kin.UNKNOWN:
        state.say_hello(node_id, member.clock.now_ms())
        member.settle()
    while heir.kin is Kin.UNKNOWN:
        yield
        if member.clock.now_ms() > end_ms:
            raise TimeoutError(f"node {node_id} has not said what kind of server it is")
    if heir.kin is Kin.OTHER:
        yield from by_commands.move(member, bits, heir, end_ms)
        return
    with _Ending(member) as ending:
        now_ms = member.clock.now_ms()
        number = state.move_slots(bits, node_id, max(end_ms - now_ms, 0), now_ms)
        yield from ending.of(number)


def replicate(member: Member, node_id: str) -> None:
    """Makes this node a replica."""
    member.state.replicate(node_id, member.clock.now_ms())
    member.settle()


def failover(member: Member, *, force: bool, takeover: bool, timeout_s: float) -> Order[None]:
    """Makes this replica the primary of its shard."""
    state = member.state
    end_ms = member.clock.now_ms() + int(timeout_s * 1000)
    lost = ""

    def listen(event: Event) -> None:
        nonlocal lost
        if isinstance(event, ElectionLost) and event.node_id == state.myself.node_id:
            lost = f": {event.reason}"

    member.listen(listen)
    try:
        state.failover(member.clock.now_ms(), force=force, takeover=takeover)
        member.settle()
        while state.myself.is_replica:
            if not state.is_failing_over:
                raise StateError(f"the failover has failed{lost}")
            if member.clock.now_ms() > end_ms:
                raise TimeoutError(f"the failover is not done after {timeout_s:g} s{lost}")
            yield
    finally:
        member.driver.event_listeners.remove(listen)


class _Ending:
    """Collects how orders to the state end, while its context is entered."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._ended: dict[int, SlotOrderEnded] = {}

    def __enter__(self) -> _Ending:
        self._member.listen(self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        self._member.driver.event_listeners.remove(self._note)

    def of(self, number: int) -> Order[None]:
        """Waits for the end of one order. If nobody waits any more, the order is called off."""
        member = self._member
        member.settle()
        try:
            while number not in self._ended:
                yield
        except GeneratorExit:
            member.state.call_off(number, member.clock.now_ms())
            raise
        ended = self._ended[number]
        if ended.is_late:
            raise TimeoutError(ended.reason)
        if ended.reason:
            raise StateError(ended.reason)

    def _note(self, event: Event) -> None:
        if isinstance(event, SlotOrderEnded):
            self._ended[event.number] = event
