"""`Node` and `Link`: what this process knows of one member and of one TCP connection.

Owns the fields and the questions that follow from them; the rules that change them live in the modules by
topic. Mutable, and mutated by the main loop only. A `Node` is in the table exactly once, under `node_id`.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Annotated, Final, TypeAlias, TypeVar, get_type_hints

from clusterbus.cluster import constants as c
from clusterbus.view import NodeRow, NodeTimes

T = TypeVar("T")
_VIEWED: Final = object()
_TIMED: Final = object()
Viewed: TypeAlias = Annotated[T, _VIEWED]
"""A field of `Node` that decides what its heartbeats can change, or what ours say: a change is a new version."""
Timed: TypeAlias = Annotated[T, _TIMED]
"""A field that gossip tells and that changes without a new version: workers read it from `Node.times`."""


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


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """One member of the cluster, or one being met (flag HANDSHAKE, then `node_id` is made up).

    Invariants: `slots` is `slot_bits` as the wire carries it; only nodes with slots are in
    `SlotMap.owners`; `link.node is self` and `inbound_link.node is self` when they are set; `replicas` holds
    exactly the nodes whose `replicaof` is this node. Times are unix milliseconds, 0 = never.
    """

    node_id: Viewed[str]
    flags: Viewed[int]
    shard_id: Viewed[str]
    now_ms: InitVar[int]
    _: KW_ONLY
    created_ms: int = 0
    table_index: int = -1
    version: Version | None = None
    row: NodeRow | None = None
    times: NodeTimes = field(default_factory=NodeTimes)

    ip: Viewed[str] = ""
    port: Viewed[int] = 0
    tls_port: Viewed[int] = 0
    cport: Viewed[int] = 0
    address_changed_ms: int = 0
    hostname: Viewed[str] = ""
    nodename: Viewed[str] = ""
    client_ipv4: Viewed[str] = ""
    client_ipv6: Viewed[str] = ""
    availability_zone: Viewed[str] = ""
    sends_shard_id: Viewed[bool] = False
    raw_extensions: Viewed[tuple[bytes, int] | None] = None

    config_epoch: Viewed[int] = 0
    slot_bits: int = 0
    slots: Viewed[bytes] = c.EMPTY_SLOTS
    replicaof: Viewed[Node | None] = None
    replicas: dict[str, Node] = field(default_factory=dict)

    link: Viewed[Link | None] = None
    inbound_link: Viewed[Link | None] = None
    inbound_lost_ms: int = 0
    dialing: tuple[str, int] | None = None
    dial_failures: int = 0
    next_dial_ms: int = 0
    met_by_operator: bool = False
    provisional: Viewed[bool] = False

    ping_sent_ms: Timed[int] = 0
    pong_received_ms: Timed[int] = 0
    data_received_ms: int = 0
    fail_time_ms: int = 0
    fail_reports: dict[Node, int] = field(default_factory=dict)
    voted_ms: int = 0
    orphaned_ms: int = 0

    def __post_init__(self, now_ms: int) -> None:
        self.created_ms = self.inbound_lost_ms = now_ms

    def __setattr__(self, name: str, value: object) -> None:
        """Setting a field declared `Viewed` or `Timed` to another value does what its change asks for.

        Not a descriptor for each field, because then every read of one would cost what now only a write does, and a
        tick reads a dozen of them per node.
        """
        changed = _CHANGED.get(name)
        if changed is None:
            _store(self, name, value)
            return
        before = getattr(self, name, _UNSET)
        if before != value:
            _store(self, name, value)
            if before is not _UNSET:
                changed(self)

    def touch(self) -> None:
        """Something about the node changed that no field shows: who reports whom."""
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


def _view_changed(node: Node) -> None:
    node.row = None
    if node.version is not None:
        node.version.move_node(node)


def _times_changed(node: Node) -> None:
    node.times.set_own(node.ping_sent_ms, node.pong_received_ms)


def _declared(marker: object) -> set[str]:
    hints = get_type_hints(Node, include_extras=True)
    return {name for name, hint in hints.items() if marker in getattr(hint, "__metadata__", ())}


_UNSET: Final = object()
_store: Final = object.__setattr__
_CHANGED: Final = dict.fromkeys(_declared(_VIEWED), _view_changed) | dict.fromkeys(_declared(_TIMED), _times_changed)
