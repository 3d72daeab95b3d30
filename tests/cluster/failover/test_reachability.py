"""NodeUnreachable and NodeReachable: what most of the members within reach say, whoever owns slots."""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.events import NodeFailed, NodeLeft, NodeReachable, NodeUnreachable
from clusterbus.cluster.failover import reachability

from tests.cluster.solo import Puppet, Solo, entry

TIMEOUT_MS = 2_000
SICK = c.FLAG_PRIMARY | c.FLAG_PFAIL


def lives_on(solo: Solo, alive: list[Puppet], duration_ms: int, sick: Puppet | None = None) -> list[object]:
    """Lets time pass. These puppets answer, and say with each PING that another one is sick. Returns the events."""
    events: list[object] = []
    for _ in range(duration_ms // 100):
        solo.tick()
        events += verdicts(solo)
        for puppet in alive:
            solo.says(puppet, c.PONG)
            if sick is not None:
                solo.gossips(puppet, entry(sick, flags=SICK))
    return events


def verdicts(solo: Solo) -> list[object]:
    """What the last input, or ticks, reported of who can be reached."""
    return [*solo.events(NodeUnreachable), *solo.events(NodeReachable)]


@pytest.mark.parametrize(
    ("tellers", "we_suspect", "suspected_by"),
    [(1, False, 0), (2, False, 0), (3, False, 3), (0, True, 0), (1, True, 0), (2, True, 3), (3, True, 4)],
)
def test_more_than_half_of_the_members_within_reach_make_a_node_unreachable_without_any_slots(
    tellers: int, we_suspect: bool, suspected_by: int
) -> None:
    """Four members count: this one and three others. 0: it is not unreachable. The word of this one is one of four, so
    the node may answer it all the while.
    """
    solo = Solo()
    victim, *others = (solo.puppet(letter) for letter in "abcd")
    for other in others[:tellers]:
        solo.gossips(other, entry(victim, flags=SICK))
    if we_suspect:
        solo.state._core.set_failure_flags(solo.node(victim), c.FLAG_PFAIL)
    solo.tick()
    assert verdicts(solo) == ([NodeUnreachable(victim.node_id, suspected_by, 4)] if suspected_by else [])
    assert solo.node(victim).is_unreachable is bool(suspected_by)
    assert not solo.node(victim).is_failed, "nobody owns slots"


def test_the_second_of_two_members_is_unreachable_by_the_word_of_the_first() -> None:
    solo = Solo()
    other = solo.puppet("a")
    assert lives_on(solo, [], 2 * TIMEOUT_MS) == [NodeUnreachable(other.node_id, 1, 1)]
    assert solo.state.census == (1, 2), "so the program can see that it may be the one that is cut off"


def test_a_member_that_is_cut_off_says_so_of_all_others_with_itself_alone_as_witness() -> None:
    solo = Solo()
    puppets = [solo.puppet(letter) for letter in "abcd"]
    events = lives_on(solo, [], 3 * TIMEOUT_MS)
    assert {event.node_id for event in events if isinstance(event, NodeUnreachable)} == {p.node_id for p in puppets}
    assert solo.state.census == (1, 5)


def test_a_member_that_we_suspect_is_no_witness() -> None:
    solo = Solo()
    victim, liar, *others = (solo.puppet(letter) for letter in "abcd")
    solo.gossips(liar, entry(victim, flags=SICK))
    solo.gossips(others[0], entry(victim, flags=SICK))
    solo.state._core.set_failure_flags(solo.node(victim), c.FLAG_PFAIL)
    solo.tick()
    assert verdicts(solo) == [NodeUnreachable(victim.node_id, 3, 4)]
    solo.state._core.set_failure_flags(solo.node(liar), c.FLAG_PFAIL)
    solo.state._core.set_failure_flags(solo.node(others[0]), c.FLAG_PFAIL)
    solo.tick()
    assert verdicts(solo) == [NodeReachable(victim.node_id)], "of two members within reach, one alone says so"


def test_a_node_that_comes_back_is_reachable_once_the_reports_are_gone() -> None:
    solo = Solo()
    victim, *others = (solo.puppet(letter) for letter in "abcd")
    assert lives_on(solo, others, 2 * TIMEOUT_MS, sick=victim) == [NodeUnreachable(victim.node_id, 3, 4)]
    assert lives_on(solo, others, 4 * TIMEOUT_MS, sick=victim) == [], "once, however long it lasts"
    for other in others[:2]:
        solo.gossips(other, entry(victim))
    solo.tick()
    assert verdicts(solo) == [NodeReachable(victim.node_id)]
    assert not solo.node(victim).is_unreachable


def test_reports_that_nobody_repeats_count_for_one_node_timeout() -> None:
    solo = Solo()
    victim, *others = (solo.puppet(letter) for letter in "abcd")
    for other in others:
        solo.gossips(other, entry(victim, flags=SICK))
    solo.tick()
    assert solo.node(victim).is_unreachable
    told_ms = solo.now_ms - 100
    everybody = [victim, *others]
    while solo.node(victim).is_unreachable:
        lives_on(solo, everybody, 100)
        assert solo.now_ms <= told_ms + TIMEOUT_MS + 1_100
    assert solo.now_ms > told_ms + TIMEOUT_MS


def test_a_failed_node_is_unreachable_whatever_the_count() -> None:
    solo = Solo()
    victim, *others = (solo.puppet(letter, slots=[number]) for number, letter in enumerate("abcd"))
    solo.fails(others[0], victim.node_id)
    assert solo.events(NodeFailed)
    solo.tick()
    assert verdicts(solo) == [NodeUnreachable(victim.node_id, 1, 4)]


def test_a_node_that_leaves_is_no_longer_anything() -> None:
    solo = Solo()
    victim = solo.puppet("a")
    lives_on(solo, [], 2 * TIMEOUT_MS)
    solo.state.forget(victim.node_id, solo.now_ms)
    solo.poll()
    assert solo.events(NodeLeft)
    assert lives_on(solo, [], 1_000) == []
    assert not solo.state._core.table.unreachable


def test_reports_of_members_without_slots_make_nobody_fail_s3() -> None:
    solo = Solo()
    owner, victim, *others = (solo.puppet(letter) for letter in "abcdf")
    owner.slots = frozenset([1])
    solo.says(owner)
    alive = [owner, *others]
    for _ in range(3 * TIMEOUT_MS // 100):
        solo.tick()
        for puppet in alive:
            solo.says(puppet, c.PONG)
        for other in others:
            solo.gossips(other, entry(victim, flags=SICK))
    assert solo.node(victim).is_unreachable
    assert solo.node(victim).is_pfail, "the one owner of slots has not reported it"
    assert solo.state.count_failure_reports(victim.node_id, solo.now_ms) == 0


def test_many_suspects_among_many_members_are_judged_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "JUDGED_EACH_TICK_MAX", 5)
    solo = Solo()
    victim, other = solo.puppet("a"), solo.puppet("b")
    solo.ticks(100 * (10 - solo.state._ticks % 10))
    core = solo.state._core
    core.set_failure_flags(solo.node(victim), c.FLAG_PFAIL)
    solo.gossips(other, entry(victim, flags=SICK))
    assert not solo.node(victim).is_unreachable
    solo.ticks(100)
    assert solo.node(victim).is_unreachable, "three members and one suspect are few enough"
    core.set_failure_flags(solo.node(other), c.FLAG_PFAIL)
    solo.ticks(800)
    assert not solo.node(other).is_unreachable, "with two suspects this waits for the second"
    solo.ticks(100)
    assert solo.node(other).is_unreachable
