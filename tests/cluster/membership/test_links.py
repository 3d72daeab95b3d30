"""Links that come up late, or twice, or for no known node, or that stay silent (S1, H30, H32, H39)."""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial
from clusterbus.cluster.events import LinkDown, LinkUp
from clusterbus.wire import Fail, Message

from tests.cluster.solo import MYSELF_ID, Puppet, Solo, entry, node_id


def test_a_link_that_comes_up_for_a_node_forgotten_meanwhile_is_closed() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    dial = solo.only(Dial, solo.ticks(300))
    solo.state.forget(puppet.node_id, solo.now_ms)
    solo.poll()
    link = solo.open(dial)
    assert solo.closed() == [link]


def test_a_second_link_to_the_same_node_is_closed() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    link = solo.open(Dial(puppet.node_id, puppet.ip, puppet.cport))
    assert solo.closed() == [link]
    assert solo.node(puppet).link is not None


def test_a_link_to_an_address_the_node_has_left_is_closed_and_the_new_one_dialled() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    dial = solo.only(Dial, solo.ticks(300))
    solo.says(puppet, myip="10.5.5.5")
    link = solo.open(dial)
    assert solo.closed() == [link]
    assert solo.only(Dial, solo.tick()).ip == "10.5.5.5"


def test_links_of_known_nodes_are_reported_as_events() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.state.handle_link_closed(puppet.dialled, "reset", solo.now_ms)
    solo.poll()
    assert solo.events(LinkDown) == [LinkDown(puppet.node_id, inbound=False, reason="reset")]
    solo.open(solo.only(Dial, solo.ticks(300)))
    assert solo.events(LinkUp) == [LinkUp(puppet.node_id, inbound=False)]
    solo.state.handle_link_closed(puppet.inbound, "eof", solo.now_ms)
    solo.state.handle_link_closed(puppet.inbound, "eof", solo.now_ms)
    solo.poll()
    assert solo.events(LinkDown) == [LinkDown(puppet.node_id, inbound=True, reason="eof")]


def test_h30_dials_of_one_tick_are_limited_and_the_rest_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "DIALS_PER_TICK_MAX", 4)
    solo = Solo()
    solo.gossips(solo.puppet("a"), *(entry(f"{number:040x}", ip=f"10.2.0.{number}") for number in range(10)))
    assert [len(solo.of(Dial, solo.tick())) for _ in range(4)] == [4, 4, 2, 0]


@pytest.mark.parametrize("known", [True, False])
def test_h32_inbound_links_that_stay_silent_are_closed(known: bool) -> None:
    solo = Solo()
    link = solo.puppet("a").inbound if known else solo.accept()
    limit_ms = max(20_000, c.INBOUND_IDLE * solo.config.cluster_node_timeout)
    before = [solo.closed() for _ in range(limit_ms // 100) if solo.tick() is not None]
    assert [link] not in before
    after = [solo.closed() for _ in range(12) if solo.tick() is not None]
    assert [link] in after
    assert solo.counter("links_lost_idle") == 1


def test_h32_an_inbound_link_with_traffic_stays() -> None:
    solo = Solo()
    stranger = Puppet(node_id("a"), "10.0.1.1", 7001, 0, solo.accept())
    for _ in range(300):
        solo.tick()
        solo.says(stranger)
        assert not solo.closed()


def test_p7_a_link_without_pong_is_dialled_anew_though_the_inbound_one_lives() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    timeout_ms = solo.config.cluster_node_timeout
    solo.tick_until(lambda: solo.node(puppet).ping_sent_ms > 0)
    asked_ms = solo.now_ms
    lived_ms = []  # how long each link to the node lives on which no answer comes
    since_ms = asked_ms
    for _ in range(65):
        effects = solo.tick()
        if puppet.dialled in solo.closed():
            lived_ms.append(solo.now_ms - since_ms)
            puppet.dialled = solo.open(solo.only(Dial, effects))
            since_ms = solo.now_ms
            assert solo.node(puppet).ping_sent_ms == asked_ms, "a new link does not hide the wait"
        solo.says(puppet)
        assert not solo.node(puppet).flags & c.FAILING
    assert lived_ms == [timeout_ms + 100] * 3
    assert solo.counter("links_lost_no_pong") == 3
    solo.says(puppet, c.PONG)
    assert solo.node(puppet).ping_sent_ms == 0


def test_p7_a_link_that_answers_stays() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    for _ in range(100):
        solo.tick()
        if solo.sent(puppet.dialled, c.PING):
            solo.says(puppet, c.PONG)
        solo.says(puppet)
        assert solo.node(puppet).link is not None
    assert solo.counter("links_lost_no_pong") == 0


def test_p7_meet_of_a_known_node_drops_our_link_to_it_once_in_a_handshake_timeout() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.says(puppet, c.MEET)
    assert not solo.closed(), "either side may still be in the handshake"
    dropped = []
    for _ in range(65):
        effects = solo.tick()
        for dial in solo.of(Dial, effects):
            puppet.dialled = solo.open(dial)
            assert len(solo.sent(puppet.dialled, c.PING)) == 1
            solo.says(puppet, c.PONG)
        solo.says(puppet, c.MEET)
        assert len(solo.sent(puppet.inbound, c.PONG)) == 1
        dropped += solo.closed()
    assert len(dropped) == 3
    assert solo.state.known_nodes_count == 2


def test_p7_meet_of_a_stranger_with_the_id_of_a_node_that_is_well_drops_nothing() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.ticks(solo.config.cluster_node_timeout)
    solo.says(puppet, c.PONG)
    solo.says(puppet)
    twin = Puppet(puppet.node_id, "10.6.6.6", 6666, 0, solo.accept("10.6.6.6"))
    solo.says(twin, c.MEET)
    assert not solo.closed()
    assert solo.node(puppet).link is not None


def test_s9_expired_forgotten_ids_take_no_memory() -> None:
    solo = Solo()
    solo.puppet("a")
    solo.state.forget(node_id("a"), solo.now_ms)
    assert len(solo.state._core.forgotten) == 1
    solo.tick(c.FORGET_TTL_MS)
    assert len(solo.state._core.forgotten) == 0


@pytest.mark.parametrize("what", ["MEET", "our id", "FAIL of another node"])
def test_a_peer_whose_packets_close_our_link_is_not_dialled_with_every_tick_h39(what: str) -> None:
    solo = Solo(cluster_node_timeout=15_000)
    puppet = solo.puppet("a")
    packets: dict[str, Message] = {
        "MEET": solo.heartbeat(puppet, c.MEET),
        "our id": solo.heartbeat(puppet, c.PONG, sender=MYSELF_ID),
        "FAIL of another node": Fail(solo.header(puppet, sender=node_id("b"), mflags=0), node_id("c")),
    }
    link: int | None = puppet.dialled
    dials = 0
    for _ in range(100):
        if link is not None:
            solo.receive(link, packets[what])
            assert link in solo.closed()
            link = None
        for dial in solo.of(Dial, solo.tick()):
            dials += 1
            link = solo.open(dial)
    assert 3 < dials < 15
