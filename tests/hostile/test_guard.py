"""Who is let in: a certificate pinned to a node id (H21), networks, ids, names of certificates, labels. Real nodes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from clusterbus import BlockingEvents, PeerRefused, StateError, wire
from clusterbus.cluster.constants import EXTENSION_CLUSTER_LABEL
from clusterbus.cluster.heartbeats.extensions import padded
from clusterbus.member.member import Member

from tests.hostile.attacked import DEADLINE_S, EPOCH, FLAG_PRIMARY, GOOD_ID, WAYS, Attacked, HostilePeer, Way
from tests.interop.bus_peer import TYPE_MEET, server_context
from tests.peers.tls import Certificates

TLS_WAYS = [name for name, way in WAYS.items() if way.tls]
KNOWN_ID, NEW_ID = "e" * 40, "b" * 40

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


def pins(attacked: Attacked) -> dict[str, str]:
    """The pins in nodes.conf, by node id."""
    attacked.ask(lambda member: member.driver.save())
    words = (attacked.folder / "nodes.conf").read_text().split()
    return {word.removeprefix("pin:"): pin for word, pin in itertools.pairwise(words) if word.startswith("pin:")}


def reset(attacked: Attacked, *, hard: bool) -> None:
    """CLUSTER RESET, at the node itself."""
    attacked.ask(lambda member: member.state.reset(member.clock.now_ms(), hard=hard))


def test_who_is_reset_under_a_new_id_gets_a_pin_of_its_own_and_leaves_the_old_one_h21(
    tmp_path: Path, tls_way: Way
) -> None:
    """CLUSTER RESET HARD of a peer: its old id stays closed to other certificates until it is forgotten."""
    members, stranger = two_certificates(tmp_path / "certificates")
    attacked = Attacked(tmp_path / "node", tls_way, members, cluster_pin_certificates="key")
    try:
        known = attacked.known(KNOWN_ID)
        attacked.wait(lambda: set(pins(attacked)) == {GOOD_ID, KNOWN_ID}, "both are pinned")
        known.node_id = NEW_ID
        for link in (known.dialled, known.connection):
            link.close()
        known.dial().send(known.heartbeat(TYPE_MEET))
        attacked.wait(lambda: attacked.is_well(NEW_ID), "it is a member again, under its new id")
        attacked.wait(
            lambda: {"noaddr", "fail"} <= attacked.nodes()[KNOWN_ID].flags, "nobody is found under the old one"
        )
        attacked.wait(lambda: NEW_ID in pins(attacked), "the new id is pinned")
        assert pins(attacked)[NEW_ID] == pins(attacked)[KNOWN_ID], "it is the same certificate"
        thief = attacked.connect(stranger.client_context())
        thief.send(known.heartbeat(sender=KNOWN_ID))
        thief.wait_closed()
        attacked.counts("cluster_refused_pin", 1)
        attacked.bus.forget(KNOWN_ID)
        assert set(pins(attacked)) == {GOOD_ID, NEW_ID}
        attacked.check()
    finally:
        attacked.close()


def test_after_forget_only_the_operator_brings_an_id_back_and_then_with_any_certificate_h21(
    tmp_path: Path, tls_way: Way
) -> None:
    """CLUSTER FORGET, a new certificate, CLUSTER MEET: how a node whose key was changed comes back."""
    members, renewed = two_certificates(tmp_path / "certificates")
    attacked = Attacked(tmp_path / "node", tls_way, members, cluster_pin_certificates="key")
    try:
        attacked.known(KNOWN_ID)
        attacked.wait(lambda: set(pins(attacked)) == {GOOD_ID, KNOWN_ID}, "both are pinned")
        old_pin = pins(attacked)[KNOWN_ID]
        attacked.bus.forget(KNOWN_ID)
        attacked.server_context = server_context(renewed)
        back = HostilePeer(attacked, KNOWN_ID)
        attacked._peers.append(back)
        attacked.loop.run(back.listen())
        link = attacked.connect(renewed.client_context())
        link.send(back.heartbeat(TYPE_MEET))
        attacked.counts("cluster_refused_forgotten_meet", 1)
        assert KNOWN_ID not in attacked.nodes()
        attacked.bus.meet("127.0.0.1", back.port, bus_port=back.cport)
        attacked.wait(lambda: KNOWN_ID in pins(attacked), "it is pinned anew")
        assert pins(attacked)[KNOWN_ID] != old_pin
        thief = attacked.connect()  # with the certificate that was pinned before
        thief.send(back.heartbeat())
        thief.wait_closed()
        attacked.counts("cluster_refused_pin", 1)
        attacked.check()
    finally:
        attacked.close()


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
def test_a_reset_ends_the_pins_of_the_node_itself_and_the_next_answers_are_pinned_h21(
    tmp_path: Path, tls_way: Way, hard: bool
) -> None:
    members, _ = two_certificates(tmp_path / "certificates")
    attacked = Attacked(tmp_path / "node", tls_way, members, cluster_pin_certificates="names")
    try:
        attacked.wait(lambda: set(pins(attacked)) == {GOOD_ID}, "it is pinned")
        before = attacked.bus.node_id
        reset(attacked, hard=hard)
        assert pins(attacked) == {}
        assert (attacked.bus.node_id != before) == hard
        attacked.good.dial().send(attacked.good.heartbeat(TYPE_MEET))
        attacked.wait(lambda: set(pins(attacked)) == {GOOD_ID}, "it is pinned anew")
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


def refusal(events: BlockingEvents[PeerRefused]) -> tuple[str, str, str]:
    """The next refusal that is told: its reason, whose it is, and from where."""
    event = events.get(DEADLINE_S)
    assert isinstance(event, PeerRefused)
    assert event.text
    return event.reason, event.node_id, event.ip


def test_a_stranger_from_another_network_is_closed_and_a_member_stays_when_the_list_comes(attacked: Attacked) -> None:
    attacked.wait(lambda: attacked.is_well(GOOD_ID), "the good peer is well")
    events = attacked.bus.events(PeerRefused)
    configure(attacked, "cluster-allow-networks", "127.0.0.0/8 ::1")
    assert attacked.good.ping() is not None
    assert attacked.counter("cluster_refused_not_allowed_address") == 0
    configure(attacked, "cluster-allow-networks", "192.0.2.0/24")
    attacked.good.wait_closed()
    assert refusal(events) == ("not_allowed_address", GOOD_ID, "127.0.0.1")
    before = attacked.counter("cluster_refused_not_allowed_address")
    stranger = attacked.connect()
    stranger.wait_closed()
    attacked.counts("cluster_refused_not_allowed_address", before + 1)
    assert attacked.log.warnings("127.0.0.1 is in no network of cluster-allow-networks")
    with pytest.raises(StateError, match="cluster-allow-networks"):
        attacked.bus.meet("127.0.0.1", attacked.good.port, bus_port=attacked.good.cport)
    configure(attacked, "cluster-allow-networks", "")
    attacked.good.dial()
    assert attacked.good.ping() is not None


def test_the_first_refusal_by_network_is_an_event_with_where_it_came_from(attack: Attack, way: Way) -> None:
    """By the gossip of a member, and by a MEET."""
    attacked = attack(way, cluster_allow_networks="127.0.0.0/8")
    events = attacked.bus.events(PeerRefused)
    attacked.wait(lambda: attacked.is_well(GOOD_ID), "the good peer is well")
    about = wire.GossipEntry(node_id=KNOWN_ID, ip="192.0.2.7", port=7000, cport=17_000, flags=FLAG_PRIMARY)
    assert attacked.good.ping(gossip=[about]) is not None
    assert refusal(events) == ("not_allowed_address", KNOWN_ID, "192.0.2.7")
    stranger = attacked.stranger()
    stranger.send(stranger.heartbeat(TYPE_MEET, myip="192.0.2.8"))
    assert refusal(events) == ("not_allowed_address", stranger.node_id, "192.0.2.8")
    attacked.counts("cluster_refused_not_allowed_address", 2)
    assert set(attacked.nodes()) == {attacked.bus.node_id, GOOD_ID}


def test_a_node_that_is_not_listed_stays_out_whichever_way_it_comes(attack: Attack, way: Way) -> None:
    attacked = attack(way, cluster_allow_node_ids=[GOOD_ID])
    events = attacked.bus.events(PeerRefused)
    attacked.wait(lambda: attacked.is_well(GOOD_ID), "the good peer is well")
    stranger = attacked.stranger()
    stranger.send(stranger.heartbeat(TYPE_MEET))
    assert refusal(events) == ("not_allowed_id", stranger.node_id, "127.0.0.1")
    attacked.counts("cluster_refused_not_allowed_id", 1)
    about = wire.GossipEntry(node_id=KNOWN_ID, ip="127.0.0.2", port=7000, cport=17_000, flags=FLAG_PRIMARY)
    assert attacked.good.ping(gossip=[about]) is not None
    assert refusal(events) == ("not_allowed_id", KNOWN_ID, "127.0.0.2")
    attacked.counts("cluster_refused_not_allowed_id", 2)
    attacked.loop.run(stranger.listen())
    attacked.bus.meet("127.0.0.1", stranger.port, bus_port=stranger.cport)
    attacked.counts("cluster_refused_not_allowed_id", 3)
    assert len(attacked.log.warnings(f"{stranger.node_id} is not among cluster-allow-node-ids")) == 1
    assert set(attacked.nodes()) == {attacked.bus.node_id, GOOD_ID}


def test_a_member_that_is_taken_off_the_list_is_cut_off(attacked: Attacked) -> None:
    known = attacked.known()
    events = attacked.bus.events(PeerRefused)
    configure(attacked, "cluster-allow-node-ids", GOOD_ID)
    known.wait_closed()
    known.dialled.wait_closed()
    assert refusal(events) == ("not_allowed_id", known.node_id, "127.0.0.1")
    known.dial().send(known.heartbeat(current_epoch=EPOCH + 1))
    known.wait_closed()
    assert attacked.counter("cluster_current_epoch") <= EPOCH
    assert attacked.counter("cluster_refused_not_allowed_id") >= 3


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
