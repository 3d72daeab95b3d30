"""How a member leaves its cluster for good: it hands over what it can, and has every other member forget it.

Owns the order of the steps, who is told in which way, for how long, and the report of what did not succeed. A member of
our own kind is told by a message of the bus; one of another kind hears it from such a member, or gets CLUSTER FORGET at
its client port. Must never wait: a tick of the member moves it on. Main thread. Beyond the source, where an operator
tells every node. What is said and done on the bus is in `cluster/membership/leaving`.

Steps: hand over slots to a replica; ask who is of our kind; give slots to one of them; tell everybody; become a new
node that knows nobody. Only before the telling can it be called off. A member counts as told when its own link to us is
gone: it has closed it because it forgot us. So nobody is left who would dial us and find the new node in our place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.events import Event, HandoverEnded, SlotOrderEnded
from clusterbus.cluster.membership.leaving import Word
from clusterbus.cluster.model.leave_state import LeaveAnswer
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.cluster.state import ClusterState
from clusterbus.data_plane import DataPlane
from clusterbus.errors import ClusterBusError, StateError
from clusterbus.member.ports import Clock, Errand, Errands, Log, PeerAnswer, Place

ASK_MS: Final = 1_000
"""So long do we wait for the answers of those who may be of our kind."""
EXTENSION_MS: Final = 1_500
"""So long has a member of another kind time to hear of it from one of ours, before it is told at its client port."""
SAY_AGAIN_MS: Final = 500
COMMAND_AGAIN_MS: Final = 1_000
LINKS_END_MS: Final = 2_000
"""So long after a member's word that it forgets us may its link to us still be there."""
HAND_OVER_PARTS: Final = 2
"""Handing over may take this part of the time."""
UNKNOWN_NODE: Final = "ERR Unknown node"
"""How a node that does not know us answers CLUSTER FORGET."""


@dataclass(frozen=True, slots=True)
class LeaveReport:
    """What became of leaving. `untold`: the members that still know this node, each with the reason. `slots_left`: the
    slots that nobody took over, as inclusive (first, last) ranges; they have no owner now.
    """

    untold: Mapping[str, str]
    slots_left: tuple[tuple[int, int], ...]


class _Phase(Enum):
    HANDING_OVER = auto()
    ASKING = auto()
    GIVING = auto()
    TELLING = auto()
    OVER = auto()


@dataclass(slots=True)
class _Peer:
    """A member that must forget us. `said_ms`: when it was told last; `agreed_ms`: since when it says that it does."""

    node_id: str
    place: Place | None
    reason: str = "not told"
    had_link: bool = False
    """Its own link to us was up when leaving began."""
    is_kin: bool = False
    is_told: bool = False
    said_ms: int = 0
    agreed_ms: int = 0
    command: Errand[PeerAnswer] | None = None
    next_command_ms: int = 0


@dataclass(slots=True)
class _Progress:
    timeout_ms: int
    with_keys: bool
    begun_ms: int
    phase: _Phase = _Phase.HANDING_OVER
    phase_ms: int = 0
    peers: dict[str, _Peer] = field(default_factory=dict)
    gift: int = 0
    """The number of the order to move our slots."""
    slots_left: tuple[tuple[int, int], ...] = ()

    @property
    def end_ms(self) -> int:
        return self.begun_ms + self.timeout_ms


