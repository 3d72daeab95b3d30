"""Virtual time and the clocks that read it (R38)."""

from __future__ import annotations

from clusterbus.sim.timeline import WALL_START_MS, NodeClock, Timeline


def test_events_happen_by_time_then_in_the_order_asked_for_r38() -> None:
    timeline = Timeline()
    seen: list[tuple[str, int]] = []

    def note(name: str) -> None:
        seen.append((name, timeline.now_us))

    timeline.at(200, note, "late")
    timeline.at(100, note, "first")
    timeline.after(100, note, "second")
    timeline.run_to(150)
    assert seen == [("first", 100), ("second", 100)]
    assert timeline.now_us == 150
    timeline.run_to(200)
    assert seen[2:] == [("late", 200)]


def test_an_event_of_the_past_happens_now_r38() -> None:
    timeline = Timeline()
    timeline.run_to(500)
    seen: list[int] = []
    timeline.at(100, lambda _: seen.append(timeline.now_us), None)
    timeline.run_to(500)
    assert seen == [500]


def test_a_clock_is_off_by_its_offset_and_runs_at_its_rate_r38() -> None:
    timeline = Timeline()
    timeline.run_to(7_000_000)
    right = NodeClock(timeline, offset_ms=0, drift_ppm=0)
    fast = NodeClock(timeline, offset_ms=-300, drift_ppm=10_000)
    assert right.now_ms() == WALL_START_MS + 7_000
    assert fast.now_ms() == WALL_START_MS + 6_700
    timeline.run_to(17_000_000)
    assert right.now_ms() == WALL_START_MS + 17_000
    assert fast.now_ms() == WALL_START_MS + 6_700 + 10_100
    assert fast.ms_since(7_000_000) == 10_100
    assert fast.true_us(10_100) == 10_000_000
