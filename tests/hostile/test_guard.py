"""Who is let in: a certificate pinned to a node id (H21), networks, ids, names of certificates, labels. Real nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from clusterbus import PeerRefused, wire
from clusterbus.cluster.constants import EXTENSION_CLUSTER_LABEL
from clusterbus.cluster.heartbeats.extensions import padded
from clusterbus.member.member import Member

from tests.hostile.attacked import GOOD_ID, WAYS, Attacked, HostilePeer, Way
from tests.interop.bus_peer import TYPE_MEET
from tests.peers.tls import Certificates

TLS_WAYS = [name for name, way in WAYS.items() if way.tls]
KNOWN_ID = "e" * 40

Attack = Callable[..., Attacked]


def two_certificates(folder: Path) -> tuple[Certificates, Certificates]:
    """One for the members and one for a stranger, both of one authority."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    both = []
    for name in ("member", "stranger"):
        leaf = authority.issue_cert("127.0.0.1", f"{name}.example.org")
        leaf.private_key_pem.write_to_path(folder / f"{name}.key")
        for position, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(folder / f"{name}.pem", append=position > 0)
        both.append(Certificates(folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key"))
    return both[0], both[1]


def label(text: str) -> wire.Extension:
    return wire.Extension(EXTENSION_CLUSTER_LABEL, padded(text))


def configure(attacked: Attacked, name: str, value: str) -> None:
    """CONFIG SET."""
    attacked.ask(lambda member: member.config.set(name, value))


def has_no_inbound_link(member: Member, node_id: str) -> bool:
    node = member.state.find(node_id)
    return node is not None and node.inbound_link is None


@pytest.fixture(params=TLS_WAYS)
def tls_way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.mark.parametrize("kind", ["key", "names"])
def test_a_stranger_with_a_certificate_of_our_authority_cannot_be_a_pinned_node_h21(
    tmp_path: Path, tls_way: Way, kind: str
) -> None:
    members, stranger = two_certificates(tmp_path / "certificates")
    attacked = Attacked(tmp_path / "node", tls_way, members, cluster_pin_certificates=kind)
    try:
        known = attacked.known(KNOWN_ID)
        attacked.wait(
            lambda: attacked.ask(lambda member: all(node.pin for node in member.state.nodes if node.link)),
            "both pinned",
        )
        events = attacked.bus.events(PeerRefused)
        known.connection.close()  # the id has no live link any more
        attacked.wait(lambda: attacked.ask(lambda member: has_no_inbound_link(member, KNOWN_ID)), "its link is gone")
        thief = attacked.connect(stranger.client_context())
        thief.send(known.heartbeat(port=1, cport=2))
        thief.wait_closed()
        attacked.counts("cluster_refused_pin", 1)
        assert "another certificate" in attacked.log
        event = events.get(10)
        assert isinstance(event, PeerRefused)
        assert (event.node_id, event.reason) == (KNOWN_ID, "pin")
        known.dial()
        assert known.ping() is not None, "the node itself comes back"
        attacked.wait(lambda: attacked.is_well(KNOWN_ID), "it is well")
        assert attacked.nodes()[KNOWN_ID].cport == known.cport
        attacked.ask(lambda member: member.driver.save())
        assert f"pin:{KNOWN_ID} {kind}:" in (attacked.folder / "nodes.conf").read_text()
        attacked.check()
    finally:
        attacked.close()


@pytest.mark.parametrize(("allowed", "is_let_in"), [("*.example.org", True), ("member.example.org", False)])
def test_only_listed_names_of_certificates_get_a_link(
    tmp_path: Path, tls_way: Way, allowed: str, is_let_in: bool
) -> None:
    members, stranger = two_certificates(tmp_path / "certificates")
    attacked = Attacked(tmp_path / "node", tls_way, members, cluster_allow_certificate_names=allowed)
    try:
        link = attacked.connect(stranger.client_context())
        if is_let_in:
            assert link.ask(attacked.good.heartbeat(sender="5" * 40)) is not None
        else:
            link.wait_closed()
            attacked.counts("cluster_refused_not_allowed_certificate", 1)
            assert "stranger.example.org" in attacked.log
        attacked.check()
    finally:
        attacked.close()


def test_a_stranger_from_another_network_is_closed_and_a_member_stays_when_the_list_comes(attacked: Attacked) -> None:
    attacked.wait(lambda: attacked.is_well(GOOD_ID), "the good peer is well")
    configure(attacked, "cluster-allow-networks", "127.0.0.0/8 ::1")
    assert attacked.good.ping() is not None
    configure(attacked, "cluster-allow-networks", "192.0.2.0/24")
    attacked.good.wait_closed()
    stranger = attacked.connect()
    stranger.wait_closed()
    assert attacked.counter("cluster_refused_not_allowed_address") >= 2
    configure(attacked, "cluster-allow-networks", "")
    attacked.good.dial()
    assert attacked.good.ping() is not None


def test_a_node_that_is_not_listed_stays_out(attack: Attack, way: Way) -> None:
    attacked = attack(way, cluster_allow_node_ids=[GOOD_ID])
    stranger = attacked.stranger()
    stranger.send(stranger.heartbeat(TYPE_MEET))
    attacked.counts("cluster_refused_not_allowed_id", 1)
    assert not [
        line for line in attacked.nodes().values() if "handshake" in line.flags and line.cport == stranger.cport
    ]


def test_a_node_of_another_cluster_is_not_met_and_a_member_that_turns_out_to_be_one_changes_nothing(
    attack: Attack, way: Way
) -> None:
    attacked = attack(way, cluster_label="blue")
    events = attacked.bus.events(PeerRefused)
    stranger = attacked.stranger()
    stranger.send(stranger.heartbeat(TYPE_MEET, extensions=[label("green")]))
    attacked.counts("cluster_refused_label", 1)
    assert not [line for line in attacked.nodes().values() if line.cport == stranger.cport]
    known = attacked.known()
    assert known.ping(extensions=[label("green")]) is not None
    assert known.ping(current_epoch=500, config_epoch=500, myslots=b"\xff" * wire.SLOT_BITMAP_LEN_BYTES) is not None
    attacked.counts("cluster_refused_label", 3)
    assert attacked.ask(lambda member: (member.state.assigned_slots, member.state.current_epoch < 500)) == (0, True)
    event = events.get(10)
    assert isinstance(event, PeerRefused)
    assert event.reason == "label"
    assert _answered_with(attacked, known, "blue") == "blue", "it is told what our label is"


def _answered_with(attacked: Attacked, known: HostilePeer, text: str) -> str | None:
    packet = known.ping(extensions=[label(text)])
    assert packet is not None
    message = wire.decode(packet)
    assert isinstance(message, wire.Heartbeat)
    found = [extension.data for extension in message.extensions if extension.type == EXTENSION_CLUSTER_LABEL]
    assert attacked.is_well(known.node_id)
    return found[0].rstrip(b"\0").decode() if found else None
