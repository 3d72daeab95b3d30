"""Failover among Valkey, Redis and clusterbus nodes: our votes in their elections, theirs in ours, manual failover.

Every living member must know of a new primary within 2 x node timeout + 3 s of the cause (S5, S6, S12). The counters of
messages show which nodes voted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from tests.peers.cluster import NodeLine, cluster_nodes, form, listings, node_id, wait_agreed, wait_until
from tests.peers.server import Server

Peers = Callable[..., Server]

NODE_TIMEOUT_MS = 2000
FAILOVER_DEADLINE_S = 2 * NODE_TIMEOUT_MS / 1000 + 3
SETTLE_DEADLINE_S = 30.0
VOTES_SENT = "cluster_stats_messages_auth-ack_sent"
VOTES_RECEIVED = "cluster_stats_messages_auth-ack_received"


def start(peers: Peers, kind: str, count: int, **directives: object) -> list[Server]:
    """Starts servers without data. Ours are told so, because by default no empty replica is elected (P2)."""
    if kind == "clusterbus":
        directives |= {"cluster_replica_no_failover": "no"}
    return [peers(kind, cluster_node_timeout=NODE_TIMEOUT_MS, **directives) for _ in range(count)]


def replicate(servers: Sequence[Server], replica: Server, primary: Server) -> None:
    """Makes one node a replica of another. Waits until every member knows it and the state is ok."""
    replica_id, primary_id = node_id(replica), node_id(primary)
    assert replica.call("CLUSTER", "REPLICATE", primary_id) == "OK"
    wait_until(
        lambda: (
            all(cluster_nodes(server)[replica_id].primary == primary_id for server in servers)
            and all(server.info()["cluster_state"] == "ok" for server in servers)
            and replica.info()["master_link_status"] == "up"
        ),
        SETTLE_DEADLINE_S,
        lambda: f"{replica} replicates {primary}\n{listings(servers)}",
    )


def primary_of(line: NodeLine) -> bool:
    return "master" in line.flags and bool(line.slots)


def count_of(server: Server, counter: str) -> int:
    """A counter of messages. INFO does not show it before the first message."""
    return int(server.info().get(counter, 0))


def wait_promoted(servers: Sequence[Server], promoted: Server, slots: tuple[str, ...], begun_s: float) -> None:
    """Waits until every server knows `promoted` as the primary of these slots; fails after the deadline."""
    promoted_id = node_id(promoted)
    wait_until(
        lambda: all(
            primary_of(cluster_nodes(server)[promoted_id]) and cluster_nodes(server)[promoted_id].slots == slots
            for server in servers
        ),
        begun_s + FAILOVER_DEADLINE_S - time.monotonic(),
        lambda: f"{promoted} is the primary of {slots}\n{listings(servers)}\n{promoted.log_tail()}",
    )


def slots_of(server: Server) -> tuple[str, ...]:
    return cluster_nodes(server)[node_id(server)].slots


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_our_vote_is_needed_to_elect_their_replica_s5_s12(peers: Peers, kind: str) -> None:
    """Of three primaries two must vote: the other primary of their kind, and ours."""
    doomed, other, replica = start(peers, kind, 3)
    (ours,) = start(peers, "clusterbus", 1)
    servers = [doomed, other, ours, replica]
    form(servers, [doomed, other, ours])
    replicate(servers, replica, doomed)
    slots, doomed_id = slots_of(doomed), node_id(doomed)
    assert count_of(ours, VOTES_SENT) == 0

    begun_s = time.monotonic()
    doomed.kill()
    living = [other, ours, replica]
    wait_promoted(living, replica, slots, begun_s)
    assert count_of(ours, VOTES_SENT) == 1
    assert count_of(replica, VOTES_RECEIVED) == 2, "a majority of three primaries is two votes"
    assert replica.counter("cluster_current_epoch") == ours.counter("cluster_current_epoch")

    doomed.start()
    wait_until(
        lambda: all(cluster_nodes(server)[doomed_id].primary == node_id(replica) for server in living),
        SETTLE_DEADLINE_S,
        lambda: listings(living),
    )
    wait_agreed([*living, doomed], SETTLE_DEADLINE_S)


def fails_over(servers: Sequence[Server], successor: Server, old: Server, slots: tuple[str, ...]) -> None:
    """An operator makes `successor`, a replica of `old`, the primary. Waits until all know, `old` as its replica."""
    wait_until(lambda: successor.info()["master_link_status"] == "up", SETTLE_DEADLINE_S, str(successor))
    assert successor.call("CLUSTER", "FAILOVER") == "OK"
    wait_promoted(servers, successor, slots, time.monotonic())
    wait_until(
        lambda: all(cluster_nodes(server)[node_id(old)].primary == node_id(successor) for server in servers),
        SETTLE_DEADLINE_S,
        lambda: listings(servers),
    )


def test_a_shard_may_change_its_primary_as_often_as_it_wants_p11(peers: Peers) -> None:
    """P to A to P to A, in less than the two node timeouts that once had to lie between two votes about one primary.
    Both primaries must vote: the one that gives up its place, and ours.
    """
    first, replica = (peers("valkey", cluster_node_timeout=15_000) for _ in range(2))
    ours = peers("clusterbus", cluster_node_timeout=15_000)
    servers = [first, ours, replica]
    form(servers, [first, ours])
    replicate(servers, replica, first)
    slots = slots_of(first)

    begun_s = time.monotonic()
    for changes, (successor, old) in enumerate([(replica, first), (first, replica), (replica, first)], 1):
        fails_over(servers, successor, old, slots)
        assert count_of(ours, VOTES_SENT) == changes
    assert time.monotonic() - begun_s < 2 * 15, "else it proves nothing"


def test_their_best_replica_need_not_wait_for_ours_which_holds_the_primary_fail_too_p13(peers: Peers) -> None:
    """Valkey's replica knows that it is the best only when its sibling, ours, says that it holds the primary FAIL."""
    doomed, *others, replica = start(peers, "valkey", 4)
    (ours,) = start(peers, "clusterbus", 1, cluster_replica_no_failover="yes")
    servers = [doomed, *others, replica, ours]
    form(servers, [doomed, *others])
    replicate(servers, replica, doomed)
    doomed_id, slots = node_id(doomed), slots_of(doomed)
    assert ours.call("CLUSTER", "REPLICATE", doomed_id) == "OK"
    wait_until(
        lambda: all(cluster_nodes(server)[node_id(ours)].primary == doomed_id for server in servers),
        SETTLE_DEADLINE_S,
        lambda: listings(servers),
    )
    assert doomed.call("SET", "b", "1") == "OK"  # its replica has an offset above 0 now
    wait_until(lambda: replica.info()["slave_repl_offset"] != "0", SETTLE_DEADLINE_S, replica.log_tail)

    begun_s = time.monotonic()
    doomed.kill()
    wait_promoted([*others, replica, ours], replica, slots, begun_s)
    assert "initiate the election immediately" in replica.log_text(), replica.log_tail()


