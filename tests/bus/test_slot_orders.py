"""Slots and roles by the word of the program: `take_slots`, `move_slots`, `is_mine` and the rest, on both buses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus.errors import StateError

from tests.bus.harness import settings, well
from tests.loops import Run, until

KEY = "leader"
SLOT = clusterbus.Bus.slot_of(KEY)
REST_ALLOWED = {"cluster_require_full_coverage": False}


def on_each_loop(scenario: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Run, Path], None]:
    """A test out of a scenario that needs a folder."""

    def test(run: Run, tmp_path: Path) -> None:
        run(scenario(tmp_path))

    return test


class Keys(clusterbus.DataPlane):
    """One key in one slot."""

    def __init__(self, slot: int) -> None:
        self.slot = slot

    def count_keys(self) -> int:
        return 1

    def count_keys_in_slot(self, slot: int) -> int:
        return int(slot == self.slot)

    def keys_in_slot(self, slot: int, count: int) -> list[bytes]:
        return [b"precious"][:count] if slot == self.slot else []


@asynccontextmanager
async def cluster(folder: Path, count: int, **directives: Any) -> AsyncIterator[list[clusterbus.Bus]]:
    """Members without slots that know each other."""
    async with AsyncExitStack() as stack:
        buses = [
            await stack.enter_async_context(
                clusterbus.Bus(**settings(folder / str(number), **(REST_ALLOWED | directives)))
            )
            for number in range(count)
        ]
        for bus in buses[1:]:
            await buses[0].meet("127.0.0.1", bus._config.port)
        await until(lambda: all(well(bus) == count for bus in buses))
        yield buses


def owner_id(bus: clusterbus.Bus, key: str = KEY) -> str | None:
    owner = bus.owner(key)
    return None if owner is None else owner.node_id


# ---------------------------------------------------------------- take


@on_each_loop
async def test_a_slot_is_taken_held_and_seen_by_all_with_its_token(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as buses:
        first, second, third = buses
        assert first.owner(KEY) is None
        assert not first.is_mine(KEY)
        token = await first.take_slots(SLOT)
        assert first.is_mine(KEY)
        assert first.me.config_epoch == token
        await until(lambda: {owner_id(bus) for bus in buses} == {first.node_id})
        owner = second.owner(b"{leader}.more")
        assert owner is not None
        assert (owner.config_epoch, owner.slots) == (token, ((SLOT, SLOT),))
        assert not second.is_mine(KEY)
        assert await third.take_slots([SLOT, range(5, 7), (9, 10)]) > token  # from a living owner without data
        assert third.is_mine(KEY)
        assert not first.is_mine(KEY)
        await until(lambda: {owner_id(bus) for bus in buses} == {third.node_id})
        assert first.me.is_primary


@on_each_loop
async def test_of_two_that_take_a_slot_at_once_one_wins(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as buses:
        for _ in range(3):
            outcomes = await asyncio.gather(*(bus.take_slots(SLOT) for bus in buses[:2]), return_exceptions=True)
            tokens = [outcome for outcome in outcomes if isinstance(outcome, int)]
            errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
            assert len(tokens) == 1
            assert isinstance(errors[0], StateError | TimeoutError)
            assert [bus.is_mine(KEY) for bus in buses].count(True) == 1
            holder = next(bus for bus in buses if bus.is_mine(KEY))
            await until(lambda: len({owner_id(bus) for bus in buses}) == 1)
            await holder.del_slots(SLOT)
            await until(lambda: {owner_id(bus) for bus in buses} == {None})


@on_each_loop
async def test_a_holder_that_loses_the_majority_stops_within_the_node_timeout_and_elects_nobody(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as buses:
        first, second, third = buses
        await first.take_slots(SLOT)
        loop = asyncio.get_running_loop()
        lost_s = loop.time()
        await asyncio.gather(second.close(), third.close())
        await until(lambda: not first.is_mine(KEY))
        assert loop.time() - lost_s < 1.5  # a node timeout is a second, and closing takes a while
        await until(
            lambda: all(node.is_suspected or node.is_failed for node in first.nodes.values() if not node.is_myself)
        )
        with pytest.raises(StateError, match="reaches 1 of 3 members, and 2 must agree"):
            await first.take_slots(SLOT)
        assert owner_id(first) == first.node_id


@on_each_loop
async def test_slots_of_a_node_with_keys_are_refused_unless_forced(tmp_path: Path) -> None:
    keys = clusterbus.Bus(**settings(tmp_path / "keys"), data_plane=Keys(SLOT))
    async with cluster(tmp_path, 1) as (other,), keys as keeper:
        await keeper.add_slots((0, 16383))
        await keeper.meet("127.0.0.1", other._config.port)
        await until(lambda: owner_id(other) == keeper.node_id)
        with pytest.raises(StateError, match=rf"{keeper.node_id} has keys.*force=True"):
            await other.take_slots(SLOT)
        assert owner_id(other) == owner_id(keeper) == keeper.node_id
        await other.take_slots(SLOT, force=True)
        await until(lambda: owner_id(keeper) == other.node_id)


@on_each_loop
async def test_fewer_votes_than_the_program_wants_are_none(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as (alone,):
        with pytest.raises(StateError, match="reaches 1 of 1 members, and 2 must agree"):
            await alone.take_slots(SLOT, votes_min=2)
        assert await alone.take_slots(SLOT) == alone.me.config_epoch
        assert alone.is_mine(KEY)


# ---------------------------------------------------------------- move


@on_each_loop
async def test_slots_move_to_another_node_of_ours_under_a_greater_epoch(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as buses:
        first, second, _third = buses
        token = await first.take_slots(range(100))
        await first.move_slots([(0, 9), 50], second.node_id)
        assert first.nodes[second.node_id].slots == ((0, 9), (50, 50))
        assert first.nodes[second.node_id].config_epoch > token
        assert first.me.slots == ((10, 49), (51, 99))
        for slots, to, error in (
            (0, second.node_id, "slot 0 is not of this node"),
            (10, first.node_id, "this node itself"),
            (10, "f" * 40, "Unknown node"),
        ):
            with pytest.raises(StateError, match=error):
                await first.move_slots(slots, to)
        assert first.me.slots == ((10, 49), (51, 99))


@on_each_loop
async def test_slots_with_keys_do_not_move_and_are_not_given_up(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2, data_plane=Keys(7)) as (first, second):
        await first.add_slots(range(10))
        with pytest.raises(StateError, match="slot 7 holds keys, b'precious' among them"):
            await first.move_slots(range(10), second.node_id)
        with pytest.raises(StateError, match="slot 7 holds keys"):
            await first.del_slots(7)
        await first.del_slots([0, 1])
        assert first.me.slots == ((2, 9),)


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("slots", "error", "text"),
    [
        (16384, StateError, "a slot of slots must be at most 16383, not 16384"),
        (-1, StateError, "must be at least 0"),
        ((5, 3), StateError, r"\(5, 3\) runs backwards"),
        ([1, (1, 2)], StateError, "slot 1 is named twice"),
        ([], StateError, "slots names no slot"),
        ([(1, 2, 3)], StateError, "no .first, last. pair"),
        ("7", TypeError, "slots must be a sequence of slots"),
        ([1.5], TypeError, "a slot of slots must be an int"),
        (True, TypeError, "must be an int"),
    ],
)
def test_slots_that_make_no_sense_change_nothing(
    run: Run, tmp_path: Path, slots: Any, error: type[Exception], text: str
) -> None:
    async def scenario() -> None:
        async with cluster(tmp_path, 1) as (bus,):
            for order in (bus.add_slots, bus.del_slots, bus.take_slots):
                with pytest.raises(error, match=text):
                    await order(slots)
            assert bus.me.slots == ()

    run(scenario())


@on_each_loop
async def test_added_slots_are_all_or_none(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as (bus,):
        await bus.add_slots((10, 12))
        with pytest.raises(StateError, match="Slot 10 is already busy"):
            await bus.add_slots(range(9, 11))
        assert bus.me.slots == ((10, 12),)
        with pytest.raises(StateError, match="slot 13 is not of this node"):
            await bus.del_slots((12, 13))
        assert bus.me.slots == ((10, 12),)


# ---------------------------------------------------------------- roles


@on_each_loop
async def test_a_replica_becomes_the_primary_when_failover_returns(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2, cluster_replica_no_failover="no") as (primary, replica):
        await primary.add_slots((0, 16383))
        await until(lambda: replica.is_ok and primary.is_ok)
        with pytest.raises(StateError, match="send CLUSTER FAILOVER to a replica"):
            await primary.failover()
        await replica.replicate(primary.node_id)
        assert replica.me.is_replica
        await until(lambda: primary.nodes[replica.node_id].is_replica)
        with pytest.raises(StateError, match="is a replica"):
            await replica.take_slots(0)
        await replica.failover()
        assert replica.me.is_primary
        assert replica.me.slots == ((0, 16383),)
        await until(lambda: primary.me.is_replica)
        await primary.failover(takeover=True)
        assert primary.me.is_primary


@on_each_loop
async def test_a_failover_that_fails_says_why(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2, cluster_replica_no_failover="no") as (primary, replica):
        await primary.add_slots((0, 16383))
        await replica.replicate(primary.node_id)
        await until(lambda: primary.nodes[replica.node_id].is_replica)
        await primary.close()
        with pytest.raises((StateError, TimeoutError), match=r"Master is down|failover"):
            await replica.failover(timeout_s=2)
        assert replica.me.is_replica


# ---------------------------------------------------------------- the blocking bus


def test_a_blocking_bus_takes_and_gives_up_slots(tmp_path: Path) -> None:
    with clusterbus.BlockingBus(**settings(tmp_path / "bus")) as bus:
        token = bus.take_slots([SLOT, (3, 4)])
        assert token == bus.me.config_epoch
        assert bus.is_mine(KEY)
        assert owner_id(bus) == bus.node_id  # type: ignore[arg-type]
        bus.del_slots(SLOT)
        assert not bus.is_mine(KEY)
        bus.add_slots(SLOT)
        with pytest.raises(StateError, match="reaches 1 of 1"):
            bus.take_slots(9, votes_min=2)
        with pytest.raises(StateError, match="Unknown node"):
            bus.move_slots(3, "f" * 40)
        with pytest.raises(StateError, match="send CLUSTER FAILOVER to a replica"):
            bus.failover()
        with pytest.raises(StateError, match="Unknown node"):
            bus.replicate("f" * 40)
        assert bus.me.slots == ((3, 4), (SLOT, SLOT))


@on_each_loop
async def test_an_order_that_nobody_waits_for_is_called_off(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as (first, second, third):
        for other in (second, third):
            other._member().state._core.claims.blind_until_ms = 2**62
        order = asyncio.create_task(first.take_slots(SLOT, timeout_s=600))
        await asyncio.sleep(0)
        claims = first._member().state._core.claims
        assert len(claims.wishes) == 1
        order.cancel()
        with pytest.raises(asyncio.CancelledError):
            await order
        assert claims.wishes == []
