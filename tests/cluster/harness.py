"""A simulated cluster for the scenario tests of the protocol layer: members by name, what they know, report and send.

Owns a `Simulation`, and nothing that carries out effects: the tests run the driver that ships (R42). Deterministic for
a seed: no clock, no sleep, no socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

from clusterbus.cluster.events import Event
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.sim import Simulation
from clusterbus.sim.host import Host
from clusterbus.sim.timeline import WALL_START_MS
from clusterbus.wire import Packet

NODE_TIMEOUT_MS = 2_000


class Member:
    """One member of the cluster, running or not, with its events and messages."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.events: list[Event] = []
        self.sent: list[tuple[str, Packet]] = []
        """(name of the receiver, message) of every message handed to the engine."""

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def index(self) -> int:
        return self.host.index

    @property
    def ip(self) -> str:
        return self.host.ip

    @property
    def config(self) -> Config:
        return self.host.config

    @property
    def state(self) -> ClusterState:
        return self.host.state

    @property
    def id(self) -> str:
        return self.host.node_id

    @property
    def saved_text(self) -> str:
        """nodes.conf as it is on disk."""
        return self.host.disk.text or ""

    def node(self, other: Member) -> Node:
        """What this member knows of another one."""
        found = self.state.find(other.id)
        assert found is not None, f"{self.name} does not know {other.name}"
        return found

    def knows(self, other: Member) -> bool:
        return self.state.find(other.id) is not None

    def events_of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


class Network:
    """`nodes` members that have not met. `run` and `run_until` let time pass."""

    def __init__(self, seed: int = 1, nodes: int = 2, **directives: Any) -> None:
        self.simulation = Simulation(seed, nodes, node_timeout_ms=NODE_TIMEOUT_MS, directives=directives)
        self.members = [Member(host) for host in self.simulation.members]
        self.simulation.on_event(lambda index, event, _now_ms: self.members[index].events.append(event))
        self.simulation.on_message(self._note_sent)

    def _note_sent(self, sender: int, receivers: Sequence[int], packet: Packet) -> None:
        self.members[sender].sent += [(self.members[receiver].name, packet) for receiver in receivers]

    @property
    def now_ms(self) -> int:
        """The time on every member's clock; all clocks are right."""
        return WALL_START_MS + int(self.simulation.now_ms)

    # ------------------------------------------------------------ time

    def run(self, duration_ms: int) -> None:
        self.simulation.run_for(duration_ms)

    def run_until(self, condition: Callable[[], bool], limit_ms: int = 60_000) -> float:
        """Lets time pass until the condition holds, and returns how long that took, in ms. Fails after the limit."""
        begun_ms = self.simulation.now_ms
        assert self.simulation.run_until(condition, limit_ms=limit_ms), f"not within {limit_ms} ms"
        return self.simulation.now_ms - begun_ms

    # ------------------------------------------------------------ faults

    def kill(self, member: Member) -> None:
        self.simulation.crash(member.index)

    def restart(self, member: Member, *, ip: str | None = None) -> None:
        self.simulation.restart(member.index, ip=ip)

    def hang(self, member: Member) -> None:
        """The main loop stops and its sockets stay open, as with DEBUG SLEEP."""
        self.simulation.hang(member.index)

    def resume(self, member: Member) -> None:
        self.simulation.resume(member.index)

    def partition(self, *groups: Iterable[Member]) -> None:
        """Nothing passes between members of different groups. Their connections stay open and silent."""
        for one, other in combinations([[member.index for member in group] for group in groups], 2):
            self.simulation.partition(one, other)

    def heal(self) -> None:
        self.simulation.heal()

    def drop(self, predicate: Callable[[Member, Member, Packet], bool] | None) -> None:
        """From now on, packets for which `predicate(sender, receiver, packet)` is true are read and thrown away."""
        members = self.members
        self.simulation.drop_packets(
            None
            if predicate is None
            else lambda sender, receiver, packet: predicate(members[sender], members[receiver], packet)
        )

    def close_links(self, one: Member, other: Member) -> None:
        """Ends every connection between two members. Both notice."""
        self.simulation.break_links(one.index, other.index)

    # ------------------------------------------------------------ orders

    def operate(self, member: Member, order: Callable[[ClusterState, int], Any]) -> Any:
        """Gives a member an order, `order(state, now_ms)`, and carries out its effects."""
        return self.simulation.operate(member.index, order)

    def meet(self, member: Member, other: Member) -> None:
        self.simulation.meet(member.index, other.index)

    def forget(self, member: Member, other: Member) -> None:
        self.operate(member, lambda state, now_ms: state.forget(other.id, now_ms))

    def add_slots(self, member: Member, slots: Iterable[int]) -> None:
        self.operate(member, lambda state, now_ms: state.add_slots(slots, now_ms))

    def publish(self, member: Member, channel: bytes, message: bytes) -> None:
        self.operate(member, lambda state, now_ms: state.publish(channel, message, now_ms))


def pairs(members: Iterable[Member]) -> Iterator[tuple[Member, Member]]:
    members = list(members)
    return ((one, other) for one in members for other in members if one is not other)


def all_connected(members: Iterable[Member]) -> bool:
    """Whether all members know each other and no other node, have both links up, and suspect none."""
    members = list(members)
    return all(
        one.knows(other)
        and one.node(other).link is not None
        and one.node(other).inbound_link is not None
        and one.node(other).pong_received_ms
        and not one.node(other).flags & 0x0C
        for one, other in pairs(members)
    ) and all(len(list(member.state.nodes)) == len(members) for member in members)


def joined(seed: int = 1, size: int = 3, *, owners: int = 0, **directives: Any) -> tuple[Network, list[Member]]:
    """A cluster of `size` members that have met. The first `owners` of them share the slots."""
    network = Network(seed, size, **directives)
    members = network.members
    for number in range(owners):
        first, last = 16384 * number // owners, 16384 * (number + 1) // owners
        network.add_slots(members[number], range(first, last))
    for other in members[1:]:
        network.meet(members[0], other)
    network.run_until(lambda: all_connected(members), 20_000)
    return network, members
