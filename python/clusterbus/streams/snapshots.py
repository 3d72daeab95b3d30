"""Snapshots of the state for users: plain frozen records that never change after they were taken.

Owns the shapes that `Bus.nodes`, `Bus.slots` and `Bus.links()` return. Must never hand out an object of the state
itself, which only the main loop may touch. Taken on the main thread, readable on any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.records import flags_text
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.member.member import Member


@dataclass(frozen=True, slots=True)
class NodeView:
    """One member of the cluster as this node sees it.

    `flags` are the words of CLUSTER NODES, `slots` are inclusive (first, last) ranges, times are unix milliseconds
    with 0 for never. `connected` means that our link to the node is up; it is always true for this node itself.
    `is_unreachable`: so say most of the members that this node reaches (`NodeUnreachable`).
    `hostname`, `human_nodename` and `availability_zone` are what the node announces of itself, "" for nothing.
    `is_clusterbus`: it is known to be a clusterbus node, which this node learns from it soon after they have linked up.
    `tags` are what its program has set (`set_tags`); a node of another kind has none.
    `rtt_us` and `rtt_max_us` are how many microseconds PINGs to the node take until their PONG is read: the moving
    average, in which a new one weighs an eighth (RFC 6298), and the greatest of the last minute or two. None for this
    node itself and before the first PONG; while our link to the node is down, what was measured last. I/O threads take
    the times, so with `io-threads` of 2 or more they are right however busy this program is.
    """

    node_id: str
    ip: str
    port: int
    tls_port: int
    bus_port: int
    hostname: str
    human_nodename: str
    availability_zone: str
    flags: frozenset[str]
    primary_id: str | None
    shard_id: str
    config_epoch: int
    slots: tuple[tuple[int, int], ...]
    connected: bool
    is_unreachable: bool
    ping_sent_ms: int
    pong_received_ms: int
    is_clusterbus: bool
    rtt_us: int | None
    rtt_max_us: int | None
    tags: Mapping[str, str] = field(hash=False)

    @property
    def is_myself(self) -> bool:
        return "myself" in self.flags

    @property
    def is_primary(self) -> bool:
        return "master" in self.flags

    @property
    def is_replica(self) -> bool:
        return "slave" in self.flags

    @property
    def is_suspected(self) -> bool:
        """PFAIL: this node thinks that it fails; the majority does not agree, or not yet."""
        return "fail?" in self.flags

    @property
    def is_failed(self) -> bool:
        """FAIL: the majority agrees that it has failed."""
        return "fail" in self.flags


@dataclass(frozen=True, slots=True)
class SlotRange:
    """The primary `node_id` owns the slots `first` to `last`, both included."""

    first: int
    last: int
    node_id: str


@dataclass(frozen=True, slots=True)
class LinkSnapshot:
    """One link, that is, one TCP connection of the bus.

    `node_id` is the node at the other end, None until it is known. `created_ms` is unix milliseconds. The queue holds
    the messages that are not wholly sent. `rtt_us` and `rtt_max_us` are as in `NodeView`; None for an inbound link, on
    which the other node sends the PINGs.
    """

    node_id: str | None
    inbound: bool
    peer: str
    created_ms: int
    queued_messages: int
    queued_bytes: int
    rtt_us: int | None
    rtt_max_us: int | None


def node_view(member: Member, node: Node) -> NodeView:
    """The record of one node."""
    rtt_us, rtt_max_us = _round_trip(node)
    return NodeView(
        node_id=node.node_id,
        ip=node.ip,
        port=node.port,
        tls_port=node.tls_port,
        bus_port=node.cport,
        hostname=node.hostname,
        human_nodename=node.nodename,
        availability_zone=node.availability_zone,
        flags=frozenset(flags_text(node.flags).split(",")) - {"noflags"},
        primary_id=node.replicaof.node_id if node.replicaof is not None else None,
        shard_id=node.shard_id,
        config_epoch=node.primary.config_epoch,
        slots=ranges_of(node.slot_bits),
        connected=node is member.state.myself or node.link is not None,
        is_unreachable=node.is_unreachable,
        ping_sent_ms=node.ping_sent_ms,
        pong_received_ms=node.pong_received_ms,
        is_clusterbus=node.is_clusterbus,
        rtt_us=rtt_us,
        rtt_max_us=rtt_max_us,
        tags=dict(node.tags),
    )


def _round_trip(node: Node | None) -> tuple[int, int] | tuple[None, None]:
    times = node.times.round_trip_us if node is not None else None
    return times if times is not None else (None, None)


def node_views(member: Member) -> dict[str, NodeView]:
    """Every known node by id. Nodes in handshake are left out, because their ids are not known yet."""
    state = member.state
    known = [node for node in state.nodes if not node.in_handshake]
    return {node.node_id: node_view(member, node) for node in known}


def slot_ranges(member: Member) -> tuple[SlotRange, ...]:
    """Ranges of slots with their owners, ascending; slots without an owner are left out."""
    ranges = [
        SlotRange(first, last, owner.node_id)
        for owner in member.state.slot_owners
        for first, last in ranges_of(owner.slot_bits)
    ]
    return tuple(sorted(ranges, key=lambda row: row.first))


def link_snapshots(member: Member) -> list[LinkSnapshot]:
    """Every link that is up, in the order in which they came up."""
    snapshots = []
    for link in member.state.links:
        messages, size_bytes = member.engine.send_queue(link.link_id)
        rtt_us, rtt_max_us = _round_trip(None if link.inbound else link.node)
        known = link.node is not None and not link.node.in_handshake
        snapshots.append(
            LinkSnapshot(
                node_id=link.node.node_id if known and link.node is not None else None,
                inbound=link.inbound,
                peer=member.driver.links.get(link.link_id, link.peer_ip),
                created_ms=link.created_ms,
                queued_messages=messages,
                queued_bytes=size_bytes,
                rtt_us=rtt_us,
                rtt_max_us=rtt_max_us,
            )
        )
    return snapshots
