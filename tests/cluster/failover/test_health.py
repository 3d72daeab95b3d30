"""When the cluster is ok and when it is fail, and the delays between (S4)."""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Effect, Log
from clusterbus.cluster.events import StateChanged
from clusterbus.cluster.model.state_reason import StateReason

from tests.cluster.solo import Puppet, Solo

ALL = range(c.SLOTS)


def settle_for(solo: Solo, duration_ms: int, puppets: list[Puppet]) -> list[tuple[int, StateChanged]]:
    """Lets time pass while the puppets answer. Returns each change of the state, with its time."""
    changes = []
    for _ in range(duration_ms // 100):
        solo.tick()
        changes += [(solo.now_ms, event) for event in solo.events(StateChanged)]
        for puppet in puppets:
            solo.says(puppet, c.PONG)
            changes += [(solo.now_ms, event) for event in solo.events(StateChanged)]
    return changes


def test_s4_ok_comes_two_seconds_after_the_start_at_the_earliest() -> None:
    solo = Solo(cluster_node_timeout=500)
    begun_ms = solo.now_ms
    solo.state.add_slots(ALL, solo.now_ms)
    ((when_ms, event),) = settle_for(solo, 5_000, [])
    assert event == StateChanged("ok")
    assert when_ms - begun_ms == c.WRITABLE_DELAY_MS
    assert solo.state.is_ok


def test_s4_the_state_is_fail_while_a_slot_has_no_owner_if_coverage_is_required() -> None:
    for required in (True, False):
        solo = Solo(cluster_require_full_coverage=required)
        solo.state.add_slots(range(100), solo.now_ms)
        settle_for(solo, 6_000, [])
        assert solo.state.is_ok is not required
        solo.state.add_slots(range(100, c.SLOTS), solo.now_ms)
        settle_for(solo, 6_000, [])
        assert solo.state.is_ok
        solo.state.del_slots([77], solo.now_ms)
        solo.poll()
        assert solo.state.is_ok is not required


def test_s4_the_state_is_fail_while_an_owner_is_fail_but_not_while_it_is_pfail() -> None:
    solo = Solo()
    shares = (range(6_000), range(6_000, 12_000), range(12_000, c.SLOTS))
    puppets = [solo.puppet(letter, slots=share) for letter, share in zip("abc", shares, strict=True)]
    settle_for(solo, 6_000, puppets)
    assert solo.state.is_ok
    settle_for(solo, 4_000, puppets[1:])
    assert solo.node(puppets[0]).is_pfail
    assert solo.state.is_ok
    solo.fails(puppets[2], puppets[0].node_id)
    assert not solo.state.is_ok
    assert solo.events(StateChanged) == [StateChanged("fail")]


def test_s4_the_state_is_fail_without_a_majority_of_voting_primaries() -> None:
    solo = Solo(cluster_require_full_coverage=False)
    voters = [solo.puppet(letter, slots=[number]) for number, letter in enumerate("abc")]
    settle_for(solo, 6_000, voters)
    assert solo.state.is_ok
    settle_for(solo, 4_000, voters[:2])
    assert solo.node(voters[2]).is_pfail
    assert solo.state.is_ok
    settle_for(solo, 4_000, voters[:1])
    assert not solo.state.is_ok


@pytest.mark.parametrize(("node_timeout_ms", "delay_ms"), [(200, 500), (1_000, 1_000), (8_000, 5_000)])
def test_s4_after_a_lost_majority_the_state_waits_before_it_is_ok(node_timeout_ms: int, delay_ms: int) -> None:
    solo = Solo(cluster_require_full_coverage=False, cluster_node_timeout=node_timeout_ms)
    voters = [solo.puppet(letter, slots=[number]) for number, letter in enumerate("ab")]
    settle_for(solo, 12_000, voters)
    assert solo.state.is_ok
    for voter in voters:
        solo.fails(voters[0] if voter is voters[1] else voters[1], voter.node_id)
    solo.tick()
    assert not solo.state.is_ok
    for voter in voters:
        solo.node(voter).fail_time_ms = 0
        solo.says(voter, c.PONG)
    healed_ms = solo.now_ms
    ((when_ms, event),) = settle_for(solo, 12_000, voters)
    assert event == StateChanged("ok")
    assert delay_ms - 100 <= when_ms - healed_ms <= delay_ms + 100


def test_s4_headers_announce_the_state() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.says(puppet)
    (pong,) = solo.sent(puppet.inbound, c.PONG)
    assert pong.header is not None
    assert pong.header.state == 1
    solo.state.add_slots(ALL, solo.now_ms)
    settle_for(solo, 6_000, [puppet])
    solo.says(puppet)
    (pong,) = solo.sent(puppet.inbound, c.PONG)
    assert pong.header is not None
    assert pong.header.state == 0


# ---------------------------------------------------------------- why it is fail


def reason_of(solo: Solo) -> StateReason:
    return solo.state.reason


def downs(effects: list[Effect], solo: Solo) -> list[str]:
    """The lines about why the cluster is down."""
    return [log.text for log in solo.of(Log, effects) if "is currently down" in log.text]


def test_the_reason_is_logged_when_the_state_turns_and_when_the_reason_changes_p42() -> None:
    solo = Solo()
    shares = (range(6_000), range(6_000, 12_000), range(12_000, c.SLOTS))
    puppets = [solo.puppet(letter, slots=share) for letter, share in zip("abc", shares, strict=True)]
    settle_for(solo, 6_000, puppets)
    assert (solo.state.is_ok, solo.state.reason) == (True, StateReason.NONE)
    for puppet in puppets:
        solo.says(puppet, c.PONG)
    solo.fails(puppets[2], puppets[0].node_id)
    texts = [log.text for log in solo.of(Log)]
    assert texts[-2:] == [
        "Cluster state changed: fail",
        "Cluster is currently down: 6000 slots are not served by any node",
    ]
    assert reason_of(solo) is StateReason.SLOTS_NOT_SERVED
    solo.tick_until(lambda: reason_of(solo) is StateReason.MINORITY)
    solo.ticks(5_000)
    assert reason_of(solo) is StateReason.MINORITY
    assert not downs(solo.effects, solo), "said once"


def test_a_minority_and_a_rejoin_are_told_apart_p42() -> None:
    solo = Solo(cluster_require_full_coverage=False)
    voters = [solo.puppet(letter, slots=[number]) for number, letter in enumerate("ab")]
    settle_for(solo, 12_000, voters)
    assert solo.state.is_ok
    solo.fails(voters[1], voters[0].node_id)
    assert downs(solo.effects, solo) == [
        "Cluster is currently down: this node reaches only 1 of 2 primaries that own slots",
    ]
    solo.node(voters[0]).fail_time_ms = 0
    solo.says(voters[0], c.PONG)
    effects = solo.effects + solo.tick()
    assert reason_of(solo) is StateReason.REJOINED
    assert [text[:63] for text in downs(effects, solo)] == [
        "Cluster is currently down: this node has just rejoined the majo",
    ]
    settle_for(solo, 4_000, voters)
    assert (solo.state.is_ok, solo.state.reason) == (True, StateReason.NONE)


def test_a_node_that_starts_and_one_without_slots_say_so_p42() -> None:
    for required in (True, False):
        solo = Solo(cluster_require_full_coverage=required)
        solo.tick()
        assert reason_of(solo) is StateReason.STARTED
        effects = solo.ticks(c.WRITABLE_DELAY_MS)
        assert reason_of(solo) is StateReason.SLOTS_NOT_SERVED
        assert downs(effects, solo) == ["Cluster is currently down: 16384 slots are not served by any node"]


def test_a_test_need_not_wait_after_a_start() -> None:
    solo = Solo(cluster_node_timeout=500)
    solo.state.switches.waits_after_start = False
    solo.state.add_slots(ALL, solo.now_ms)
    ((_, event),) = settle_for(solo, 200, [])
    assert event == StateChanged("ok")
