"""PFAIL by time, FAIL by quorum, FAIL messages, clearing, reports and their expiry (S3, R23)."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import CloseLink, Dial
from clusterbus.cluster.events import NodeFailed, NodeRecovered, NodeSuspected
from clusterbus.wire import Fail

from tests.cluster.solo import Puppet, Solo, entry

TIMEOUT_MS = 2_000
SICK = c.FLAG_PRIMARY | c.FLAG_PFAIL


def silence(solo: Solo, puppet: Puppet, others: list[Puppet], duration_ms: int) -> None:
    """Lets time pass. All puppets but this one answer."""
    for _ in range(duration_ms // 100):
        solo.tick()
        for other in others:
            solo.says(other, c.PONG)


def suspected(solo: Solo, puppet: Puppet, others: list[Puppet]) -> None:
    silence(solo, puppet, others, 2 * TIMEOUT_MS)
    assert solo.node(puppet).is_pfail


# ---------------------------------------------------------------- PFAIL


def test_s3_silence_longer_than_the_node_timeout_is_pfail() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.tick_until(lambda: solo.node(puppet).ping_sent_ms > 0)
    asked_ms = solo.now_ms
    while solo.now_ms < asked_ms + TIMEOUT_MS:
        solo.tick()
        assert not solo.node(puppet).is_pfail
    solo.tick()
    assert solo.node(puppet).is_pfail
    assert solo.events(NodeSuspected) == [NodeSuspected(puppet.node_id)]


def test_r23_bytes_on_either_link_keep_a_node_from_pfail() -> None:
    for link in ("dialled", "inbound"):
        solo = Solo()
        puppet = solo.puppet("a")
        for _ in range(60):
            solo.tick()
            solo.last_read_ms[getattr(puppet, link)] = solo.now_ms
        assert not solo.node(puppet).flags & c.FAILING
        assert solo.now_ms - solo.node(puppet).ping_sent_ms > TIMEOUT_MS


def test_s3_a_node_whose_dials_fail_is_pfail_though_no_ping_went_out() -> None:
    solo = Solo()
    teller = solo.puppet("a")
    solo.gossips(teller, entry("b" * 40))
    for _ in range(25):
        for dial in solo.of(Dial, solo.tick()):
            solo.state.handle_dial_failed(dial.node_id, "refused", solo.now_ms)
        solo.says(teller, c.PONG)
    assert solo.node("b" * 40).is_pfail


def test_s3_a_node_whose_dial_gets_no_answer_at_all_is_pfail() -> None:
    solo = Solo()
    teller = solo.puppet("a")
    solo.gossips(teller, entry("b" * 40))
    for _ in range(25):
        solo.tick()
        solo.says(teller, c.PONG)
    assert solo.node("b" * 40).is_pfail


def test_s3_pfail_ends_with_the_answer() -> None:
    solo = Solo()
    puppet, other = solo.puppet("a"), solo.puppet("b")
    suspected(solo, puppet, [other])
    puppet.dialled = solo.open(Dial(puppet.node_id, puppet.ip, puppet.cport))
    solo.says(puppet)
    solo.receive(puppet.inbound, solo.heartbeat(puppet, c.PONG))
    assert solo.node(puppet).is_pfail  # a PING or PONG on the link that it dialled does not answer our PING
    solo.says(puppet, c.PONG)
    assert not solo.node(puppet).flags & c.FAILING
    assert solo.events(NodeRecovered) == [NodeRecovered(puppet.node_id, was_failed=False)]


# ---------------------------------------------------------------- FAIL by quorum


@pytest.mark.parametrize(
    ("own_slots", "owners", "reports", "failed"),
    [
        (True, 2, 0, False),
        (True, 2, 1, True),
        (False, 3, 1, False),
        (False, 3, 2, True),
        (True, 4, 1, False),
        (True, 4, 2, True),
    ],
)
def test_s3_fail_needs_a_majority_of_voting_primaries(own_slots: bool, owners: int, reports: int, failed: bool) -> None:
    """`owners` puppets have slots; this node is one more voter if it has slots. The victim has none."""
    solo = Solo()
    if own_slots:
        solo.state.add_slots([0], solo.now_ms)
    voters = [solo.puppet("bcdf"[number], slots=[number + 1]) for number in range(owners)]
    victim = solo.puppet("a")
    suspected(solo, victim, voters)
    for voter in voters[:reports]:
        solo.gossips(voter, entry(victim, flags=SICK))
    assert solo.node(victim).is_failed is failed
    if failed:
        assert not solo.node(victim).is_pfail
        (broadcast,) = solo.broadcasts()
        assert isinstance(broadcast.message, Fail)
        assert broadcast.message.node_id == victim.node_id
        assert set(broadcast.links) == {voter.dialled for voter in voters}
        assert solo.events(NodeFailed) == [NodeFailed(victim.node_id, None)]
        assert solo.saves()


def test_s3_reports_of_others_alone_are_not_enough_without_our_own_suspicion() -> None:
    solo = Solo()
    voters = [solo.puppet(letter, slots=[number]) for number, letter in enumerate("bcd")]
    victim = solo.puppet("a")
    for voter in voters:
        solo.gossips(voter, entry(victim, flags=c.FLAG_PRIMARY | c.FLAG_FAIL))
    assert not solo.node(victim).flags & c.FAILING
    assert solo.state.count_failure_reports(victim.node_id, solo.now_ms) == 3
    suspected_at_last = [solo.says(voter, c.PONG) for voter in voters]
    assert suspected_at_last
    for _ in range(40):
        solo.tick()
        for voter in voters:
            solo.says(voter, c.PONG)
            solo.gossips(voter, entry(victim, flags=SICK))
        if solo.node(victim).is_failed:
            break
    assert solo.node(victim).is_failed


def test_s3_only_voting_primaries_report() -> None:
    solo = Solo()
    slotless, victim = solo.puppet("b"), solo.puppet("a")
    replica = solo.puppet("d")
    primary = solo.puppet("c", slots=[1])
    replica.replicaof, replica.flags = primary.node_id, c.FLAG_REPLICA
    for teller in (slotless, replica):
        solo.gossips(teller, entry(victim, flags=SICK))
    assert solo.state.count_failure_reports(victim.node_id, solo.now_ms) == 0
    solo.gossips(primary, entry(victim, flags=SICK))
    assert solo.state.count_failure_reports(victim.node_id, solo.now_ms) == 1


def test_s3_a_healthy_mention_withdraws_the_report() -> None:
    solo = Solo()
    voter, victim = solo.puppet("b", slots=[1]), solo.puppet("a")
    solo.gossips(voter, entry(victim, flags=SICK))
    assert solo.state.count_failure_reports(victim.node_id, solo.now_ms) == 1
    solo.gossips(voter, entry(victim))
    assert solo.state.count_failure_reports(victim.node_id, solo.now_ms) == 0


def test_s3_reports_expire_after_twice_the_node_timeout() -> None:
    solo = Solo()
    voter, victim = solo.puppet("b", slots=[1]), solo.puppet("a")
    solo.gossips(voter, entry(victim, flags=SICK))
    told_ms = solo.now_ms
    count = solo.state.count_failure_reports
    assert count(victim.node_id, told_ms + 2 * TIMEOUT_MS) == 1
    assert count(victim.node_id, told_ms + 2 * TIMEOUT_MS + 1) == 0


def test_s3_an_expired_report_is_no_vote() -> None:
    solo = Solo()
    voters = [solo.puppet(letter, slots=[number]) for number, letter in enumerate("bcd")]
    victim = solo.puppet("a")
    solo.gossips(voters[0], entry(victim, flags=SICK))
    solo.now_ms += 2 * TIMEOUT_MS + 1
    suspected(solo, victim, voters)
    solo.gossips(voters[1], entry(victim, flags=SICK))
    assert not solo.node(victim).is_failed


def test_s3_the_report_of_a_node_that_lost_its_slots_is_no_vote() -> None:
    solo = Solo()
    voters = [solo.puppet(letter, slots=[number]) for number, letter in enumerate("bcd")]
    victim = solo.puppet("a")
    suspected(solo, victim, voters)
    solo.gossips(voters[0], entry(victim, flags=SICK))
    voters[1].slots |= voters[0].slots
    voters[1].config_epoch = 500
    solo.gossips(voters[1], entry(victim, flags=SICK))
    assert len(solo.node(victim).fail_reports) == 2
    assert solo.state.count_failure_reports(victim.node_id, solo.now_ms) == 1
    assert not solo.node(victim).is_failed, "of the two voters left one has reported it"


def test_s3_reports_of_a_node_that_leaves_go_with_it() -> None:
    solo = Solo()
    voter, victim = solo.puppet("b", slots=[1]), solo.puppet("a")
    solo.gossips(voter, entry(victim, flags=SICK))
    solo.state.forget(voter.node_id, solo.now_ms)
    assert solo.state.count_failure_reports(victim.node_id, solo.now_ms) == 0


def test_s3_if_only_we_have_slots_our_own_vote_is_the_quorum() -> None:
    solo = Solo()
    solo.state.add_slots([1], solo.now_ms)
    victim = solo.puppet("a")
    silence(solo, victim, [], 2 * TIMEOUT_MS)
    assert solo.node(victim).is_failed


# ---------------------------------------------------------------- FAIL messages and clearing


def test_s3_a_fail_message_of_a_known_node_is_believed() -> None:
    solo = Solo()
    teller, victim = solo.puppet("b"), solo.puppet("a")
    solo.fails(teller, victim.node_id)
    assert solo.node(victim).is_failed
    assert solo.events(NodeFailed) == [NodeFailed(victim.node_id, teller.node_id)]
    assert solo.saves()
    assert not solo.broadcasts()
    solo.fails(teller, victim.node_id)
    assert not solo.events(NodeFailed)


def test_s3_fail_of_a_primary_without_slots_ends_as_soon_as_it_answers() -> None:
    solo = Solo()
    teller, victim = solo.puppet("b"), solo.puppet("a")
    solo.fails(teller, victim.node_id)
    solo.says(victim, c.PONG)
    assert not solo.node(victim).is_failed
    assert solo.events(NodeRecovered) == [NodeRecovered(victim.node_id, was_failed=True)]


def test_s3_fail_of_a_replica_ends_as_soon_as_it_answers() -> None:
    solo = Solo()
    primary, victim = solo.puppet("b", slots=[1]), solo.puppet("a")
    victim.replicaof, victim.flags = primary.node_id, c.FLAG_REPLICA
    solo.says(victim)
    solo.fails(primary, victim.node_id)
    solo.says(victim, c.PONG)
    assert not solo.node(victim).is_failed


def test_s3_fail_of_a_primary_with_slots_lasts_twice_the_node_timeout() -> None:
    solo = Solo()
    teller, victim = solo.puppet("b"), solo.puppet("a", slots=[1])
    solo.fails(teller, victim.node_id)
    solo.now_ms += 2 * TIMEOUT_MS
    solo.says(victim, c.PONG)
    assert solo.node(victim).is_failed
    solo.now_ms += 1
    solo.says(victim, c.PONG)
    assert not solo.node(victim).is_failed


def test_s3_a_failed_primary_whose_slots_were_taken_is_cleared_at_once() -> None:
    solo = Solo()
    taker, victim = solo.puppet("c", slots=[2]), solo.puppet("a", slots=[1])
    solo.fails(taker, victim.node_id)
    taker.slots = frozenset({1, 2})
    solo.says(taker)
    solo.says(victim, c.PONG)
    assert not solo.node(victim).is_failed


# ---------------------------------------------------------------- pings, redials


def test_s2_an_idle_node_is_pinged_after_half_the_node_timeout() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    heard_ms = solo.node(puppet).pong_received_ms
    solo.tick_until(lambda: solo.node(puppet).ping_sent_ms > 0)
    assert solo.now_ms - heard_ms <= TIMEOUT_MS // 2 + 100
    assert [message.type for message in solo.sent(puppet.dialled)] == [c.PING]


def test_an_idle_node_is_pinged_as_often_as_the_operator_says_p30() -> None:
    solo = Solo(cluster_node_timeout=20_000, cluster_ping_interval=300)
    puppet = solo.puppet("a")
    heard_ms = solo.node(puppet).pong_received_ms
    solo.tick_until(lambda: solo.node(puppet).ping_sent_ms > 0)
    assert 300 < solo.now_ms - heard_ms <= 500


def test_s2_a_ping_that_waits_for_its_pong_is_not_repeated() -> None:
    solo = Solo(cluster_node_timeout=20_000)
    puppet = solo.puppet("a")
    solo.ticks(10_500)
    assert solo.node(puppet).ping_sent_ms
    solo.ticks(2_000)
    assert not solo.sent(puppet.dialled)


def test_s2_once_a_second_one_of_some_random_nodes_is_pinged() -> None:
    solo = Solo(cluster_node_timeout=60_000)
    puppets = [solo.puppet(letter) for letter in "abc"]
    ticks = []
    for tick in range(100):
        solo.tick()
        for puppet in puppets:
            if solo.sent(puppet.dialled, c.PING):
                ticks.append(tick)
                solo.says(puppet, c.PONG)
    assert len(ticks) == 10
    assert {later - earlier for earlier, later in pairwise(ticks)} == {10}


def test_s2_the_random_node_with_the_oldest_pong_is_pinged() -> None:
    """Five draws of four nodes include a given one three times in four. A blind choice would be one in three."""
    first_pinged: Counter[str] = Counter()
    for seed in range(100):
        solo = Solo(seed=seed, cluster_node_timeout=60_000)
        puppets = {letter: solo.puppet(letter) for letter in "abc"}
        for age_s, puppet in zip((15, 10, 5), puppets.values(), strict=True):
            solo.node(puppet).pong_received_ms = solo.now_ms - age_s * 1000
        links = [puppet.dialled for puppet in puppets.values()]
        solo.tick_until(lambda solo=solo, links=links: any(solo.sent(link, c.PING) for link in links))  # type: ignore[misc]
        first_pinged.update(letter for letter, puppet in puppets.items() if solo.sent(puppet.dialled, c.PING))
    assert first_pinged["a"] >= 60
    assert first_pinged["a"] > first_pinged["b"] > first_pinged["c"]


def test_s3_an_unanswered_ping_and_silence_drop_the_link_and_the_wait_goes_on() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.now_ms += TIMEOUT_MS
    solo.tick()
    asked_ms = solo.node(puppet).ping_sent_ms
    assert asked_ms == solo.now_ms
    effects = solo.ticks(TIMEOUT_MS // 2 + 200)
    assert [close.link for close in solo.of(CloseLink, effects)] == [puppet.dialled]
    dial = solo.only(Dial, effects)
    link = solo.open(dial)
    assert [message.type for message in solo.sent(link)] == [c.PING]
    assert solo.node(puppet).ping_sent_ms == asked_ms


def test_s3_a_link_just_redialled_is_given_the_node_timeout() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.tick_until(lambda: solo.node(puppet).link is None)
    solo.tick_until(lambda: solo.node(puppet).dialing is not None)
    solo.open(Dial(puppet.node_id, puppet.ip, puppet.cport))
    assert not solo.of(CloseLink, solo.ticks(TIMEOUT_MS))
    assert solo.of(CloseLink, solo.ticks(300))


def test_s3_data_keeps_the_link_of_an_unanswered_ping_for_a_node_timeout() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.tick_until(lambda: solo.node(puppet).ping_sent_ms > 0)
    for _ in range(TIMEOUT_MS // 100):
        effects = solo.tick()
        solo.last_read_ms[puppet.inbound] = solo.now_ms
        assert not solo.of(CloseLink, effects)


def test_s3_redials_of_a_failing_node_are_paced_within_the_node_timeout() -> None:
    solo = Solo(cluster_node_timeout=4_000)
    teller, victim = solo.puppet("b"), solo.puppet("a")
    solo.fails(teller, victim.node_id)
    solo.state.handle_link_closed(victim.dialled, "eof", solo.now_ms)
    times: list[int] = []
    for _ in range(400):
        for dial in solo.of(Dial, solo.tick()):
            if dial.node_id == victim.node_id:
                times.append(solo.now_ms)
                solo.state.handle_dial_failed(victim.node_id, "refused", solo.now_ms)
        solo.says(teller, c.PONG)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    settled = gaps[6:]
    assert min(gaps) >= 100
    assert max(gaps) <= 4_000
    assert min(settled) >= 1_000
    assert len(set(settled)) > 1, "H39: jitter"
