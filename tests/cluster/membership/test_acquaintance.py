"""MEET again to nodes that do not know us, and never to those that have forgotten us (P40, S1)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial

from tests.cluster.harness import Network, all_connected, joined
from tests.cluster.solo import ABILITIES, Puppet, Solo, entry, node_id

TIMEOUT_MS = 1_000
"""Node timeout, and so the handshake timeout too."""


def heard_of(solo: Solo, letter: str = "b", *, flags: int = c.FLAG_PRIMARY | ABILITIES) -> Puppet:
    """A node that we know by the gossip of another one. It answers our PINGs, and does not know us."""
    teller, puppet = solo.puppet("a"), Puppet(node_id(letter), "10.0.2.2", 7200, 0, 0, flags=flags)
    solo.gossips(teller, entry(puppet))
    puppet.dialled = solo.open(next(dial for dial in solo.of(Dial, solo.tick()) if dial.ip == puppet.ip))
    solo.says(puppet, c.PONG)
    solo.says(teller)  # it knows us
    return puppet


def meets_ms(solo: Solo, puppet: Puppet, duration_ms: int) -> list[int]:
    """When the puppet gets a MEET, in ms from now. It answers what it gets, and does not dial us."""
    begun_ms, times = solo.now_ms, []
    for _ in range(duration_ms // 100):
        solo.tick()
        times += [solo.now_ms - begun_ms for message in solo.sent(puppet.dialled) if message.type == c.MEET]
        if solo.node(puppet).ping_sent_ms:
            solo.says(puppet, c.PONG)
    return times


def test_p40_a_node_that_does_not_know_us_gets_meet_again_ever_more_rarely_and_not_for_ever() -> None:
    solo = Solo(cluster_node_timeout=TIMEOUT_MS)
    puppet = heard_of(solo)
    times = meets_ms(solo, puppet, 4_000_000)
    assert len(times) == c.MEETS_AGAIN_MAX
    assert TIMEOUT_MS < times[0] + 100 <= TIMEOUT_MS + 1_100
    waits = [after - before for before, after in pairwise(times)]
    for number, wait_ms in enumerate(waits, 1):
        least_ms = TIMEOUT_MS * c.MEET_AGAIN_GROWTH**number
        assert least_ms < wait_ms <= least_ms + 1_000


def test_p40_it_ends_when_the_node_dials_us_and_shows_that_it_knows_us() -> None:
    solo = Solo(cluster_node_timeout=TIMEOUT_MS)
    puppet = heard_of(solo)
    assert len(meets_ms(solo, puppet, 3_000)) == 1
    puppet.inbound = solo.accept(puppet.ip)
    solo.says(puppet)
    solo.tick()
    solo.says(puppet)  # in a handshake it would not have sent a second one
    assert not meets_ms(solo, puppet, 4_000)
    solo.state.handle_link_closed(puppet.inbound, "eof", solo.now_ms)
    assert not meets_ms(solo, puppet, 1_000_000), "it has forgotten us on purpose"


def test_p40_the_one_packet_of_a_handshake_is_no_proof_even_if_its_time_is_a_little_off() -> None:
    solo = Solo(cluster_node_timeout=TIMEOUT_MS)
    puppet = solo.puppet("b")
    solo.last_read_ms[puppet.inbound] += c.READ_TIME_SLACK_MS
    for _ in range(10):
        solo.tick()
        solo.says(puppet, c.PONG)
    solo.state.handle_link_closed(puppet.inbound, "eof", solo.now_ms)
    assert meets_ms(solo, puppet, 5_000)


def test_p40_a_node_whose_handshake_with_us_ended_is_met_again_for_a_minute_only() -> None:
    """It dialled us, and may just as well have been told to forget us as have given up its handshake."""
    solo = Solo(cluster_node_timeout=TIMEOUT_MS)
    puppet = solo.puppet("b")
    solo.tick()
    solo.state.handle_link_closed(puppet.inbound, "eof", solo.now_ms)
    times = meets_ms(solo, puppet, 300_000)
    assert len(times) == 4
    assert times[-1] < c.MEET_AGAIN_MS


def test_p40_p9_nor_for_longer_than_forget_lasts() -> None:
    solo = Solo(cluster_node_timeout=TIMEOUT_MS, cluster_blacklist_ttl=5)
    puppet = solo.puppet("b")
    solo.tick()
    solo.state.handle_link_closed(puppet.inbound, "eof", solo.now_ms)
    assert [when for when in meets_ms(solo, puppet, 300_000) if when > 5_000] == []


def test_p40_whoever_was_forgotten_meets_nobody_else_either() -> None:
    """A node that joined since would bring us back to all."""
    solo = Solo(cluster_node_timeout=TIMEOUT_MS)
    old = solo.puppet("c")
    for _ in range(10):
        solo.tick()
        solo.says(old)
        solo.says(old, c.PONG)
    puppet = heard_of(solo)
    solo.state.handle_link_closed(old.inbound, "eof", solo.now_ms)
    meets = []
    for _ in range(3_000):
        solo.tick()
        meets += [message for one in (puppet, old) for message in solo.sent(one.dialled, c.MEET)]
        for one in (puppet, old):
            solo.says(one, c.PONG)
    assert not meets


def test_p40_only_a_node_that_takes_meet_again_gets_it() -> None:
    solo = Solo(cluster_node_timeout=TIMEOUT_MS)
    assert not meets_ms(solo, heard_of(solo, flags=c.FLAG_PRIMARY), 10_000)


@pytest.mark.parametrize("answers", [True, False])
def test_p40_only_a_node_that_answered_on_the_present_link_gets_it(answers: bool) -> None:
    """At the address of a dead one there may be a node of another cluster."""
    solo = Solo(cluster_node_timeout=TIMEOUT_MS)
    puppet = heard_of(solo)
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    dial = next(dial for dial in solo.of(Dial, solo.tick_until(lambda: bool(solo.node(puppet).dialing))))
    puppet.dialled = solo.open(dial)
    solo.node(puppet).ping_sent_ms = 0
    if answers:
        solo.says(puppet, c.PONG)
    kinds = []
    for _ in range(25):
        solo.tick()
        kinds += [message.type for message in solo.sent(puppet.dialled)]
        solo.node(puppet).ping_sent_ms = 0
    assert (c.MEET in kinds) is answers


def test_p40_a_node_of_nodes_conf_gets_no_meet() -> None:
    """It may have been told to forget us while we were down."""
    network, members = joined(size=3, owners=3)
    gone, rest = members[2], members[:2]
    network.kill(gone)
    for member in rest:
        network.forget(member, gone)
    network.restart(gone)
    network.run(5 * 60_000)
    assert gone.knows(rest[0])
    assert not any(member.knows(gone) for member in rest)


def test_p40_a_node_that_is_up_when_it_is_forgotten_stays_out() -> None:
    network = Network(nodes=4)
    gone, *rest, later = network.members
    for other in rest:
        network.meet(gone, other)
    network.run_until(lambda: all_connected([gone, *rest]))
    network.run(3_000)
    network.forget(rest[0], gone)
    network.run_until(lambda: not any(member.knows(gone) for member in rest), 10_000)
    network.meet(rest[0], later)
    network.run_until(lambda: gone.knows(later))
    network.run(5 * 60_000)
    assert all_connected([*rest, later])


@pytest.mark.parametrize("dropped_for_ms", [10_000, 90_000])
def test_p40_three_nodes_whose_handshakes_timed_out_know_each_other_in_the_end(dropped_for_ms: int) -> None:
    """The new node heard of the third by the MEET of the second, which then lost all answers."""
    network = Network(nodes=3)
    new, second, third = network.members
    network.meet(second, third)
    network.run_until(lambda: all_connected([second, third]))
    network.drop(lambda _sender, receiver, packet: receiver is second or (receiver is third and packet.type == c.MEET))
    network.meet(second, new)
    network.run_until(lambda: new.knows(third))
    network.run(dropped_for_ms)
    assert not second.knows(new)
    assert not third.knows(new)
    network.drop(None)
    network.run_until(lambda: all_connected(network.members), 2 * dropped_for_ms)
