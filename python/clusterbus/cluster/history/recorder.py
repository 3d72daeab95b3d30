"""`History`: the last changes in this node's picture of the cluster, each with its cause and its source.

Owns the ring of changes and the origin of what happens now. No rule reports a change. A field of `Node` that is watched
tells of another value in it (`Version.watcher`), and so do the current epoch and the state in `Core`; the origin is set
where inputs come in (`state`, `receive`) and at the few places where one input has more than one cause. Changes are
collected while an input is applied and told when it is over, from the value before it to the one after it: what a rule
sets in between is no change. Heartbeats that change nothing cost nothing here. Must never decide anything. Main thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Protocol

from clusterbus.cluster import constants as c
from clusterbus.cluster.events import ElectionLost, ElectionStarted, ElectionWon, Event
from clusterbus.cluster.history.change import SLOT_RANGES_MAX, Cause, Change, ChangeKind, Origin, bounded
from clusterbus.cluster.model.node import Link, Node, Version
from clusterbus.cluster.model.slots import bits_from_wire, ranges_of

REPORTERS_NAMED_MAX: Final = 4
"""The nodes that the entry about a failure names. It has the number of all."""
_FLAGS_TOLD: Final = c.FLAG_PRIMARY | c.FLAG_REPLICA | c.FLAG_PFAIL | c.FLAG_FAIL | c.FLAG_HANDSHAKE
_ADDRESS: Final = ("ip", "port", "tls_port", "cport")
_CLIENT_ADDRESS: Final = ("client_ipv4", "client_ipv6", "client_tcp_port", "client_tls_port")
_PLAIN: Final = {
    "hostname": ChangeKind.HOSTNAME,
    "nodename": ChangeKind.NODENAME,
    "availability_zone": ChangeKind.ZONE,
    "config_epoch": ChangeKind.CONFIG_EPOCH,
}
"""The fields whose value is the text of the entry."""
_CAUSES: Final = {
    c.UPDATE: Cause.UPDATE,
    c.FAIL: Cause.FAIL_MESSAGE,
    c.AUTH_REQUEST: Cause.VOTING,
    c.AUTH_ACK: Cause.VOTING,
    c.MFSTART: Cause.VOTING,
    c.MODULE: Cause.LETTER,
}
"""What a packet of a type causes before one of its parts causes something else; of the others it is the header."""
_OWN: Final = frozenset(
    {Cause.NODE_TIMEOUT, Cause.ELECTION, Cause.EPOCH_COLLISION, Cause.CONFIGURATION, Cause.CLOCK, Cause.LINK}
)
"""What this node finds or decides itself."""


class Settings(Protocol):
    """The directives that are read here."""

    @property
    def cluster_log_max_len(self) -> int: ...


class Picture(Protocol):
    """What is read of the state. `Core` is one."""

    now_ms: int

    @property
    def config(self) -> Settings: ...
    @property
    def myself(self) -> Node: ...
    @property
    def current_epoch(self) -> int: ...
    @property
    def state_text(self) -> str: ...


@dataclass(slots=True)
class _Touched:
    """A node that an input changes: what it was before, and for each field its old value and who changed it last."""

    was_known: bool
    node_id: str
    origin: Origin
    address: str
    old: dict[str, object] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    reason: str = ""
    """Why it was removed."""


class History:
    """The ring of one node. `client` is the address of the client whose command is being carried out, "" for none."""

    def __init__(self, core: Picture, version: Version) -> None:
        self._core = core
        version.watcher = self
        self._ring: deque[Change] = deque()
        self._max_len = 0
        self.last_number = 0
        """The number of the newest change; 0 before the first."""
        self.client = ""
        self.listeners: list[Callable[[Change], None]] = []
        """Called with every change. They must hand the work on, and raise nothing."""
        self._order: str | None = None
        self._cause = Cause.CLOCK
        self._link: Link | None = None
        self._sender = ""
        self._kind = 0
        self._origin: Origin | None = None
        self._touched: dict[Node, _Touched] = {}
        self._own: dict[str, tuple[str, Origin]] = {}
        self._said: list[tuple[ChangeKind, str, str, str, Origin]] = []
        self._said_last: tuple[ChangeKind, str, str, str] | None = None

    # ------------------------------------------------------------ the origin of what happens now

    def begin(self, cause: Cause = Cause.ORDER) -> None:
        """An input is about to be applied, and the one before it is over. Without a cause it is an order."""
        if self._touched or self._own or self._said:
            self.settle()
        self._cause, self._link, self._origin = cause, None, None

    def begin_packet(self, link: Link, sender: str, kind: int) -> None:
        """The input is a packet. `sender` is "" in a light one."""
        self._cause = _CAUSES.get(kind, Cause.HEADER)
        self._link, self._sender, self._kind, self._origin = link, sender, kind, None

    def begin_part(self, cause: Cause) -> None:
        """From now on another part of the same input is applied."""
        self._cause, self._origin = cause, None

    @contextmanager
    def because(self, cause: Cause) -> Iterator[None]:
        """Inside, what changes has this cause and not that of the input."""
        before, self._cause, self._origin = self._cause, cause, None
        try:
            yield
        finally:
            self._cause, self._origin = before, None

    @contextmanager
    def order(self, words: str) -> Iterator[None]:
        """Inside, an order is carried out. One that is refused by an exception changes nothing and is not told."""
        before, self._order = self._order, words
        try:
            yield
            if self._max_len and before is None:
                origin = Origin(Cause.ORDER, self._orderer, detail=self.client)
                self._record(ChangeKind.ORDER, self._core.myself.node_id, "", words, origin)
        finally:
            self._order = before

    @property
    def _orderer(self) -> str:
        return "client" if self.client else "program"

    def _present_origin(self) -> Origin:
        origin = self._origin
        if origin is None:
            origin = self._origin = self._make_origin()
        return origin

    def _make_origin(self) -> Origin:
        cause, link = self._cause, self._link
        packet, direction = "", ""
        if link is not None:
            packet, direction = c.message_name(self._kind).upper(), "from" if link.inbound else "to"
        if cause in _OWN:
            return Origin(cause, self._core.myself.node_id, packet, direction)
        if link is not None:
            sender = self._sender or (link.node.node_id if link.node is not None else "")
            return Origin(cause, sender, packet, direction)
        if cause is Cause.ORDER:
            return Origin(cause, self._orderer, detail=self._order or "")
        return Origin(cause, self._core.myself.node_id)

    # ------------------------------------------------------------ what changes

    def note(self, node: Node, name: str, value: object) -> None:
        """A watched field of a node in the table is about to get another value."""
        if not self._max_len:
            return
        old = getattr(node, name)
        if name == "flags" and not (old ^ value) & _FLAGS_TOLD:
            return
        touched = self._touch(node)
        if name not in touched.old:
            touched.old[name] = old.node_id if isinstance(old, Node) else old
        touched.origins[name] = self._present_origin()

    def note_table(self, node: Node) -> None:
        """A node is about to be added to the table, or to be removed from it."""
        if self._max_len:
            self._touch(node).origin = self._present_origin()

    def note_reason(self, node: Node, reason: str) -> None:
        """A node is about to be removed for this reason."""
        if self._max_len:
            self._touch(node).reason = reason

    def note_own(self, name: str, old: str) -> None:
        """The current epoch or the cluster's state, which was `old`, is about to be set."""
        if self._max_len:
            first = self._own[name][0] if name in self._own else old
            self._own[name] = first, self._present_origin()

    def note_event(self, event: Event) -> None:
        """Tells of an election of this node, which has events and no field."""
        kind = _ELECTIONS.get(type(event))
        if kind is not None and isinstance(event, ElectionStarted | ElectionWon | ElectionLost):
            with self.because(Cause.ELECTION):
                detail = event.reason if isinstance(event, ElectionLost) else ""
                self.say(kind, event.node_id, str(event.epoch), detail)

    def say(self, kind: ChangeKind, node_id: str, new: str, detail: str = "") -> None:
        """Tells of what no field shows: a vote. What is said twice in a row is told once, as often as a peer asks."""
        said = (kind, node_id, new, detail)
        if self._max_len and said != self._said_last:
            self._said_last = said
            self._said.append((*said, self._present_origin()))

    def _touch(self, node: Node) -> _Touched:
        touched = self._touched.get(node)
        if touched is None:
            is_known = _is_known(node)
            touched = _Touched(is_known, node.node_id, self._present_origin(), _address(node))
            self._touched[node] = touched
        return touched

    # ------------------------------------------------------------ what is told

    def settle(self) -> None:
        """Tells what the inputs so far have changed."""
        touched, self._touched = self._touched, {}
        own, self._own = self._own, {}
        said, self._said = self._said, []
        for node, before in touched.items():
            if not before.was_known and _is_known(node):
                address, role = _address(node), _role(node.flags)
                self._record(ChangeKind.JOINED, node.node_id, "", f"{address} {role}".strip(), before.origin)
        if "current_epoch" in own:
            old, origin = own["current_epoch"]
            self._tell(ChangeKind.CURRENT_EPOCH, self._core.myself.node_id, old, str(self._core.current_epoch), origin)
        for node, before in touched.items():
            if _is_known(node):
                self._tell_fields(node, before)
        self._tell_slots(touched)
        for node, before in touched.items():
            if before.was_known and not _is_known(node):
                is_forgotten = before.reason.startswith("forgotten")
                kind = ChangeKind.FORGOTTEN if is_forgotten else ChangeKind.LEFT
                detail = before.reason or before.origin.detail
                self._record(kind, before.node_id, before.address, "", before.origin, detail=detail)
        for kind, node_id, new, detail, origin in said:
            self._record(kind, node_id, "", new, origin, detail=detail)
        if "state" in own:
            old, origin = own["state"]
            self._tell(ChangeKind.STATE, self._core.myself.node_id, old, self._core.state_text, origin)

    def _tell_fields(self, node: Node, before: _Touched) -> None:
        old, origins, node_id = before.old, before.origins, node.node_id
        for name, kind in _PLAIN.items():
            if name in old:
                self._tell(kind, node_id, str(old[name]), str(getattr(node, name)), origins[name])
        if "replicaof" in old:
            primary = node.replicaof.node_id if node.replicaof is not None else ""
            self._tell(ChangeKind.PRIMARY, node_id, str(old["replicaof"] or ""), primary, origins["replicaof"])
        if "flags" in old:
            self._tell_flags(node, old["flags"], origins["flags"], was_known=before.was_known)
        if not before.was_known:
            return
        if "node_id" in old:
            self._tell(ChangeKind.RENAMED, node_id, str(old["node_id"]), node_id, origins["node_id"])
        if "shard_id" in old:
            told = "" if old.get("sends_shard_id", True) is False else str(old["shard_id"])
            self._tell(ChangeKind.SHARD, node_id, told, node.shard_id, origins["shard_id"])
        if origin := _last(origins, _ADDRESS):
            self._tell(ChangeKind.ADDRESS, node_id, before.address, _address(node), origin)
        if origin := _last(origins, _CLIENT_ADDRESS):
            values = [[old.get(name, getattr(node, name)), getattr(node, name)] for name in _CLIENT_ADDRESS]
            earlier, later = (" ".join(str(pair[at]) for pair in values if pair[at]) for at in (0, 1))
            self._tell(ChangeKind.CLIENT_ADDRESS, node_id, earlier, later, origin)

    def _tell_flags(self, node: Node, old: object, origin: Origin, *, was_known: bool) -> None:
        assert isinstance(old, int)
        if was_known:
            self._tell(ChangeKind.ROLE, node.node_id, _role(old), _role(node.flags), origin)
        before, after = _failure(old), _failure(node.flags)
        if before == after:
            return
        if origin.cause is Cause.ANSWER:
            origin = Origin(Cause.ANSWER, node.node_id, origin.packet, origin.link)
        reporters = [reporter.node_id for reporter in islice(node.fail_reports, REPORTERS_NAMED_MAX)]
        detail = origin.detail
        if after != "ok" and reporters:
            more = len(node.fail_reports) - len(reporters)
            detail = f"reported by {' '.join(reporters)}{f' and {more} more' if more else ''}"
        self._record(ChangeKind.FAILURE, node.node_id, before, after, origin, detail=detail)

    def _tell_slots(self, touched: dict[Node, _Touched]) -> None:
        """Pairs what some owners have lost with what others have gained."""
        gains: list[tuple[str, int, Origin]] = []
        losses: list[tuple[str, int, Origin]] = []
        for node, before in touched.items():
            old_slots = before.old.get("slots")
            if isinstance(old_slots, bytes) and old_slots != node.slots:
                old, new = bits_from_wire(old_slots), node.slot_bits
                if gained := new & ~old:
                    gains.append((node.node_id, gained, before.origins["slots"]))
                if lost := old & ~new:
                    losses.append((before.node_id, lost, before.origins["slots"]))
        for node_id, gained, origin in gains:
            for number, (owner, lost, lost_by) in enumerate(losses):
                if both := gained & lost:
                    self._record_slots(node_id, owner, node_id, both, origin)
                    gained &= ~both
                    losses[number] = owner, lost & ~both, lost_by
            if gained:
                self._record_slots(node_id, "", node_id, gained, origin)
        for owner, lost, origin in losses:
            if lost:
                self._record_slots(owner, owner, "", lost, origin)

    def _record_slots(self, node_id: str, old: str, new: str, bits: int, origin: Origin) -> None:
        ranges = ranges_of(bits)
        for first in range(0, len(ranges), SLOT_RANGES_MAX):
            piece = ranges[first : first + SLOT_RANGES_MAX]
            self._record(ChangeKind.SLOTS, node_id, old, new, origin, slots=piece)

    def _tell(self, kind: ChangeKind, node_id: str, old: str, new: str, origin: Origin) -> None:
        if old != new:
            self._record(kind, node_id, old, new, origin)

    def _record(
        self,
        kind: ChangeKind,
        node_id: str,
        old: str,
        new: str,
        origin: Origin,
        *,
        slots: tuple[tuple[int, int], ...] = (),
        detail: str | None = None,
    ) -> None:
        self.last_number += 1
        change = Change(
            self.last_number,
            self._core.now_ms,
            kind,
            node_id,
            bounded(old),
            bounded(new),
            origin.cause,
            origin.source,
            origin.packet,
            origin.link,
            slots,
            bounded(origin.detail if detail is None else detail),
        )
        self._ring.append(change)
        if len(self._ring) > self._max_len:
            self._ring.popleft()
        for listener in self.listeners:
            listener(change)

    # ------------------------------------------------------------ the ring

    def __len__(self) -> int:
        return len(self._ring)

    def newer_than(self, number: int) -> list[Change]:
        """The changes with a greater number that are still kept, the oldest first."""
        return self.newest(number)[::-1]

    def newest(self, number: int = 0, count: int | None = None) -> list[Change]:
        """The same, the newest first, and at most `count`."""
        there = max(0, min(len(self._ring), self.last_number - number))
        return list(islice(reversed(self._ring), there if count is None else min(count, there)))

    def clear(self) -> None:
        """Empties the ring. Numbers go on."""
        self._ring.clear()

    def follow_config(self) -> None:
        """Keeps as many changes as `cluster-log-max-len` says; with 0 nothing is watched."""
        self._max_len = self._core.config.cluster_log_max_len
        while len(self._ring) > self._max_len:
            self._ring.popleft()
        if not self._max_len:
            self._touched.clear()
            self._own.clear()
            self._said.clear()


_ELECTIONS: Final = {
    ElectionStarted: ChangeKind.ELECTION_ASKED,
    ElectionWon: ChangeKind.ELECTION_WON,
    ElectionLost: ChangeKind.ELECTION_LOST,
}


def _is_known(node: Node) -> bool:
    return node.version is not None and not node.in_handshake


def _address(node: Node) -> str:
    return f"{node.ip}:{node.port or node.tls_port}@{node.cport}" if node.ip or node.cport else ""


def _role(flags: int) -> str:
    return "primary" if flags & c.FLAG_PRIMARY else "replica" if flags & c.FLAG_REPLICA else ""


def _failure(flags: int) -> str:
    return "fail" if flags & c.FLAG_FAIL else "pfail" if flags & c.FLAG_PFAIL else "ok"


def _last(origins: dict[str, Origin], names: tuple[str, ...]) -> Origin | None:
    """The origin of the last of some fields that was set."""
    return next((origins[name] for name in reversed(names) if name in origins), None)
