"""Slots that move to a server of another kind, by CLUSTER SETSLOT at its client port, as redis-cli reshards.

Owns the order of the commands there and of our own steps beside them. Must never leave a slot open at either end, as
far as the other server answers. Main thread.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.slots import slots_in
from clusterbus.errors import ClusterBusError, StateError
from clusterbus.member.member import Member
from clusterbus.member.ports import Errand, PeerAnswer, Place

SLOTS_AT_ONCE: Final = 256
"""So many slots move to a server of another kind together: each of its commands is sent for all of them."""


def move(member: Member, bits: int, heir: Node, end_ms: int) -> Generator[None, None, None]:
    """As `redis-cli --cluster reshard` moves slots without keys. From the moment at which a slot migrates, clients that
    want a key that is not here are sent to the other node, so none comes to be here.
    """
    slots = list(slots_in(bits))
    done = 0
    while done < len(slots):
        some = slots[done : done + SLOTS_AT_ONCE]
        try:
            yield from _move_some(member, some, heir, end_ms)
        except (StateError, TimeoutError) as error:
            for slot in some:
                if member.state.migrating_to(slot) is heir:
                    member.state.settle_slot(slot, member.clock.now_ms())
            member.settle()
            _command(member, heir, [["CLUSTER", "SETSLOT", str(slot), "STABLE"] for slot in some])
            raise type(error)(f"{error} ({done} of {len(slots)} slots have moved)") from None
        done += len(some)


def _move_some(member: Member, slots: Sequence[int], heir: Node, end_ms: int) -> Generator[None, None, None]:
    state, my_id, heir_id = member.state, member.state.myself.node_id, heir.node_id
    importing = [["CLUSTER", "SETSLOT", str(slot), "IMPORTING", my_id] for slot in slots]
    yield from _commands_done(member, heir, importing, end_ms)
    for slot in slots:
        state.migrate_slot(slot, heir_id, member.clock.now_ms())
    member.settle()
    for slot in slots:
        if member.data_plane.count_keys_in_slot(slot):
            raise StateError(f"slot {slot} holds keys by now")
    assigning = [["CLUSTER", "SETSLOT", str(slot), "NODE", heir_id] for slot in slots]
    yield from _commands_done(member, heir, assigning, end_ms)
    for slot in slots:
        owner = state.owner_of(slot)
        if owner is state.myself:
            state.assign_slot(slot, heir_id, member.clock.now_ms())
    member.settle()


def _commands_done(member: Member, node: Node, commands: list[list[str]], end_ms: int) -> Generator[None, None, None]:
    errand = _command(member, node, commands)
    while not errand.is_done:
        yield
        if member.clock.now_ms() > end_ms:
            raise TimeoutError(f"node {node.node_id} has not answered in time")
    try:
        answer = errand.result()
    except ClusterBusError as error:
        raise StateError(str(error)) from error
    if not answer.is_ok:
        raise StateError(f"node {node.node_id} refused: {answer.text}")


def _command(member: Member, node: Node, commands: list[list[str]]) -> Errand[PeerAnswer]:
    if member.errands is None:
        raise StateError("there is no way to the client ports of other nodes here")
    tls = not node.port and bool(node.tls_port)
    return member.errands.commands(Place(node.ip, node.tls_port if tls else node.port, tls), commands)
