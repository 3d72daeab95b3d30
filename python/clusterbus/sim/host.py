"""One simulated host: a disk and a clock, and the processes that run on it one after another.

Owns the life of a process: start, crash between any two acts that the world can see, hang, loss of power. The process
itself is a `Member`, the same as in the real world, over the ports of `engine` and `disk` (R42). One thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeVar

from clusterbus.cluster.events import Event
from clusterbus.cluster.operator import persist
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.errors import ClusterBusError, ConfigError, StateError
from clusterbus.member.driver import TICK_PERIOD_MS
from clusterbus.member.member import Member
from clusterbus.sim.checks import Checker
from clusterbus.sim.data import Shelf, SimData
from clusterbus.sim.disk import Disk, SavedEpochs, epochs_in
from clusterbus.sim.engine import SimEngine
from clusterbus.sim.network import Dial, End, Network
from clusterbus.sim.older import OlderConfig
from clusterbus.sim.timeline import US_PER_MS, NodeClock, Timeline
from clusterbus.sim.trace import Trace
from clusterbus.wire import Packet

Result = TypeVar("Result")

BUSY_SHARE: Final = 0.25
"""How often the main loop is busy when its engine wakes it. What happens until it is free comes in one step."""
BUSY_MAX_US: Final = 20_000
AWAY_SHARE: Final = 0.5
"""How often the main loop is away then, if it is kept away (`Host.away_max_us`)."""


@dataclass(slots=True)
class PlannedCrash:
    """A crash to come: after this many more acts the process is killed, or its host loses power."""

    acts_left: int
    power: bool


class ProcessDied(BaseException):
    """Unwinds a process that dies in the middle of its work. Not an Exception, so that the driver cannot survive it."""


class World:
    """What all hosts of one simulation share."""

    def __init__(self, seed: int, timeline: Timeline, *, trace: Trace | None) -> None:
        self.seed = seed
        self.timeline = timeline
        self.trace = trace
        self.stats: Counter[str] = Counter()
        self.hosts: list[Host] = []
        self.shelf = Shelf(timeline, self.hosts, self.random("data"), self._are_joined)
        self.checker = Checker(self.hosts, self.stats, self.shelf)
        self.addresses: dict[tuple[str, int], int] = {}
        self.listeners: list[Callable[[Host, Event], None]] = []
        self.message_listeners: list[Callable[[int, Sequence[int], Packet], None]] = []
        self.drops: Callable[[int, int, Packet], bool] | None = None
        self.network: Network

    def random(self, purpose: str) -> Random:
        """A random source for one purpose. Draws for one purpose never shift those for another."""
        return Random(f"{self.seed}/{purpose}")

    def _are_joined(self, one: int, other: int) -> bool:
        path = self.network.path(one, other)
        return not (path.blocked or path.back.blocked)


class Host:
    """A host of the simulated cluster, with or without a running process.

    `state` is for reading, and for the orders of `Simulation.operate`; it raises if no process runs. With `compares`
    False the engine has no view. With `keeps_data` there are keys, see `data`. `may_take_over`: an operator lets the
    member become primary without votes (CLUSTER FAILOVER TAKEOVER). `importing` is the bitmap of all slots that an
    operator ever ordered it to import: it may gain them.
    """

    def __init__(
        self,
        world: World,
        index: int,
        config: Config,
        ip: str,
        state_class: type[ClusterState],
        *,
        compares: bool = True,
        keeps_data: bool = False,
    ) -> None:
        self.world = world
        self.index = index
        self.name = f"n{index}"
        self.config = config
        self.ip = ip
        self.disk = Disk(world.timeline)
        self.is_hung = False
        self.away_max_us = 0
        """Unless 0, the main loop is now and then away for up to so long, without its ticks."""
        self._here_us = 0
        """When the main loop was here last."""
        self.boots = 0
        self.may_take_over = False
        self.importing = 0
        self.planned_crash: PlannedCrash | None = None
        self.damage: Callable[[Packet], Packet] | None = None
        """What becomes of the messages that leave here."""
        self._state_class = state_class
        self._compares = compares
        self._timeline = world.timeline
        self._checker = world.checker
        self._member: Member | None = None
        self._engine: SimEngine | None = None
        self._clock: NodeClock | None = None
        self._tick_is_due = False
        self._step_is_due = False
        self._tick_period_us = 0
        self._random = world.random(f"host {index}")
        self._node_id = ""
        self._power_fault: int | None = None
        self.data = SimData(self, world.shelf) if keeps_data else None

    # ------------------------------------------------------------ reading

    @property
    def is_up(self) -> bool:
        """Whether a process runs, even one that hangs."""
        return self._member is not None

    @property
    def member(self) -> Member:
        """The member that runs."""
        assert self._member is not None, f"{self.name} is down"
        return self._member

    @property
    def state(self) -> ClusterState:
        """The state of the member that runs."""
        return self.member.state

    @property
    def engine(self) -> SimEngine:
        """The engine of the member that runs."""
        assert self._engine is not None, f"{self.name} is down"
        return self._engine

    @property
    def clock(self) -> NodeClock:
        """The clock of the member that runs."""
        assert self._clock is not None, f"{self.name} is down"
        return self._clock

    @property
    def node_id(self) -> str:
        """The node id of the member that runs, or of the last one."""
        return self._node_id

    @property
    def cport(self) -> int:
        """The bus port."""
        return self.config.bus_port

    @property
    def is_older(self) -> bool:
        """Whether its member follows older rules."""
        return isinstance(self.config, OlderConfig)

    @property
    def is_empty(self) -> bool:
        """Whether there is no key here."""
        return self.data is None or not self.data.is_filled

    @property
    def was_empty(self) -> bool:
        """Whether there was no key here when the role last changed."""
        return self.data is None or not self.data.was_filled

    @property
    def owes_durable_save(self) -> bool:
        """Whether a durable save failed or is under way, and none succeeded since. What was announced meanwhile may be
        forgotten.
        """
        return self._member is not None and self._member.driver.saver.owes_durable

    @property
    def last_saved_ms(self) -> int:
        """When nodes.conf was written last, by the clock of the member that runs."""
        return self.member.driver.saver.status.last_saved_ms

    def is_connected(self, link: int) -> bool:
        """Whether a link of the state is a connection with two open ends, and neither is held up or mute."""
        end = self.engine.end_of(link)
        if end is None or end.is_mute or end.peer.is_mute:
            return False
        return end.peer.is_open and not end.is_stalled and not end.peer.is_stalled

    def held_slots(self, bits: int) -> int:
        """Those of some slots that the member holds at this moment, by its own clock."""
        return self.state.held_slots(bits, self.clock.now_ms())

    def now_text(self) -> str:
        return f"{self._timeline.now_us / 1000:.3f} ms"

    def epochs(self) -> SavedEpochs:
        """The current epoch and the last vote epoch, as the member would save them now."""
        return epochs_in(self.state.nodes_conf_text())

    # ------------------------------------------------------------ life

    def boot(self, *, offset_ms: int, drift_ppm: int) -> None:
        """Starts a process from the disk. One that cannot save its nodes.conf ends at once, as every node does."""
        if self._power_fault is not None:
            self.world.network.restore(self._power_fault)
            self._power_fault = None
        self.boots += 1
        self.is_hung = self._step_is_due = self._tick_is_due = False
        self._clock = NodeClock(self._timeline, offset_ms=offset_ms, drift_ppm=drift_ppm)
        self._tick_period_us = self._clock.true_us(TICK_PERIOD_MS)
        random = self.world.random(f"engine {self.index}.{self.boots}")
        self._engine = SimEngine(self, self.world.network, random, compares=self._compares)
        if self.data is not None:
            self.data.booted()
        text = self.disk.text
        self._member = Member(
            config=self.config,
            engine=self._engine,
            nodes_file=_NodesFile(self),
            clock=self._clock,
            log=self._log,
            random=self.world.random(f"process {self.index}.{self.boots}"),
            saved=persist.parse(text) if text is not None else None,
            data_plane=self.data,
            strict=True,
            state_class=self._state_class,
        )
        self._node_id = self._member.state.myself.node_id
        self.world.addresses[self.ip, self.cport] = self.index
        self._checker.booted(self)
        self._member.listen(self._on_event)
        try:
            self._member.driver.save()
        except ClusterBusError:
            self.world.stats["starts failed"] += 1
            self.kill()
            return
        self._run(self._member.driver.finish_step)
        phase_us = int(self._random.random() * self._tick_period_us)
        self._timeline.after(phase_us, self._tick, self.boots)

    def _stop(self) -> None:
        """The process is gone. The network closes its connections."""
        if self._engine is not None:
            self._engine.give_up_dials()
        self.is_hung = False
        self.planned_crash = None
        self._member = None
        self._engine = None
        self._clock = None

    def kill(self) -> None:
        """The process dies. The kernel closes its connections, and the disk keeps what was written."""
        self._stop()
        for end in self.world.network.ends_of(self.index):
            self.world.network.close(end)

    def cut_power(self) -> None:
        """The host is off. No peer is notified, and what was not synced may be lost."""
        self._stop()
        self.disk.cut_power(self._random)
        network = self.world.network
        network.lose_host(self.index)
        self._power_fault = network.cut_off(self.index)

    def lose_disk(self) -> None:
        """The host gets an empty disk. Its next process knows nobody, and has a new id."""
        assert not self.is_up
        self.disk = Disk(self._timeline)
        self.importing = 0
        if self.data is not None:
            self.data.lose()
        self._checker.lost_disk(self)

    def hang(self, *, reads: bool) -> None:
        """The main loop stops. With `reads` the I/O workers go on."""
        self.is_hung = True
        self._tick_is_due = False
        if not reads:
            self.engine.stop_reading()

    def resume(self) -> None:
        """The main loop goes on with what has arrived meanwhile. Its late tick comes first or last."""
        self.is_hung = False
        self._go_on()

    def _go_on(self) -> None:
        engine = self.engine
        tick_first = self._random.random() < 0.5
        if tick_first:
            self._late_tick()
        if self._engine is engine:
            engine.read_on()
            self._step()
        if self._engine is engine and not tick_first:
            self._late_tick()

    def _late_tick(self) -> None:
        if self._tick_is_due:
            self._tick_is_due = False
            self._run(self.member.driver.tick)

    def _tick(self, boot: int) -> None:
        if boot != self.boots or not self.is_up:
            return
        self._timeline.after(self._tick_period_us, self._tick, boot)
        if self.is_hung or (self._step_is_due and self.away_max_us):
            self._tick_is_due = True
        else:
            self._run(self.member.driver.tick)

    # ------------------------------------------------------------ what the network calls

    def arrived(self, end: End, item: Any) -> None:
        """Something arrived on a connection."""
        if self.is_up and self._survives(lambda: self.engine.arrived(end, item)):
            self._wake()

    def broken(self, end: End, reason: str) -> None:
        """A connection is gone, but the process did not close it."""
        if self.is_up:
            self.engine.broken(end, reason)
            self._wake()

    def dial_answered(self, dial: Dial, end: End) -> None:
        """Our dial succeeded."""
        self.engine.dial_answered(dial, end)
        self._wake()

    def dial_failed(self, dial: Dial, error: str) -> None:
        """Our dial failed."""
        self.world.stats["dials failed"] += 1
        self.engine.dial_failed(dial, error)
        self._wake()

    def operate(self, order: Callable[[ClusterState, int], Result]) -> Result:
        """Gives an order to the member, as its client port would. Raises StateError if the process dies meanwhile."""
        result = order(self.state, self.clock.now_ms())
        self._run(self.member.settle, by_operator=True)
        if not self.is_up:
            raise StateError(f"{self.name} died before it answered")
        return result

    def _wake(self) -> None:
        """The engine has events. The main loop takes them at once or, if it is busy, together with those that come
        until then.
        """
        if self._step_is_due or self.is_hung:
            return
        if self._random.random() >= (AWAY_SHARE if self.away_max_us else BUSY_SHARE):
            self._step()
            return
        self._step_is_due = True
        longest_us = self.away_max_us or BUSY_MAX_US
        self._timeline.after(int(self._random.random() * longest_us), self._late_step, self.boots)

    def _late_step(self, boot: int) -> None:
        if boot == self.boots and self.is_up:
            self._step_is_due = False
            if self._tick_is_due and not self.is_hung:
                self._go_on()
            else:
                self._step()

    def _step(self) -> None:
        if not self.is_hung and self.engine.has_events:
            self._run(self.member.driver.step)

    def _run(self, work: Callable[[], object], *, by_operator: bool = False) -> None:
        """Runs a part of the main loop, then further steps while there are events, and checks the rules after each."""
        self._here_us = self._timeline.now_us
        driver = self.member.driver
        more = True
        while more:
            if not self._survives(work):
                return
            self._checker.settled(self, by_operator=by_operator)
            work, by_operator = driver.step, False
            more = self.engine.has_events

    def _survives(self, work: Callable[[], object]) -> bool:
        """Does some work; False if the process dies in it."""
        try:
            work()
        except ProcessDied:
            planned_crash = self.planned_crash
            assert planned_crash is not None
            self.world.stats["deaths between effects"] += 1
            if planned_crash.power:
                self.cut_power()
            else:
                self.kill()
            return False
        return True

    # ------------------------------------------------------------ what the engine calls

    def act(self) -> None:
        """The process is about to do something that the world can see. It dies instead if its crash is due."""
        planned_crash = self.planned_crash
        if planned_crash is None:
            return
        if planned_crash.acts_left <= 0:
            if self.world.trace is not None:
                self.world.trace.note(self.name, "dies here")
            raise ProcessDied
        planned_crash.acts_left -= 1

    def ip_of(self, host: int) -> str:
        """The address of a host."""
        return self.world.hosts[host].ip

    def host_at(self, ip: str, port: int) -> int | None:
        """The number of the host with that address."""
        if self.world.trace is not None:
            self.world.trace.note(self.name, f"dials {ip}:{port}")
        return self.world.addresses.get((ip, port))

    def note_handed_over(self, packet: Packet, links: Sequence[End]) -> None:
        """The engine took a message."""
        hosts = self.world.hosts
        receivers = [end.path.target for end in links]
        if self.world.trace is not None:
            self.world.trace.sent(self.name, packet, [hosts[receiver].name for receiver in receivers])
        self._checker.sent(self, packet, [hosts[receiver].node_id for receiver in receivers])
        for listener in self.world.message_listeners:
            listener(self.index, receivers, packet)

    def note_on_wire(self, packet: Packet, end: End) -> None:
        """A message leaves on a link."""
        self._checker.on_wire(self, end.link, packet)

    def damaged(self, packet: Packet) -> Packet:
        """What leaves in the place of a message."""
        return packet if self.damage is None else self.damage(packet)

    def note_delivered(self, packet: Packet, sender: int) -> None:
        """The network delivered a packet from another host."""
        self._checker.delivered(self, packet, self.world.hosts[sender].node_id)
        if self.world.trace is not None:
            self.world.trace.received(self.name, packet)

    def drops(self, sender: int, packet: Packet) -> bool:
        """Whether a script throws away this packet."""
        return self.world.drops is not None and self.world.drops(sender, self.index, packet)

    def note_quiet(self, view_version: int) -> None:
        """A worker took a heartbeat that says nothing new to the view of that version."""
        self.world.stats["quiet heartbeats"] += 1
        self._checker.taken(self, view_version, (self._timeline.now_us - self._here_us) // US_PER_MS)

    def _on_event(self, event: Event) -> None:
        self.act()
        if self.world.trace is not None:
            self.world.trace.event(self.name, event)
        self.world.stats[type(event).__name__] += 1
        self._checker.notified(self, event)
        for listener in self.world.listeners:
            listener(self, event)

    def _log(self, level: str, text: str, error: BaseException | None = None) -> None:
        if self.world.trace is not None:
            self.world.trace.log(self.name, level, text)

    def save(self, text: str, *, durable: bool) -> bool:
        """Writes nodes.conf. Returns whether that worked."""
        self.act()
        return self._write(text, durable)

    def begin_save(self, text: str, *, durable: bool) -> _Replacement:
        """Writes nodes.conf as soon as the disk gets to it, if the process still lives by then."""
        self.act()
        replacement = _Replacement(self, self.boots, text, durable)
        if self.disk.slow_ms:
            self._timeline.after(int(self.disk.slow_ms * US_PER_MS), _Replacement.end, replacement)
        else:
            replacement.end()
        return replacement

    def _write(self, text: str, durable: bool) -> bool:
        if not self.disk.save(text, durable=durable):
            self.world.stats["saves failed"] += 1
            return False
        if self.world.trace is not None:
            self.world.trace.note(self.name, f"saves nodes.conf{' durably' if durable else ''}")
        if durable:
            self._checker.saved(self, epochs_in(text))
        return True


class _Replacement:
    """`member.ports.Replacement` on the disk of a host."""

    def __init__(self, host: Host, boot: int, text: str, durable: bool) -> None:
        self._host = host
        self._boot = boot
        self._text = text
        self._durable = durable
        self._has_worked = False
        self.is_done = False

    def end(self) -> None:
        """The disk gets to it. Does nothing if that was before, or if the process is gone."""
        if not self.is_done and self._host.is_up and self._host.boots == self._boot:
            self._has_worked = self._host._write(self._text, self._durable)
            self.is_done = True

    def result(self) -> None:
        """Raises ConfigError if the disk failed."""
        if not self._has_worked:
            raise ConfigError("no space left on device")


class _NodesFile:
    """`member.ports.NodesFile` on the disk of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._last: _Replacement | None = None

    def save(self, text: str, durable: bool) -> None:
        """Raises ConfigError if the disk fails."""
        if self._last is not None:
            self._last.end()
        if not self._host.save(text, durable=durable):
            raise ConfigError("no space left on device")

    def begin(self, text: str, durable: bool) -> _Replacement:
        """As `save`, but a slow disk takes its time."""
        self._last = self._host.begin_save(text, durable=durable)
        return self._last

    def close(self) -> None:
        """Does nothing: the disk outlives the process."""
