"""`Node` and `Link`: what this process knows of one member of the cluster and of one TCP connection.

Owns the fields and the properties that follow from them; the rules that change them are in the other folders. Only the
main thread changes a node. A `Node` is in the table exactly once, under `node_id`.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from enum import Enum, auto
from typing import Annotated, Final, NamedTuple, Protocol, TypeAlias, TypeVar, get_type_hints

from clusterbus.cluster import constants as c
from clusterbus.cluster.model.agenda import Agenda
from clusterbus.cluster.model.records import LineParts
from clusterbus.view import NodeTimes
from clusterbus.view import Version as SharedVersion

T = TypeVar("T")
_VIEWED: Final = object()
_TIMED: Final = object()
_SCHEDULING: Final = object()
Viewed: TypeAlias = Annotated[T, _VIEWED]
"""A field of `Node` that decides what the node's heartbeats can change, or what ours say. Another value in it is a new
version of the state."""
Timed: TypeAlias = Annotated[T, _TIMED]
"""A field of `Node` that our gossip carries and that changes without a new version. Workers read it in `Node.times`."""
Scheduling: TypeAlias = Annotated[T, _SCHEDULING]
"""A field of `Node` that may bring forward the time at which the tick must look at the node. After each change of it,
the next tick does."""
TOLD: Final = frozenset(
    {
        *("node_id", "flags", "shard_id", "sends_shard_id", "ip", "port", "tls_port", "cport", "hostname", "nodename"),
        *("client_ipv4", "client_ipv6", "client_tcp_port", "client_tls_port", "availability_zone", "config_epoch"),
        *("slots", "replicaof"),
    }
)
"""The fields declared `Viewed` of which the history tells (`cluster.history`)."""
NOT_TOLD: Final = frozenset({"raw_extensions", "succession", "link", "inbound_link", "provisional", "is_outsider"})
"""The others, which are no part of the picture of a cluster that an operator has."""
SAVED_TOGETHER: Final = 32
"""How many nodes' lines of nodes.conf make one piece of its text."""


class Succession(Enum):
    """Whether a node and this one have followed each other as primary of a shard. Forgotten when this one becomes a
    replica, and by a restart.
    """

    NONE = auto()
    SUCCESSOR = auto()
    """It was our replica, and has become a primary: by the votes of others, or by its operator's word."""
    PREDECESSOR = auto()
    """We took its place."""


class Kin(Enum):
    """Whether a node understands the letters of our own kind (`claims`)."""

    UNKNOWN = auto()
    OURS = auto()
    """It has sent one."""
    OTHER = auto()
    """It has left one unanswered, though it has answered what came after it."""


class Watcher(Protocol):
    """Who is told of changes before they are made."""

    def note(self, node: Node, name: str, value: object) -> None:
        """One of the fields TOLD of a node in the table is about to get another value."""

    def note_table(self, node: Node) -> None:
        """A node is about to be added to the table, or to be removed from it."""


class Version:
    """The version of the state. What says nothing new to one version may say something new to the next (R33).

    `shared` is the number itself, which workers read: it moves at once. `own_header` moves only with what our
    heartbeats say of ourselves. The gossip in them may be a moment old, so changes of other nodes need not move it.
    `outdated` are the nodes of the table whose rows in the last view no longer hold, in the order in which that came to
    be, and `gone` the ids of rows whose nodes have left it. `unsaved` are the pieces of the text of nodes.conf that no
    longer hold: piece n has the lines of SAVED_TOGETHER nodes, from the table's n * SAVED_TOGETHER-th on. `watcher` is
    told of all that the history tells.
    """

    __slots__ = ("gone", "myself", "outdated", "own_header", "shared", "unsaved", "watcher")

    def __init__(self, myself: Node) -> None:
        self.myself = myself
        self.shared = SharedVersion()
        self.own_header = 1
        self.outdated: dict[Node, None] = {}
        self.gone: list[str] = []
        self.unsaved: set[int] = set()
        self.watcher: Watcher | None = None

    @property
    def number(self) -> int:
        return self.shared.number

    def move(self) -> None:
        self.shared.move()

    def move_own_header(self) -> None:
        """Something changed that our own header or extensions announce."""
        self.shared.move()
        self.own_header += 1

    def move_node(self, node: Node) -> None:
        """A field of `node` changed. Our header announces those of ourselves and of our primary."""
        if node is self.myself or node is self.myself.replicaof:
            self.move_own_header()
        else:
            self.move()


