"""Which nodes heartbeats mention, and what these entries change (S2, S3, H25, H29, H30)."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial
from clusterbus.cluster.events import NodeJoined, NodeLeft
from clusterbus.wire import Heartbeat

from tests.cluster.solo import MYSELF_ID, Puppet, Solo, entry, node_id


def pong_to(solo: Solo, puppet: Puppet) -> Heartbeat:
    """Our answer to a PING of the puppet."""
    solo.says(puppet)
    (pong,) = solo.sent(puppet.inbound, c.PONG)
    assert isinstance(pong, Heartbeat)
    return pong


def mentioned(message: Heartbeat) -> list[str]:
    return [gossip.node_id for gossip in message.gossip]


LETTERS = "abcdef0123"


@pytest.mark.parametrize(("others", "expected"), [(1, 0), (2, 1), (3, 2), (4, 3), (9, 3)])
def test_s2_at_least_three_nodes_are_mentioned_and_never_the_receiver_or_ourselves(others: int, expected: int) -> None:
    solo = Solo()
    puppets = [solo.puppet(letter) for letter in LETTERS[:others]]
    counts = set()
    for _ in range(30):
        ids = mentioned(pong_to(solo, puppets[0]))
        assert not {MYSELF_ID, puppets[0].node_id} & set(ids)
        assert len(ids) == len(set(ids))
        counts.add(len(ids))
    assert max(counts) == expected


def test_s2_a_random_tenth_of_many_nodes_is_mentioned() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    for number in range(78):
        solo.gossips(puppet, entry(f"{number:040x}", ip=f"10.1.0.{number}"))
        solo.node(f"{number:040x}")
    for dial in solo.of(Dial, solo.tick()):
        solo.open(dial)
    assert solo.state.known_nodes_count == 80
    seen: set[str] = set()
    for _ in range(100):
        ids = mentioned(pong_to(solo, puppet))
        assert len(ids) <= 8
        seen.update(ids)
    assert len(ids) >= 6
    assert len(seen) == 78


@pytest.mark.parametrize(("percent", "expected"), [(1, 3), (50, 5), (100, 9)])
def test_how_many_nodes_are_mentioned_is_the_operators_choice_p30(percent: int, expected: int) -> None:
    solo = Solo(cluster_message_gossip_perc=percent)
    puppets = [solo.puppet(letter) for letter in LETTERS]
    counts = [len(mentioned(pong_to(solo, puppets[0]))) for _ in range(30)]
    assert max(counts) == expected


def test_s2_pfail_nodes_are_always_mentioned_on_top() -> None:
    solo = Solo()
    puppets = [solo.puppet(letter) for letter in LETTERS]
    suspects = puppets[7:]
    for _ in range(35):
        solo.now_ms += 100
        for puppet in puppets[:7]:
            solo.says(puppet, c.PONG)
        solo.state.tick(solo.now_ms)
        solo.poll()
    assert all(solo.node(puppet).is_pfail for puppet in suspects)
    for _ in range(20):
        ids = mentioned(pong_to(solo, puppets[0]))
        assert {puppet.node_id for puppet in suspects} <= set(ids)
        assert len(ids) <= 3 + len(suspects)


def test_s2_handshakes_noaddr_and_linkless_slotless_nodes_are_not_mentioned() -> None:
    solo = Solo()
    receiver = solo.puppet("a")
    owner, slotless, lost = solo.puppet("b", slots=[1]), solo.puppet("c"), solo.puppet("d")
    solo.state.meet("10.0.9.9", 7009, None, solo.now_ms)
    for puppet in (owner, slotless):
        solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    solo.says(Puppet(node_id("9"), lost.ip, lost.port, lost.dialled, 0), c.PONG)
    seen: set[str] = set()
    for _ in range(50):
        seen.update(mentioned(pong_to(solo, receiver)))
    assert seen == {owner.node_id}


def test_s2_an_entry_says_what_we_know() -> None:
    solo = Solo()
    receiver, other = solo.puppet("a"), solo.puppet("b")
    about = next(filter(None, (next(iter(pong_to(solo, receiver).gossip), None) for _ in range(50))))
    assert about.node_id == other.node_id
    assert (about.ip, about.port, about.cport) == (other.ip, other.port, other.cport)
    assert about.pong_received_s == solo.node(other).pong_received_ms // 1000
    assert about.flags & c.FLAG_PRIMARY
    assert not about.flags & (c.FLAG_MYSELF | c.FLAG_HANDSHAKE | c.FLAG_MEET)


def test_h25_our_private_flags_of_a_node_are_not_gossiped() -> None:
    solo = Solo()
    receiver, other = solo.puppet("a"), solo.puppet("b", slots=[1])
    solo.node(other).flags |= c.FLAG_MEET
    gossiped_flags = [about.flags for _ in range(50) for about in pong_to(solo, receiver).gossip]
    assert gossiped_flags
    assert not any(flags & c.FLAG_MEET for flags in gossiped_flags)


# ---------------------------------------------------------------- received


def test_s2_a_gossiped_node_is_dialled_and_pinged_under_its_id() -> None:
    solo = Solo()
    solo.gossips(solo.puppet("a"), entry(node_id("b")))
    assert solo.events(NodeJoined) == [NodeJoined(node_id("b"), "10.0.2.2", 7200, 17200)]
    dial = next(dial for dial in solo.of(Dial, solo.tick()) if dial.node_id == node_id("b"))
    link = solo.open(dial)
    assert [message.type for message in solo.sent(link)] == [c.PING]
    assert not solo.node(node_id("b")).in_handshake


@pytest.mark.parametrize(
    "changes",
    [{"flags": c.FLAG_PRIMARY | c.FLAG_NOADDR}, {"ip": ""}, {"cport": 0}],
    ids=["noaddr", "no-ip", "no-cport"],
)
def test_s2_a_node_without_an_address_is_not_added(changes: dict[str, Any]) -> None:
    solo = Solo()
    solo.gossips(solo.puppet("a"), entry(node_id("b"), **changes))
    assert not solo.knows(node_id("b"))


def test_s2_gossip_of_a_stranger_that_only_pings_is_ignored() -> None:
    solo = Solo()
    link = solo.accept()
    solo.says(Puppet(node_id("a"), "10.0.1.1", 7001, 0, link), gossip=[entry(node_id("b"))])
    assert not solo.knows(node_id("b"))


def test_s2_gossip_of_a_meet_is_trusted_for_unknown_nodes_and_only_for_a_while() -> None:
    solo = Solo()
    known = solo.puppet("c")
    solo.gossips(known, entry(node_id("d")))
    meeting = Puppet(node_id("a"), "10.0.9.9", 7001, 0, solo.accept())
    moved = entry(known, pong_received_s=solo.now_ms // 1000 + 1, flags=c.FLAG_PRIMARY | c.FLAG_FAIL)
    solo.says(meeting, c.MEET, gossip=[entry(node_id("b")), moved])
    assert solo.knows(node_id("b"))
    assert not solo.node(known).fail_reports
    solo.tick(2_001)
    assert not solo.knows(node_id("b"))
    assert solo.events(NodeLeft) == [NodeLeft(node_id("b"), "never answered")]
    assert solo.knows(node_id("d"))  # known from the gossip of a known node


def test_s2_a_node_gossiped_in_a_meet_stays_once_it_answers() -> None:
    solo = Solo()
    meeting = Puppet(node_id("a"), "10.0.9.9", 7001, 0, solo.accept())
    solo.says(meeting, c.MEET, gossip=[entry(node_id("b"))])
    dial = next(dial for dial in solo.of(Dial, solo.tick()) if dial.node_id == node_id("b"))
    puppet = Puppet(node_id("b"), "10.0.2.2", 7200, solo.open(dial), 0)
    solo.says(puppet, c.PONG)
    solo.tick(5_000)
    assert solo.knows(puppet)


@pytest.mark.parametrize("bit", [c.FLAG_MYSELF, c.FLAG_HANDSHAKE, c.FLAG_MEET, c.FLAG_PFAIL])
def test_h25_flags_that_gossip_must_not_set_are_masked(bit: int) -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.gossips(puppet, entry(node_id("b"), flags=c.FLAG_PRIMARY | bit))
    assert not solo.node(node_id("b")).flags & bit
    assert solo.node(node_id("b")).is_primary
    solo.gossips(puppet, entry(MYSELF_ID, flags=bit))
    assert solo.state.myself.flags & c.FLAG_MYSELF
    assert not solo.state.myself.flags & (c.FLAG_HANDSHAKE | c.FLAG_MEET | c.FAILING)


def test_s2_a_healthy_mention_refreshes_the_pong_time() -> None:
    solo = Solo()
    teller, other = solo.puppet("a"), solo.puppet("b")
    solo.now_ms += 1_700
    fresh_s = solo.now_ms // 1000
    solo.gossips(teller, entry(other, pong_received_s=fresh_s))
    assert solo.node(other).pong_received_ms == fresh_s * 1000


@pytest.mark.parametrize(("ahead_ms", "taken"), [(c.GOSSIP_FUTURE_MAX_MS, True), (c.GOSSIP_FUTURE_MAX_MS + 1, False)])
def test_h29_a_pong_time_in_the_future_is_not_taken(ahead_ms: int, taken: bool) -> None:
    solo = Solo()
    teller, other = solo.puppet("a"), solo.puppet("b")
    told_ms = (solo.now_ms // 1000 + 5) * 1000
    solo.now_ms = told_ms - ahead_ms
    solo.gossips(teller, entry(other, pong_received_s=told_ms // 1000))
    assert (solo.node(other).pong_received_ms == told_ms) is taken


def test_h29_an_older_pong_time_is_not_taken() -> None:
    solo = Solo()
    teller, other = solo.puppet("a"), solo.puppet("b")
    before_ms = solo.node(other).pong_received_ms
    solo.gossips(teller, entry(other, pong_received_s=before_ms // 1000 - 10))
    assert solo.node(other).pong_received_ms == before_ms


def test_s2_the_pong_time_is_not_refreshed_while_we_wait_or_reports_stand() -> None:
    solo = Solo()
    teller, other = solo.puppet("a", slots=[1]), solo.puppet("b")
    solo.tick(1_100)
    assert solo.node(other).ping_sent_ms
    before_ms = solo.node(other).pong_received_ms
    solo.gossips(teller, entry(other, pong_received_s=solo.now_ms // 1000))
    assert solo.node(other).pong_received_ms == before_ms
    solo.says(other, c.PONG)
    solo.gossips(solo.puppet("c", slots=[2]), entry(other, flags=c.FLAG_PRIMARY | c.FLAG_PFAIL))
    before_ms = solo.node(other).pong_received_ms
    solo.now_ms += 5_000
    solo.gossips(solo.puppet("d"), entry(other, pong_received_s=solo.now_ms // 1000))
    assert solo.node(other).pong_received_ms == before_ms


@pytest.mark.parametrize("reporter_flags", [c.FLAG_PRIMARY, c.FLAG_PRIMARY | c.FLAG_PFAIL])
@pytest.mark.parametrize("failing", [True, False])
def test_s1_a_new_address_by_gossip_counts_for_failing_nodes_only(failing: bool, reporter_flags: int) -> None:
    solo = Solo()
    teller, other = solo.puppet("a"), solo.puppet("b")
    if failing:
        solo.fails(teller, other.node_id)
    solo.gossips(teller, entry(other, ip="10.0.5.5", flags=reporter_flags))
    moved = failing and not reporter_flags & c.FAILING
    assert (solo.node(other).ip == "10.0.5.5") is moved
    assert (solo.closed() == [other.dialled]) is moved


def test_h30_nodes_are_capped() -> None:
    solo = Solo(cluster_max_nodes=5)
    puppet = solo.puppet("a")
    solo.gossips(puppet, *(entry(f"{number:040x}") for number in range(10)))
    assert solo.state.known_nodes_count == 5
    assert solo.counter("refused_node_cap") == 7
    solo.state.meet("10.0.8.8", 7008, None, solo.now_ms)
    assert solo.state.known_nodes_count == 5
    assert solo.is_alive()


def test_h30_nodes_gossiped_by_strangers_are_capped_and_expire() -> None:
    solo = Solo(cluster_max_trial_nodes=3)
    meeting = Puppet(node_id("a"), "10.0.9.9", 7001, 0, solo.accept())
    solo.says(meeting, c.MEET, gossip=[entry(f"{number:040x}") for number in range(10)])
    assert solo.state.known_nodes_count == 1 + 1 + 3
    solo.tick(2_001)
    assert solo.state.known_nodes_count == 1


def test_s3_a_new_node_that_a_known_node_gossips_as_fail_is_fail() -> None:
    solo = Solo()
    solo.gossips(solo.puppet("a"), entry(node_id("b"), flags=c.FLAG_PRIMARY | c.FLAG_FAIL))
    assert solo.node(node_id("b")).is_failed
