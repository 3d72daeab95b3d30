"""The simulated network alone: two or three hosts that only note what arrives (R38)."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from clusterbus.sim.network import (
    ACCEPT,
    DIAL_TIMEOUT_US,
    FIN,
    GIVE_UP_US,
    KEEPALIVE_US,
    UNACKNOWLEDGED_MAX,
    Dial,
    End,
    Impairment,
    Network,
)
from clusterbus.sim.timeline import Timeline

SECOND_US = 1_000_000


class World:
    """A network, and everything that it delivered, as (time, host, what)."""

    def __init__(self, seed: int = 1, *, hosts: int = 3, jitter_us: int = 500) -> None:
        self.timeline = Timeline()
        self.deaf: set[int] = set()
        self.dialled: list[End] = []
        self.accepted: list[End] = []
        self.seen: list[tuple[int, int, Any]] = []
        self.network = Network(self.timeline, Random(seed), self, hosts=hosts, delay_us=1_000, jitter_us=jitter_us)

    def listens(self, host: int) -> bool:
        return host not in self.deaf

    def dial_answered(self, dial: Dial, end: End) -> None:
        self.dialled.append(end)

    def dial_failed(self, dial: Dial, error: str) -> None:
        self.note(dial.owner, error)

    def arrived(self, end: End, item: Any) -> None:
        if item is ACCEPT:
            self.accepted.append(end)
        elif item is FIN:
            self.network.forget(end)
        self.note(end.owner, item)

    def broken(self, end: End, reason: str) -> None:
        self.note(end.owner, reason)

    def note(self, host: int, what: Any) -> None:
        self.seen.append((self.timeline.now_us, host, what))

    def pass_time(self, duration_us: int) -> None:
        self.timeline.run_to(self.timeline.now_us + duration_us)

    def connect(self, one: int, other: int) -> tuple[End, End]:
        """Both ends of a new connection; the dialled one first."""
        self.network.dial(one, other)
        self.pass_time(SECOND_US)
        return self.dialled[-1], self.accepted[-1]

    def block(self, one: int, other: int) -> int:
        key = self.network.new_key()
        self.network.path(one, other).impair(key, Impairment(blocked=True))
        return key

    def reached(self, host: int) -> list[Any]:
        """What a host received, without ACCEPT."""
        return [what for _, owner, what in self.seen if owner == host and what is not ACCEPT]


def test_a_connection_carries_everything_in_order_under_loss_and_jitter_r38() -> None:
    world = World(jitter_us=50_000)
    near, _far = world.connect(0, 1)
    lossy = world.network.new_key()
    world.network.path(0, 1).impair(lossy, Impairment(loss=0.4))
    for number in range(200):
        world.network.send(near, number)
        world.pass_time(5_000)
    world.network.restore(lossy)
    world.pass_time(60 * SECOND_US)
    assert world.reached(1) == list(range(200))


def test_two_connections_overtake_each_other_r38() -> None:
    world = World(jitter_us=50_000)
    first, _ = world.connect(0, 1)
    second, _ = world.connect(0, 1)
    overtaken = 0
    for number in range(50):
        world.network.send(first, ("first", number))
        world.network.send(second, ("second", number))
        world.pass_time(SECOND_US)
        overtaken += world.reached(1)[-1] == ("first", number)
    assert 0 < overtaken < 50


def test_loss_is_a_delay_of_a_retransmission_r38() -> None:
    world = World(jitter_us=0)
    near, _far = world.connect(0, 1)
    world.network.path(0, 1).impair(world.network.new_key(), Impairment(loss=0.5))
    took_us = []
    for number in range(40):
        sent_us = world.timeline.now_us
        world.network.send(near, number)
        world.pass_time(30 * SECOND_US)
        arrivals = [time_us for time_us, _, what in world.seen if what == number]
        took_us += [time_us - sent_us for time_us in arrivals]
    prompt = [time_us for time_us in took_us if time_us < 10_000]
    late = [time_us for time_us in took_us if time_us >= 200_000]
    assert prompt
    assert late
    assert len(prompt) + len(late) == len(took_us)


def test_a_partition_holds_messages_up_and_healing_delivers_them_in_order_r38() -> None:
    world = World()
    near, _far = world.connect(0, 1)
    key = world.block(0, 1)
    for number in range(5):
        world.network.send(near, number)
    world.pass_time(2 * SECOND_US)
    assert world.reached(1) == []
    world.network.restore(key)
    world.network.send(near, 5)
    world.pass_time(3 * SECOND_US)
    assert world.reached(1) == [0, 1, 2, 3, 4, 5]


def test_what_is_under_way_when_a_partition_begins_does_not_cross_it_r38() -> None:
    world = World()
    near, _far = world.connect(0, 1)
    world.network.send(near, "under way")
    world.block(0, 1)
    world.pass_time(2 * SECOND_US)
    assert world.reached(1) == []


def test_two_overlapping_faults_both_have_to_end_r38() -> None:
    world = World()
    near, _far = world.connect(0, 1)
    first, second = world.block(0, 1), world.block(0, 1)
    world.network.send(near, "held up")
    world.network.restore(first)
    world.pass_time(2 * SECOND_US)
    assert world.reached(1) == []
    world.network.restore(second)
    world.pass_time(2 * SECOND_US)
    assert world.reached(1) == ["held up"]


def test_a_connection_held_up_for_long_breaks_for_the_sender_alone_h32() -> None:
    world = World()
    near, far = world.connect(0, 1)
    world.block(0, 1)
    world.network.send(near, "never arrives")
    world.pass_time(GIVE_UP_US[1] + SECOND_US)
    assert world.reached(0) == ["connection timed out"]
    assert world.reached(1) == []
    assert not near.is_open
    assert far.is_open


def test_sending_into_a_half_open_connection_resets_it_h32() -> None:
    world = World()
    near, far = world.connect(0, 1)
    key = world.block(0, 1)
    world.network.send(near, "never arrives")
    world.pass_time(GIVE_UP_US[1] + SECOND_US)
    world.network.restore(key)
    world.network.send(far, "anybody there?")
    world.pass_time(SECOND_US)
    assert world.reached(1) == ["connection reset by peer"]
    assert not far.is_open


def test_an_idle_half_open_connection_is_found_by_keepalive_h32() -> None:
    world = World()
    near, far = world.connect(0, 1)
    key = world.block(0, 1)
    world.network.send(near, "never arrives")
    world.pass_time(GIVE_UP_US[1] + SECOND_US)
    assert world.reached(1) == []
    world.network.restore(key)
    world.pass_time(KEEPALIVE_US + 2 * SECOND_US)
    assert world.reached(1) == ["connection reset by peer"]
    assert not far.is_open


def test_keepalive_leaves_an_idle_connection_alone() -> None:
    world = World()
    near, far = world.connect(0, 1)
    world.pass_time(10 * KEEPALIVE_US)
    assert near.is_open
    assert far.is_open
    assert world.reached(0) == world.reached(1) == []


def test_one_way_only_an_unacknowledged_window_passes_r38() -> None:
    world = World()
    near, far = world.connect(0, 1)
    key = world.block(1, 0)
    world.network.send(far, "held up")
    for number in range(UNACKNOWLEDGED_MAX + 3):
        world.network.send(near, number)
        world.pass_time(10_000)
    assert world.reached(1) == list(range(UNACKNOWLEDGED_MAX))
    assert world.reached(0) == []
    world.network.restore(key)
    world.pass_time(3 * SECOND_US)
    assert world.reached(1) == list(range(UNACKNOWLEDGED_MAX + 3))
    assert world.reached(0) == ["held up"]


def test_closing_delivers_what_was_sent_before_and_then_the_end_h34() -> None:
    world = World()
    near, far = world.connect(0, 1)
    world.network.send(near, "last words")
    world.network.close(near)
    world.pass_time(SECOND_US)
    assert world.reached(1) == ["last words", FIN]
    assert not far.is_open


def test_a_dial_to_a_host_without_a_listener_is_refused() -> None:
    world = World()
    world.deaf.add(1)
    world.network.dial(0, 1)
    world.pass_time(SECOND_US)
    assert world.reached(0) == ["connection refused"]


@pytest.mark.parametrize("blocked", [(0, 1), (1, 0)])
def test_a_dial_over_a_dead_path_times_out_also_when_only_the_answer_is_lost(
    blocked: tuple[int, int],
) -> None:
    world = World()
    world.block(*blocked)
    world.network.dial(0, 1)
    world.pass_time(DIAL_TIMEOUT_US + SECOND_US)
    assert world.reached(0) == ["connection timed out"]
    assert world.accepted == []


def test_a_dial_goes_through_when_the_path_heals_in_time() -> None:
    world = World()
    key = world.block(0, 1)
    world.network.dial(0, 1)
    world.pass_time(SECOND_US // 2)
    world.network.restore(key)
    world.pass_time(2 * SECOND_US)
    assert len(world.dialled) == 1
    assert len(world.accepted) == 1


def test_a_dial_to_an_address_without_a_host_times_out() -> None:
    world = World()
    world.network.dial(0, None)
    world.pass_time(DIAL_TIMEOUT_US + SECOND_US)
    assert world.reached(0) == ["connection timed out"]


def test_a_host_without_power_sends_nothing_and_resets_when_it_is_back() -> None:
    world = World()
    near, _far = world.connect(0, 1)
    world.network.lose_host(1)
    key = world.network.cut_off(1)
    world.network.send(near, "hello?")
    world.pass_time(2 * SECOND_US)
    assert world.reached(0) == []
    world.network.restore(key)
    world.pass_time(2 * SECOND_US)
    assert world.reached(0) == ["connection reset by peer"]
    assert world.reached(1) == []


def test_a_reset_between_two_hosts_breaks_both_ends() -> None:
    world = World()
    near, _far = world.connect(0, 1)
    world.network.reset(near)
    assert world.reached(0) == world.reached(1) == ["connection reset by peer"]
    assert world.network.ends_of(0) == world.network.ends_of(1) == []


def test_arrivals_never_go_back_in_time_on_a_connection_r38() -> None:
    world = World(jitter_us=80_000)
    near, _far = world.connect(0, 1)
    for number in range(100):
        world.network.send(near, number)
    world.pass_time(SECOND_US)
    times = [time_us for time_us, host, what in world.seen if host == 1 and what is not ACCEPT]
    assert all(earlier < later for earlier, later in pairwise(times))