class Leaving:
    """One leave of a member. `begin`, then `tick` until `is_over`; then `report`, or `error` if it stays.

    `forget_seeds` is called when the telling begins: the member must not join again by itself.
    """

    def __init__(
        self,
        *,
        state: ClusterState,
        data_plane: DataPlane,
        clock: Clock,
        errands: Errands,
        log: Log,
        tls_cluster: bool,
        forget_seeds: Callable[[], None],
        timeout_ms: int,
        with_keys: bool,
    ) -> None:
        self._state = state
        self._data_plane = data_plane
        self._clock = clock
        self._errands = errands
        self._log = log
        self._tls_cluster = tls_cluster
        self._forget_seeds = forget_seeds
        self._old_id = state.myself.node_id
        now_ms = clock.now_ms()
        self._progress = _Progress(timeout_ms, with_keys, begun_ms=now_ms)
        self.error: ClusterBusError | None = None
        self.report: LeaveReport | None = None
        if not state.hand_over(timeout_ms // HAND_OVER_PARTS, now_ms):
            self._ask(now_ms)

    @property
    def is_over(self) -> bool:
        return self._progress.phase is _Phase.OVER

    def handle_event(self, event: Event) -> None:
        """Goes on when the hand-over has ended, well or not, or the gift of slots."""
        phase = self._progress.phase
        if isinstance(event, HandoverEnded) and phase is _Phase.HANDING_OVER:
            self._ask(self._clock.now_ms())
        elif isinstance(event, SlotOrderEnded) and phase is _Phase.GIVING and event.number == self._progress.gift:
            self._begin_telling(self._clock.now_ms())

    def tick(self) -> None:
        """Does what is due."""
        now_ms = self._clock.now_ms()
        if self._progress.phase is _Phase.ASKING:
            self._hear(now_ms)
        if self._progress.phase is _Phase.TELLING:
            self._tell(now_ms)

    def give_up(self) -> None:
        """Who ordered it waits no longer. Before the telling the node stays; after that it leaves at once."""
        now_ms = self._clock.now_ms()
        if self._progress.phase is _Phase.TELLING:
            self._finish(now_ms)
        elif self._progress.phase is not _Phase.OVER:
            self._stay(StateError("leaving was given up"), now_ms)

    # ------------------------------------------------------------ before anybody is told

    def _ask(self, now_ms: int) -> None:
        """The hand-over has ended, or there was none. Asks everybody for their kind, unless keys would be lost."""
        myself = self._state.myself
        keys = self._data_plane.count_keys() if myself.is_primary else 0
        if keys and not self._progress.with_keys:
            text = f"no replica took over the {keys} keys of this primary: with_keys=True takes them out of the cluster"
            self._stay(StateError(text), now_ms)
            return
        self._state.begin_leave(now_ms)
        for node in self._members():
            self._progress.peers[node.node_id] = _Peer(
                node.node_id, self._place_of(node), had_link=node.inbound_link is not None
            )
            self._state.say_leave(node.node_id, Word.ASK, now_ms)
        self._enter(_Phase.ASKING, now_ms)

    def _hear(self, now_ms: int) -> None:
        answers = self._state.leave_answers
        connected = [node for node in self._members() if node.link is not None]
        if now_ms - self._progress.phase_ms < ASK_MS and any(node.node_id not in answers for node in connected):
            return
        if not self._give_slots(now_ms):
            self._begin_telling(now_ms)

    def _give_slots(self, now_ms: int) -> bool:
        """No replica took our slots. A primary of our kind may have them if that does no harm: they hold no keys, and
        it serves slots already, so it is not one that only watches. False if there is none.
        """
        myself = self._state.myself
        answers = self._state.leave_answers
        heirs = [
            node for node in self._members() if node.node_id in answers and node.is_voting and node.is_within_reach
        ]
        if not myself.is_voting or not heirs:
            return False
        heir = min(heirs, key=lambda node: (node.slot_bits.bit_count(), node.node_id))
        timeout_ms = max(0, self._progress.end_ms - now_ms) // HAND_OVER_PARTS
        try:
            self._progress.gift = self._state.move_slots(myself.slot_bits, heir.node_id, timeout_ms, now_ms)
        except StateError as error:
            self._log("notice", f"Leaving: {heir.name} cannot take the slots of this node: {error}")
            return False
        self._log("notice", f"Leaving: {heir.name} is asked to take the slots of this node")
        self._enter(_Phase.GIVING, now_ms)
        return True

    def _begin_telling(self, now_ms: int) -> None:
        myself = self._state.myself
        if myself.is_primary:
            self._progress.slots_left = ranges_of(myself.slot_bits)
        self._forget_seeds()
        self._log("notice", f"Leaving the cluster: {len(self._progress.peers)} members are told to forget this node")
        self._enter(_Phase.TELLING, now_ms)

    def _stay(self, error: ClusterBusError, now_ms: int) -> None:
        self._state.call_off(self._progress.gift, now_ms)
        self._state.keep_slots(now_ms)
        self._state.stay(now_ms)
        self.error = error
        self._enter(_Phase.OVER, now_ms)

    # ------------------------------------------------------------ the telling

    def _tell(self, now_ms: int) -> None:
        open_peers = [peer for peer in self._progress.peers.values() if not peer.is_told]
        for peer in open_peers:
            peer.is_kin = peer.node_id in self._state.leave_answers  # its answer may be late
            if peer.is_kin:
                self._tell_kin(peer, now_ms)
            else:
                self._tell_other(peer, now_ms)
        if now_ms >= self._progress.end_ms or all(peer.is_told or self._is_hopeless(peer) for peer in open_peers):
            self._finish(now_ms)

    def _tell_kin(self, peer: _Peer, now_ms: int) -> None:
        answer = self._state.leave_answers.get(peer.node_id)
        if answer is LeaveAnswer.IS_OUR_REPLICA:
            peer.reason = "it is a replica of this node, and does not forget its primary"
        elif answer is LeaveAnswer.DONE:
            self._await_link_end(peer, now_ms)
        elif now_ms - peer.said_ms >= SAY_AGAIN_MS:
            peer.said_ms = now_ms
            if not self._state.say_leave(peer.node_id, Word.LEAVE, now_ms, self._others()):
                peer.reason = "there is no link to it"

    def _tell_other(self, peer: _Peer, now_ms: int) -> None:
        """By the extension of one of our kind, if there is one; else, or if that does not help, at its client port. One
        that refuses there may still hear it from others.
        """
        if now_ms - peer.said_ms >= SAY_AGAIN_MS:
            peer.said_ms = now_ms
            self._state.say_leave(peer.node_id, Word.ASK, now_ms)
        node = self._state.find(peer.node_id)
        if node is not None and node.flags & c.FLAG_EXTENSIONS and peer.had_link:
            if self._is_spread() and not self._knows_us(peer):
                peer.is_told = True
                return
            if self._has_kin() and now_ms - self._progress.phase_ms < EXTENSION_MS:
                return
        if peer.agreed_ms:
            self._await_link_end(peer, now_ms)
            return
        if peer.command is None:
            if peer.place is not None and now_ms >= peer.next_command_ms:
                peer.next_command_ms = now_ms + COMMAND_AGAIN_MS
                peer.command = self._errands.command(peer.place, "CLUSTER", "FORGET", self._old_id)
            return
        if peer.command.is_done:
            answer, peer.command = peer.command.result(), None
            if answer.is_ok or answer.reply.startswith(UNKNOWN_NODE):
                peer.agreed_ms = now_ms
            else:
                peer.reason = answer.text

    def _await_link_end(self, peer: _Peer, now_ms: int) -> None:
        """It says that it forgets us; then its link to us ends. One that stays for long says that it came to know us
        again, by the gossip of somebody who was told later: it is told again.
        """
        peer.agreed_ms = peer.agreed_ms or now_ms
        if not self._knows_us(peer):
            peer.is_told = True
        elif now_ms - peer.agreed_ms > LINKS_END_MS:
            peer.agreed_ms = 0
            peer.reason = "it was told, and still dials this node"

    def _finish(self, now_ms: int) -> None:
        """Becomes a new node that knows nobody. nodes.conf says so, and a later start joins nobody."""
        untold = {peer.node_id: peer.reason for peer in self._progress.peers.values() if not peer.is_told}
        for node_id, reason in untold.items():
            self._log("warning", f"Left the cluster, but node {node_id} still knows this one: {reason}")
        self.report = LeaveReport(untold, self._progress.slots_left)
        self._state.start_anew(now_ms)
        self._enter(_Phase.OVER, now_ms)

    # ------------------------------------------------------------ what is asked of the state

    def _enter(self, phase: _Phase, now_ms: int) -> None:
        self._progress.phase, self._progress.phase_ms = phase, now_ms

    def _members(self) -> list[Node]:
        others = [node for node in self._state.nodes if node is not self._state.myself]
        return [node for node in others if not (node.in_handshake or node.provisional)]

    def _knows_us(self, peer: _Peer) -> bool:
        """Whether the member's own link to us is up."""
        node = self._state.find(peer.node_id)
        return node is not None and node.inbound_link is not None

    def _is_spread(self) -> bool:
        """Whether some member mentions us as forgotten: one of our kind, or one of another kind with extensions."""
        told = [self._state.find(peer.node_id) for peer in self._progress.peers.values() if peer.is_told]
        is_done = LeaveAnswer.DONE in self._state.leave_answers.values()
        return is_done or any(node is not None and node.flags & c.FLAG_EXTENSIONS for node in told)

    def _has_kin(self) -> bool:
        """Whether somebody of our kind forgets us, and so mentions it to the others."""
        answers = self._state.leave_answers.values()
        return any(answer is not LeaveAnswer.IS_OUR_REPLICA for answer in answers)

    def _is_hopeless(self, peer: _Peer) -> bool:
        """Whether it makes no sense to wait for this member: it refuses, or it is failing and was asked in vain."""
        if self._state.leave_answers.get(peer.node_id) is LeaveAnswer.IS_OUR_REPLICA:
            return True
        node = self._state.find(peer.node_id)
        is_gone = node is None or (node.link is None and bool(node.flags & c.FAILING))
        return is_gone and peer.command is None and (peer.place is None or peer.next_command_ms > 0 or peer.is_kin)

    def _others(self) -> bytes:
        """The ids of those who must hear of it from a member of our kind."""
        others = [peer.node_id for peer in self._progress.peers.values() if not peer.is_kin and not peer.is_told]
        return "".join(others[: c.LEAVE_OTHERS_MAX]).encode()

    def _place_of(self, node: Node) -> Place | None:
        """Where a member takes commands; over TLS where the bus speaks TLS."""
        tls = self._tls_cluster and bool(node.tls_port)
        port = node.tls_port if tls else node.port
        return Place(node.ip, port, tls) if node.ip and port else None
