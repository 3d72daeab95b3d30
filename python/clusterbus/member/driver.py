"""The one driver: applies the engine's events to the state and the state's effects to the engine, in both worlds.

Owns the links between an Engine and a ClusterState, and the order in which effects are carried out. Must never decide
anything of the protocol, wait anywhere but in `Engine.poll`, or let what a peer sent raise out of `step`. Knows no
event loop and no socket: asyncio, the blocking bus and the simulator all drive the same steps (R42). Main thread.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clusterbus.cluster.constants import FOREIGN_LOSSES, PONG, message_name
from clusterbus.cluster.core import MESSAGES_RECEIVED
from clusterbus.cluster.effects import (
    BindLink,
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
from clusterbus.cluster.model.node import Certificate, OwnClaims
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config, address_text
from clusterbus.errors import ClusterBusError
from clusterbus.member import ports
from clusterbus.member.faults import Faults
from clusterbus.member.ports import (
    AcceptRefused,
    Clock,
    Engine,
    EngineEvent,
    LinkAccepted,
    LinkConnected,
    LinkDrained,
    LinkLost,
    NodesFile,
    PacketsReceived,
    QuietHeartbeats,
)
from clusterbus.member.refusals import RefusalLog
from clusterbus.member.saving import Attempt, Outcome, Saver
from clusterbus.view import Verdict
from clusterbus.wire import ModuleMessage, Packet, Publish, encode

TICK_PERIOD_MS: Final = 100
VIEW_SHARE: Final = 10
"""Making views takes at most one part in this many of the main loop's time. A view costs microseconds if few nodes have
changed; many nodes may change with every step."""
FLUSH_AT_CLOSE_MAX_MS: Final = 250
"""For so long at most the end of a member waits for what is not sent yet, such as a message published just before."""
MESSAGES_QUEUED_MAX_BYTES: Final = 64 * 1024 * 1024
"""A link with this much unsent gets no more messages of users (PUBLISH, MODULE) until its peer reads on. The bus
promises no delivery of them, and cluster-link-sendbuf-limit may be off. Heartbeats are still sent."""
ANSWERS_UNSENT_MAX_BYTES: Final = 1024 * 1024
"""With this much unsent, a node's link gets only ANSWERS_PER_TICK more answers: who sends and does not read would fill
our memory with them, one for each PING (H40)."""
STRANGER_ANSWERS_UNSENT_MAX_BYTES: Final = 64 * 1024
"""With this much unsent a link of nobody known gets no more answers: there may be a thousand such links."""
ANSWERS_PER_TICK: Final = 16
ANSWERS_QUEUED_MAX_BYTES: Final = 80 * 1024 * 1024
"""With this much unsent no link gets an answer. It is more than messages of users alone may be."""
LEASE_MAX_MS: Final = 250
LEASE_OF_NODE_TIMEOUT: Final = 8
"""A lease is this part of the node timeout at most: a main loop that hangs must look dead in time."""
ORDINARY_LOSSES: Final = frozenset({"eof", "error", "connect"})
"""The kinds of LinkLost that happen among honest peers. The others are logged as warnings."""
NOFILE_HINT: Final = (
    "each link takes one, and a node has two links with every other node, so N nodes in one process take 2N(N-1) and"
    " about 4N more; raise the limit (ulimit -n)"
)
HELD_MAX: Final = 1_000
"""So many messages at most wait for a save that takes long; any more are withheld, as if it had failed."""
FILTER_NOTHING: Final = -1
FILTER_EVERYTHING: Final = -2
CUT_OFF: Final = "cut off on purpose"


@dataclass(slots=True)
class DialRecord:
    """A dial under way, to the address `peer`. Invariant: the engine knows its link, the state does not know it yet."""

    node_id: str
    peer: str


@dataclass(slots=True)
class Held:
    """A message that waits until what it announces is on disk. Should we claim something else by then, it is not sent:
    no link may hear less after more.
    """

    attempt: Attempt
    effect: Send | Broadcast
    own_claims: OwnClaims


class Driver:
    """Applies what the engine reports, and carries out what the state asks for.

    `counters` go by the names in `counters.DRIVER`. `event_listeners` are called with every event of the state; one of
    them feeds `Bus.events()`. Every method is called on the main thread.
    """

    def __init__(
        self,
        *,
        config: Config,
        engine: Engine,
        state: ClusterState,
        nodes_file: NodesFile,
        clock: Clock,
        log: ports.Log,
        counters: Counter[str],
        faults: Faults,
    ) -> None:
        self.config = config
        self.engine = engine
        self.state = state
        self.clock = clock
        self.log = log
        self.saver = Saver(nodes_file, state.nodes_conf_text, clock)
        self.links: dict[int, str] = {}
        """The links that are up, each with the address of its peer."""
        self._cut_off: frozenset[str] = frozenset()
        self._packet_filter = FILTER_NOTHING
        self.closes_filtered = False
        """A packet that the filter drops also ends its link."""
        self.faults = faults
        self.counters = counters
        self.busy_ns = 0
        self.event_listeners: list[Callable[[Event], None]] = []
        self.tick_listeners: list[Callable[[], None]] = []
        """Called with each tick, after the state's. What they order goes out with the step that the tick ends."""
        self.on_save_failed: Callable[[], None] = lambda: None
        """Called after a failed save if `cluster-config-save-behavior` is `sync`."""
        self.at_close: list[Callable[[], None]] = []
        self.closed = False
        self._dials: dict[int, DialRecord] = {}
        self._view_version = 0
        self._view_header_version = 0
        self._view_due_ns = 0
        self._dials_begun = 0
        self._failed_dials: list[tuple[str, str]] = []
        self._refusals = RefusalLog()
        self._held: list[Held] = []
        self._appliers: dict[type, Callable[[Any, int], None]] = {
            PacketsReceived: self._apply_packets,
            QuietHeartbeats: self._apply_quiet,
            LinkAccepted: self._apply_link_accepted,
            LinkConnected: self._apply_link_connected,
            LinkLost: self._apply_link_lost,
            LinkDrained: self._apply_link_drained,
            AcceptRefused: self._apply_accept_refused,
        }
        self._slow_answers: Counter[int] = Counter()
        """How many answers went to links with much unsent since the last tick."""
        self._heartbeats: list[SendHeartbeat] = []
        """Those of this step, to be handed to the engine at its end."""
        self._carriers: dict[type, Callable[[Any], None]] = {
            Send: self._carry_send,
            SendHeartbeat: self._carry_send_heartbeat,
            Broadcast: self._carry_broadcast,
            Dial: self._carry_dial,
            BindLink: self._carry_bind_link,
            CloseLink: self._carry_close_link,
            Log: self._carry_log,
            Refuse: self._carry_refuse,
            Notify: self._carry_notify,
        }

        self.at_close.append(config.on_change(lambda _config, _changed: self._set_lease(), "cluster-node-timeout"))
        self._set_lease()

    # ------------------------------------------------------------ settings

    @property
    def packet_filter(self) -> int:
        """The type of packets to drop, or FILTER_NOTHING, or FILTER_EVERYTHING (DEBUG DROP-CLUSTER-PACKET-FILTER)."""
        return self._packet_filter

    @packet_filter.setter
    def packet_filter(self, kind: int) -> None:
        self._packet_filter = kind
        self._set_lease()

    @property
    def cut_off(self) -> frozenset[str]:
        """The addresses (`ip:port` of the bus) that this member cannot dial, as if the network were cut there. It keeps
        or gets no link to a node at one of them; a node there that can still dial us must be cut off too.
        """
        return self._cut_off

    @cut_off.setter
    def cut_off(self, addresses: frozenset[str]) -> None:
        self._cut_off = addresses
        for node in list(self.state.nodes):
            if address_text(node.ip, node.cport) in addresses:
                for link in (node.link, node.inbound_link):
                    if link is not None:
                        self.kill_link(link.link_id, CUT_OFF)

    def _set_lease(self) -> None:
        """Workers answer for a main loop that has been away for at most this long. A filter must see every packet."""
        lease_ms = min(LEASE_MAX_MS, self.config.cluster_node_timeout // LEASE_OF_NODE_TIMEOUT)
        self.engine.set_lease_ms(lease_ms if self._packet_filter == FILTER_NOTHING else 0)

    # ------------------------------------------------------------ the step

    def step(self, timeout_ms: int | None = 0) -> bool:
        """One round of the main loop: poll, apply, carry out effects, flush.

        Waits at most `timeout_ms` for an event (None: without limit). Returns True if there is more to do at once.
        Nothing that a peer does raises out of it.
        """
        events = self.engine.poll(timeout_ms)
        begun_ns = self.clock.monotonic_ns()
        self._apply(events)
        more = self._end_step()
        self.busy_ns += self.clock.monotonic_ns() - begun_ns
        return more

    def tick(self) -> bool:
        """The tick of the state, ten times a second, after what has happened until now: no node that has answered is
        taken for silent. Also tries a failed save again, and ends as a step does.
        """
        events = self.engine.poll(0)
        begun_ns = self.clock.monotonic_ns()
        self._apply(events)
        self.saver.want_again()
        self._slow_answers.clear()
        try:
            self.state.tick(self.clock.now_ms())
        except Exception as error:
            self.faults.survive(error, "tick_errors", "tick", "the clock tick failed")
        for listener in list(self.tick_listeners):
            try:
                listener()
            except Exception as error:
                self.faults.survive(error, "tick_errors", "tick", "what goes on with the ticks failed")
        more = self.finish_step()
        self.busy_ns += self.clock.monotonic_ns() - begun_ns
        return more

    def finish_step(self) -> bool:
        """Carries out pending effects, publishes the view, dispatches sends. True if there is more to do at once."""
        self._carry_out_effects()
        return self._end_step()

    def settle(self) -> None:
        """Carries out pending effects and writes nodes.conf if they ask for it. Messages stay queued until
        `finish_step`.
        """
        self._carry_out_effects()
        self._tell_failed_dials()
        if self.saver.is_wanted:
            self._save(durable=False)

    def save(self) -> None:
        """Writes nodes.conf now, durably (CLUSTER SAVECONFIG). Raises ClusterBusError."""
        if self.saver.write_now().outcome is Outcome.FAILED:
            raise ClusterBusError(self.saver.status.last_error)

    def kill_link(self, link: int, reason: str) -> None:
        """Closes a link from our side and reports that to the state. Does nothing if the link is gone already."""
        if self.links.pop(link, None) is None:
            return
        self.engine.close(link)
        self.state.handle_link_closed(link, reason, self.clock.now_ms())

    def close(self, *, save: bool = True) -> None:
        """Saves nodes.conf (if `save`), stops the workers, closes every socket. Idempotent.

        Raises ClusterBusError if nodes.conf could not be saved. Everything is closed even then.
        """
        if self.closed:
            return
        self.closed = True
        for stop in self.at_close:
            stop()
        try:
            if save:
                self._carry_out_effects()
                self.save()
        finally:
            self.engine.shutdown()
            self.saver.close()

    @property
    def has_unsent(self) -> bool:
        """Whether a link has messages that are not wholly sent. Whoever closes a member waits for that, a little."""
        return any(self.engine.send_queue(link)[0] for link in self.links)

    def reset_stats(self) -> None:
        """CONFIG RESETSTAT (R24)."""
        self.counters.clear()
        self.state.counters.clear()
        self.busy_ns = 0
        self.engine.reset_stats()

    def _end_step(self) -> bool:
        """Ends a step: a save that is due, the view, heartbeats, the dispatch of sends. True if there is more to do."""
        self._tell_failed_dials()
        self._look_at_save()
        if self.saver.is_due:
            self._save(durable=False)
        self._release_held()
        self._publish_view()
        heartbeats, self._heartbeats = self._heartbeats, []
        for heartbeat in heartbeats:
            self._carry(heartbeat)
        return self.engine.flush() or bool(self._failed_dials)

    def _tell_failed_dials(self) -> None:
        if self._failed_dials:
            failed_dials, self._failed_dials = self._failed_dials, []
            for node_id, error in failed_dials:
                self.state.handle_dial_failed(node_id, error, self.clock.now_ms())
            self._carry_out_effects()

    # ------------------------------------------------------------ engine -> state

    def _apply(self, events: Sequence[EngineEvent]) -> None:
        now_ms = self.clock.now_ms()
        for event in events:
            try:
                self._appliers[type(event)](event, now_ms)
            except Exception as error:
                self._give_up_event(event, error, now_ms)
            self._carry_out_effects()

    def _apply_packets(self, event: PacketsReceived, now_ms: int) -> None:
        peer = self.links.get(event.link)
        if peer is None:
            return  # closed by an earlier event of this batch
        for refusal in event.dropped:
            self._refuse_packet(peer, refusal, now_ms)
        for number, (packet, verdict) in enumerate(zip(event.packets, event.verdicts, strict=True)):
            if number:
                self._carry_out_effects()  # those of the packet before, which may close the link
                if event.link not in self.links:
                    return
            self._apply_packet(event.link, peer, packet, now_ms, verdict)

    def _apply_packet(self, link: int, peer: str, packet: Packet, now_ms: int, verdict: Verdict | None = None) -> None:
        kind = packet.type
        if self._packet_filter != FILTER_NOTHING and self._packet_filter in (FILTER_EVERYTHING, kind):
            self.counters["packets_filtered"] += 1
            if kind < len(MESSAGES_RECEIVED):
                self.state.counters[MESSAGES_RECEIVED[kind]] += 1  # it was received all the same (P35)
            self.log("warning", f"Dropping packet of type {message_name(kind)} that matches debug drop filter")
            if self.closes_filtered:
                self.log("warning", f"Closing link for matching packet type {message_name(kind)}")
                self._drop_link(link, "closed by DEBUG CLOSE-CLUSTER-LINK-ON-PACKET-DROP", now_ms)
            return
        try:
            self.state.handle_packet(link, packet, now_ms, verdict)
        except Exception as error:
            what = f"a packet of type {kind} could not be applied"
            self.faults.survive(error, "packet_errors", peer, what)
            self._drop_link(link, "error while applying a packet", now_ms)

    def _apply_quiet(self, event: QuietHeartbeats, now_ms: int) -> None:
        """Notes heartbeats that were taken where they were read, each at a moment when it said nothing new."""
        self.state.handle_quiet(event.answered, event.noted, event.pongs, now_ms)
        self.counters["quiet_heartbeats"] += event.answered + event.noted

    def _refuse_packet(self, peer: str, refusal: str, now_ms: int) -> None:
        """Counts and logs a refused packet. The engine gives up a link that had several (H4)."""
        self.counters["packets_refused"] += 1
        self._note(peer, "packet refused", refusal, now_ms)

    def _apply_link_accepted(self, event: LinkAccepted, now_ms: int) -> None:
        self.links[event.link] = address_text(event.ip, event.port)
        self.state.handle_link_accepted(event.link, event.ip, event.local_ip, now_ms, *_shown(event))

    def _apply_link_connected(self, event: LinkConnected, now_ms: int) -> None:
        dial = self._dials.pop(event.owner, None)
        if dial is None:
            self.engine.close(event.link)
            return
        if dial.peer in self._cut_off:
            self.engine.close(event.link)
            self.state.handle_dial_failed(dial.node_id, CUT_OFF, now_ms)
            return
        self.links[event.link] = dial.peer
        self.state.handle_link_opened(dial.node_id, event.link, event.local_ip, now_ms, *_shown(event))

    def _apply_link_lost(self, event: LinkLost, now_ms: int) -> None:
        self.engine.close(event.link)
        reason = f"{event.kind}: {event.detail}" if event.detail else event.kind
        level = "verbose" if event.kind in ORDINARY_LOSSES else "warning"
        peer = self.links.pop(event.link, None)
        if peer is not None:
            what = f"link lost ({event.kind})"
            if event.kind in FOREIGN_LOSSES:
                peer = peer.rpartition(":")[0]  # such a peer may come again and again, from another port each time
                what += ", because it does not speak this cluster bus"
            self._note(peer, what, event.detail, now_ms, level=level)
            self.state.handle_link_closed(event.link, reason, now_ms)
            return
        dial = self._dials.pop(event.owner, None)
        if dial is not None:
            self.counters["dials_failed"] += 1
            self._note(dial.peer, f"dial failed ({event.kind})", event.detail, now_ms, level=level)
            self.state.handle_dial_failed(dial.node_id, reason, now_ms)

    def _apply_link_drained(self, event: LinkDrained, _now_ms: int) -> None:
        self.engine.free(event.link)

    def _apply_accept_refused(self, event: AcceptRefused, now_ms: int) -> None:
        self._note(event.ip, f"connection refused ({event.kind})", event.detail, now_ms)

    def _give_up_event(self, event: EngineEvent, error: Exception, now_ms: int) -> None:
        """An error in our own code met an event of a peer. Its link is closed, and everything else goes on."""
        what = "an event of the engine could not be applied"
        self.faults.survive(error, "event_errors", type(event).__name__, what)
        if isinstance(event, LinkAccepted | LinkConnected | PacketsReceived | LinkLost):
            self._drop_link(event.link, "error while applying an event", now_ms)

    def _drop_link(self, link: int, reason: str, now_ms: int) -> None:
        """Closes a link because of what arrived on it. An error of the state meanwhile is survived."""
        if self.links.pop(link, None) is None:
            return
        self.engine.close(link)
        try:
            self.state.handle_link_closed(link, reason, now_ms)
        except Exception as error:
            self.faults.survive(error, "packet_errors", f"link {link}", "closing it failed in the state")

    # ------------------------------------------------------------ state -> engine

    def _carry_out_effects(self) -> None:
        """Carries out the effects of the last input, in order.

        If a durable save fails, the messages that follow it in the same input are withheld until one succeeds, because
        what they announce is not on disk (H47). If the disk has not answered yet, they are held until it does. Messages
        of other inputs still go out, above all heartbeats, and while the disk is at work those of the same input too:
        a node with a slow disk is alive. The heartbeats of a step come last: they announce the state as it is when they
        are encoded, so every save must be begun before, and on no link may one that says less come after one that says
        more. No effect is an input itself, so one round is enough.
        """
        attempt: Attempt | None = None
        heartbeats: list[SendHeartbeat] = []
        try:
            effects = self.state.poll_effects()
        except Exception as error:
            self.faults.survive(error, "effect_errors", "effect", "the state's effects could not be had")
            return
        for effect in effects:
            if isinstance(effect, Save):
                if effect.durable:
                    attempt = self._save(durable=True)
                else:  # one write for many changes, at the end of the step
                    self.saver.want()
            elif isinstance(effect, SendHeartbeat):
                heartbeats.append(effect)
            elif attempt is None or not isinstance(effect, Send | Broadcast):
                self._carry(effect)
            else:
                self._carry_after(attempt, effect)
        if attempt is not None and attempt.outcome is Outcome.FAILED:
            self.counters["messages_withheld"] += len(heartbeats)
            return
        self._heartbeats += heartbeats

    def _carry_after(self, attempt: Attempt, effect: Send | Broadcast) -> None:
        """Sends a message, or holds or withholds it, by what has become of the save before it."""
        if attempt.outcome is Outcome.SAVED:
            self._carry(effect)
        elif attempt.outcome is Outcome.UNDER_WAY and len(self._held) < HELD_MAX:
            self.counters["messages_held"] += 1
            self._held.append(Held(attempt, effect, self.state.own_claims))
        else:
            self.counters["messages_withheld"] += 1

    def _release_held(self) -> None:
        """Sends what has waited for a save that has succeeded by now. What waited for one that failed is withheld."""
        if not self._held:
            return
        held, self._held = self._held, []
        for message in held:
            if message.attempt.outcome is Outcome.UNDER_WAY:
                self._held.append(message)
            elif message.own_claims == self.state.own_claims:
                self._carry_after(message.attempt, message.effect)
            else:
                self.counters["messages_withheld"] += 1

    def _carry(self, effect: Effect) -> None:
        kind = type(effect)
        try:
            self._carriers[kind](effect)
        except Exception as error:
            self.faults.survive(error, "effect_errors", "effect", f"{kind.__name__} could not be carried out")

    def _carry_send(self, effect: Send) -> None:
        if self._may_answer(effect.link):
            self.engine.send(effect.link, encode(effect.message))

    def _may_answer(self, link: int) -> bool:
        """Whether a link may get one more message because of what came on it. Who does not read gets few or none."""
        unsent_bytes = self.engine.send_queue(link)[1]
        if unsent_bytes <= STRANGER_ANSWERS_UNSENT_MAX_BYTES:
            return True
        if unsent_bytes <= ANSWERS_QUEUED_MAX_BYTES and self.state.is_of_node(link):
            if unsent_bytes <= ANSWERS_UNSENT_MAX_BYTES:
                return True
            self._slow_answers[link] += 1
            if self._slow_answers[link] <= ANSWERS_PER_TICK:
                return True
        self.counters["answers_dropped_slow_link"] += 1
        peer = self.links.get(link, f"link {link}")
        self._note(peer, "slow answers", "does not read the answers to its PINGs, so gets few", self.clock.now_ms())
        return False

    def _carry_send_heartbeat(self, effect: SendHeartbeat) -> None:
        if effect.kind == PONG and not self._may_answer(effect.link):
            return
        view_will_do = self._view_header_version == self.state.own_header_version
        if view_will_do and self.engine.send_heartbeat(effect.link, effect.kind):
            return
        message = self.state.heartbeat(effect.link, effect.kind)
        if message is not None:
            self.engine.send(effect.link, encode(message))

    def _publish_view(self) -> None:
        """Publishes a view of the present version at the end of each step that moved it: until then every heartbeat is
        the main loop's. A view that took long is followed by the next one only after a while (VIEW_SHARE).
        """
        if self._view_version == self.state.version:
            return
        begun_ns = self.clock.monotonic_ns()
        if begun_ns < self._view_due_ns:
            return
        view = self.state.view()
        if view is None:
            return
        self.engine.publish(view)
        self._view_version = view.version
        self._view_header_version = self.state.own_header_version
        self.counters["views_published"] += 1
        ended_ns = self.clock.monotonic_ns()
        self._view_due_ns = ended_ns + (ended_ns - begun_ns) * (VIEW_SHARE - 1)

    def _carry_broadcast(self, effect: Broadcast) -> None:
        data = encode(effect.message)
        if isinstance(effect.message, Publish | ModuleMessage):
            slow = self.engine.broadcast(effect.links, data, unsent_max_bytes=MESSAGES_QUEUED_MAX_BYTES)
            self.counters["messages_dropped_slow_link"] += slow
        else:
            self.engine.broadcast(effect.links, data)

    def _carry_dial(self, effect: Dial) -> None:
        if address_text(effect.ip, effect.cport) in self._cut_off:
            self._failed_dials.append((effect.node_id, CUT_OFF))
            return
        self._dials_begun += 1
        owner = self._dials_begun
        try:
            node = self.state.find(effect.node_id)
            times = node.times if node is not None else None
            self.engine.connect(effect.ip, effect.cport, owner=owner, tls=self.config.tls_cluster, times=times)
        except (OSError, ClusterBusError) as error:
            # Reported at the end of the step. Reported now, a state that dials again at once would never end.
            self.counters["dials_failed"] += 1
            self._failed_dials.append((effect.node_id, str(error)))
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                self._note("this process", "no file descriptor is left for a link", NOFILE_HINT, self.clock.now_ms())
            return
        self._dials[owner] = DialRecord(effect.node_id, address_text(effect.ip, effect.cport))

    def _carry_bind_link(self, effect: BindLink) -> None:
        self.engine.bind(effect.link, effect.node_id)

    def _carry_close_link(self, effect: CloseLink) -> None:
        peer = self.links.pop(effect.link, None)
        if peer is not None:
            self._note(peer, "link closed", effect.reason, self.clock.now_ms(), level="verbose")
        self.engine.close(effect.link)

    def _carry_log(self, effect: Log) -> None:
        self.log(effect.level, effect.text)

    def _carry_refuse(self, effect: Refuse) -> None:
        line = self._refusals.line(effect.peer, effect.refusal.word, effect.text, self.clock.now_ms())
        if line is not None:
            self.log("warning", line)
            if effect.event is not None:
                self._tell(effect.event)

    def _carry_notify(self, effect: Notify) -> None:
        self._tell(effect.event)

    def _tell(self, event: Event) -> None:
        for listener in self.event_listeners:
            listener(event)

    # ------------------------------------------------------------ nodes.conf and the log

    def _save(self, *, durable: bool) -> Attempt:
        """Writes nodes.conf for an effect. No caller waits for the outcome, so a failure is logged."""
        self._look_at_save()
        attempt = self.saver.write(durable=durable)
        if attempt.outcome is Outcome.FAILED:
            self._tell_save_failed()
        elif attempt.outcome is Outcome.UNDER_WAY:
            detail = "what announces it, as a vote does, waits; heartbeats go on"
            self._note("nodes.conf", "the disk is slow to save it", detail, self.clock.now_ms())
        return attempt

    def _look_at_save(self) -> None:
        attempt = self.saver.look()
        if attempt is not None and attempt.outcome is Outcome.FAILED:
            self._tell_save_failed()

    def _tell_save_failed(self) -> None:
        self._note("nodes.conf", "could not be saved", self.saver.status.last_error, self.clock.now_ms())
        if self.config.cluster_config_save_behavior == "sync":
            self.on_save_failed()

    def _note(self, peer: str, reason: str, detail: str, now_ms: int, *, level: str = "warning") -> None:
        text = f"{reason}: {detail}" if detail else reason
        line = self._refusals.line(peer, reason, text, now_ms)
        if line is not None:
            self.log(level, line)


def _shown(event: LinkAccepted | LinkConnected) -> tuple[Certificate, ...]:
    """The certificate that the peer of a new link has shown, if it has."""
    key = event.certificate_key
    return (Certificate(key, tuple(event.certificate_names)),) if key else ()
