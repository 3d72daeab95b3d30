"""Links that come up late, or twice, or for no known node, or that stay silent (S1, H30, H32, H39)."""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial
from clusterbus.cluster.events import LinkDown, LinkUp

from tests.cluster.solo import Puppet, Solo, entry, node_id


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
    limit_ms = max(c.INBOUND_IDLE_MIN_MS, c.INBOUND_IDLE * solo.config.cluster_node_timeout)
    before = [solo.closed() for _ in range(limit_ms // 100) if solo.tick() is not None]
    assert [link] not in before
    after = [solo.closed() for _ in range(12) if solo.tick() is not None]
    assert [link] in after
    assert solo.counter("inbound_links_idle") == 1


def test_h32_an_inbound_link_with_traffic_stays() -> None:
    solo = Solo()
    stranger = Puppet(node_id("a"), "10.0.1.1", 7001, 0, solo.accept())
    for _ in range(300):
        solo.tick()
        solo.says(stranger)
        assert not solo.closed()


def test_s9_expired_forgotten_ids_take_no_memory() -> None:
    solo = Solo()
    solo.puppet("a")
    solo.state.forget(node_id("a"), solo.now_ms)
    assert len(solo.state._core.forgotten) == 1
    solo.tick(c.FORGET_TTL_MS)
    assert len(solo.state._core.forgotten) == 0
