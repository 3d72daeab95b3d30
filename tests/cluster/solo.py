"""One `ClusterState` whose peers are puppets: a test decides what they send, and reads what the state sends.

Owns the puppets' addresses, links and packets. Every packet is encoded and parsed. Time stands still until a test moves
it. No clock, no socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, TypeVar

from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import (
    Broadcast,
    CloseLink,
    Dial,
    Effect,
    Log,
    Notify,
    Refuse,
    Save,
    Send,
    SendHeartbeat,
)
from clusterbus.cluster.events import Event
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.records import NodesConf
from clusterbus.cluster.model.slots import bits_of, bits_to_wire
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.wire import (
    Extension,
    Fail,
    GossipEntry,
    Header,
    Heartbeat,
    Message,
    Update,
    encode,
    parse,
)

MYSELF_ID = "5" * 40
SHARD = "e" * 40
ABILITIES = c.FLAG_EXTENSIONS | c.FLAG_LIGHT_PUBLISH | c.FLAG_LIGHT_MODULE
Kind = TypeVar("Kind")
KindOfEvent = TypeVar("KindOfEvent", bound=Event)


def node_id(letter: str) -> str:
    """A node id made of one letter."""
    return letter * 40


@dataclass
class Puppet:
    """A peer that the state knows. `dialled` is the link that the state dialled, `inbound` the puppet's dial."""

    node_id: str
    ip: str
    port: int
    dialled: int
    inbound: int
    config_epoch: int = 0
    slots: frozenset[int] = frozenset()
    flags: int = c.FLAG_PRIMARY | ABILITIES
    replicaof: str | None = None

    @property
    def cport(self) -> int:
        return self.port + c.BUS_PORT_OFFSET


START_MS = 1_700_000_000_000
DEFAULTS: dict[str, Any] = {"cluster_node_timeout": 2_000, "cluster_replica_no_failover": "no"}
"""Without a data plane there is no data, and with the default value no replica would be elected."""


