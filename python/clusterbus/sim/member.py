"""One simulated node: a host with a disk and a clock, and the processes that live on it one after another.

Owns the `ClusterState` of the process that runs and carries out its effects the way the runtime's driver
does, on the simulated network and disk. Decides nothing of the protocol. A process can be killed between any
two effects, hang, or lose its power. One thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeVar

from clusterbus.cluster.constants import MEET, PONG
from clusterbus.cluster.effects import BindLink, Broadcast, CloseLink, Dial, Effect, Notify, Save, Send, SendHeartbeat
from clusterbus.cluster.operator import persist
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.errors import StateError
from clusterbus.sim.checks import Checker
from clusterbus.sim.disk import Disk, SavedEpochs, epochs_in
from clusterbus.sim.network import ACCEPT, FIN, End, Network
from clusterbus.sim.timeline import NodeClock, Timeline
from clusterbus.sim.trace import Trace
from clusterbus.view import View
from clusterbus.wire import Message, Packet, encode, parse

TICK_PERIOD_MS: Final = 100
"""As the runtime's main loop."""
VIEW_PERIOD_MS: Final = 20
"""As the runtime's driver: a view for the digest at most this often."""

Result = TypeVar("Result")


@dataclass(slots=True)
class Doom:
    """A death to come: after so many more effects the process is killed, or its host loses power."""

    effects_left: int
    power: bool


class World:
    """What all members of one simulation share."""

    def __init__(self, seed: int, timeline: Timeline, *, trace: Trace | None) -> None:
        self.seed = seed
        self.timeline = timeline
        self.trace = trace
        self.stats: Counter[str] = Counter()
        self.members: list[Member] = []
        self.checker = Checker(self.members, self.stats)
        self.hosts: dict[tuple[str, int], int] = {}
        self.listeners: list[Callable[[Member, Notify], None]] = []
        self.network: Network

    def random(self, purpose: str) -> Random:
        """A random source of its own for one purpose: draws for one never shift those for another."""
        return Random(f"{self.seed}/{purpose}")


