"""A cluster in memory: several `ClusterState`s, their effects carried out over a simulated network.

Owns virtual time, links with one-millisecond delay, and the ways to break them (kill, cut, filter). Every
message is encoded and parsed, so the real wire is between the nodes. Deterministic for a seed: no clock, no
sleep, no socket.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

from clusterbus.cluster.effects import Broadcast, CloseLink, Dial, Effect, Log, Notify, Save, Send
from clusterbus.cluster.events import Event
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.operator.persist import parse
from clusterbus.cluster.state import ClusterState
from clusterbus.wire import Message, encode
from clusterbus.wire import parse as parse_packets

TICK_MS = 100
DELAY_MS = 1
START_MS = 1_700_000_000_000
FIRST_PORT = 7000
EFFECT_ROUNDS_MAX = 100


@dataclass
class FakeConfig:
    """The directives the cluster layer reads."""

    port: int = 6379
    tls_port: int = 0
    tls_cluster: bool = False
    cluster_port: int = 0
    cluster_node_timeout: int = 2000
    cluster_announce_ip: str = ""
    cluster_announce_port: int = 0
    cluster_announce_tls_port: int = 0
    cluster_announce_bus_port: int = 0
    cluster_announce_hostname: str = ""
    cluster_announce_human_nodename: str = ""
    cluster_announce_client_ipv4: str = ""
    cluster_announce_client_ipv6: str = ""
    availability_zone: str = ""
    cluster_require_full_coverage: bool = True
    cluster_replica_no_failover: bool = False
    cluster_replica_validity_factor: int = 10
    cluster_allow_replica_migration: bool = True
    cluster_migration_barrier: int = 1
    cluster_manual_failover_timeout: int = 5000


@dataclass
class Wire:
    """One end of a connection."""

    link: int
    owner: Member
    other: Wire | None = None
    last_read_ms: int | None = None
    open: bool = True
    outbound_to: str | None = None


@dataclass(eq=False)
class Member:
    """One node of the simulated cluster."""

    name: str
    ip: str
    config: FakeConfig
    state: ClusterState
    alive: bool = True
    hears: bool = True
    wires: dict[int, Wire] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    saves: list[Save] = field(default_factory=list)
    saved_text: str = ""
    sent: list[tuple[str, Message]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.state.myself.node_id

    def node(self, other: Member) -> Node:
        """What this member knows of another."""
        found = self.state.find(other.id)
        assert found is not None, f"{self.name} does not know {other.name}"
        return found

    def knows(self, other: Member) -> bool:
        return self.state.find(other.id) is not None

    def events_of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


class Network:
    """Members and the connections between them; `run` moves virtual time."""

    def __init__(self, seed: int = 1) -> None:
        self.random = Random(seed)
        self.now_ms = START_MS
        self.members: list[Member] = []
        self.cut: set[frozenset[str]] = set()
        self.drop: Callable[[Member, Member, Message], bool] = lambda _from, _to, _message: False
        self._links = count(1)
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    # ------------------------------------------------------------ members

    def add(self, name: str, *, node_id: str | None = None, saved: str | None = None, **directives: object) -> Member:
        """A new node on its own loopback address, or one restarted from the text of its nodes.conf."""
        number = len(self.members) + 1
        directives.setdefault("port", FIRST_PORT + number)
        config = FakeConfig(**directives)  # type: ignore[arg-type]
        member = Member(name, f"127.0.0.{number}", config, None)  # type: ignore[arg-type]
        self.start(member, node_id=node_id, saved=saved)
        self.members.append(member)
        return member

    def start(self, member: Member, *, node_id: str | None = None, saved: str | None = None) -> None:
        """Starts (again) the process of a member; its old connections are gone."""
        member.alive = True
        member.wires.clear()

        def read_age_ms(link: int) -> int | None:
            wire = member.wires.get(link)
            return None if wire is None or wire.last_read_ms is None else self.now_ms - wire.last_read_ms

        member.state = ClusterState(
            config=member.config,
            random=Random(self.random.getrandbits(64)),
            now_ms=self.now_ms,
            read_age_ms=read_age_ms,
            node_id=node_id,
            saved=parse(saved) if saved is not None else None,
        )

    def kill(self, member: Member) -> None:
        """The process is gone: its connections end, dials to it are refused."""
        member.alive = False
        for wire in list(member.wires.values()):
            self._end(wire, "process died", tell_self=False)

    def restart(self, member: Member, *, saved: str | None = None) -> None:
        self.start(member, saved=member.saved_text if saved is None else saved)

    def partition(self, *groups: Iterable[Member]) -> None:
        """Only members of the same group hear each other; connections stay open and silent."""
        self.cut.clear()
        sides = [{member.name for member in group} for group in groups]
        for one in self.members:
            for other in self.members:
                if one is not other and not any({one.name, other.name} <= side for side in sides):
                    self.cut.add(frozenset((one.name, other.name)))

    def heal(self) -> None:
        self.cut.clear()

    # ------------------------------------------------------------ time

    def run(self, duration_ms: int) -> None:
        """Moves time on; ticks and deliveries happen as they fall due."""
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            step_end_ms = min(end_ms, (self.now_ms // TICK_MS + 1) * TICK_MS)
            self._deliver_until(step_end_ms)
            self.now_ms = step_end_ms
            if self.now_ms % TICK_MS == 0:
                for member in self.members:
                    if member.alive:
                        member.state.tick(self.now_ms)
                        self.settle(member)

    def run_until(self, condition: Callable[[], bool], limit_ms: int = 60_000) -> int:
        """Moves time on until the condition holds; how long it took. Fails when the limit is over."""
        begun_ms = self.now_ms
        while not condition():
            assert self.now_ms - begun_ms < limit_ms, f"not within {limit_ms} ms"
            self.run(TICK_MS)
        return self.now_ms - begun_ms

    def _deliver_until(self, end_ms: int) -> None:
        while self._queue and self._queue[0][0] <= end_ms:
            due_ms, _, action = heapq.heappop(self._queue)
            self.now_ms = max(self.now_ms, due_ms)
            action()

    def _later(self, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_ms + DELAY_MS, next(self._order), action))

    # ------------------------------------------------------------ effects

    def settle(self, member: Member) -> list[Effect]:
        """Carries out what a member's state asks for; returns it."""
        done: list[Effect] = []
        for _ in range(EFFECT_ROUNDS_MAX):
            effects = member.state.poll_effects()
            if not effects:
                return done
            done += effects
            for effect in effects:
                self._carry_out(member, effect)
        raise AssertionError(f"{member.name} never comes to an end of its effects")

    def _carry_out(self, member: Member, effect: Effect) -> None:
        match effect:
            case Send(link, message):
                self._send(member, link, message)
            case Broadcast(links, message):
                for link in links:
                    self._send(member, link, message)
            case Dial(node_id, ip, cport):
                self._later(lambda: self._dial(member, node_id, ip, cport))
            case CloseLink(link, reason):
                wire = member.wires.get(link)
                if wire is not None:
                    self._end(wire, reason, tell_self=False)
            case Save():
                member.saves.append(effect)
                member.saved_text = member.state.nodes_conf_text()
            case Log():
                member.logs.append(effect)
            case Notify(event):
                member.events.append(event)

    def _send(self, member: Member, link: int, message: Message) -> None:
        wire = member.wires.get(link)
        if wire is None or wire.other is None:
            return
        receiver = wire.other
        member.sent.append((receiver.owner.name, message))
        if self._is_cut(member, receiver.owner) or self.drop(member, receiver.owner, message):
            return
        data = encode(message)
        self._later(lambda: self.deliver(receiver, data))

    def deliver(self, wire: Wire, data: bytes) -> None:
        """Bytes arrive at one end of a connection."""
        member = wire.owner
        if not wire.open or not member.alive or not member.hears:
            return
        wire.last_read_ms = self.now_ms
        for packet in parse_packets(data):
            member.state.handle_packet(wire.link, packet, self.now_ms)
            self.settle(member)

    def _dial(self, member: Member, node_id: str, ip: str, cport: int) -> None:
        if not member.alive:
            return
        target = self.at(ip, cport)
        if target is None or not target.alive:
            member.state.handle_dial_failed(node_id, "Connection refused", self.now_ms)
            self.settle(member)
            return
        if self._is_cut(member, target):
            self._later(lambda: self._dial_timed_out(member, node_id))
            return
        near, far = Wire(next(self._links), member), Wire(next(self._links), target)
        near.other, far.other = far, near
        near.outbound_to = node_id
        member.wires[near.link], target.wires[far.link] = near, far
        target.state.handle_link_accepted(far.link, member.ip, target.ip, self.now_ms)
        self.settle(target)
        member.state.handle_link_opened(node_id, near.link, member.ip, self.now_ms)
        self.settle(member)

    def _dial_timed_out(self, member: Member, node_id: str) -> None:
        if member.alive:
            member.state.handle_dial_failed(node_id, "timed out", self.now_ms)
            self.settle(member)

    def _end(self, wire: Wire, reason: str, *, tell_self: bool) -> None:
        if not wire.open:
            return
        wire.open = False
        wire.owner.wires.pop(wire.link, None)
        if tell_self and wire.owner.alive:
            wire.owner.state.handle_link_closed(wire.link, reason, self.now_ms)
            self.settle(wire.owner)
        other = wire.other
        if other is not None and not self._is_cut(wire.owner, other.owner):
            self._later(lambda: self._end(other, "eof", tell_self=True))

    def at(self, ip: str, cport: int) -> Member | None:
        """Who listens there."""
        for member in self.members:
            if member.ip == ip and member.state.myself.cport == cport:
                return member
        return None

    def _is_cut(self, one: Member, other: Member) -> bool:
        return frozenset((one.name, other.name)) in self.cut

    # ------------------------------------------------------------ orders

    def meet(self, member: Member, other: Member) -> None:
        member.state.meet(other.ip, other.config.port, other.state.myself.cport, self.now_ms)
        self.settle(member)

    def forget(self, member: Member, other: Member) -> None:
        member.state.forget(other.id, self.now_ms)
        self.settle(member)

    def add_slots(self, member: Member, slots: Iterable[int]) -> None:
        member.state.add_slots(slots, self.now_ms)
        self.settle(member)

    def close_links(self, one: Member, other: Member) -> None:
        """Ends every connection between two members, both told."""
        for wire in list(one.wires.values()):
            if wire.other is not None and wire.other.owner is other:
                self._end(wire, "cut", tell_self=True)


def pairs(members: Iterable[Member]) -> Iterator[tuple[Member, Member]]:
    members = list(members)
    return ((one, other) for one in members for other in members if one is not other)


def all_connected(members: Iterable[Member]) -> bool:
    """Everybody knows everybody, both links up, nobody suspected, nothing else in the tables."""
    members = list(members)
    return all(
        one.knows(other)
        and one.node(other).link is not None
        and one.node(other).inbound_link is not None
        and one.node(other).pong_received_ms
        and not one.node(other).flags & 0x0C
        for one, other in pairs(members)
    ) and all(len(list(member.state.nodes)) == len(members) for member in members)


def joined(network: Network, size: int, *, owners: int = 0, **directives: object) -> list[Member]:
    """A cluster of `size` nodes that have met; the first `owners` of them share the slots."""
    members = [network.add(f"n{number}", **directives) for number in range(size)]  # type: ignore[arg-type]
    for number in range(owners):
        first, last = 16384 * number // owners, 16384 * (number + 1) // owners
        network.add_slots(members[number], range(first, last))
    for other in members[1:]:
        network.meet(members[0], other)
    network.run_until(lambda: all_connected(members), 20_000)
    return members
