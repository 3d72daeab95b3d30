"""CLUSTER NODES, INFO, SLOTS and SHARDS, word for word as in Valkey 9.1.2 (S11).

The expected texts are what a 9.1.2 server answered in the same situation, with ids and times replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.operator import persist
from clusterbus.cluster.operator.describe import BYTE_COUNTERS, Endpoint, SlotRange
from clusterbus.cluster.state import ClusterState
from clusterbus.wire import Extension

from tests.cluster.shards import make_replica, replicate, shard_of
from tests.cluster.solo import MYSELF_ID, Puppet, Solo, node_id

HOSTNAME = Extension.hostname_of("host1.example")
NODENAME = Extension.nodename_of("human1")


def of_9_1_2() -> tuple[Solo, Puppet, Puppet]:
    """We own most slots, b owns some. a has a hostname and a nodename, but no slots."""
    solo = Solo(port=50503)
    named = solo.puppet("a", config_epoch=2)
    shard = Extension.shard_id_of(node_id("d"))
    solo.says(named, extensions=[HOSTNAME, NODENAME, shard])
    owner = solo.puppet("b", slots=[*range(101, 200), *range(201, 300)], config_epoch=0)
    solo.state.add_slots([*range(101), 200, *range(300, c.SLOTS)], solo.now_ms)
    solo.state.bump_epoch(solo.now_ms)
    solo.poll()
    return solo, named, owner


def test_s11_cluster_nodes() -> None:
    solo, named, owner = of_9_1_2()
    pong_ms = [solo.node(puppet).pong_received_ms for puppet in (named, owner)]
    epoch = solo.state.myself.config_epoch
    assert solo.state.nodes_text() == (
        f"{MYSELF_ID} 10.0.0.5:50503@60503 myself,master - 0 0 {epoch} connected 0-100 200 300-16383\n"
        f"{named.node_id} 10.0.1.1:7001@17001,host1.example master - 0 {pong_ms[0]} 2 connected\n"
        f"{owner.node_id} 10.0.1.2:7002@17002 master - 0 {pong_ms[1]} 0 connected 101-199 201-299\n"
    )


def test_s11_cluster_nodes_of_a_fresh_node_and_a_handshake() -> None:
    solo = Solo(port=50503)
    solo.state.meet("127.0.0.1", 48687, None, solo.now_ms)
    first, second = solo.state.nodes_text().splitlines()
    assert first == f"{MYSELF_ID} :50503@60503 myself,master - 0 0 0 connected"
    assert second[40:] == " 127.0.0.1:48687@58687 handshake - 0 0 0 disconnected"


def test_s11_cluster_nodes_of_failing_replicas_noaddr_and_tls() -> None:
    solo, named, owner = of_9_1_2()
    named.replicaof, named.flags = owner.node_id, c.FLAG_REPLICA
    solo.says(named, extensions=[Extension.shard_id_of(node_id("d"))], pport=7443)
    solo.fails(owner, named.node_id)
    line = solo.state.node_line(solo.node(named), tls=True)
    pong_ms = solo.node(named).pong_received_ms
    assert line == (f"{named.node_id} 10.0.1.1:7443@17001 slave,fail {owner.node_id} 0 {pong_ms} 0 disconnected")
    solo.says(Puppet(node_id("9"), owner.ip, owner.port, owner.dialled, 0), c.PONG)
    line = solo.state.node_line(solo.node(owner))
    assert line.startswith(f"{owner.node_id} :0@0 master,fail,noaddr - 0 ")
    assert line.endswith(" 0 disconnected 101-199 201-299")


def test_s11_addresses_announced_to_clients() -> None:
    solo = Solo(cluster_announce_client_ipv4="1.2.3.4", cluster_announce_client_ipv6="::5")
    me = solo.state.myself
    assert solo.state.node_line(me).startswith(f"{MYSELF_ID} 1.2.3.4:6379@16379 ")
    assert solo.state.node_line(me, ipv6=True).startswith(f"{MYSELF_ID} ::5:6379@16379 ")


def _text(lines: Iterable[tuple[str, object]]) -> str:
    return "".join(f"{name}:{value}\r\n" for name, value in lines)


def test_s11_cluster_info() -> None:
    solo, named, owner = of_9_1_2()
    solo.fails(named, owner.node_id)
    solo.state.counters.clear()
    solo.says(named)
    counted = {name: number for number, name in enumerate(BYTE_COUNTERS, start=1)}
    assert _text(solo.state.info_lines(counted)) == (
        "cluster_state:fail\r\n"
        "cluster_slots_assigned:16384\r\n"
        "cluster_slots_ok:16186\r\n"
        "cluster_slots_pfail:0\r\n"
        "cluster_slots_fail:198\r\n"
        "cluster_nodes_pfail:0\r\n"
        "cluster_nodes_fail:1\r\n"
        "cluster_voting_nodes_pfail:0\r\n"
        "cluster_voting_nodes_fail:1\r\n"
        "cluster_known_nodes:3\r\n"
        "cluster_size:2\r\n"
        f"cluster_current_epoch:{solo.state.current_epoch}\r\n"
        f"cluster_my_epoch:{solo.state.myself.config_epoch}\r\n"
        "cluster_stats_messages_pong_sent:1\r\n"
        "cluster_stats_messages_sent:1\r\n"
        "cluster_stats_messages_ping_received:1\r\n"
        "cluster_stats_messages_received:1\r\n"
        "cluster_stats_bytes_sent:1\r\n"
        "cluster_stats_bytes_received:2\r\n"
        "cluster_stats_pubsub_bytes_sent:3\r\n"
        "cluster_stats_pubsub_bytes_received:4\r\n"
        "cluster_stats_module_bytes_sent:5\r\n"
        "cluster_stats_module_bytes_received:6\r\n"
        "total_cluster_links_buffer_limit_exceeded:7\r\n"
    )


def test_s11_cluster_info_names_the_types_as_valkey_does() -> None:
    solo = Solo()
    for name in ("auth-req", "auth-ack", "publishshard", "mfstart"):
        solo.state.counters[f"messages_{name}_received"] = 2
    lines = _text(solo.state.info_lines({})).splitlines()
    assert "cluster_stats_messages_auth-req_received:2" in lines
    assert "cluster_stats_messages_received:8" in lines
    assert "cluster_stats_messages_sent:0" in lines


def test_p35_messages_that_the_engine_refused_are_among_the_received_ones() -> None:
    solo = Solo()
    solo.puppet("a")
    received = {name: value for name, value in solo.state.info_lines({}) if str(name).endswith("_received")}
    refused = {"messages_ping_received": 2, "messages_fail_received": 1}
    lines = dict(solo.state.info_lines(refused))
    assert lines["cluster_stats_messages_fail_received"] == 1
    for name, more in (("messages_ping_received", 2), ("messages_received", 3)):
        assert lines[f"cluster_stats_{name}"] == int(received[f"cluster_stats_{name}"]) + more


def test_s11_cluster_info_of_suspected_slots() -> None:
    solo, _, owner = of_9_1_2()
    third = solo.puppet("c", config_epoch=7)
    third.slots = frozenset({16383})
    solo.state.del_slots(third.slots, solo.now_ms)
    solo.says(third)  # a third voter, so that our own suspicion is not a quorum
    for _ in range(40):
        if not solo.node(owner).is_pfail:
            solo.tick()
            solo.says(third, c.PONG)
    lines = _text(solo.state.info_lines({})).splitlines()
    assert "cluster_slots_pfail:198" in lines
    assert "cluster_voting_nodes_pfail:1" in lines


def test_s11_cluster_slots() -> None:
    solo, named, owner = of_9_1_2()
    named.replicaof, named.flags = owner.node_id, c.FLAG_REPLICA
    solo.says(named, extensions=[HOSTNAME, Extension.shard_id_of(node_id("d"))], offset=1)
    mine = Endpoint(MYSELF_ID, "10.0.0.5", 50503, {})
    theirs = Endpoint(owner.node_id, owner.ip, owner.port, {})
    replica = Endpoint(named.node_id, named.ip, named.port, {"hostname": "host1.example"})
    assert solo.state.slot_ranges() == [
        SlotRange(0, 100, mine, ()),
        SlotRange(101, 199, theirs, (replica,)),
        SlotRange(200, 200, mine, ()),
        SlotRange(201, 299, theirs, (replica,)),
        SlotRange(300, 16383, mine, ()),
    ]
    solo.fails(owner, named.node_id)
    assert solo.state.slot_ranges()[1].replicas == ()


def test_clients_are_not_shown_a_replica_without_data_p24() -> None:
    solo, named, owner = of_9_1_2()
    named.replicaof, named.flags = owner.node_id, c.FLAG_REPLICA
    solo.says(named, extensions=[HOSTNAME, Extension.shard_id_of(node_id("d"))], offset=0)
    assert solo.state.slot_ranges()[1].replicas == ()
    (replica,) = [node for shard in solo.state.shards() for node in shard.nodes if node["id"] == named.node_id]
    assert replica["health"] == "loading"


def test_clients_are_told_the_ports_that_are_for_them_p22() -> None:
    solo, named, _owner = of_9_1_2()
    shard = Extension.shard_id_of(node_id("d"))
    solo.says(named, extensions=[Extension.client_port_of(7100), Extension.client_tls_port_of(7443), shard])
    solo.config.update(cluster_announce_client_port=7200)
    solo.tick()
    node = solo.node(named)
    for tls, ports in ((False, (7200, 7100)), (True, (0, 7443))):
        lines = solo.state.nodes_text(tls=tls).splitlines()
        assert f" 10.0.0.5:{ports[0]}@60503" in lines[0]
        assert any(f" {node.ip}:{ports[1]}@{node.cport}" in line for line in lines)
        assert solo.state.slot_ranges(tls=tls)[0].primary.port == ports[0]
    members = {member["id"]: member for shard in solo.state.shards() for member in shard.nodes}
    assert members[MYSELF_ID]["port"] == 7200
    assert members[named.node_id]["port"] == 7100
    assert "tls-port" not in members[named.node_id], "it has none"
    assert ":50503@" in solo.state.nodes_conf_text(), "nodes keep to the other ones"


@pytest.mark.parametrize(
    ("preferred", "mine", "named_is"),
    [
        ("ip", ("10.0.0.5", {}), ("{ip}", {"hostname": "host1.example"})),
        ("hostname", ("?", {"ip": "10.0.0.5"}), ("host1.example", {"ip": "{ip}"})),
        ("unknown-endpoint", (None, {"ip": "10.0.0.5"}), (None, {"ip": "{ip}", "hostname": "host1.example"})),
    ],
)
def test_nodes_are_named_as_the_operator_prefers_p30(
    preferred: str, mine: tuple[str | None, dict[str, str]], named_is: tuple[str | None, dict[str, str]]
) -> None:
    solo, named, owner = of_9_1_2()
    named.replicaof, named.flags = owner.node_id, c.FLAG_REPLICA
    solo.says(named, extensions=[HOSTNAME, Extension.shard_id_of(node_id("d"))], offset=9)
    solo.config.update(cluster_preferred_endpoint_type=preferred)
    address, metadata = named_is
    expected = address and address.format(ip=named.ip), {k: v.format(ip=named.ip) for k, v in metadata.items()}
    shown = {
        endpoint.node_id: endpoint for row in solo.state.slot_ranges() for endpoint in (row.primary, *row.replicas)
    }
    assert (shown[MYSELF_ID].address, shown[MYSELF_ID].metadata) == mine
    assert (shown[named.node_id].address, shown[named.node_id].metadata) == expected
    members = {member["id"]: member for shard in solo.state.shards() for member in shard.nodes}
    assert (members[MYSELF_ID]["ip"], members[MYSELF_ID]["endpoint"]) == ("10.0.0.5", mine[0] or "")
    assert members[named.node_id]["endpoint"] == (expected[0] or "")


def test_s11_cluster_shards() -> None:
    solo, named, owner = of_9_1_2()
    shards = {shard.shard_id: shard for shard in solo.state.shards()}
    mine = shards[solo.state.myself.shard_id]
    assert mine.slots == ((0, 100), (200, 200), (300, 16383))
    (me,) = mine.nodes
    assert list(me.items()) == [
        ("id", MYSELF_ID),
        ("port", 50503),
        ("ip", "10.0.0.5"),
        ("endpoint", "10.0.0.5"),
        ("role", "master"),
        ("replication-offset", 1),
        ("health", "online"),
    ]
    (other,) = shards[node_id("d")].nodes
    assert list(other)[:5] == ["id", "port", "ip", "endpoint", "hostname"]
    named.replicaof, named.flags = owner.node_id, c.FLAG_REPLICA
    solo.says(named, extensions=[])
    (shared,) = [shard for shard in solo.state.shards() if len(shard.nodes) == 2]
    assert shared.slots == ((101, 199), (201, 299))
    health = {node["id"]: (node["role"], node["health"]) for node in shared.nodes}
    assert health == {owner.node_id: ("master", "online"), named.node_id: ("replica", "loading")}
    solo.fails(owner, named.node_id)
    assert {node["health"] for shard in solo.state.shards() for node in shard.nodes} == {"online", "fail"}


def test_replicas_are_listed_in_the_order_of_their_ids_p33() -> None:
    solo = Solo()
    primary = solo.puppet("b", slots=range(c.SLOTS))
    for letter in "fac":
        make_replica(solo, letter, primary.node_id, offset=10)
    replicate(solo, primary)
    in_order = [node_id(letter) for letter in ("5", "a", "c", "f")]
    restarted = ClusterState(
        config=solo.config,
        random=Random(1),
        now_ms=solo.now_ms,
        read_age_ms=lambda _link: None,
        saved=persist.parse(solo.state.nodes_conf_text()),
    )
    for state in (solo.state, restarted):
        owner = state.find(primary.node_id)
        assert owner is not None
        assert list(owner.replicas) == in_order
        (shard,) = (shard for shard in state.shards() if shard.slots)
        assert [member["id"] for member in shard.nodes] == [primary.node_id, *in_order]
    (row,) = solo.state.slot_ranges()
    assert [endpoint.node_id for endpoint in row.replicas] == in_order


def test_a_replica_that_goes_and_comes_back_takes_its_place_p33() -> None:
    solo = Solo()
    one, other = solo.puppet("b", slots=[1]), solo.puppet("d", slots=[2])
    replicas = [make_replica(solo, letter, one.node_id) for letter in "fac"]
    moved = replicas[1]
    for primary in (other, one):
        moved.replicaof = primary.node_id
        solo.says(moved, extensions=[Extension.shard_id_of(shard_of(primary))])
    assert list(solo.node(one).replicas) == [node_id(letter) for letter in "acf"]