def test_without_our_vote_no_valkey_replica_is_elected_s5(peers: Peers) -> None:
    """The other way round: if the clusterbus primary drops the request for votes, there is no majority."""
    doomed, other, replica = start(peers, "valkey", 3)
    (ours,) = start(peers, "clusterbus", 1)
    servers = [doomed, other, ours, replica]
    form(servers, [doomed, other, ours])
    replicate(servers, replica, doomed)
    assert ours.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", "5") == "OK"
    doomed.kill()
    wait_until(
        lambda: count_of(replica, VOTES_RECEIVED) == 1, FAILOVER_DEADLINE_S, lambda: listings([other, ours, replica])
    )
    assert count_of(ours, VOTES_SENT) == 0
    assert not primary_of(cluster_nodes(replica)[node_id(replica)])
    # The replica tries again by itself, and now our vote decides the election.
    assert ours.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", "-1") == "OK"
    wait_until(
        lambda: primary_of(cluster_nodes(ours)[node_id(replica)]),
        4 * NODE_TIMEOUT_MS / 1000 + SETTLE_DEADLINE_S,
        lambda: listings([other, ours, replica]),
    )
    assert count_of(ours, VOTES_SENT) == 1


@pytest.mark.parametrize(("kind", "io_threads"), [("valkey", 1), ("valkey", 3), ("redis", 3)])
def test_they_elect_our_replica_and_our_old_primary_comes_back_as_one_s5_s12(
    peers: Peers, kind: str, io_threads: int
) -> None:
    theirs = start(peers, kind, 2)
    doomed, replica = start(peers, "clusterbus", 2, io_threads=io_threads)
    servers = [*theirs, doomed, replica]
    form(servers, [*theirs, doomed])
    replicate(servers, replica, doomed)
    slots, doomed_id = slots_of(doomed), node_id(doomed)

    begun_s = time.monotonic()
    doomed.kill()
    living = [*theirs, replica]
    wait_promoted(living, replica, slots, begun_s)
    assert count_of(replica, VOTES_RECEIVED) == 2
    assert [count_of(server, VOTES_SENT) for server in theirs] == [1, 1]
    assert replica.info()["role"] == "master"

    doomed.start()
    wait_until(
        lambda: all(cluster_nodes(server)[doomed_id].primary == node_id(replica) for server in [*living, doomed]),
        SETTLE_DEADLINE_S,
        lambda: listings([*living, doomed]),
    )
    wait_agreed([*living, doomed], SETTLE_DEADLINE_S)
    assert doomed.info()["role"] == "slave"
    role, ip, port, _link, _offset = doomed.call("ROLE")
    assert (role, ip, port) == ("slave", "127.0.0.1", replica.port)
    assert doomed.info()["master_port"] == str(replica.port)


