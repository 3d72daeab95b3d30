"""An agenda hands out what is due, whatever was put, moved and removed before."""

from __future__ import annotations

from clusterbus.cluster.model.agenda import GRAIN_MS, Agenda
from hypothesis import given
from hypothesis import strategies as st

acts = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "remove", "first", "all"]),
        st.integers(0, 5),
        st.integers(-GRAIN_MS, 20 * GRAIN_MS),
        st.integers(0, 3 * GRAIN_MS),
    )
)


@given(acts)
def test_what_is_due_is_handed_out_and_nothing_else(script: list[tuple[str, int, int, int]]) -> None:
    agenda: Agenda[int] = Agenda()
    due_ms: dict[int, int] = {}
    now_ms = 10 * GRAIN_MS
    for what, thing, after_ms, passes_ms in script:
        if what == "put":
            agenda.put(thing, now_ms + after_ms)
            due_ms[thing] = now_ms + after_ms
        elif what == "first":
            agenda.put_first(thing)
            due_ms[thing] = 0
        elif what == "all":
            agenda.put_all_first()
            due_ms = dict.fromkeys(due_ms, 0)
        else:
            agenda.remove(thing)
            due_ms.pop(thing, None)
        now_ms += passes_ms
        assert sorted(agenda.due(now_ms)) == sorted(thing for thing, at_ms in due_ms.items() if at_ms <= now_ms)
        assert len(agenda) == len(due_ms)
        assert all(agenda.due_ms(thing) == due_ms.get(thing) for thing in range(6))


def test_what_nobody_puts_elsewhere_stays_due() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.put("a", GRAIN_MS)
    assert [agenda.due(now_ms) for now_ms in (GRAIN_MS - 1, GRAIN_MS, 9 * GRAIN_MS)] == [[], ["a"], ["a"]]


def test_buckets_whose_time_has_passed_are_gone() -> None:
    agenda: Agenda[str] = Agenda()
    for number in range(1_000):
        agenda.put("a", number * GRAIN_MS)
    agenda.due(1_000 * GRAIN_MS)
    assert len(agenda._buckets) == len(agenda._numbers) == 1
