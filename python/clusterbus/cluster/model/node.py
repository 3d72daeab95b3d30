"""`Node` and `Link`: what this process knows of one member and of one TCP connection.

Owns the fields and the questions that follow from them; the rules that change them live in the modules by
topic. Mutable, and mutated by the main loop only. A `Node` is in the table exactly once, under `node_id`.
"""

from __future__ import annotations

from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.view import NodeRow, NodeTimes

VIEWED: Final = frozenset(
    {
        "availability_zone",
        "client_ipv4",
        "client_ipv6",
        "config_epoch",
        "cport",
        "flags",
        "hostname",
        "inbound_link",
        "ip",
        "link",
        "node_id",
        "nodename",
        "port",
        "provisional",
        "raw_extensions",
        "replicaof",
        "sends_shard_id",
        "shard_id",
        "slots",
        "tls_port",
    }
)
"""Fields of a node that decide what its heartbeats can change, or what ours say: a change is a new version."""
TIMES: Final = frozenset({"ping_sent_ms", "pong_received_ms"})
"""Fields that gossip tells and that change without a new version: workers read them from `Node.times`."""


class Version:
    """The number of the state: two heartbeats are alike to a state only while it stays the same (R33).

    `own_header` moves with it only when what our own heartbeats say of ourselves changes: what gossip they carry
    may be a moment old.
    """

    __slots__ = ("myself", "number", "own_header")

    def __init__(self, myself: Node) -> None:
        self.myself = myself
        self.number = 1
        self.own_header = 1

    def move(self) -> None:
        self.number += 1

    def move_own_header(self) -> None:
        """Something about ourselves changed."""
        self.number += 1
        self.own_header += 1

    def move_node(self, node: Node) -> None:
        """Something about a node changed: about ourselves if it is the one we speak for."""
        if node is self.myself or node is self.myself.replicaof:
            self.move_own_header()
        else:
            self.move()


class Link:
    """One connection to or from a peer. `node` is None for an inbound link whose owner is not proven yet.
    `takes_light`: the peer is proven to know whose link it is, so a light header will do (`pubsub`).
    """

    __slots__ = ("created_ms", "inbound", "link_id", "local_ip", "node", "peer_ip", "takes_light")

    def __init__(
        self, link_id: int, *, node: Node | None, inbound: bool, peer_ip: str, local_ip: str, created_ms: int
    ) -> None:
        self.link_id = link_id
        self.node = node
        self.inbound = inbound
        self.peer_ip = peer_ip
        self.local_ip = local_ip
        self.created_ms = created_ms
        self.takes_light = False

    def __repr__(self) -> str:
        return f"<Link {self.link_id} {'from' if self.inbound else 'to'} {self.node!r}>"


