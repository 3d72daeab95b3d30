"""The node's timeline and its ticks."""

from __future__ import annotations

from clusterbus.runtime.clock import Clock, TickSchedule


class FakeTime:
    def __init__(self, wall_ns: int, monotonic_ns: int) -> None:
        self.wall_ns = wall_ns
        self.monotonic_ns = monotonic_ns

    def clock(self) -> Clock:
        return Clock(lambda: self.wall_ns, lambda: self.monotonic_ns)


def test_time_starts_at_the_wall_clock() -> None:
    clock = FakeTime(wall_ns=1_700_000_000_123_456_789, monotonic_ns=55).clock()
    assert clock.now_ms() == 1_700_000_000_123
    assert clock.now_us() == 1_700_000_000_123_456


def test_h29_a_jump_of_the_wall_clock_does_not_move_the_timeline() -> None:
    source = FakeTime(wall_ns=10**18, monotonic_ns=10**9)
    clock = source.clock()
    before_ms = clock.now_ms()
    source.wall_ns -= 3_600 * 10**9
    assert clock.now_ms() == before_ms
    source.wall_ns += 10 * 3_600 * 10**9
    source.monotonic_ns += 250 * 10**6
    assert clock.now_ms() == before_ms + 250


def test_ticks_keep_their_grid_when_each_is_served_late() -> None:
    schedule = TickSchedule(0.1, now_s=50.0)
    served = 0
    now_s = 50.0
    while now_s < 60.0:
        now_s += 0.037
        served += schedule.take(now_s)
    assert served in (99, 100)


def test_a_stall_gives_one_tick_and_keeps_the_phase() -> None:
    schedule = TickSchedule(0.5, now_s=0.0)
    assert not schedule.take(0.25)
    assert schedule.take(8.25)
    assert not schedule.take(8.25)
    assert schedule.next_s == 8.5


def test_a_tick_served_exactly_on_the_grid_is_not_served_twice() -> None:
    schedule = TickSchedule(0.1, now_s=0.0)
    for grid_point in range(1, 200):
        now_s = grid_point * 0.1
        assert schedule.take(max(now_s, schedule.next_s))
        assert schedule.next_s > now_s
