"""The content of CLUSTER NODES, INFO, SLOTS and SHARDS as Valkey 9.1 has it: texts and plain structures.

Owns names, order and wording. Must never change anything. The client port turns the structures into replies. Main
thread. Source: `clusterGenNodeDescription`, `genClusterInfoString`, `clusterCommandShards`, and the answers of a
running 9.1.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import MESSAGES_RECEIVED, MESSAGES_SENT, ClusterConfig, Core
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.records import Moves, flags_text, moves_text, ranges_text
from clusterbus.cluster.model.slots import ranges_of

BYTE_COUNTERS: Final = (
    "cluster_stats_bytes_sent",
    "cluster_stats_bytes_received",
    "cluster_stats_pubsub_bytes_sent",
    "cluster_stats_pubsub_bytes_received",
    "cluster_stats_module_bytes_sent",
    "cluster_stats_module_bytes_received",
    "total_cluster_links_buffer_limit_exceeded",
)
"""The lines of CLUSTER INFO whose numbers the engine counts, in their order (R10, R18)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A node as a client sees it. `address` is None if it is to be unknown: the client then uses the address that it
    is connected to. `metadata` holds the pairs in the fourth field of CLUSTER SLOTS.
    """

    node_id: str
    address: str | None
    port: int
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class SlotRange:
    """An inclusive range of slots, its primary, and its replicas that are not FAIL and have data."""

    first: int
    last: int
    primary: Endpoint
    replicas: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard of CLUSTER SHARDS: its slots as inclusive ranges, and its nodes as maps in Valkey's order."""

    shard_id: str
    slots: tuple[tuple[int, int], ...]
    nodes: tuple[dict[str, str | int], ...]


def client_ip(node: Node, *, ipv6: bool = False) -> str:
    """The address for a client that uses IPv4 or IPv6: the announced one, else that of the bus."""
    return (node.client_ipv6 if ipv6 else node.client_ipv4) or node.ip


def preferred_endpoint(config: ClusterConfig, node: Node, *, ipv6: bool = False) -> str | None:
    """What `cluster-preferred-endpoint-type` names a node by: its address, its hostname or `?`, or None for nothing."""
    match config.cluster_preferred_endpoint_type:
        case "hostname":
            return node.hostname or "?"
        case "unknown-endpoint":
            return None
    return client_ip(node, ipv6=ipv6)


def client_port(node: Node, *, tls: bool) -> int:
    """The port for a client with or without TLS: the announced one, else that of the node."""
    return (node.client_tls_port or node.tls_port) if tls else (node.client_tcp_port or node.port)


def nodes_text(core: Core, *, tls: bool = False, ipv6: bool = False) -> str:
    """CLUSTER NODES, with a newline after each line."""
    return "".join(node_line(core, node, tls=tls, ipv6=ipv6) + "\n" for node in core.table)


def node_line(core: Core, node: Node, *, tls: bool = False, ipv6: bool = False) -> str:
    """The line of one node in CLUSTER NODES. `tls`: the client uses TLS."""
    port = client_port(node, tls=tls)
    hostname = f",{node.hostname}" if node.hostname else ""
    primary_id = node.replicaof.node_id if node.replicaof is not None else "-"
    connected = node.link is not None or node is core.myself
    return (
        f"{node.node_id} {client_ip(node, ipv6=ipv6)}:{port}@{node.cport}{hostname}"
        f" {flags_text(node.flags)} {primary_id} {node.ping_sent_ms} {node.pong_received_ms}"
        f" {node.primary.config_epoch} {'connected' if connected else 'disconnected'}"
        f"{ranges_text(ranges_of(node.slot_bits))}{moves_text(*moves_of(core, node))}"
    )


def moves_of(core: Core, node: Node) -> tuple[Moves, Moves]:
    """The slots that `node` migrates and imports, with the other node's id. Empty unless `node` is this one."""
    if node is not core.myself:
        return (), ()
    slots = core.slots
    migrating, importing = (
        tuple((slot, other.node_id) for slot, other in moves.items()) for moves in (slots.migrating, slots.importing)
    )
    return migrating, importing


