"""Messages in clusters of Valkey, Redis and clusterbus: every subscriber gets every message of every sender (S7).

Where a cluster has two servers of each kind, each kind also talks to its own. The counters of our nodes show which
messages had light headers and which had full ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.client_port.harness import Client, multibulk
from tests.peers.cluster import cluster_nodes, form, listings, node_id, wait_until
from tests.peers.server import Connection, Server

Peers = Callable[..., Server]

KINDS = ("valkey", "redis", "clusterbus")
DEADLINE_S = 30.0
NODE_TIMEOUT_MS = 2000
MESSAGES_EACH = 50
TAKES_LIGHT = ("valkey", "clusterbus")


@contextmanager
def subscribed(servers: Sequence[Server], *words: str) -> Iterator[dict[Server, Connection]]:
    """One client on every server; each has sent the subscribing command `words` and got its answer."""
    with ExitStack() as stack:
        clients: dict[Server, Connection] = {}
        for server in servers:
            clients[server] = connection = server.connect()
            stack.callback(connection.disconnect)
            connection.send_command(*words, check_health=False)
            for _ in words[1:]:
                assert connection.read_response()[0] == words[0].lower()
        yield clients


def read(client: Connection, count: int) -> list[Any]:
    return [client.read_response() for _ in range(count)]


def warm_up(servers: Sequence[Server]) -> None:
    """Publishes until every server hears every other, and our nodes send with light headers wherever they may.

    A link carries light headers only after its peer has answered a PING on it as from a known node. Between other kinds
    of servers a link may be closed once, because a light packet came too early.
    """
    takers = sum(server.kind in TAKES_LIGHT for server in servers) - 1
    ours = [server for server in servers if server.kind == "clusterbus"]
    rounds = itertools.count()
    with subscribed(servers, "SUBSCRIBE", "warm-up") as clients:

        def is_warm() -> bool:
            before = [node.counter("cluster_stats_messages_light_publish_sent") for node in ours]
            number = next(rounds)
            for sender in servers:
                sender.call("PUBLISH", "warm-up", f"{number} of {sender}")
            expected = {f"{number} of {sender}" for sender in servers}
            for client in clients.values():
                heard: set[str] = set()
                while not expected <= heard:
                    if not client.can_read(1.0):
                        return False
                    heard.add(client.read_response()[2])
            after = [node.counter("cluster_stats_messages_light_publish_sent") for node in ours]
            return all(one - other == takers for one, other in zip(after, before, strict=True))

        wait_until(is_warm, 2 * DEADLINE_S, lambda: f"everybody hears everybody\n{listings(servers)}")
    for node in ours:
        assert node.call("CONFIG", "RESETSTAT") == "OK"


def test_every_subscriber_hears_every_publisher_of_every_kind_s7_s12(peers: Peers) -> None:
    """Headers are light wherever both sides accept light ones, and full to and from Redis."""
    servers = [peers(kind, cluster_node_timeout=NODE_TIMEOUT_MS) for kind in KINDS for _ in range(2)]
    form(servers, servers, DEADLINE_S)
    warm_up(servers)
    ours = [server for server in servers if server.kind == "clusterbus"]
    with subscribed(servers, "SUBSCRIBE", "news") as by_name, subscribed(servers, "PSUBSCRIBE", "n?ws*") as by_pattern:
        for number, sender in itertools.product(range(MESSAGES_EACH), servers):
            sender.call("PUBLISH", "news", f"{number} of {sender}")
        total = MESSAGES_EACH * len(servers)
        for server in servers:
            heard = read(by_name[server], total)
            assert {tuple(message[:2]) for message in heard} == {("message", "news")}
            check_each_in_order([message[2] for message in heard], servers)
            heard = read(by_pattern[server], total)
            assert {tuple(message[:3]) for message in heard} == {("pmessage", "n?ws*", "news")}
            check_each_in_order([message[3] for message in heard], servers)
    others = len(servers) - 1
    takers = sum(server.kind in TAKES_LIGHT for server in servers) - 1
    for node in ours:
        assert node.counter("cluster_stats_messages_publish_sent") == MESSAGES_EACH * others
        assert node.counter("cluster_stats_messages_publish_received") == MESSAGES_EACH * others
        assert node.counter("cluster_stats_messages_light_publish_sent") == MESSAGES_EACH * takers
        assert node.counter("cluster_stats_messages_light_publish_received") == MESSAGES_EACH * takers
        assert "cluster_refused_light_first" not in node.info()
        assert "cluster_stats_messages_publishshard_sent" not in node.info()


def check_each_in_order(texts: list[str], servers: Sequence[Server]) -> None:
    """Every message of every sender came once, and the messages of one sender came in the order sent."""
    for sender in servers:
        mine = [text for text in texts if text.endswith(f" of {sender}")]
        assert mine == [f"{number} of {sender}" for number in range(MESSAGES_EACH)]


def test_light_messages_cost_the_bus_less_than_the_full_header_s7_r10(peers: Peers) -> None:
    """Bytes by class in CLUSTER INFO: a light message has 16 bytes of header and 8 bytes of lengths."""
    node, light, full = (
        peers(kind, cluster_node_timeout=NODE_TIMEOUT_MS) for kind in ("clusterbus", "valkey", "redis")
    )
    servers = [node, light, full]
    form(servers, [light], DEADLINE_S)
    warm_up(servers)
    for _ in range(10):
        node.call("PUBLISH", "channel", "message!")
    payload = len("channel" + "message!")
    expected = 10 * ((16 + 8 + payload) + (2256 + 8 + payload))
    wait_until(
        lambda: node.counter("cluster_stats_pubsub_bytes_sent") == expected,
        DEADLINE_S,
        lambda: f"{expected} bytes: {node.info()}",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_shard_hears_its_shard_messages_and_nobody_else_does_s7(peers: Peers, kind: str) -> None:
    """A primary of one kind with a replica of each other kind, beside a Valkey and a Redis primary."""
    primary, *strangers = servers = [
        peers(each, cluster_node_timeout=NODE_TIMEOUT_MS) for each in (kind, "valkey", "redis")
    ]
    replicas = [peers(other, cluster_node_timeout=NODE_TIMEOUT_MS) for other in KINDS if other != kind]
    form([*servers, *replicas], servers, DEADLINE_S)
    replicate(replicas, primary, [*servers, *replicas])
    warm_up([*servers, *replicas])
    shard = [primary, *replicas]
    channel = channel_of(primary, cluster_nodes(primary)[node_id(primary)].slots)
    with subscribed(shard, "SSUBSCRIBE", channel) as listeners, subscribed(strangers, "SUBSCRIBE", channel) as deaf:
        for number, sender in itertools.product(range(MESSAGES_EACH), shard):
            sender.call("SPUBLISH", channel, f"{number} of {sender}")
        for server in shard:
            heard = read(listeners[server], MESSAGES_EACH * len(shard))
            assert {tuple(message[:2]) for message in heard} == {("smessage", channel)}
            check_each_in_order([message[2] for message in heard], shard)
        primary.call("PUBLISH", channel, "to all")
        for stranger in strangers:
            assert deaf[stranger].read_response() == ["message", channel, "to all"]
    # Our node sent only to the two others of its shard: light to Valkey, full to Redis. It received the same way.
    (ours,) = (server for server in shard if server.kind == "clusterbus")
    for direction in ("sent", "received"):
        assert ours.counter(f"cluster_stats_messages_publishshard_{direction}") == 2 * MESSAGES_EACH
        assert ours.counter(f"cluster_stats_messages_light_publishshard_{direction}") == MESSAGES_EACH
    for stranger in strangers:
        assert "cluster_stats_messages_publishshard_received" not in stranger.info()


def replicate(replicas: Sequence[Server], primary: Server, servers: Sequence[Server]) -> None:
    """Makes nodes replicas of a primary. Waits until every server knows it, and knows an owner of every slot."""
    primary_id = node_id(primary)
    for replica in replicas:
        assert replica.call("CLUSTER", "REPLICATE", primary_id) == "OK"
    ids = {node_id(replica) for replica in replicas}
    wait_until(
        lambda: all(
            {line.node_id for line in cluster_nodes(server).values() if line.primary == primary_id} == ids
            and server.info()["cluster_state"] == "ok"
            for server in servers
        ),
        DEADLINE_S,
        lambda: f"everybody sees the replicas\n{listings(servers)}",
    )


def channel_of(server: Server, slots: Sequence[str]) -> str:
    """A channel name whose slot lies in one of these ranges."""
    bounds = [tuple(map(int, part.split("-"))) for part in slots]
    for number in range(1000):
        slot = server.call("CLUSTER", "KEYSLOT", f"c{number}")
        if any(first <= slot <= last for first, last in bounds):
            return f"c{number}"
    raise AssertionError("no channel found")


def test_clients_are_sent_to_the_shard_of_a_channel_as_valkey_sends_them_s7_s11(peers: Peers) -> None:
    """MOVED, CROSSSLOT and CLUSTERDOWN are the same word for word."""
    ours, theirs, third = servers = [
        peers(kind, cluster_node_timeout=NODE_TIMEOUT_MS) for kind in ("clusterbus", "valkey", "valkey")
    ]
    form(servers, servers, DEADLINE_S)
    wait_until(lambda: all(s.info()["cluster_state"] == "ok" for s in servers), DEADLINE_S, lambda: listings(servers))
    channel = channel_of(third, cluster_nodes(third)[node_id(third)].slots)
    for command in ("SSUBSCRIBE", "SUNSUBSCRIBE", "SPUBLISH"):
        words = [channel, "message"] if command == "SPUBLISH" else [channel]
        texts = {refusal(server, command, *words) for server in (ours, theirs)}
        slot = third.call("CLUSTER", "KEYSLOT", channel)
        assert texts == {f"MOVED {slot} 127.0.0.1:{third.port}"}
    for command in ("SSUBSCRIBE", "SUNSUBSCRIBE"):
        assert refusal(ours, command, "{a}", "{b}") == refusal(theirs, command, "{a}", "{b}")

    answers = [asked_while_importing(server, slot, node_id(third), channel) for server in (ours, theirs)]
    assert answers[0] == answers[1]
    assert b"ssubscribe" in answers[0]

    third.kill()
    wait_until(
        lambda: all(s.info()["cluster_state"] == "fail" for s in (ours, theirs)), DEADLINE_S, lambda: listings([ours])
    )
    # Each still serves its own channels while the cluster is down, until a directive forbids it.
    for server in (ours, theirs):
        own = channel_of(server, cluster_nodes(server)[node_id(server)].slots)
        assert server.call("SPUBLISH", own, "message") == 0
        assert server.call("CONFIG", "SET", "cluster-allow-pubsubshard-when-down", "no") == "OK"
        assert refusal(server, "SPUBLISH", own, "message") == "CLUSTERDOWN The cluster is down"


def refusal(server: Server, *words: str) -> str:
    """The error line that answers a command."""
    with Client(server.port) as client:
        client.send(multibulk(*(word.encode() for word in words)))
        line = client.read_until(b"\r\n").decode()
    assert line.startswith("-"), line
    return line[1:-2]


def asked_while_importing(server: Server, slot: int, source_id: str, channel: str) -> bytes:
    """The answers to SSUBSCRIBE without and with ASKING while the server imports the slot."""
    assert server.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id) == "OK"
    with Client(server.port) as client:
        for request in ("SSUBSCRIBE", "ASKING", "SSUBSCRIBE", "SSUBSCRIBE", "PING"):
            client.send(f"{request} {channel if request == 'SSUBSCRIBE' else ''}\r\n".encode())
        answer = client.read_until(b"pong\r\n$0\r\n\r\n")
    assert server.call("CLUSTER", "SETSLOT", slot, "STABLE") == "OK"
    return answer


def test_a_shard_channel_ends_when_its_slot_is_taken_by_another_s7(peers: Peers) -> None:
    """Valkey takes over one of our slots with a greater epoch. Our subscriber is unsubscribed from the channel of that
    slot and keeps its other channel.
    """
    ours, theirs = servers = [peers(kind, cluster_node_timeout=NODE_TIMEOUT_MS) for kind in ("clusterbus", "valkey")]
    form(servers, servers, DEADLINE_S)
    wait_until(lambda: all(s.info()["cluster_state"] == "ok" for s in servers), DEADLINE_S, lambda: listings(servers))
    slots = cluster_nodes(ours)[node_id(ours)].slots
    channel = channel_of(ours, slots)
    slot = ours.call("CLUSTER", "KEYSLOT", channel)
    kept = next(name for name in (f"k{n}" for n in range(1000)) if 0 <= ours.call("CLUSTER", "KEYSLOT", name) < slot)
    client = ours.connect()
    try:
        for number, name in enumerate((channel, kept), 1):
            client.send_command("SSUBSCRIBE", name, check_health=False)
            assert client.read_response() == ["ssubscribe", name, number]
        theirs.call("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(ours))
        assert theirs.call("CLUSTER", "SETSLOT", slot, "NODE", node_id(theirs)) == "OK"
        assert client.read_response() == ["sunsubscribe", channel, 1]
        assert ours.call("SPUBLISH", kept, "still here") == 1
        assert client.read_response() == ["smessage", kept, "still here"]
        assert ours.call("PUBSUB", "SHARDNUMSUB", kept) == [kept, 1]
        assert refusal(ours, "SSUBSCRIBE", channel) == f"MOVED {slot} 127.0.0.1:{theirs.port}"
    finally:
        client.disconnect()
    wait_until(lambda: ours.counter("pubsubshard_channels") == 0, DEADLINE_S, "subscriptions go with their client")


def test_shard_channels_end_on_a_replica_that_moves_to_another_shard_s7(peers: Peers) -> None:
    """Our replica and Valkey's behave alike: both follow the first primary, then the second."""
    first, second, ours, theirs = servers = [
        peers(kind, cluster_node_timeout=NODE_TIMEOUT_MS) for kind in ("valkey", "valkey", "clusterbus", "valkey")
    ]
    replicas = [ours, theirs]
    form(servers, [first, second], DEADLINE_S)
    replicate(replicas, first, servers)
    channel = channel_of(first, cluster_nodes(first)[node_id(first)].slots)
    with subscribed(replicas, "SSUBSCRIBE", channel) as clients:
        replicate(replicas, second, servers)
        for server in replicas:
            assert clients[server].read_response() == ["sunsubscribe", channel, 0]
            assert server.call("PUBSUB", "SHARDCHANNELS") == []
            assert refusal(server, "SSUBSCRIBE", channel).startswith("MOVED")


def test_messages_over_new_links_start_with_the_full_header_of_a_heartbeat_h17_s7(peers: Peers) -> None:
    """Our node publishes while the links to and from it are killed again and again. No link begins with a light packet,
    which would close it.
    """
    node, other = servers = [peers(kind, cluster_node_timeout=NODE_TIMEOUT_MS) for kind in ("clusterbus", "valkey")]
    form(servers, servers, DEADLINE_S)
    other_id = node_id(other)
    with subscribed([other], "SUBSCRIBE", "news") as clients:
        for number in range(20):
            node.call("DEBUG", "CLUSTERLINK", "KILL", "ALL", other_id)
            for _ in range(20):
                node.call("PUBLISH", "news", f"round {number}")
            wait_until(
                lambda: cluster_nodes(node)[other_id].connected and cluster_nodes(other)[node_id(node)].connected,
                DEADLINE_S,
                lambda: listings(servers),
            )
            node.call("PUBLISH", "news", f"end of {number}")
            while clients[other].read_response()[2] != f"end of {number}":
                pass
        warm_up(servers)
    assert "lightweight message" not in other.log_text()