@dataclass(slots=True)
class JudgedClaims:
    """Claims of a primary that changed nothing in the state of some version."""

    version: int
    config_epoch: int
    myslots: bytes
    newer: Node | None
    """An owner of some of these slots that has a greater epoch."""

    def is_of(self, version: int, config_epoch: int, myslots: bytes) -> bool:
        return self.version == version and self.config_epoch == config_epoch and self.myslots == myslots


class OwnClaims(NamedTuple):
    """What our messages say of us that others act upon. Other things in their header, such as the replication offset,
    change all the time.
    """

    node_id: str
    flags: int
    replicaof: str | None
    current_epoch: int
    config_epoch: int
    slots: bytes


class Certificate(NamedTuple):
    """What a peer's certificate says: the SHA-256 of its public key, in hexadecimal digits, and DNS and URI names."""

    key: str
    names: tuple[str, ...] = ()


class Link:
    """One connection to or from a peer. `node` is None for an inbound link until a packet says whose it is.

    `takes_light`: the peer has shown that it knows whose link this is, so light messages may go out on it (`pubsub`).
    `told_tags_version`: the version of our tags that it was told last, -1 for none (`tags`). `has_answered`: a PONG of
    its node came on it. `assigned_ms`: when an inbound link got its node, 0 before. `claimed_ms`: when it first claimed
    to be of a node that has another link, 0 for never.
    """

    __slots__ = (
        "assigned_ms", "certificate", "claimed_ms", "created_ms", "has_answered", "inbound", "link_id", "local_ip",
        "node", "peer_ip", "takes_light", "told_tags_version",
    )  # fmt: skip

    def __init__(
        self,
        link_id: int,
        *,
        node: Node | None,
        inbound: bool,
        peer_ip: str,
        local_ip: str,
        created_ms: int,
        certificate: Certificate | None = None,
    ) -> None:
        self.link_id = link_id
        self.node = node
        self.inbound = inbound
        self.peer_ip = peer_ip
        self.local_ip = local_ip
        self.created_ms = created_ms
        self.certificate = certificate
        self.takes_light = False
        self.told_tags_version = -1
        self.has_answered = False
        self.assigned_ms = 0
        self.claimed_ms = 0

    def __repr__(self) -> str:
        return f"<Link {self.link_id} {'from' if self.inbound else 'to'} {self.node!r}>"