def info_lines(core: Core, engine_counters: Mapping[str, int]) -> Iterator[tuple[str, str | int]]:
    """The names and values of CLUSTER INFO. `engine_counters` gives those of BYTE_COUNTERS, and the messages that only
    the engine saw by their names in MESSAGES_RECEIVED; missing ones are 0.
    """
    suspected = failed = voting_suspected = voting_failed = 0
    failing = core.table.failing.values()
    for node in failing:
        slots = node.slot_bits.bit_count()
        if node.is_failed:
            failed += slots
            voting_failed += node.is_voting
        elif node.is_pfail:
            suspected += slots
            voting_suspected += node.is_voting
    assigned = core.slots.assigned.bit_count()
    yield "cluster_state", "ok" if core.state_is_ok else "fail"
    yield "cluster_slots_assigned", assigned
    yield "cluster_slots_ok", assigned - suspected - failed
    yield "cluster_slots_pfail", suspected
    yield "cluster_slots_fail", failed
    yield "cluster_nodes_pfail", sum(node.is_pfail for node in failing)
    yield "cluster_nodes_fail", sum(node.is_failed for node in failing)
    yield "cluster_voting_nodes_pfail", voting_suspected
    yield "cluster_voting_nodes_fail", voting_failed
    yield "cluster_known_nodes", len(core.table)
    yield "cluster_size", sum([owner.flags & c.FLAG_PRIMARY for owner in core.slots.owners.values()]) // c.FLAG_PRIMARY
    yield "cluster_current_epoch", core.current_epoch
    yield "cluster_my_epoch", core.myself.primary.config_epoch
    for direction, names in (("sent", MESSAGES_SENT), ("received", MESSAGES_RECEIVED)):
        total = 0
        for name in names:
            if number := core.counters[name] + engine_counters.get(name, 0):
                total += number
                yield f"cluster_stats_{name}", number
        yield f"cluster_stats_messages_{direction}", total
    for name in BYTE_COUNTERS:
        yield name, engine_counters.get(name, 0)


def slot_ranges(core: Core, *, tls: bool = False, ipv6: bool = False) -> list[SlotRange]:
    """CLUSTER SLOTS, in ascending order."""
    rows = []
    for owner in core.slots.owners.values():
        primary = _endpoint(core.config, owner, tls=tls, ipv6=ipv6)
        replicas = tuple(
            _endpoint(core.config, replica, tls=tls, ipv6=ipv6)
            for replica in owner.replicas.values()
            if not replica.is_failed and _offset_of(core, replica)
        )
        rows += [SlotRange(first, last, primary, replicas) for first, last in ranges_of(owner.slot_bits)]
    rows.sort(key=lambda row: row.first)
    return rows


def _offset_of(core: Core, node: Node) -> int:
    """The replication offset of any node. Replicas at 0 hold no data, so clients are not shown them (P24)."""
    return core.repl_offset if node is core.myself else node.repl_offset


def _endpoint(config: ClusterConfig, node: Node, *, tls: bool, ipv6: bool) -> Endpoint:
    """What does not name the node (`cluster-preferred-endpoint-type`) is among the metadata."""
    preferred = config.cluster_preferred_endpoint_type
    metadata = {}
    if preferred != "ip":
        metadata["ip"] = client_ip(node, ipv6=ipv6)
    if preferred != "hostname" and node.hostname:
        metadata["hostname"] = node.hostname
    if node.availability_zone:
        metadata["availability-zone"] = node.availability_zone
    address = preferred_endpoint(config, node, ipv6=ipv6)
    return Endpoint(node.node_id, address, client_port(node, tls=tls), metadata)


def shards(core: Core, *, ipv6: bool = False) -> list[Shard]:
    """CLUSTER SHARDS: every known node, grouped by shard; in each the primary first, then the replicas by id (P33)."""
    members: dict[str, list[Node]] = {}
    for node in core.table:
        if not node.flags & c.FLAG_HANDSHAKE:
            members.setdefault(node.shard_id, []).append(node)
    return [
        Shard(
            shard_id,
            next((ranges_of(node.slot_bits) for node in nodes if node.slot_bits), ()),
            tuple(
                _shard_member(core, node, ipv6=ipv6)
                for node in sorted(nodes, key=lambda node: (node.is_replica, node.node_id))
            ),
        )
        for shard_id, nodes in members.items()
    ]


def _shard_member(core: Core, node: Node, *, ipv6: bool) -> dict[str, str | int]:
    endpoint = preferred_endpoint(core.config, node, ipv6=ipv6)
    offset = _offset_of(core, node)
    member: dict[str, str | int] = {"id": node.node_id}
    if node.port:
        member["port"] = client_port(node, tls=False)
    if node.tls_port:
        member["tls-port"] = client_port(node, tls=True)
    member |= {"ip": client_ip(node, ipv6=ipv6), "endpoint": endpoint or ""}
    if node.hostname:
        member["hostname"] = node.hostname
    member["role"] = "replica" if node.is_replica else "master"
    member["replication-offset"] = offset
    if node.is_failed:
        member["health"] = "fail"
    else:
        member["health"] = "loading" if node.is_replica and offset == 0 else "online"
    if node.availability_zone:
        member["availability-zone"] = node.availability_zone
    return member