@pytest.mark.parametrize("how", [(), ("FORCE",), ("TAKEOVER",)], ids=["default", "force", "takeover"])
def test_an_operator_makes_our_replica_the_primary_s6(peers: Peers, how: tuple[str, ...]) -> None:
    servers = start(peers, "clusterbus", 4)
    primary, replica = servers[0], servers[3]
    form(servers, servers[:3])
    replicate(servers, replica, primary)
    slots = slots_of(primary)

    begun_s = time.monotonic()
    assert replica.call("CLUSTER", "FAILOVER", *how) == "OK"
    wait_promoted(servers, replica, slots, begun_s)
    wait_until(
        lambda: cluster_nodes(primary)[node_id(primary)].primary == node_id(replica),
        SETTLE_DEADLINE_S,
        lambda: listings(servers),
    )
    wait_agreed(servers, SETTLE_DEADLINE_S)
    assert (count_of(primary, "cluster_stats_messages_mfstart_received") == 1) is (how == ())
    votes = sum(count_of(server, VOTES_SENT) for server in servers)
    assert (votes >= 2) is (how != ("TAKEOVER",)), "TAKEOVER asks nobody"


@pytest.mark.parametrize("kinds", [("valkey", "clusterbus"), ("clusterbus", "valkey")], ids="->".join)
def test_manual_failover_within_a_shard_of_both_kinds_s6_s12(peers: Peers, kinds: tuple[str, str]) -> None:
    """A Valkey primary pauses writes and sends its offset to our replica. Our primary does the same for a Valkey
    replica, as far as that is possible.
    """
    (primary,) = start(peers, kinds[0], 1)
    (replica,) = start(peers, kinds[1], 1)
    others = start(peers, "valkey", 1) + start(peers, "clusterbus", 1)
    servers = [primary, *others, replica]
    form(servers, [primary, *others])
    replica_id, primary_id = node_id(replica), node_id(primary)
    assert replica.call("CLUSTER", "REPLICATE", primary_id) == "OK"
    wait_until(
        lambda: all(cluster_nodes(server)[replica_id].primary == primary_id for server in servers),
        SETTLE_DEADLINE_S,
        lambda: listings(servers),
    )
    slots = slots_of(primary)
    # Valkey's replica cannot copy data from a node without a data plane, so it must take over without (FORCE).
    how = () if kinds[1] == "clusterbus" else ("FORCE",)
    begun_s = time.monotonic()
    assert replica.call("CLUSTER", "FAILOVER", *how) == "OK"
    wait_promoted(servers, replica, slots, begun_s)
    wait_agreed(servers, SETTLE_DEADLINE_S)
    assert cluster_nodes(replica)[primary_id].primary == replica_id


def test_failover_is_refused_where_it_makes_no_sense_s6(peers: Peers) -> None:
    servers = start(peers, "clusterbus", 4)
    primary, replica = servers[0], servers[3]
    form(servers, servers[:3])
    for server, words, text in (
        (primary, ("FAILOVER",), "You should send CLUSTER FAILOVER to a replica"),
        (replica, ("FAILOVER", "NOW"), "syntax error"),
        (replica, ("REPLICATE", "f" * 40), f"Unknown node {'f' * 40}"),
        (replica, ("REPLICATE", node_id(replica)), "Can't replicate myself"),
        (
            primary,
            ("REPLICATE", node_id(replica)),
            "To set a master the node must be empty and without assigned slots.",
        ),
    ):
        with pytest.raises(Exception, match=text):
            server.call("CLUSTER", *words)
    replicate(servers, replica, primary)
    with pytest.raises(Exception, match="I can only replicate a master"):
        servers[1].call("CLUSTER", "REPLICATE", node_id(replica))


def test_a_replica_leaves_its_shard_and_all_servers_know_p28(peers: Peers) -> None:
    servers = start(peers, "valkey", 3) + start(peers, "clusterbus", 1)
    replica = servers[3]
    form(servers, servers[:3])
    shard_id = replica.call("CLUSTER", "MYSHARDID")
    assert replica.call("CLUSTER", "REPLICATE", "NO", "ONE") == "OK", "a primary has nothing to leave"
    assert replica.call("CLUSTER", "MYSHARDID") == shard_id
    replica.call("CLUSTER", "REPLICATE", node_id(servers[0]))
    wait_until(
        lambda: all(cluster_nodes(server)[node_id(replica)].primary == node_id(servers[0]) for server in servers),
        SETTLE_DEADLINE_S,
        lambda: listings(servers),
    )
    with pytest.raises(Exception, match="syntax error"):
        replica.call("CLUSTER", "REPLICATE", "NO", "TWO")
    assert replica.call("CLUSTER", "REPLICATE", "no", "one") == "OK"
    assert replica.call("CLUSTER", "MYSHARDID") not in (shard_id, servers[0].call("CLUSTER", "MYSHARDID"))
    wait_until(
        lambda: all(
            "master" in cluster_nodes(server)[node_id(replica)].flags and len(server.call("CLUSTER", "SHARDS")) == 4
            for server in servers
        ),
        SETTLE_DEADLINE_S,
        lambda: listings(servers),
    )
    wait_agreed(servers, SETTLE_DEADLINE_S)
