"""CLUSTER: questions to the state, and an operator's orders to it.

Owns the handlers, their rows of the command table, and Valkey's error texts. Must never change the state itself: a
handler gives an order to `ClusterState`, and the driver carries out the effects. The subcommands about slots are in
`cluster_slots`. Main thread.
"""

from __future__ import annotations

from typing import Final

from clusterbus.client_port.arguments import SYNTAX_ERROR, integer, port, text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.commands.cluster_slots import CLUSTER_SLOTS
from clusterbus.client_port.commands.pubsub import cluster_topology
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply, Status, Verbatim
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.operator.describe import Endpoint
from clusterbus.errors import ClusterBusError
from clusterbus.member.counters import cluster_info_lines
from clusterbus.member.member import Member
from clusterbus.streams.snapshots import link_snapshots
from clusterbus.wire import key_slot

# ---------------------------------------------------------------- questions


def cluster_info(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTER INFO: state, slots, epochs and counters (R24)."""
    return Verbatim("".join(f"{name}:{value}\r\n" for name, value in cluster_info_lines(member.driver)))


def cluster_nodes(member: Member, client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTER NODES: one line for each node."""
    return Verbatim(member.state.nodes_text(tls=client.tls, ipv6=client.is_ipv6))


def cluster_slots(member: Member, client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTER SLOTS: slot ranges, each with its primary and replicas."""
    return [
        [row.first, row.last, *(_endpoint(endpoint) for endpoint in (row.primary, *row.replicas))]
        for row in member.state.slot_ranges(tls=client.tls, ipv6=client.is_ipv6)
    ]


def _endpoint(endpoint: Endpoint) -> Reply:
    return [endpoint.address, endpoint.port, endpoint.node_id, endpoint.metadata]


def cluster_shards(member: Member, client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTER SHARDS: shards with their slots and nodes."""
    return [
        {
            "slots": [bound for first_last in shard.slots for bound in first_last],
            "nodes": shard.nodes,
            "id": shard.shard_id,
        }
        for shard in member.state.shards(ipv6=client.is_ipv6)
    ]


def cluster_links(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTER LINKS: the links to and from every known node. Behind Valkey's fields come those of round trips, -1 where
    there are none.
    """
    return [
        {
            "direction": "from" if link.inbound else "to",
            "node": link.node_id,
            "create-time": link.created_ms,
            "events": "rw" if link.queued_messages else "r",
            "send-buffer-allocated": link.queued_bytes,
            "send-buffer-used": link.queued_bytes,
            "rtt-usec": -1 if link.rtt_us is None else link.rtt_us,
            "rtt-max-usec": -1 if link.rtt_max_us is None else link.rtt_max_us,
        }
        for link in link_snapshots(member)
        if link.node_id is not None
    ]


def cluster_myid(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTER MYID: this node's id."""
    return member.state.myself.node_id


def cluster_myshardid(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTER MYSHARDID: the id of this node's shard."""
    return member.state.myself.shard_id


def cluster_replicas(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER REPLICAS: the replicas of one primary, as lines of CLUSTER NODES."""
    primary = _known(member, arguments[0])
    if primary.is_replica:
        raise CommandError("The specified node is not a master")
    state, ipv6 = member.state, client.is_ipv6
    return [state.node_line(replica, tls=client.tls, ipv6=ipv6) for replica in primary.replicas.values()]


def cluster_count_failure_reports(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER COUNT-FAILURE-REPORTS: the number of primaries that report a node as failing."""
    known = _known(member, arguments[0])
    return member.state.count_failure_reports(known.node_id, member.clock.now_ms())


def cluster_keyslot(_member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER KEYSLOT: the hash slot of a key."""
    return key_slot(arguments[0])


# ---------------------------------------------------------------- orders


def cluster_meet(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER MEET: begins a handshake with the node at an address, which is known once it has answered."""
    if len(arguments) > 3:
        raise CommandError("wrong number of arguments for 'cluster|meet' command")
    base_port = port(arguments[1], "base")
    bus_port = port(arguments[2], "bus") if len(arguments) == 3 else None
    member.state.meet(text_of(arguments[0]), base_port, bus_port, member.clock.now_ms())
    member.settle()
    return OK


def cluster_forget(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER FORGET: removes a node and keeps it out for a minute."""
    member.state.forget(text_of(arguments[0]), member.clock.now_ms())
    member.settle()
    return OK


def cluster_set_config_epoch(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER SET-CONFIG-EPOCH: sets the config epoch of a node that knows no other node and has none yet."""
    member.state.set_config_epoch(integer(arguments[0]), member.clock.now_ms())
    member.settle()
    return OK


def cluster_bumpepoch(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTER BUMPEPOCH: takes a new config epoch, unless this node's is the greatest already."""
    state = member.state
    bumped = state.bump_epoch(member.clock.now_ms())
    member.settle()
    return Status(f"{'BUMPED' if bumped else 'STILL'} {state.myself.config_epoch}")


def cluster_replicate(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER REPLICATE: makes this node a replica of a primary; a primary with slots or keys refuses. NO ONE makes a
    replica an empty primary of a new shard.
    """
    now_ms = member.clock.now_ms()
    if len(arguments) == 1:
        member.state.replicate(text_of(arguments[0]), now_ms)
    elif [argument.lower() for argument in arguments] == [b"no", b"one"]:
        member.state.replicate_no_one(now_ms)
    else:
        raise CommandError(SYNTAX_ERROR)
    member.settle()
    return OK


def cluster_failover(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER FAILOVER, on a replica: takes the place of its primary. The primary takes part; with FORCE it does not;
    with TAKEOVER there is no vote either.
    """
    how = text_of(arguments[0]).lower() if arguments else ""
    if len(arguments) > 1 or how not in ("", "force", "takeover"):
        raise CommandError(SYNTAX_ERROR)
    member.state.failover(member.clock.now_ms(), force=how == "force", takeover=how == "takeover")
    member.settle()
    return OK


def cluster_saveconfig(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTER SAVECONFIG: writes nodes.conf to disk now."""
    try:
        member.driver.save()
    except ClusterBusError as error:
        raise CommandError(f"error saving the cluster node config: {error}") from error
    return OK


def cluster_reset(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER RESET: forgets all nodes and slots; HARD also takes a new id and sets the epochs to 0."""
    kind = arguments[0].lower() if arguments else b"soft"
    if kind not in (b"soft", b"hard"):
        raise CommandError(SYNTAX_ERROR)
    member.state.reset(member.clock.now_ms(), hard=kind == b"hard")
    member.settle()
    return OK


def _known(member: Member, argument: bytes) -> Node:
    node = member.state.find(text_of(argument))
    if node is None:
        raise CommandError(f"Unknown node {text_of(argument)}")
    return node


# ---------------------------------------------------------------- the table

_READ: Final = ("loading", "stale")
_WRITE: Final = ("admin", "stale", "no_async_loading")

CLUSTER: Final = CommandSpec(
    "cluster",
    None,
    -2,
    summary="Questions to the cluster bus, and orders.",
    since="3.0.0",
    group="cluster",
    subcommands=(
        CommandSpec("info", cluster_info, 2, _READ, "State of the cluster, and counters of the bus."),
        CommandSpec("nodes", cluster_nodes, 2, _READ, "What this node knows of each node, one line each."),
        CommandSpec("slots", cluster_slots, 2, _READ, "Slot ranges with the nodes that serve them."),
        CommandSpec("shards", cluster_shards, 2, _READ, "The shards with their slots and nodes."),
        CommandSpec("links", cluster_links, 2, ("stale",), "The links to and from every known node."),
        CommandSpec(
            "topology",
            cluster_topology,
            -2,
            ("stale",),
            "The picture for clients as JSON; ON: changes are pushed (RESP3).",
            "[ON|OFF]",
        ),
        CommandSpec("myid", cluster_myid, 2, _READ, "This node's id."),
        CommandSpec("myshardid", cluster_myshardid, 2, _READ, "The id of this node's shard."),
        CommandSpec("replicas", cluster_replicas, 3, ("admin", "stale"), "The replicas of a primary.", "<node-id>"),
        CommandSpec("slaves", cluster_replicas, 3, ("admin", "stale"), "Older name of REPLICAS.", "<node-id>"),
        CommandSpec(
            "count-failure-reports",
            cluster_count_failure_reports,
            3,
            ("admin", "stale"),
            "Number of primaries that report a node as failing.",
            "<node-id>",
        ),
        CommandSpec("keyslot", cluster_keyslot, 3, ("stale",), "The hash slot of a key.", "<key>"),
        CommandSpec(
            "meet",
            cluster_meet,
            -4,
            _WRITE,
            "Joins the cluster of the node at that address.",
            "<ip> <port> [<bus-port>]",
        ),
        CommandSpec("forget", cluster_forget, 3, _WRITE, "Removes a node from this node's table.", "<node-id>"),
        CommandSpec(
            "set-config-epoch",
            cluster_set_config_epoch,
            3,
            _WRITE,
            "Sets the config epoch of a node that knows no other node.",
            "<epoch>",
        ),
        CommandSpec(
            "replicate",
            cluster_replicate,
            -3,
            _WRITE,
            "Becomes a replica of a primary, or leaves its own.",
            "<node-id>|NO ONE",
        ),
        CommandSpec(
            "failover",
            cluster_failover,
            -2,
            _WRITE,
            "Makes this replica the primary of its shard.",
            "[FORCE|TAKEOVER]",
        ),
        CommandSpec("bumpepoch", cluster_bumpepoch, 2, _WRITE, "Takes a new, greatest config epoch."),
        CommandSpec("saveconfig", cluster_saveconfig, 2, _WRITE, "Writes nodes.conf to disk."),
        CommandSpec(
            "reset",
            cluster_reset,
            -2,
            ("admin", "noscript", "stale"),
            "Forgets all nodes and slots; HARD also takes a new id.",
            "[HARD|SOFT]",
            words_max=3,
        ),
        *CLUSTER_SLOTS,
    ),
)