@dataclass(slots=True, eq=False, repr=False, init=False)
class Node:
    """A node of the cluster, or one in handshake (flag HANDSHAKE), whose `node_id` is made up until it answers.

    Invariants: `slots` is `slot_bits` in the form of the wire; `SlotMap.owners` holds only nodes with slots; `link.node
    is self` and `inbound_link.node is self` if they are set; `replicas` holds exactly the nodes whose `replicaof` is
    this node. Times are unix milliseconds, 0 for never.
    """

    node_id: Viewed[str]
    flags: Scheduling[Viewed[int]]
    shard_id: Viewed[str]
    created_ms: int = 0
    table_index: int = -1
    version: Version | None = None
    viewed_as: str = ""
    """The id under which the last view has a row of this node, "" if it has none."""
    agenda: Agenda[Node] | None = None
    """When the tick looks at this node next."""
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
    client_tcp_port: Viewed[int] = 0
    """The port that clients are told instead of `port`; 0 for none. `client_tls_port` instead of `tls_port`."""
    client_tls_port: Viewed[int] = 0
    availability_zone: Viewed[str] = ""
    unknown_aux: dict[str, str] = field(default_factory=dict)
    """Aux fields of the node's line in nodes.conf that only newer servers know. They are written back as they were."""
    line_parts: LineParts | None = None
    """Those of the node's line in nodes.conf (`persist`). None once another value is in a field declared `Viewed`: what
    the parts are made of is, but for `unknown_aux`, which never changes."""
    line: str | None = None
    """The node's line in nodes.conf. None once anything that it shows has changed; then its piece of the text is among
    `Version.unsaved`."""
    sends_shard_id: Viewed[bool] = False
    """The node has sent its shard id. Older peers never do."""
    refused_shard_id: str = ""
    """The shard that this replica was refused last because its primary is of another one (P18)."""
    raw_extensions: Viewed[tuple[bytes, int] | None] = None
    """The bytes and the number of the extensions in the last heartbeat applied. None if each heartbeat must be applied
    in full."""

    config_epoch: Viewed[int] = 0
    slot_bits: int = 0
    slots: Viewed[bytes] = c.EMPTY_SLOTS
    replicaof: Viewed[Node | None] = None
    judged_claims: JudgedClaims | None = None
    """Those that were looked at last and changed nothing; for `roles` alone."""
    succession: Viewed[Succession] = Succession.NONE
    replicas: dict[str, Node] = field(default_factory=dict)

    link: Scheduling[Viewed[Link | None]] = None
    inbound_link: Viewed[Link | None] = None
    inbound_lost_ms: int = 0
    """When the node's last inbound link ended; before the first one, when the node was added."""
    dialing: Scheduling[tuple[str, int] | None] = None
    """The address of the dial under way: ip and bus port."""
    dial_failures: int = 0
    is_foreign: bool = False
    """What came on our last link to it, or during our last dial, is no message of this bus (P32)."""
    unanswered_links: int = 0
    """How many links in a row it has ended without an answer."""
    next_dial_ms: Scheduling[int] = 0
    met_by_operator: bool = False
    last_end: str = ""
    """How our last dial or link to it ended; of a handshake that is over, why it came to nothing."""
    known_as: str = ""
    """Of a handshake that is over: the id of the known node that answered it."""
    knows_us: bool = False
    """It has shown that it knows us: in a handshake it would not have sent us so much (`acquaintance`)."""
    meets_again: int = 0
    met_again_ms: int = 0
    """How many MEETs we have sent it again, and when the last."""
    provisional: Viewed[bool] = False
    """Only the gossip of a stranger's MEET has mentioned it. It goes unless it answers, or a known node mentions it."""

    label: str = ""
    """The label of its cluster, as it told it last; "" for none (`labels`)."""
    is_outsider: Viewed[bool] = False
    """It is of another cluster, by its label: nothing that it says counts, and we tell nobody of it."""
    is_hearsay: bool = False
    """We have a label, and gossip alone has named this node: it may turn out to be of another cluster (`labels`)."""
    pin: str = ""
    """The certificate that its id must come with (`admission`); "" for any."""
    kin: Kin = Kin.UNKNOWN
    kin_asked: tuple[int, int] | None = None
    """The link on which it was sent a letter first that awaits an answer, and when."""
    has_data: bool | None = None
    """Whether it has keys, by the last letter from it; None if it has sent none."""
    answered_ping_ms: int = 0
    """When the last PING that it has answered was sent, or an earlier one."""

    ping_sent_ms: Timed[int] = 0
    pong_received_ms: Timed[int] = 0
    data_received_ms: int = 0
    fail_time_ms: int = 0
    fail_reports: dict[Node, int] = field(default_factory=dict)
    """The nodes that report this one as failing, and when each did so last in a heartbeat that was applied in full."""
    is_clusterbus: bool = False
    """It has told its tags on its present link, as only clusterbus nodes do."""
    is_observer: bool = False
    """It has said that it only observes (`observing`): it counts nowhere."""
    tags: tuple[tuple[str, str], ...] = ()
    tags_version: int = -1
    """Of the tags that it told on its present link, -1 for none."""
    is_unreachable: bool = False
    """So say most of the members that we reach (`reachability`)."""
    has_told_offset: bool = False
    """A packet of the node has come since we started, so `repl_offset` is its own word."""
    orphaned_ms: int = 0
    """Since when this primary has been without a working replica that it should have."""

    def __init__(self, node_id: str, flags: int, shard_id: str, now_ms: int) -> None:
        """Stores the fields as they are: a node that is in no table has no version or agenda to move. A server that
        starts into a large cluster makes thousands."""
        for name, value in _DEFAULTS:
            _store(self, name, value)
        for name, make in _DEFAULT_FACTORIES:
            _store(self, name, make())
        _store(self, "node_id", node_id)
        _store(self, "flags", flags)
        _store(self, "shard_id", shard_id)
        _store(self, "created_ms", now_ms)
        _store(self, "inbound_lost_ms", now_ms)

    def __setattr__(self, name: str, value: object) -> None:
        """Sets a field. Another value in a field that is declared `Viewed`, `Timed` or `Scheduling` also changes the
        version, the shared times or the agenda.

        A descriptor for each field would do the same, but would slow down reads, which are frequent.
        """
        changed = _CHANGED.get(name)
        if changed is None:
            _store(self, name, value)
            return
        if getattr(self, name) != value:
            if name in TOLD and self.version is not None and self.version.watcher is not None:
                self.version.watcher.note(self, name, value)
            _store(self, name, value)
            changed(self)

    def touch(self) -> None:
        """Begins a new version: its failure reports changed, by it or about it, or what it claims of its slots did. No
        field was set.
        """
        if self.version is not None:
            self.outdate()
            self.version.move()

    def forget_line(self) -> None:
        """The next nodes.conf needs another line of this node."""
        if self.line is not None:
            self.line = None
            if self.version is not None:
                self.version.unsaved.add(self.table_index // SAVED_TOGETHER)

    def outdate(self) -> None:
        """The next view needs another row of this node, though none of its fields changed."""
        if self.version is not None:
            self.version.outdated[self] = None

    @property
    def repl_offset(self) -> int:
        """The replication offset that the node announced last. Workers set it for quiet heartbeats."""
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
    def is_within_reach(self) -> bool:
        """Whether this other member has answered on our link, and is not failing."""
        return self.link is not None and self.link.has_answered and not self.flags & (c.FLAG_HANDSHAKE | c.FAILING)

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
        """The node whose slots and config epoch this one announces: its primary if that is known, else itself."""
        return self.replicaof if self.replicaof is not None else self

    @property
    def name(self) -> str:
        """Id, and nodename or address, for the log."""
        return f"{self.node_id} ({self.nodename or f'{self.ip}:{self.cport}'})"

    def follow(self, primary: Node | None) -> None:
        """Makes `primary` the node that this one replicates, None for no node. Keeps both sides of the relation.

        A primary with replicas is flagged MIGRATE_TO: if it loses them, another replica should move to it. Its replicas
        stay in the order of their ids, so that all nodes list them alike, also after a restart (P33).
        """
        if self.replicaof is primary:
            return
        if self.replicaof is not None:
            self.replicaof.replicas.pop(self.node_id, None)
            if not self.replicaof.replicas:
                self.replicaof.flags &= ~c.FLAG_MIGRATE_TO
        self.replicaof = primary
        self.raw_extensions = None  # what it says of its shard counts anew (P18)
        if primary is not None:
            in_order = sorted((*primary.replicas.values(), self), key=lambda replica: replica.node_id)
            primary.replicas.clear()
            primary.replicas.update((replica.node_id, replica) for replica in in_order)
            primary.flags |= c.FLAG_MIGRATE_TO

    def __repr__(self) -> str:
        return f"<Node {self.node_id[:8]} {self.ip}:{self.cport} flags={self.flags}>"


def _view_changed(node: Node) -> None:
    _store(node, "line_parts", None)
    node.forget_line()
    for replica in node.replicas.values():  # their lines show its id and its epoch
        replica.forget_line()
    if node.version is not None:
        node.outdate()
        node.version.move_node(node)


def _times_changed(node: Node) -> None:
    node.times.set_own(node.ping_sent_ms, node.pong_received_ms)
    node.forget_line()


def _schedule_changed(node: Node) -> None:
    if node.agenda is not None:
        node.agenda.put_first(node)


def _view_and_schedule_changed(node: Node) -> None:
    _view_changed(node)
    _schedule_changed(node)


def _declared(marker: object) -> set[str]:
    hints = get_type_hints(Node, include_extras=True)
    return {name for name, hint in hints.items() if marker in getattr(hint, "__metadata__", ())}


_store: Final = object.__setattr__
_DEFAULTS: Final = tuple((one.name, one.default) for one in fields(Node) if one.default is not MISSING)
_DEFAULT_FACTORIES: Final = tuple(
    (one.name, one.default_factory) for one in fields(Node) if one.default_factory is not MISSING
)
_CHANGED: Final = (
    dict.fromkeys(_declared(_VIEWED), _view_changed)
    | dict.fromkeys(_declared(_TIMED), _times_changed)
    | dict.fromkeys(_declared(_SCHEDULING), _schedule_changed)
    | dict.fromkeys(_declared(_SCHEDULING) & _declared(_VIEWED), _view_and_schedule_changed)
)