class Node:
    """One member of the cluster, or one being met (flag HANDSHAKE, then `node_id` is made up).

    Invariants: `slots` is `slot_bits` as the wire carries it; only nodes with slots are in
    `SlotMap.owners`; `link.node is self` and `inbound_link.node is self` when they are set; `replicas` holds
    exactly the nodes whose `replicaof` is this node. Times are unix milliseconds, 0 = never. Setting a field of
    VIEWED to another value moves `version` and drops `row`; setting one of TIMES is passed on to `times`.
    """

    __slots__ = (
        "address_changed_ms",
        "availability_zone",
        "client_ipv4",
        "client_ipv6",
        "config_epoch",
        "cport",
        "created_ms",
        "data_received_ms",
        "dial_failures",
        "dialing",
        "fail_reports",
        "fail_time_ms",
        "flags",
        "hostname",
        "inbound_link",
        "inbound_lost_ms",
        "ip",
        "link",
        "met_by_operator",
        "next_dial_ms",
        "node_id",
        "nodename",
        "orphaned_ms",
        "ping_sent_ms",
        "pong_received_ms",
        "port",
        "provisional",
        "raw_extensions",
        "replicaof",
        "replicas",
        "row",
        "sends_shard_id",
        "shard_id",
        "slot_bits",
        "slots",
        "table_index",
        "times",
        "tls_port",
        "version",
        "voted_ms",
    )

    def __init__(self, node_id: str, flags: int, shard_id: str, now_ms: int) -> None:
        self.version: Version | None = None
        self.row: NodeRow | None = None
        self.times = NodeTimes()
        self.ping_sent_ms = 0
        self.pong_received_ms = 0

        self.node_id = node_id
        self.flags = flags
        self.shard_id = shard_id
        self.created_ms = now_ms
        self.table_index = -1

        self.ip = ""
        self.port = 0
        self.tls_port = 0
        self.cport = 0
        self.address_changed_ms = 0
        self.hostname = ""
        self.nodename = ""
        self.client_ipv4 = ""
        self.client_ipv6 = ""
        self.availability_zone = ""
        self.sends_shard_id = False
        self.raw_extensions: tuple[bytes, int] | None = None

        self.config_epoch = 0
        self.slot_bits = 0
        self.slots = c.EMPTY_SLOTS
        self.replicaof: Node | None = None
        self.replicas: dict[str, Node] = {}

        self.link: Link | None = None
        self.inbound_link: Link | None = None
        self.inbound_lost_ms = now_ms
        self.dialing: tuple[str, int] | None = None
        self.dial_failures = 0
        self.next_dial_ms = 0
        self.met_by_operator = False
        self.provisional = False

        self.data_received_ms = 0
        self.fail_time_ms = 0
        self.fail_reports: dict[Node, int] = {}
        self.voted_ms = 0
        self.orphaned_ms = 0

    def __setattr__(self, name: str, value: object) -> None:
        if name in VIEWED:
            version = getattr(self, "version", None)
            if version is not None and getattr(self, name) != value:
                self.row = None
                object.__setattr__(self, name, value)
                version.move_node(self)
            else:
                object.__setattr__(self, name, value)
        else:
            object.__setattr__(self, name, value)
            if name in TIMES and hasattr(self, "pong_received_ms"):
                self.times.set_own(self.ping_sent_ms, self.pong_received_ms)

    def touch(self) -> None:
        """Something about the node changed that no field of VIEWED shows: who reports whom."""
        self.row = None
        if self.version is not None:
            self.version.move()

    @property
    def repl_offset(self) -> int:
        """The replication offset the node told last; workers note that of quiet heartbeats."""
        return self.times.repl_offset

    @repl_offset.setter
    def repl_offset(self, offset: int) -> None:
        self.times.set_repl_offset(offset)

    @property
    def is_primary(self) -> bool:
        return bool(self.flags & c.FLAG_PRIMARY)

    @property
    def is_replica(self) -> bool:
        return bool(self.flags & c.FLAG_REPLICA)

    @property
    def is_voting(self) -> bool:
        """A primary with at least one slot (`clusterNodeIsVotingPrimary`)."""
        return bool(self.slot_bits) and bool(self.flags & c.FLAG_PRIMARY)

    @property
    def in_handshake(self) -> bool:
        return bool(self.flags & c.FLAG_HANDSHAKE)

    @property
    def is_pfail(self) -> bool:
        return bool(self.flags & c.FLAG_PFAIL)

    @property
    def is_failed(self) -> bool:
        return bool(self.flags & c.FLAG_FAIL)

    @property
    def primary(self) -> Node:
        """The node whose slots and epoch this one speaks for: its primary, if it has a known one."""
        return self.replicaof if self.replicaof is not None else self

    @property
    def name(self) -> str:
        """Id and nodename or address, for the log."""
        return f"{self.node_id} ({self.nodename or f'{self.ip}:{self.cport}'})"

    def follow(self, primary: Node | None) -> None:
        """Makes `primary` the node this one replicates, keeping both sides of the relation."""
        if self.replicaof is primary:
            return
        if self.replicaof is not None:
            self.replicaof.replicas.pop(self.node_id, None)
            if not self.replicaof.replicas:
                self.replicaof.flags &= ~c.FLAG_MIGRATE_TO
        self.replicaof = primary
        if primary is not None:
            primary.replicas[self.node_id] = self
            primary.flags |= c.FLAG_MIGRATE_TO

    def __repr__(self) -> str:
        return f"<Node {self.node_id[:8]} {self.ip}:{self.cport} flags={self.flags}>"
