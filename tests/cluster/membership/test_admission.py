"""Who may be a member: networks, ids, names of certificates, and certificates pinned to ids (H21)."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import CloseLink, Dial, Refuse
from clusterbus.cluster.events import PeerRefused
from clusterbus.cluster.model.node import Certificate
from clusterbus.cluster.model.records import NodesConf
from clusterbus.cluster.operator import persist
from clusterbus.errors import ConfigError, StateError

from tests.cluster.solo import Puppet, Solo, entry, node_id

ONE, OTHER = Certificate("1" * 64, ("a.example.org",)), Certificate("2" * 64, ("b.example.org",))
RENEWED = Certificate("3" * 64, ("a.example.org",))


def refused(solo: Solo) -> list[PeerRefused]:
    """The refusals of the last input that become events."""
    return [effect.event for effect in solo.of(Refuse) if isinstance(effect.event, PeerRefused)]


def configured(**directives: Any) -> Solo:
    """A node whose configuration is as if its TLS files were there."""
    solo = Solo()
    for name, value in directives.items():
        object.__setattr__(solo.config, name, value)
    solo.tick()
    return solo


def accepts(solo: Solo, ip: str, certificate: Certificate | None = None) -> bool:
    link = next(solo._links)
    solo.state.handle_link_accepted(link, ip, "10.0.0.5", solo.now_ms, certificate)
    solo.poll()
    return link not in solo.closed()


# ---------------------------------------------------------------- nothing is configured


def test_by_default_everybody_is_let_in() -> None:
    solo = Solo()
    assert accepts(solo, "192.0.2.1")
    assert accepts(solo, "2001:db8::1", ONE)
    puppet = solo.puppet("a")
    assert solo.knows(puppet)
    assert not refused(solo)


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize(
    ("networks", "ip", "is_let_in"),
    [
        (("10.0.0.0/8",), "10.255.0.1", True),
        (("10.0.0.0/8",), "11.0.0.1", False),
        (("10.0.0.0/8", "192.0.2.7/32"), "192.0.2.7", True),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", True),
        (("2001:db8::/32",), "2001:db8:1::1", True),
        (("2001:db8::/32",), "2001:db9::1", False),
        (("2001:db8::/32",), "10.0.0.1", False),
    ],
)
def test_links_from_other_networks_are_closed_at_once(networks: tuple[str, ...], ip: str, is_let_in: bool) -> None:
    solo = configured(cluster_allow_networks=networks)
    assert accepts(solo, ip) == is_let_in
    assert solo.counter("refused_not_allowed_address") == (not is_let_in)
    assert len(refused(solo)) == (not is_let_in)


def test_addresses_in_other_networks_are_neither_met_nor_learnt_nor_dialled() -> None:
    solo = configured(cluster_allow_networks=("10.0.0.0/8",))
    puppet = solo.puppet("a")
    with pytest.raises(StateError, match="cluster-allow-networks"):
        solo.state.meet("192.0.2.1", 7000, None, solo.now_ms)
    solo.gossips(puppet, entry(node_id("b"), ip="192.0.2.1"), entry(node_id("d"), ip="10.7.7.7"))
    assert not solo.knows(node_id("b"))
    assert solo.knows(node_id("d"))
    assert refused(solo)[0].node_id == node_id("b")
    link = solo.accept("10.9.9.9")
    solo.says(Puppet(node_id("e"), "10.9.9.9", 7999, 0, link), c.MEET, myip="192.0.2.5")
    assert not [node for node in solo.state.nodes if node.in_handshake]
    solo.says(puppet, myip="192.0.2.1")
    assert solo.node(puppet).ip == "10.0.1.1", "it does not move out of the networks"


def test_a_network_that_is_taken_away_ends_its_links_and_its_dials() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.config.set("cluster-allow-networks", "192.0.2.0/24")
    solo.state.handle_config_changed(solo.now_ms)
    solo.poll()
    assert {puppet.dialled, puppet.inbound} <= set(solo.closed())
    assert not solo.of(Dial, solo.ticks(3_000))
    solo.config.set("cluster-allow-networks", "")
    assert solo.of(Dial, solo.ticks(3_000))


# ---------------------------------------------------------------- ids


def test_only_listed_ids_come_in_by_any_way() -> None:
    solo = configured(cluster_allow_node_ids=(node_id("a"), node_id("d")))
    puppet = solo.puppet("a")
    solo.gossips(puppet, entry(node_id("b")), entry(node_id("d")))
    assert not solo.knows(node_id("b"))
    assert solo.knows(node_id("d"))
    link = solo.accept()
    solo.says(Puppet(node_id("e"), "10.9.9.9", 7999, 0, link), c.MEET)
    assert not [node for node in solo.state.nodes if node.in_handshake]
    solo.state.meet("10.0.3.3", 7003, None, solo.now_ms)
    dialled = solo.open(next(dial for dial in solo.of(Dial, solo.tick()) if dial.ip == "10.0.3.3"))
    solo.receive(dialled, solo.heartbeat(Puppet(node_id("f"), "10.0.3.3", 7003, dialled, 0), c.PONG))
    assert not solo.knows(node_id("f"))
    assert solo.counter("refused_not_allowed_id") == 3


# ---------------------------------------------------------------- names of certificates


@pytest.mark.parametrize(
    ("allowed", "names", "is_let_in"),
    [
        ("a.example.org", ("a.example.org",), True),
        ("a.example.org", ("b.example.org", "A.Example.Org"), True),
        ("a.example.org", ("b.example.org",), False),
        ("a.example.org", (), False),
        ("*.example.org", ("a.example.org",), True),
        ("*.example.org", ("a.b.example.org",), False),
        ("*.example.org", ("example.org",), False),
        ("*.example.org", (".example.org",), False),
        ("a.example.org", ("*.example.org",), False),
        ("spiffe://example.org/c", ("spiffe://example.org/c",), True),
        ("spiffe://example.org/c", ("spiffe://example.org/C",), False),
    ],
)
def test_a_peer_must_show_a_listed_name(allowed: str, names: tuple[str, ...], is_let_in: bool) -> None:
    solo = configured(cluster_allow_certificate_names=(allowed,))
    assert accepts(solo, "10.0.0.1", Certificate("1" * 64, names)) == is_let_in
    assert not accepts(solo, "10.0.0.1", None), "without a certificate there is no name"
    assert solo.counter("refused_not_allowed_certificate") == 2 - is_let_in


def test_a_name_breaks_no_line_of_the_log_h12() -> None:
    solo = configured(cluster_allow_certificate_names=("a.example.org",))
    assert not accepts(solo, "10.0.0.1", Certificate("1" * 64, ("spiffe://x\n# a line of its own",)))
    assert "\n" not in solo.warnings()[0]


def test_a_node_that_we_dial_must_show_one_too() -> None:
    solo = configured(cluster_allow_certificate_names=("a.example.org",))
    solo.state.meet("10.0.3.3", 7003, None, solo.now_ms)
    dial = solo.only(Dial, solo.tick())
    solo.state.handle_link_opened(dial.node_id, 77, "10.0.0.5", solo.now_ms, OTHER)
    solo.poll()
    assert solo.only(CloseLink).link == 77
    assert solo.node(dial.node_id).next_dial_ms > solo.now_ms, "the next dial waits"


# ---------------------------------------------------------------- pins


def pinned(kind: str = "key", **directives: Any) -> tuple[Solo, Puppet]:
    """A node that pins, and has found "a" with the certificate ONE."""
    solo = configured(cluster_pin_certificates=kind, **directives)
    puppet = solo.puppet("a")
    solo.state._core.links[puppet.dialled].certificate = ONE
    solo.says(puppet, c.PONG)
    assert solo.node(puppet).pin.startswith(f"{kind}:")
    return solo, puppet


def claims(solo: Solo, puppet: Puppet, certificate: Certificate | None) -> bool:
    """Whether a new link may claim the puppet, which is silent."""
    solo.now_ms += 60_000
    link = next(solo._links)
    solo.state.handle_link_accepted(link, "10.6.6.6", "10.0.0.5", solo.now_ms, certificate)
    solo.receive(link, solo.heartbeat(puppet, port=6666, cport=16666))
    inbound = solo.node(puppet).inbound_link
    return inbound is not None and inbound.link_id == link


def test_a_stranger_with_a_good_certificate_cannot_claim_a_pinned_id_h21() -> None:
    solo, puppet = pinned()
    assert not claims(solo, puppet, OTHER)
    event = refused(solo)[0]
    assert (event.node_id, event.ip, event.reason) == (puppet.node_id, "10.6.6.6", "pin")
    assert solo.counter("refused_pin") == 1
    assert solo.node(puppet).ip == puppet.ip
    assert not claims(solo, puppet, None), "nor without a certificate"
    assert claims(solo, puppet, ONE)


@pytest.mark.parametrize(("kind", "is_let_in"), [("key", False), ("names", True)])
def test_a_renewed_certificate_with_another_key_fits_a_pin_of_names_h21(kind: str, is_let_in: bool) -> None:
    solo, puppet = pinned(kind)
    assert claims(solo, puppet, RENEWED) == is_let_in
    assert not claims(solo, puppet, OTHER)


def test_without_the_directive_nothing_is_pinned_h21() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.state._core.links[puppet.dialled].certificate = ONE
    solo.says(puppet, c.PONG)
    assert solo.node(puppet).pin == ""
    assert claims(solo, puppet, OTHER)


def test_who_answers_our_dial_with_another_certificate_is_left_h21() -> None:
    solo, puppet = pinned()
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    dial = solo.only(Dial, solo.ticks(1_000))
    solo.state.handle_link_opened(dial.node_id, 77, "10.0.0.5", solo.now_ms, OTHER)
    solo.poll()
    assert 77 in solo.closed()
    dial = solo.of(Dial, solo.ticks(3_000))[0]
    solo.state.handle_link_opened(dial.node_id, 78, "10.0.0.5", solo.now_ms, ONE)
    solo.poll()
    assert not solo.closed()


def test_a_handshake_cannot_lead_to_a_pinned_id_elsewhere_h21() -> None:
    solo, puppet = pinned()
    solo.fails(solo.puppet("b", slots=[1]), puppet.node_id)
    solo.state.meet("10.6.6.6", 6666, None, solo.now_ms)
    dial = next(dial for dial in solo.of(Dial, solo.tick()) if dial.ip == "10.6.6.6")
    solo.state.handle_link_opened(dial.node_id, 79, "10.0.0.5", solo.now_ms, OTHER)
    solo.receive(79, solo.heartbeat(puppet, c.PONG, port=6666, cport=16666))
    assert solo.node(puppet).ip == puppet.ip
    assert solo.counter("refused_pin") == 1


def test_pins_outlive_a_restart_and_end_with_the_node_or_the_directive_h21() -> None:
    solo, puppet = pinned()
    text = solo.state.nodes_conf_text()
    assert text.endswith(f" pin:{puppet.node_id} key:{ONE.key}\n")
    saved = persist.parse(text)
    again = Solo(saved=saved)
    object.__setattr__(again.config, "cluster_pin_certificates", "key")
    assert again.state.nodes_conf_text().splitlines()[-1] == text.splitlines()[-1]
    assert not claims(again, puppet, OTHER)
    again.config.set("cluster-pin-certificates", "no")
    again.state.handle_config_changed(again.now_ms)
    assert "pin:" not in again.state.nodes_conf_text()
    assert claims(again, puppet, OTHER)
    solo.state.forget(puppet.node_id, solo.now_ms)
    assert "pin:" not in solo.state.nodes_conf_text()


@pytest.mark.parametrize("pin", ["key:12", f"name:{'1' * 64}", "x"])
def test_a_damaged_pin_in_nodes_conf_is_refused_h44(pin: str) -> None:
    text = Solo().state.nodes_conf_text().rstrip("\n") + f" pin:{'a' * 40} {pin}\n"
    with pytest.raises(ConfigError, match="line 2"):
        persist.parse(text)
    assert isinstance(persist.parse(Solo().state.nodes_conf_text()), NodesConf)
