"""Slots and roles by the word of the program, on both buses.

Owns how each bus waits for an order (`member.slot_orders`), and nothing else. The owner's thread.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, Generic

from clusterbus import arguments
from clusterbus.member.member import Member
from clusterbus.member.slot_orders import waits
from clusterbus.member.slot_orders.named import Slots, bits_named
from clusterbus.member.slot_orders.waits import TIMEOUT_MAX_S, Order, Outcome
from clusterbus.streams.snapshots import NodeView, node_view
from clusterbus.wire import key_slot

TIMEOUT_S: Final = 10.0
SLACK_S: Final = 1.0
VOTES_MAX: Final = 10_000


class SlotView(ABC):
    """Whose a key is. Both buses are one."""

    @abstractmethod
    def _member(self) -> Member:
        """The member behind an open bus."""

    @staticmethod
    def slot_of(key: bytes | str) -> int:
        """The hash slot of a key, 0 to 16,383. Only what stands in {} is hashed, if the key has that."""
        return key_slot(arguments.payload("key", key))

    def owner(self, key: bytes | str) -> NodeView | None:
        """The node that owns the hash slot of a key, as this node sees it; None if none does, or it has given the slot
        up. Its `config_epoch` is the fencing token: each new owner of a slot has a greater one than all before it.
        """
        member = self._member()
        owner = member.state.claimed_owner_of(self.slot_of(key))
        return None if owner is None else node_view(member, owner)

    def is_mine(self, key: bytes | str) -> bool:
        """Whether the hash slot of a key is this node's, and no other node can believe the same now.

        That holds while a majority of the members promises it to us, which this node asks for four times in a node
        timeout. So it becomes False within the node timeout when the node loses the majority, whether it has heard of
        another owner or not. The first call begins to ask, so it says False for a moment, until the promises are in.
        A program that was stopped between this call and what it does next (SIGSTOP, a suspended machine) may be wrong
        by then: hand the fencing token (`bus.me.config_epoch`) along, and refuse lower ones where they arrive.
        """
        member = self._member()
        bit = 1 << self.slot_of(key)
        if not member.state.keeps_leases:
            member.state.keep_leases(member.clock.now_ms())
            member.settle()
        return member.state.held_slots(bit, member.clock.now_ms()) != 0


class AsyncSlotOrders(SlotView):
    """The orders of `Bus`. Slots are named as a number, a range, a (first, last) pair, or several of these."""

    async def add_slots(self, slots: Slots) -> None:
        """CLUSTER ADDSLOTS: this node takes slots that have no owner, all or none, under the config epoch that it has.

        For a new cluster, before its nodes have met: nobody is asked, so two nodes that both do this have to find out
        who keeps the slots. `take_slots` asks. Raises StateError for a slot that has an owner, is named twice or does
        not exist.
        """
        waits.add(self._member(), bits_named("slots", slots))

    async def del_slots(self, slots: Slots) -> None:
        """CLUSTER DELSLOTS: this node gives up slots of its own, all or none. Another one may take them at once.

        Raises StateError for a slot that is not this node's, or that holds keys.
        """
        waits.delete(self._member(), bits_named("slots", slots))

    async def take_slots(
        self, slots: Slots, *, force: bool = False, votes_min: int = 1, timeout_s: float = TIMEOUT_S
    ) -> int:
        """Takes slots, whoever owns them, under a new config epoch that a majority of the members has voted for.

        Returns that epoch, the fencing token, when `is_mine` is true of the slots. Members are all nodes that this one
        knows, those that are down too, but for servers of another kind, which do not vote. One member alone is its own
        majority: join first, or say with `votes_min` how many votes it takes at least, ours included. In a cluster of
        never more than 2n-1 members, `votes_min=n` makes two winners impossible, whoever knows whom.

        A member votes if the slots have no owner or it too holds the owner for failing. An owner that this node holds
        for alive loses them all the same; it goes on believing in them until it is told, and `is_mine` is true here
        only afterwards. If a slot goes to another node meanwhile, the order fails: of two that try at once, one wins.

        Refused unless `force`: slots of a node that has keys, or that cannot be asked and may have some, since these
        would be lost; slots of a failing node with a replica that will take over. Raises StateError with the reason,
        also in a minority, and TimeoutError with what was missing after `timeout_s`. A refused order changes nothing.
        """
        member = self._member()
        bits = bits_named("slots", slots)
        return await self._done(
            waits.take(
                member,
                bits,
                force=arguments.flag("force", force),
                votes_min=arguments.integer("votes_min", votes_min, 1, VOTES_MAX),
                timeout_s=_timeout(timeout_s),
            )
        )

    async def move_slots(self, slots: Slots, to: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Moves slots of this node to the primary with the id `to`; returns when they are its.

        A node of our kind is asked to take them, and does so by votes as with `take_slots`. To a Valkey or Redis node
        they move by CLUSTER SETSLOT at its client port. Keys do not move: slots that hold any are refused, and the
        error names one. Raises StateError with the reason, and TimeoutError after `timeout_s`; of many slots to a
        server of another kind some may have moved, and the error says how many.
        """
        member = self._member()
        bits = bits_named("slots", slots)
        await self._done(waits.move(member, bits, arguments.text("to", to), timeout_s=_timeout(timeout_s)))

    async def replicate(self, node_id: str) -> None:
        """CLUSTER REPLICATE: this node becomes a replica of that primary. Raises StateError while it owns slots or has
        keys, and for a node that is unknown, a replica or this one.
        """
        waits.replicate(self._member(), arguments.text("node_id", node_id))

    async def failover(self, *, force: bool = False, takeover: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        """CLUSTER FAILOVER on a replica; returns when it is the primary.

        `force`: without its primary's part in it; `takeover`: without any votes. Raises StateError on a primary, on a
        replica without data (see `cluster-replica-no-failover`), and if it fails; TimeoutError after `timeout_s`.
        """
        await self._done(
            waits.failover(
                self._member(),
                force=arguments.flag("force", force),
                takeover=arguments.flag("takeover", takeover),
                timeout_s=_timeout(timeout_s),
            )
        )

    @abstractmethod
    async def wait_until(self, condition: Callable[[], object], timeout_s: float | None = None) -> None:
        """Checks the condition after each step."""

    async def _done(self, order: Order[Outcome]) -> Outcome:
        """Takes an order to its end, which it watches itself. Called off if the caller no longer waits."""
        progress = _Progress(order)
        with contextlib.closing(order):
            await self.wait_until(progress.is_done)
        return progress.outcome()


class BlockingSlotOrders(SlotView):
    """The orders of `BlockingBus`: each drives the node until it is done. `is_mine` is worth what the node is driven:
    promises are renewed while one of the `wait_` methods runs.
    """

    @abstractmethod
    def wait_until(self, condition: Callable[[], object], timeout_s: float) -> None:
        """Drives the node, and checks the condition after each step."""

    def add_slots(self, slots: Slots) -> None:
        """As `Bus.add_slots`."""
        waits.add(self._member(), bits_named("slots", slots))

    def del_slots(self, slots: Slots) -> None:
        """As `Bus.del_slots`."""
        waits.delete(self._member(), bits_named("slots", slots))

    def take_slots(self, slots: Slots, *, force: bool = False, votes_min: int = 1, timeout_s: float = TIMEOUT_S) -> int:
        """As `Bus.take_slots`; drives the node meanwhile."""
        steps = waits.take(
            self._member(),
            bits_named("slots", slots),
            force=arguments.flag("force", force),
            votes_min=arguments.integer("votes_min", votes_min, 1, VOTES_MAX),
            timeout_s=_timeout(timeout_s),
        )
        return self._driven(steps, timeout_s)

    def move_slots(self, slots: Slots, to: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """As `Bus.move_slots`; drives the node meanwhile."""
        bits = bits_named("slots", slots)
        steps = waits.move(self._member(), bits, arguments.text("to", to), timeout_s=_timeout(timeout_s))
        self._driven(steps, timeout_s)

    def replicate(self, node_id: str) -> None:
        """As `Bus.replicate`."""
        waits.replicate(self._member(), arguments.text("node_id", node_id))

    def failover(self, *, force: bool = False, takeover: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        """As `Bus.failover`; drives the node meanwhile."""
        steps = waits.failover(
            self._member(),
            force=arguments.flag("force", force),
            takeover=arguments.flag("takeover", takeover),
            timeout_s=_timeout(timeout_s),
        )
        self._driven(steps, timeout_s)

    def _driven(self, order: Order[Outcome], timeout_s: float) -> Outcome:
        progress = _Progress(order)
        with contextlib.closing(order):
            self.wait_until(progress.is_done, timeout_s + SLACK_S)  # the order ends by itself before that
        return progress.outcome()


class _Progress(Generic[Outcome]):
    """An order as a condition that can be waited for. What the order raises, the condition raises."""

    def __init__(self, order: Order[Outcome]) -> None:
        self._order = order
        self._outcomes: list[Outcome] = []

    def is_done(self) -> bool:
        try:
            next(self._order)
        except StopIteration as end:
            self._outcomes.append(end.value)
        return bool(self._outcomes)

    def outcome(self) -> Outcome:
        return self._outcomes[0]


def _timeout(timeout_s: object) -> float:
    return arguments.number("timeout_s", timeout_s, 0, TIMEOUT_MAX_S)