class Solo:
    """A state and its puppets."""

    def __init__(
        self,
        *,
        seed: int = 7,
        saved: NodesConf | None = None,
        state_class: type[ClusterState] = ClusterState,
        **directives: Any,
    ) -> None:
        self.now_ms = START_MS
        self.config = Config.from_keywords(**(DEFAULTS | directives))
        self.last_read_ms: dict[int, int] = {}
        self.state = state_class(
            config=self.config,
            random=Random(seed),
            now_ms=self.now_ms,
            read_age_ms=self._read_age_ms,
            node_id=MYSELF_ID if saved is None else None,
            saved=saved,
        )
        self.effects: list[Effect] = []
        self.encodes = True
        """Whether heartbeats appear as messages; if not, they appear as the state's effects."""
        self._links = count(100)
        self._ports = count(7001)

    def _read_age_ms(self, link: int) -> int | None:
        last_ms = self.last_read_ms.get(link)
        return None if last_ms is None else self.now_ms - last_ms

    # ------------------------------------------------------------ inputs

    def poll(self) -> list[Effect]:
        """The effects of the inputs since the last call. They are also kept in `effects`."""
        effects = self.state.poll_effects()
        assert not self.state.poll_effects(), "settled by one call"
        self.effects = self._as_carried_out(effects) if self.encodes else effects
        return self.effects

    def _as_carried_out(self, effects: list[Effect]) -> list[Effect]:
        """Turns heartbeats into messages, after all other effects of the input, as a driver without a view does."""
        carried_out: list[Effect] = [effect for effect in effects if not isinstance(effect, SendHeartbeat)]
        for effect in self.of(SendHeartbeat, effects):
            if (message := self.state.heartbeat(effect.link, effect.kind)) is not None:
                carried_out.append(Send(effect.link, message))
        return carried_out

    def tick(self, after_ms: int = 100) -> list[Effect]:
        """Moves time on and ticks once."""
        self.now_ms += after_ms
        self.state.tick(self.now_ms)
        return self.poll()

    def ticks(self, duration_ms: int) -> list[Effect]:
        """Ticks every 100 ms, for this duration."""
        effects: list[Effect] = []
        for _ in range(duration_ms // 100):
            effects += self.tick()
        self.effects = effects
        return effects

    def accept(self, ip: str = "10.9.9.9", local_ip: str = "10.0.0.5") -> int:
        """An inbound link of an unknown peer."""
        link = next(self._links)
        self.state.handle_link_accepted(link, ip, local_ip, self.now_ms)
        self.poll()
        return link

    def receive(self, link: int, message: Message | bytes) -> list[Effect]:
        """A packet arrives on a link."""
        data = message if isinstance(message, bytes) else encode(message)
        self.last_read_ms[link] = self.now_ms
        for packet in parse(data):
            self.state.handle_packet(link, packet, self.now_ms)
        return self.poll()

    def tick_until(self, condition: Callable[[], bool], limit_ms: int = 60_000) -> list[Effect]:
        """Ticks until the condition holds, and returns the effects of all these ticks. Fails after the limit."""
        effects: list[Effect] = []
        end_ms = self.now_ms + limit_ms
        while not condition():
            assert self.now_ms < end_ms, f"not within {limit_ms} ms"
            effects += self.tick()
        return effects

    def open(self, dial: Dial, local_ip: str = "10.0.0.5") -> int:
        """A dial succeeds."""
        link = next(self._links)
        self.state.handle_link_opened(dial.node_id, link, local_ip, self.now_ms)
        self.poll()
        return link

    # ------------------------------------------------------------ puppets

    def header(self, puppet: Puppet, **changes: Any) -> Header:
        fields: dict[str, Any] = {
            "sender": puppet.node_id,
            "port": puppet.port,
            "cport": puppet.cport,
            "config_epoch": puppet.config_epoch,
            "current_epoch": max(puppet.config_epoch, self.state.current_epoch),
            "myslots": bits_to_wire(bits_of(puppet.slots)),
            "replicaof": puppet.replicaof,
            "flags": puppet.flags,
            "mflags": c.MFLAG_EXTENSIONS,
        }
        return Header(**(fields | changes))

    def heartbeat(
        self,
        puppet: Puppet,
        kind: int = c.PING,
        gossip: Sequence[GossipEntry] = (),
        extensions: Sequence[Extension] | None = None,
        **changes: Any,
    ) -> Heartbeat:
        if extensions is None:
            extensions = [Extension.shard_id_of(puppet.node_id[::-1])]
        return Heartbeat(kind, self.header(puppet, **changes), list(gossip), list(extensions))

    def says(self, puppet: Puppet, kind: int = c.PING, **parts: Any) -> list[Effect]:
        """The puppet sends a heartbeat: a PONG on the link that we dialled, others on its own."""
        link = puppet.dialled if kind == c.PONG else puppet.inbound
        return self.receive(link, self.heartbeat(puppet, kind, **parts))

    def gossips(self, puppet: Puppet, *entries: GossipEntry) -> list[Effect]:
        return self.says(puppet, gossip=entries)

    def fails(self, puppet: Puppet, about: str) -> list[Effect]:
        return self.receive(puppet.inbound, Fail(self.header(puppet, mflags=0), about))

    def updates(self, puppet: Puppet, about: str, epoch: int, slots: Iterable[int]) -> list[Effect]:
        message = Update(self.header(puppet, mflags=0), epoch, about, bits_to_wire(bits_of(slots)))
        return self.receive(puppet.inbound, message)

    def puppet(self, letter: str, *, slots: Iterable[int] = (), config_epoch: int | None = None) -> Puppet:
        """A new peer, past its handshake, with both links up and just heard from."""
        if config_epoch is None:
            config_epoch = ord(letter)
        port = next(self._ports)
        ip = f"10.0.1.{port - 7000}"
        self.state.meet(ip, port, None, self.now_ms)
        dial = self.only(Dial, [effect for effect in self.tick() if isinstance(effect, Dial) and effect.ip == ip])
        link = self.open(dial)
        puppet = Puppet(node_id(letter), ip, port, link, 0, config_epoch=config_epoch, slots=frozenset(slots))
        self.says(puppet, c.PONG)
        puppet.inbound = self.accept(ip)
        self.says(puppet)
        self.effects = []
        return puppet

    def node(self, puppet: Puppet | str) -> Node:
        """What the state knows of a puppet."""
        found = self.state.find(puppet if isinstance(puppet, str) else puppet.node_id)
        assert found is not None
        return found

    def knows(self, puppet: Puppet | str) -> bool:
        return self.state.find(puppet if isinstance(puppet, str) else puppet.node_id) is not None

    # ------------------------------------------------------------ outputs

    def of(self, kind: type[Kind], effects: list[Effect] | None = None) -> list[Kind]:
        """The effects of one kind, by default those of the last input."""
        return [effect for effect in (self.effects if effects is None else effects) if isinstance(effect, kind)]

    def only(self, kind: type[Kind], effects: list[Effect] | None = None) -> Kind:
        (effect,) = self.of(kind, effects)
        return effect

    def events(self, kind: type[KindOfEvent]) -> list[KindOfEvent]:
        return [notify.event for notify in self.of(Notify) if isinstance(notify.event, kind)]

    def sent(self, link: int, kind: int | None = None) -> list[Message]:
        """The messages that the last input caused on a link."""
        return [
            send.message for send in self.of(Send) if send.link == link and (kind is None or send.message.type == kind)
        ]

    def broadcasts(self) -> list[Broadcast]:
        return self.of(Broadcast)

    def closed(self) -> list[int]:
        """The links that the last input closed."""
        return [close.link for close in self.of(CloseLink)]

    def warnings(self) -> list[str]:
        return [log.text for log in self.of(Log) if log.level == "warning"] + [
            refused.text for refused in self.of(Refuse)
        ]

    def saves(self) -> list[Save]:
        return self.of(Save)

    def counter(self, name: str) -> int:
        return self.state.counters[name]

    def is_alive(self) -> bool:
        """Whether the state still answers a good peer: the PING of a stranger gets its PONG."""
        link = self.accept("10.8.8.8")
        stranger = Puppet(node_id("0"), "10.8.8.8", 7999, 0, link)
        self.says(stranger)
        return len(self.sent(link, c.PONG)) == 1


def entry(about: Puppet | str, *, flags: int = c.FLAG_PRIMARY, pong_received_s: int = 0, **changes: Any) -> GossipEntry:
    """A gossip entry about a puppet, or about an id that no test has introduced."""
    where: dict[str, Any]
    if isinstance(about, Puppet):
        where = {"node_id": about.node_id, "ip": about.ip, "port": about.port, "cport": about.cport}
    else:
        where = {"node_id": about, "ip": "10.0.2.2", "port": 7200, "cport": 17200}
    fields = where | {"flags": flags, "pong_received_s": pong_received_s} | changes
    return GossipEntry(**fields)
