"""Extensions sent and received, and the way of FORGET through the cluster (S8, S9, H10, H15, H19)."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial
from clusterbus.cluster.events import NodeLeft
from clusterbus.wire import Extension, Heartbeat

from tests.cluster.harness import all_connected, joined
from tests.cluster.solo import MYSELF_ID, SHARD, Puppet, Solo, entry, node_id

EVERY_TEXT = {
    "cluster_announce_hostname": (c.EXTENSION_HOSTNAME, "host.example"),
    "cluster_announce_human_nodename": (c.EXTENSION_NODENAME, "somebody"),
    "cluster_announce_client_ipv4": (c.EXTENSION_CLIENT_IPV4, "1.2.3.4"),
    "cluster_announce_client_ipv6": (c.EXTENSION_CLIENT_IPV6, "::5"),
    "availability_zone": (c.EXTENSION_AVAILABILITY_ZONE, "zone-1"),
}
FIELDS = ("hostname", "nodename", "client_ipv4", "client_ipv6", "availability_zone")
PORTS = {"cluster_announce_client_port": 7100, "cluster_announce_client_tls_port": 7443}


def pong(solo: Solo, puppet: Puppet) -> Heartbeat:
    solo.says(puppet)
    (message,) = solo.sent(puppet.inbound, c.PONG)
    assert isinstance(message, Heartbeat)
    return message


def forgotten(message: Heartbeat) -> list[tuple[str, int]]:
    return [sent for extension in message.extensions if (sent := extension.forgotten_node)]


# ---------------------------------------------------------------- sent


def test_s8_what_is_announced_goes_to_peers_that_take_extensions() -> None:
    announced: dict[str, Any] = {directive: text for directive, (_, text) in EVERY_TEXT.items()}
    solo = Solo(**announced)
    extensions = pong(solo, solo.puppet("a")).extensions
    assert [extension.type for extension in extensions] == [0, 1, 4, 5, 8, 3]  # in the order of 9.1.2
    texts = {extension.type: extension.text for extension in extensions if extension.type != 3}
    assert texts == dict(EVERY_TEXT.values())
    assert extensions[-1].shard_id == solo.state.myself.shard_id


def test_client_ports_are_announced_p22() -> None:
    solo = Solo(availability_zone="zone-1", cluster_announce_client_ipv4="1.2.3.4", **dict[str, Any](PORTS))
    puppet = solo.puppet("a")
    extensions = pong(solo, puppet).extensions
    assert [extension.type for extension in extensions] == [4, 6, 7, 8, 3]  # in the order of 9.1.2
    assert [extension.port for extension in extensions] == [None, 7100, 7443, None, None]
    solo.config.update(cluster_announce_client_port=0)
    solo.tick()
    assert [extension.type for extension in pong(solo, puppet).extensions] == [4, 7, 8, 3]


def test_s8_peers_not_known_to_take_extensions_get_the_flag_alone() -> None:
    solo = Solo(cluster_announce_hostname="host.example")
    stranger = Puppet(node_id("a"), "10.0.1.1", 7001, 0, solo.accept())
    message = pong(solo, stranger)
    assert not message.extensions
    assert message.header.mflags & c.MFLAG_EXTENSIONS


def test_s8_a_new_name_is_announced_from_the_next_tick_on() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.config.update(cluster_announce_hostname="later.example")
    solo.tick()
    assert solo.saves()
    assert pong(solo, puppet).extensions[0].text == "later.example"


# ---------------------------------------------------------------- received


def test_s8_texts_of_a_peer_are_learnt_and_withdrawn() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    sent = [Extension(kind, text.encode() + bytes(8 - len(text) % 8)) for kind, text in EVERY_TEXT.values()]
    solo.says(puppet, extensions=[*sent, Extension.shard_id_of(SHARD)])
    node = solo.node(puppet)
    assert [getattr(node, field) for field in FIELDS] == [text for _, text in EVERY_TEXT.values()]
    assert node.shard_id == SHARD
    assert solo.saves()
    solo.says(puppet, extensions=[*sent, Extension.shard_id_of(SHARD)])
    assert not solo.saves()
    solo.says(puppet, extensions=[])
    assert node.hostname == "host.example", "the first packets of a peer carry none"
    solo.says(puppet, extensions=[Extension.shard_id_of(SHARD)])
    assert [getattr(node, field) for field in FIELDS] == [""] * 5


def test_client_ports_of_a_peer_are_learnt_and_withdrawn_p22() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    shard = Extension.shard_id_of(SHARD)
    solo.says(puppet, extensions=[shard])
    solo.saves()
    solo.says(puppet, extensions=[Extension.client_port_of(7100), Extension.client_tls_port_of(7443), shard])
    node = solo.node(puppet)
    assert (node.client_tcp_port, node.client_tls_port) == (7100, 7443)
    assert solo.saves()
    assert node.port != 7100, "nodes keep to the port of the header"
    solo.says(puppet, extensions=[Extension.client_tls_port_of(7444), shard])
    assert (node.client_tcp_port, node.client_tls_port) == (0, 7444)
    assert solo.saves()


def test_s8_an_older_peer_without_shard_ids_withdraws_by_sending_none() -> None:
    solo = Solo()
    solo.state.meet("10.0.1.1", 7001, None, solo.now_ms)
    puppet = solo.puppet("a")
    solo.node(puppet).sends_shard_id = False
    solo.says(puppet, extensions=[Extension.hostname_of("old.example")])
    assert solo.node(puppet).hostname == "old.example"
    solo.says(puppet, extensions=[])
    assert solo.node(puppet).hostname == ""


def test_h15_unknown_extensions_are_skipped() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.says(puppet, extensions=[Extension(4711, b"whatever"), Extension.hostname_of("known.example")])
    assert solo.node(puppet).hostname == "known.example"


def test_s8_the_shard_of_a_replica_without_one_is_its_primarys() -> None:
    solo = Solo()
    primary, replica = solo.puppet("a", slots=[1]), solo.puppet("b")
    replica.replicaof, replica.flags = primary.node_id, c.FLAG_REPLICA
    solo.node(replica).sends_shard_id = False
    solo.says(replica, extensions=[])
    assert solo.node(replica).shard_id == solo.node(primary).shard_id


# ---------------------------------------------------------------- FORGET


def test_s9_a_forgotten_node_stays_out_for_a_minute_whatever_gossip_says() -> None:
    solo = Solo(cluster_node_timeout=120_000)
    teller, gone = solo.puppet("a"), solo.puppet("b")
    solo.state.forget(gone.node_id, solo.now_ms)
    solo.poll()
    assert set(solo.closed()) == {gone.dialled, gone.inbound}
    assert solo.events(NodeLeft) == [NodeLeft(gone.node_id, "forgotten")]
    begun_ms = solo.now_ms
    solo.gossips(teller, entry(gone))
    assert not solo.knows(gone)
    solo.now_ms = begun_ms + c.FORGET_TTL_MS - 1
    solo.gossips(teller, entry(gone))
    assert not solo.knows(gone)
    solo.now_ms += 1
    solo.gossips(teller, entry(gone))
    assert solo.knows(gone)


def test_s9_a_forgotten_node_that_meets_us_is_answered_and_not_let_in() -> None:
    """Newer servers send MEET again to a node that does not dial them."""
    solo = Solo()
    gone = solo.puppet("b")
    solo.state.forget(gone.node_id, solo.now_ms)
    gone.inbound = solo.accept(gone.ip)
    solo.says(gone, c.MEET)
    assert len(solo.sent(gone.inbound, c.PONG)) == 1
    assert solo.state.known_nodes_count == 1
    assert solo.counter("refused_forgotten_meet") == 1


def test_s9_a_forgotten_node_does_not_come_back_by_the_address_of_another() -> None:
    solo = Solo()
    gone = solo.puppet("b")
    solo.state.forget(gone.node_id, solo.now_ms)
    solo.says(Puppet(node_id("c"), gone.ip, gone.port, 0, solo.accept(gone.ip)), c.MEET)
    gone.dialled = solo.open(solo.only(Dial, solo.tick()))
    solo.says(gone, c.PONG)
    assert solo.closed() == [gone.dialled]
    assert solo.state.known_nodes_count == 1


def test_s9_an_operators_meet_lets_it_in_again() -> None:
    solo = Solo()
    gone = solo.puppet("b")
    solo.state.forget(gone.node_id, solo.now_ms)
    solo.poll()
    again = solo.puppet("b")
    assert solo.knows(again)
    assert forgotten(pong(solo, again)) == [], "nor are others asked to forget it any longer"


def test_s9_forget_is_passed_on_to_peers_with_the_time_left() -> None:
    solo = Solo()
    peer, gone = solo.puppet("a"), solo.puppet("b")
    solo.state.forget(gone.node_id, solo.now_ms)
    assert forgotten(pong(solo, peer)) == [(gone.node_id, 60)]
    solo.now_ms += 20_500
    assert forgotten(pong(solo, peer)) == [(gone.node_id, 39)]
    solo.now_ms += 40_000
    assert forgotten(pong(solo, peer)) == []


def test_p9_forget_lasts_as_long_as_the_directive_says_here_and_at_peers() -> None:
    solo = Solo(cluster_node_timeout=10_000_000, cluster_blacklist_ttl=600)
    peer, gone, other = solo.puppet("a"), solo.puppet("b"), solo.puppet("c")
    solo.state.forget(gone.node_id, solo.now_ms)
    assert forgotten(pong(solo, peer)) == [(gone.node_id, 600)]
    solo.now_ms += 599_999
    solo.gossips(peer, entry(gone))
    assert not solo.knows(gone)
    solo.now_ms += 1
    solo.gossips(peer, entry(gone))
    assert solo.knows(gone)
    solo.config.update(cluster_blacklist_ttl=0)
    solo.state.forget(other.node_id, solo.now_ms)
    solo.gossips(peer, entry(other))
    assert solo.knows(other), "0 keeps nobody out"


def test_p9_by_default_forget_lasts_a_minute() -> None:
    assert Solo().config.cluster_blacklist_ttl * 1000 == c.FORGET_TTL_MS


@pytest.mark.parametrize(
    ("ttl_s", "stays_out_ms"), [(10, 10_000), (3_600, 3_600_000), (2**64 - 1, c.FORGET_TTL_MAX_MS)]
)
def test_h19_p9_a_peers_forget_counts_with_a_cap_on_its_ttl(ttl_s: int, stays_out_ms: int) -> None:
    solo = Solo(cluster_node_timeout=120_000)
    teller, gone = solo.puppet("a"), solo.puppet("b")
    solo.says(teller, extensions=[Extension.forgotten_node_of(gone.node_id, ttl_s)])
    assert not solo.knows(gone)
    assert solo.events(NodeLeft) == [NodeLeft(gone.node_id, "forgotten by a peer")]
    solo.now_ms += stays_out_ms - 1
    solo.gossips(teller, entry(gone))
    assert not solo.knows(gone)
    solo.now_ms += 1
    solo.gossips(teller, entry(gone))
    assert solo.knows(gone)


def test_h19_forgotten_node_with_the_sender_or_us_or_an_unknown_node_is_ignored() -> None:
    solo = Solo()
    teller = solo.puppet("a")
    sent = [Extension.forgotten_node_of(about, 60) for about in (teller.node_id, MYSELF_ID, node_id("9"))]
    solo.says(teller, extensions=sent)
    assert solo.knows(teller)
    assert solo.state.known_nodes_count == 2
    assert solo.counter("refused_forgotten_node") == 2
    solo.gossips(teller, entry(node_id("9")))
    assert solo.knows(node_id("9")), "what was not known is not kept out"
    assert solo.is_alive()


def test_s9_a_strangers_forget_is_ignored() -> None:
    solo = Solo()
    known = solo.puppet("a")
    stranger = Puppet(node_id("b"), "10.0.9.9", 7001, 0, solo.accept())
    solo.says(stranger, c.MEET, extensions=[Extension.forgotten_node_of(known.node_id, 60)])
    assert solo.knows(known)


def test_s9_the_forgotten_nodes_that_are_kept_and_sent_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "FORGOTTEN_MAX", 5)
    monkeypatch.setattr(c, "FORGOTTEN_PER_HEARTBEAT_MAX", 3)
    solo = Solo()
    peer = solo.puppet("a")
    ids = [f"{number:040x}" for number in range(8)]
    solo.gossips(peer, *(entry(gone) for gone in ids))
    for gone in ids:
        solo.state.forget(gone, solo.now_ms)
    assert forgotten(pong(solo, peer)) == [(gone, 60) for gone in ids[:-4:-1]]
    solo.gossips(peer, *(entry(gone) for gone in ids))
    assert {gone for gone in ids if solo.knows(gone)} == set(ids[:3])


def test_s9_forget_spreads_through_a_cluster_and_the_node_stays_out() -> None:
    network, members = joined(size=5, owners=3)
    gone, rest = members[4], members[:4]
    network.forget(rest[0], gone)
    network.run_until(lambda: not any(member.knows(gone) for member in rest), 10_000)
    network.kill(gone)
    network.run(50_000)
    assert not any(member.knows(gone) for member in rest)
    assert all_connected(rest)


def test_a_long_ttl_of_a_forgotten_node_changes_our_heartbeats_once_a_minute_p9() -> None:
    solo = Solo(cluster_blacklist_ttl=600)
    peer, gone = solo.puppet("a"), solo.puppet("b")
    solo.state.forget(gone.node_id, solo.now_ms)
    told: set[int] = set()
    versions: set[int] = set()
    for _ in range(90 * 10):
        solo.tick()
        solo.says(peer, c.PONG)
        versions.add(solo.state.own_header_version)
        told.update(ttl_s for _, ttl_s in forgotten(pong(solo, peer)))
    assert told == {540, 480}
    assert len(versions) <= 4
    solo.now_ms += 500_000
    solo.tick()
    before = solo.state.own_header_version
    for _ in range(30):
        solo.tick()
        solo.says(peer, c.PONG)
    assert solo.state.own_header_version > before, "the last minutes are told by the second"
