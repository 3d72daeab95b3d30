"""Commands that change a running node, as a client and the other nodes see it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.peers.cluster import all_know_all, cluster_nodes, form, listings, node_id, wait_until
from tests.peers.server import Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]
DEADLINE_S = 30.0


def links_of(server: Server, peer_id: str) -> dict[str, int]:
    """Direction -> creation time of the links with one peer."""
    rows = [dict(zip(row[::2], row[1::2], strict=True)) for row in server.call("CLUSTER", "LINKS")]
    return {row["direction"]: row["create-time"] for row in rows if row["node"] == peer_id}


def joined(peers: Peers, **directives: object) -> tuple[Server, Server]:
    ours, theirs = peers("clusterbus", **directives), peers("valkey", **directives)
    form([ours, theirs], [ours, theirs])
    wait_until(lambda: len(links_of(ours, node_id(theirs))) == 2, DEADLINE_S, lambda: listings([ours]))
    return ours, theirs


def test_cluster_links_has_the_fields_and_directions_of_valkey_s11(peers: Peers) -> None:
    ours, theirs = joined(peers)
    for server, other in ((ours, theirs), (theirs, ours)):
        assert set(links_of(server, node_id(other))) == {"to", "from"}
    fields = [row[::2] for row in theirs.call("CLUSTER", "LINKS")]
    more = ["rtt-usec", "rtt-max-usec"]
    assert [row[::2] for row in ours.call("CLUSTER", "LINKS")] == [[*row, *more] for row in fields]


def test_cluster_slots_and_shards_say_what_valkey_says_s11(peers: Peers) -> None:
    ours, theirs = joined(peers, cluster_announce_hostname="node.example.com")
    wait_until(
        lambda: ours.call("CLUSTER", "SLOTS") == theirs.call("CLUSTER", "SLOTS"),
        DEADLINE_S,
        lambda: f"{ours.call('CLUSTER', 'SLOTS')}\n{theirs.call('CLUSTER', 'SLOTS')}",
    )

    def shards(server: Server) -> list[Any]:
        table = [dict(zip(row[::2], row[1::2], strict=True)) for row in server.call("CLUSTER", "SHARDS")]
        return sorted((row["id"], row["slots"], row["nodes"]) for row in table)

    wait_until(lambda: shards(ours) == shards(theirs), DEADLINE_S, lambda: f"{shards(ours)}\n{shards(theirs)}")


@pytest.mark.parametrize("direction", ["to", "from", "all"])
def test_a_killed_link_comes_back_as_a_new_one(peers: Peers, direction: str) -> None:
    ours, theirs = joined(peers)
    before = links_of(ours, node_id(theirs))
    assert ours.call("DEBUG", "CLUSTERLINK", "KILL", direction, node_id(theirs)) == "OK"

    def renewed() -> set[str]:
        now = links_of(ours, node_id(theirs))
        return {way for way in now if now[way] != before[way]} if len(now) == 2 else set()

    expected = {"to", "from"} if direction == "all" else {direction}
    wait_until(lambda: renewed() == expected, DEADLINE_S, lambda: f"{before} {links_of(ours, node_id(theirs))}")
    assert all_know_all([ours, theirs])


def waiting_for_a_pong_s(server: Server, peer_id: str) -> float:
    """How long a PING to the peer has been without an answer, according to CLUSTER NODES."""
    line = next(line for line in server.call("CLUSTER", "NODES").splitlines() if line.startswith(peer_id))
    ping_sent_ms = int(line.split()[4])
    return time.time() - ping_sent_ms / 1000 if ping_sent_ms else 0.0


def test_a_peer_whose_pongs_are_dropped_but_who_is_heard_is_not_held_failing_r23(peers: Peers) -> None:
    ours, theirs = joined(peers, cluster_node_timeout=1000)
    their_id = node_id(theirs)
    assert ours.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", 1) == "OK"
    wait_until(lambda: waiting_for_a_pong_s(ours, their_id) > 2.0, DEADLINE_S, lambda: ours.call("CLUSTER", "NODES"))
    assert ours.counter("cluster_packets_filtered") > 0
    assert not cluster_nodes(ours)[their_id].is_suspected
    assert ours.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -1) == "OK"
    # The dropped PONG never comes again. As in Valkey, only a new link clears the PING that waits for it.
    assert ours.call("DEBUG", "CLUSTERLINK", "KILL", "to", their_id) == "OK"
    wait_until(lambda: waiting_for_a_pong_s(ours, their_id) < 1.0, DEADLINE_S, lambda: ours.call("CLUSTER", "NODES"))


def test_debug_sleep_stops_the_main_thread_for_as_long_as_it_says(peers: Peers) -> None:
    node = peers("clusterbus")
    begun_s = time.monotonic()
    assert node.call("DEBUG", "SLEEP", "0.5") == "OK"
    assert time.monotonic() - begun_s >= 0.5


def test_resetstat_sets_every_counter_back_r24(peers: Peers) -> None:
    ours, _theirs = joined(peers)
    with pytest.raises(redis.ResponseError):
        ours.call("NONSENSE")
    wait_until(lambda: ours.counter("cluster_threaded_reads_processed") > 10, DEADLINE_S, "there is much to reset")
    before = ours.info()
    assert int(before["cluster_stats_messages_received"]) > 0
    assert int(before["total_error_replies"]) > 0
    assert ours.call("CONFIG", "RESETSTAT") == "OK"
    after = ours.info()
    for name in (
        "cluster_stats_messages_received",
        "cluster_stats_messages_sent",
        "cluster_stats_bytes_received",
        "cluster_threaded_reads_processed",
        "cluster_threaded_writes_processed",
        "total_error_replies",
        "total_net_input_bytes",
    ):
        assert int(after[name]) < int(before[name]), name
    assert float(after["used_active_time_main_thread"]) < float(before["used_active_time_main_thread"])
    assert int(after["cluster_known_nodes"]) == 2


def test_config_set_is_read_at_the_time_of_use(peers: Peers) -> None:
    ours, theirs = joined(peers, cluster_node_timeout=60_000)
    third = peers("clusterbus", cluster_node_timeout=60_000)
    ours.call("CLUSTER", "MEET", "127.0.0.1", third.port)
    wait_until(lambda: all_know_all([ours, theirs, third]), DEADLINE_S, lambda: listings([ours, theirs, third]))
    victim_id = node_id(third)
    third.kill()
    assert ours.call("CONFIG", "SET", "cluster-node-timeout", 500) == "OK"
    wait_until(lambda: cluster_nodes(ours)[victim_id].is_suspected, DEADLINE_S, lambda: listings([ours]))
    assert not cluster_nodes(theirs)[victim_id].is_suspected


def test_a_save_that_fails_is_told_to_the_operator_and_in_info_h47(peers: Peers) -> None:
    node = peers("clusterbus")
    obstacle = node.folder / "nodes.conf.tmp"
    obstacle.mkdir()
    with pytest.raises(redis.ResponseError, match="error saving the cluster node config"):
        node.call("CLUSTER", "SAVECONFIG")
    info = node.info()
    assert info["cluster_config_file_last_save_status"] == "err"
    assert "nodes.conf" in info["cluster_config_file_last_save_error"]
    obstacle.rmdir()
    wait_until(
        lambda: node.info()["cluster_config_file_last_save_status"] == "ok",
        DEADLINE_S,
        "saved at a tick, without being asked",
    )


def test_info_has_the_sections_of_valkey_when_asked_for_p31(peers: Peers) -> None:
    node, theirs = peers("clusterbus"), peers("valkey")

    def titles(server: Server, *words: str) -> list[str]:
        lines = server.call("INFO", *words).splitlines()
        return [line[2:] for line in lines if line.startswith("# ") and line not in ("# TLS", "# Scripting Engines")]

    for words in ((), ("all",), ("everything",), ("DEFAULT",), ("cpu", "Server"), ("cluster_info",), ("nonsense",)):
        assert titles(node, *words) == titles(theirs, *words), words
    assert titles(node, "commandstats", "default")[8:] == ["Commandstats", "Errorstats", "Cluster", "Keyspace"]
    assert node.counter("mem_cluster_links") == 0
    text = node.call("INFO")
    assert "db0:" not in text
    for line in ("cluster_enabled:1", "redis_mode:cluster", "role:master", f"tcp_port:{node.port}"):
        assert f"\r\n{line}\r\n" in text
    assert f"process_id:{node.pid}" in text


def test_hello_tells_the_availability_zone_as_valkey_does(peers: Peers) -> None:
    ours, theirs = peers("clusterbus", availability_zone="zone-1"), peers("valkey", availability_zone="zone-1")
    one, other = ours.call("HELLO"), theirs.call("HELLO")
    assert one[::2] == other[::2]
    assert one[-2:] == other[-2:] == ["availability_zone", "zone-1"]
    assert "availability_zone" not in peers("clusterbus").call("HELLO")


def test_over_tls_the_answers_name_tls_ports(peers: Peers, certificates: Certificates) -> None:
    ours = peers("clusterbus", certificates=certificates)
    theirs = peers("redis", certificates=certificates)
    form([ours, theirs], [ours, theirs])
    wait_until(
        lambda: ours.call("CLUSTER", "SLOTS") == theirs.call("CLUSTER", "SLOTS"),
        DEADLINE_S,
        lambda: f"{ours.call('CLUSTER', 'SLOTS')}\n{theirs.call('CLUSTER', 'SLOTS')}",
    )
    assert {row[2][1] for row in ours.call("CLUSTER", "SLOTS")} == {ours.port, theirs.port}