class Member:
    """A node of the simulated cluster, running or not. `state` is for reading and may be called by
    `Simulation.operate` only; it raises when the node is down.
    """

    def __init__(
        self,
        world: World,
        index: int,
        config: Config,
        ip: str,
        make_state: type[ClusterState],
        *,
        digests: bool = False,
    ) -> None:
        self.world = world
        self.index = index
        self.name = f"n{index}"
        self.config = config
        self.ip = ip
        self.disk = Disk(world.timeline)
        self.digests = digests
        self.is_up = False
        self.is_hung = False
        self.boots = 0
        self.may_take_over = False
        """An operator lets it become primary with nobody's vote (CLUSTER FAILOVER TAKEOVER)."""
        self.importing = 0
        """The slots an operator ever told it to import, as a bitmap: it may gain them."""
        self.doom: Doom | None = None
        self.has_unsaved = False
        """A durable save failed and has not been made good: what was told since may be forgotten."""
        self._make_state = make_state
        self._timeline = world.timeline
        self._checker = world.checker
        self._ends: dict[int, End] = {}
        self._view: View | None = None
        self._view_ms = 0
        self._proven: dict[int, str | None] = {}
        self._inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._reads_while_hung = False
        self._tick_is_due = False
        self._tick_period_us = 0
        self._save_failed = False
        self._state: ClusterState | None = None
        self._clock: NodeClock | None = None
        self._random = world.random(f"host {index}")
        self._node_id = ""
        self._power_fault: int | None = None

    # ------------------------------------------------------------ what is known of it

    @property
    def state(self) -> ClusterState:
        """The state of the running process."""
        assert self._state is not None, f"{self.name} is down"
        return self._state

    @property
    def clock(self) -> NodeClock:
        """The clock of the running process."""
        assert self._clock is not None, f"{self.name} is down"
        return self._clock

    @property
    def node_id(self) -> str:
        """The id of the running process, or of the last one."""
        return self._node_id

    @property
    def cport(self) -> int:
        """The bus port."""
        return self.config.port + 10_000

    def is_connected(self, link: int) -> bool:
        """Whether a link of the state is a connection whose both ends are open: not half-open, not held up."""
        end = self._ends.get(link)
        return end is not None and end.peer.is_open and not end.is_stalled and not end.peer.is_stalled

    def now_text(self) -> str:
        return f"{self._timeline.now_us / 1000:.3f} ms"

    def epochs(self) -> SavedEpochs:
        """Current epoch and last vote epoch as the process would save them now."""
        return epochs_in(self.state.nodes_conf_text())

    # ------------------------------------------------------------ life

    def boot(self, *, offset_ms: int, drift_ppm: int) -> None:
        """A process starts on what is on disk."""
        if self._power_fault is not None:
            self.world.network.restore(self._power_fault)
            self._power_fault = None
        self.boots += 1
        self.is_up = True
        self.is_hung = False
        self._clock = NodeClock(self._timeline, offset_ms=offset_ms, drift_ppm=drift_ppm)
        self._tick_period_us = self._clock.true_us(TICK_PERIOD_MS)
        text = self.disk.text
        self._state = self._make_state(
            config=self.config,
            random=self.world.random(f"process {self.index}.{self.boots}"),
            now_ms=self._clock.now_ms(),
            read_age_ms=self._read_age_ms,
            saved=persist.parse(text) if text is not None else None,
            defers_heartbeats=self.digests,
        )
        self._node_id = self._state.myself.node_id
        self.world.hosts[self.ip, self.cport] = self.index
        self._checker.booted(self)
        self._save(durable=True)
        self.settle()
        phase_us = int(self._random.random() * self._tick_period_us)
        self._timeline.after(phase_us, self._tick, self.boots)

    def _stop(self) -> None:
        """The process is gone; its ends are the network's to close."""
        self.is_up = False
        self.is_hung = False
        self.doom = None
        self.has_unsaved = False
        self._save_failed = False
        self._state = None
        self._clock = None
        self._ends.clear()
        self._inbox.clear()
        self._view = None
        self._view_ms = 0
        self._proven.clear()

    def kill(self) -> None:
        """The process dies; the kernel closes its connections, the disk keeps what was written."""
        ends = list(self._ends.values())
        self._stop()
        for end in ends:
            self.world.network.close(end)
        for end in self.world.network.ends_of(self.index):  # dialled by a peer, not accepted yet
            self.world.network.close(end)

    def cut_power(self) -> None:
        """The host is off: nobody is told, and what was not synced may be lost."""
        self._stop()
        self.disk.cut_power(self._random)
        network = self.world.network
        network.lose_host(self.index)
        self._power_fault = network.cut_off(self.index)

    def hang(self, *, reads: bool) -> None:
        """The main loop stops. `reads`: the I/O workers still do their part."""
        self.is_hung = True
        self._reads_while_hung = reads
        self._tick_is_due = False

    def resume(self) -> None:
        """The main loop goes on with what has come meanwhile, its late tick first or last."""
        self.is_hung = False
        tick_first = self._random.random() < 0.5
        if tick_first:
            self._late_tick()
        inbox, self._inbox = self._inbox, []
        for action, arguments in inbox:
            if self.is_up:
                action(*arguments)
        if not tick_first:
            self._late_tick()

    def _late_tick(self) -> None:
        if self._tick_is_due and self.is_up:
            self._tick_is_due = False
            self._tick_now()

    def _tick(self, boot: int) -> None:
        if boot != self.boots or not self.is_up:
            return
        self._timeline.after(self._tick_period_us, self._tick, boot)
        if self.is_hung:
            self._tick_is_due = True
            return
        self._tick_now()

    def _tick_now(self) -> None:
        if self._save_failed:
            self._save(durable=self.has_unsaved)
        self.state.tick(self.clock.now_ms())
        self.settle()

    # ------------------------------------------------------------ inputs

    def arrived(self, end: End, item: Any) -> None:
        """Something came out of a connection."""
        if self.is_hung:
            if self._reads_while_hung:
                end.last_read_us = self._timeline.now_us
            self._inbox.append((self.arrived, (end, item)))
            return
        if not end.is_open or not self.is_up:
            return
        state, clock = self.state, self.clock
        if item is FIN:
            self.world.network.forget(end)
            self.broken(end, "eof")
            return
        if item is ACCEPT:
            self._ends[end.link] = end
            peer = self.world.members[end.path.target]
            state.handle_link_accepted(end.link, peer.ip, self.ip, clock.now_ms())
            self.settle()
            return
        end.last_read_us = self._timeline.now_us
        packet: Packet = item
        self._checker.delivered(self, packet)
        if self.world.trace is not None:
            self.world.trace.packet(self.name, packet)
        now_ms = clock.now_ms()
        if self._view is None or not self._take_quiet(end, packet, now_ms):
            state.handle_packet(end.link, packet, now_ms)
        self.settle()

    def broken(self, end: End, reason: str) -> None:
        """A connection is gone, and not by our closing it."""
        if self.is_hung:
            self._inbox.append((self.broken, (end, reason)))
            return
        if self._ends.pop(end.link, None) is not None:
            self.state.handle_link_closed(end.link, reason, self.clock.now_ms())
            self.settle()

    def dial_answered(self, boot: int, node_id: str, end: End) -> None:
        """Our dial came up."""
        if self.is_hung:
            self._inbox.append((self.dial_answered, (boot, node_id, end)))
            return
        if boot != self.boots or not self.is_up:
            self.world.network.close(end)
            return
        self._ends[end.link] = end
        self.state.handle_link_opened(node_id, end.link, self.ip, self.clock.now_ms())
        self.settle()

    def dial_failed(self, boot: int, node_id: str, error: str) -> None:
        """Our dial did not come up."""
        if self.is_hung:
            self._inbox.append((self.dial_failed, (boot, node_id, error)))
            return
        if boot == self.boots and self.is_up:
            self.world.stats["dials failed"] += 1
            self.state.handle_dial_failed(node_id, error, self.clock.now_ms())
            self.settle()

    def operate(self, command: Callable[[ClusterState, int], Result]) -> Result:
        """An operator's command, as the RESP port would apply it. Raises StateError when no answer comes."""
        result = command(self.state, self.clock.now_ms())
        self.settle(by_operator=True)
        if not self.is_up:
            raise StateError(f"{self.name} died before it answered")
        return result

    def _read_age_ms(self, link: int) -> int | None:
        end = self._ends.get(link)
        if end is None or end.last_read_us is None:
            return None
        return self.clock.ms_since(end.last_read_us)

    # ------------------------------------------------------------ the digest

    def _take_quiet(self, end: End, packet: Packet, now_ms: int) -> bool:
        """Does with a heartbeat what a worker and the main loop do with a quiet one (R33); False: it is to be
        applied in full. As there, times are noted even if the view turns out to be of an older version.
        """
        view = self._view
        if view is None or packet.type >= MEET or self._proven.get(end.link) != packet.sender:
            return False
        peer_ip = self.world.members[end.path.target].ip
        if not view.is_quiet(packet, peer_ip, now_ms) or view.version != self.state.version:
            return False
        is_pong = packet.type == PONG
        self.state.handle_quiet(0 if is_pong else 1, [end.link] if is_pong else [], now_ms)
        if not is_pong:
            self._send_heartbeat(SendHeartbeat(end.link, PONG))
        self.world.stats["quiet heartbeats"] += 1
        return True

    def _publish_view(self) -> None:
        """A view of the state as it is now, as the driver publishes it at the end of a step."""
        state, now_ms = self.state, self.clock.now_ms()
        if self._view is not None and self._view.version == state.version:
            return
        if now_ms - self._view_ms < VIEW_PERIOD_MS:
            return
        self._view_ms = now_ms
        view = state.view()
        if view is not None:
            self._view = view

    # ------------------------------------------------------------ effects

    def settle(self, *, by_operator: bool = False) -> None:
        """Carries out what the last input asked for, in order; then the rules are checked.

        A durable save that fails withholds the messages after it, as the driver does (H47).
        """
        state = self._state
        assert state is not None
        effects = state.poll_effects()
        if effects:
            if self.world.trace is not None:
                self.world.trace.effects(self.name, effects)
            if self.doom is not None:
                self._carry_out_and_die(effects, self.doom)
                if not self.is_up:
                    return
            else:
                self._carry_out(effects)
        if self.digests:
            self._publish_view()
        self._checker.settled(self, by_operator=by_operator)

    def _carry_out(self, effects: list[Effect]) -> None:
        withheld = False
        for effect in effects:
            if isinstance(effect, Send):
                if not withheld:
                    self._send(effect.message, (effect.link,))
            elif isinstance(effect, SendHeartbeat):
                if not withheld:
                    self._send_heartbeat(effect)
            elif isinstance(effect, Notify):
                self._notify(effect)
            elif isinstance(effect, Save):
                if not self._save(durable=effect.durable) and effect.durable:
                    withheld = True
            elif isinstance(effect, Dial):
                self._dial(effect)
            elif isinstance(effect, Broadcast):
                if not withheld:
                    self._send(effect.message, effect.links)
            elif isinstance(effect, BindLink):
                self._proven[effect.link] = effect.node_id
            elif isinstance(effect, CloseLink):
                end = self._ends.pop(effect.link, None)
                self._proven.pop(effect.link, None)
                if end is not None:
                    self.world.network.close(end)

    def _carry_out_and_die(self, effects: list[Effect], doom: Doom) -> None:
        """The process is gone in the middle of its work."""
        self._carry_out(effects[: doom.effects_left])
        if doom.effects_left > len(effects):
            doom.effects_left -= len(effects)
            return
        if self.world.trace is not None:
            self.world.trace.note(self.name, f"dies after {doom.effects_left} of these {len(effects)}")
        self.world.stats["deaths between effects"] += 1
        if doom.power:
            self.cut_power()
        else:
            self.kill()

    def _send(self, message: Message, links: tuple[int, ...]) -> None:
        data = encode(message)
        (packet,) = parse(data)
        network = self.world.network
        members = self.world.members
        receivers = []
        for link in links:
            end = self._ends.get(link)
            if end is not None:
                receivers.append(members[end.path.target].node_id)
                network.send(end, packet)
        self._checker.sent(self, message, receivers)

    def _send_heartbeat(self, effect: SendHeartbeat) -> None:
        message = self.state.heartbeat(effect.link, effect.kind)
        if message is not None:
            self._send(message, (effect.link,))

    def _notify(self, effect: Notify) -> None:
        self.world.stats[type(effect.event).__name__] += 1
        self._checker.notified(self, effect.event)
        for listener in self.world.listeners:
            listener(self, effect)

    def _save(self, *, durable: bool) -> bool:
        text = self.state.nodes_conf_text()
        if not self.disk.save(text, durable=durable):
            self.world.stats["saves failed"] += 1
            self._save_failed = True
            self.has_unsaved = self.has_unsaved or durable
            return False
        self._save_failed = False
        if durable:
            self.has_unsaved = False
            self._checker.saved(self, epochs_in(text))
        return True

    def _dial(self, effect: Dial) -> None:
        target = self.world.hosts.get((effect.ip, effect.cport))
        self.world.network.dial(self.index, self.boots, effect.node_id, target)
