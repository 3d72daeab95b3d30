"""The rules that hold after every event of a simulated cluster, whatever the network does.

Owns the memory of what was seen, announced and promised. Looks only at what the event may have changed, at messages
sent, and at what is on disk. Must never change a member. A broken rule raises `InvariantError`. One thread.

| Rule | Checked for |
|---|---|
| one winner per epoch, with the votes of a majority | a new primary or taker of slots (`claims`) |
| one vote per voter per epoch, also across restarts; on disk before it is sent | a vote sent |
| epochs never go down, or far up (H28), across restarts too if durable or announced | every event, message, start |
| no slot with two owners at one config epoch, if both won it or were given it | every change of a claim |
| no slot held by two; a forgotten node stays out; no replica of a known epoch (P10); lease, version, history | always |
| an empty node gets no slots that had data, and follows a node with data only by order (P1, P4) | every change |
| own slots are only lost to a greater epoch, and only gained by an election or an operator | their every change |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from clusterbus.cluster.claims import letters
from clusterbus.cluster.claims.letters import Kind
from clusterbus.cluster.constants import AUTH_ACK, AUTH_REQUEST, FAIL, MFSTART, MODULE, SLOT_CLAIMS_MODULE_ID
from clusterbus.cluster.events import ElectionWon, EpochChanged, Event, NodeJoined, NodeLeft, RoleChanged, SlotsTaken
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.slots import bits_of_ranges
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.errors import InvariantError
from clusterbus.member.driver import LEASE_MAX_MS, LEASE_OF_NODE_TIMEOUT
from clusterbus.sim.data import Shelf
from clusterbus.sim.disk import SavedEpochs
from clusterbus.sim.history_replay import HistoryReplay
from clusterbus.wire import ModuleMessage, Packet

ONE_WINNER: Final = "one winner per epoch"
MAJORITY: Final = "a winner has the votes of a majority"
ONE_VOTE: Final = "one vote per voter per epoch"
VOTE_DURABLE: Final = "a vote is on disk before it is sent"
EPOCHS_RISE: Final = "epochs never go down"
ONE_OWNER: Final = "no slot with two owners at one config epoch"
OWN_SLOTS: Final = "own slots are only lost to a greater epoch"
SUCCESSION: Final = "an elected primary keeps its slots from the one it replaced"
HANDED_OVER: Final = "a replica has no slots"
WENT_BACK: Final = "nobody takes a primary of its epoch for a replica again"
UNASKED: Final = "an empty node follows one with data only by order"
STAYS_OUT: Final = "a forgotten node stays out"
DATA_KEPT: Final = "slots with data only go to nodes with data"
LEASE: Final = "nobody answers for a main loop that has been away for longer than its lease"
AS_OF_NOW: Final = "heartbeats are taken without the main loop only at the version of the state"
ONE_HOLDER: Final = "no slot is held by two nodes at once"
NO_JUMP: Final = "no epoch is taken over that no honest cluster reaches"
HISTORY: Final = "the history leads where the state is"
OWN_GAINS: Final = "slots are only gained by an election or an operator"
WATCHES: Final = "an observer has no part: no slots, no epoch, no vote, no word about failures"

PARTS: Final = frozenset({AUTH_REQUEST, AUTH_ACK, MFSTART, FAIL})
"""The messages that an observer never sends, beside letters about slots."""

RESTS_ON_WORDS: Final = frozenset(
    {ONE_WINNER, ONE_OWNER, ONE_HOLDER, SUCCESSION, HANDED_OVER, WENT_BACK, UNASKED, DATA_KEPT, NO_JUMP}
)
"""The rules that no member can keep alone: they rest on what others say, so one that lies can break them. It can vote
for two, promise slots to two, claim what another one has won, say that it has data, and be a step ahead of all epochs
again and again (`cluster-epoch-jump-max` bounds the steps, not their number). All other rules hold beside a liar."""

EPOCH_SANE_MAX: Final = 2**20
"""Far above what the orders and elections of a scenario amount to."""


class ObservedHost(Protocol):
    """What the rules read of a host, with or without a running process. `Host` is one."""

    may_take_over: bool

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def is_up(self) -> bool: ...
    @property
    def config(self) -> Config: ...
    @property
    def state(self) -> ClusterState: ...
    @property
    def importing(self) -> int: ...
    @property
    def owes_durable_save(self) -> bool: ...
    @property
    def is_empty(self) -> bool: ...
    @property
    def is_older(self) -> bool: ...
    @property
    def was_empty(self) -> bool: ...
    def held_slots(self, bits: int) -> int: ...
    def now_text(self) -> str: ...
    def epochs(self) -> SavedEpochs: ...


@dataclass(slots=True)
class Seen:
    """What a member was after the last event."""

    current_epoch: int = 0
    config_epoch: int = 0
    slot_bits: int = 0
    flags: int = 0
    is_primary: bool = True
    shard_id: str = ""
    primary_id: str = ""
    known_epochs: dict[str, int] = field(default_factory=dict)


class Checker:
    """Checks one simulation. `hosts` are all of them, including those that are down."""

    def __init__(self, hosts: Sequence[ObservedHost], stats: Counter[str], shelf: Shelf) -> None:
        self._hosts = hosts
        self._shelf = shelf
        self._stats = stats
        self._seen: dict[int, Seen] = {}
        self._winners: dict[int, str] = {}
        self._won_epochs: dict[str, int] = {}
        self._claimed: dict[int, tuple[int, int]] = {}
        """By host: epoch and slots of a claim that it has just won."""
        self._taken_alone: set[tuple[str, int]] = set()
        self._taken_unasked: set[tuple[str, int]] = set()
        self._votes: dict[tuple[str, int], str] = {}
        self._acks: dict[tuple[str, int], set[str]] = {}
        self._announced_epochs: dict[str, int] = {}
        self._link_epochs: dict[tuple[int, str], int] = {}
        self._durable: dict[int, SavedEpochs] = {}
        self._forgotten: dict[tuple[int, str], int] = {}
        self._replays: dict[int, HistoryReplay] = {}
        self.liars: set[int] = set()
        """The hosts whose members say what is not so."""

    # ------------------------------------------------------------ what the hosts report
    def booted(self, host: ObservedHost) -> None:
        """A process has read its nodes.conf, which says nothing of forgotten nodes."""
        for key in [key for key in self._forgotten if key[0] == host.index]:
            del self._forgotten[key]
        state = host.state
        self._replays[host.index] = HistoryReplay(state)
        myself = state.myself
        saved = self._durable.get(host.index, SavedEpochs())
        now = host.epochs()
        if now.current_epoch < saved.current_epoch or now.last_vote_epoch < saved.last_vote_epoch:
            self._broken(host, EPOCHS_RISE, f"{saved} was durable, and it starts with {now}")
        announced = self._announced_epochs.get(myself.node_id, 0)
        if myself.is_primary and myself.config_epoch < announced:
            detail = f"announced config epoch {announced}, and starts with {myself.config_epoch}"
            self._broken(host, EPOCHS_RISE, detail)
        self._seen[host.index] = Seen(
            state.current_epoch,
            myself.config_epoch,
            myself.slot_bits,
            myself.flags,
            myself.is_primary,
            myself.shard_id,
            _primary_id(myself),
        )

    def lost_disk(self, host: ObservedHost) -> None:
        """The host has an empty disk: its next process is another node, and owes nothing of what was saved here."""
        self._durable.pop(host.index, None)

    def forgot(self, host: ObservedHost, node_id: str, until_us: int) -> None:
        """An operator had the member forget a node, which must stay out until then."""
        self._forgotten[host.index, node_id] = until_us

    def met(self, node_id: str) -> None:
        """An operator wants a node in, wherever it was forgotten."""
        for key in [key for key in self._forgotten if key[1] == node_id]:
            del self._forgotten[key]

    def saved(self, host: ObservedHost, durable: SavedEpochs) -> None:
        """A durable save succeeded. No crash can take away `durable` now."""
        self._durable[host.index] = durable

    def settled(self, host: ObservedHost, *, by_operator: bool = False) -> None:
        """An input was applied and its effects carried out."""
        seen = self._seen[host.index]
        state = host.state
        if fault := self._replays[host.index].fault(state):
            self._broken(host, HISTORY, fault)
        myself = state.myself
        if host.config.cluster_observer and (myself.slot_bits or myself.config_epoch or not myself.is_primary):
            self._broken(host, WATCHES, f"a {_role(myself.is_primary)} with epoch {myself.config_epoch}")
        current_epoch = state.current_epoch
        if current_epoch != seen.current_epoch:
            if current_epoch < seen.current_epoch and not by_operator:
                self._broken(host, EPOCHS_RISE, f"current epoch {seen.current_epoch} -> {current_epoch}")
            if current_epoch > EPOCH_SANE_MAX:
                self._broken(host, NO_JUMP, f"current epoch {seen.current_epoch} -> {current_epoch}")
            seen.current_epoch = current_epoch
        self._check_primary(host, seen, by_operator=by_operator)
        if state.keeps_leases and myself.slot_bits:
            self._check_one_holder(host)
        if (
            myself.config_epoch == seen.config_epoch
            and myself.slot_bits == seen.slot_bits
            and myself.flags == seen.flags
        ):
            return
        self._check_own(host, seen, by_operator=by_operator)
        seen.config_epoch = myself.config_epoch
        seen.slot_bits = myself.slot_bits
        seen.flags = myself.flags
        seen.is_primary = myself.is_primary

    def notified(self, host: ObservedHost, event: Event) -> None:
        """The member reports an event."""
        if isinstance(event, EpochChanged):
            known = self._seen[host.index].known_epochs
            before = known.get(event.node_id, 0)
            if event.config_epoch < before:
                self._broken(host, EPOCHS_RISE, f"config epoch of {event.node_id} {before} -> {event.config_epoch}")
            if event.config_epoch > EPOCH_SANE_MAX:
                self._broken(host, NO_JUMP, f"config epoch of {event.node_id} {before} -> {event.config_epoch}")
            known[event.node_id] = event.config_epoch
        elif isinstance(event, RoleChanged):
            self._check_deposed(host, event)
        elif isinstance(event, ElectionWon):
            self._won_epochs[event.node_id] = event.epoch
        elif isinstance(event, SlotsTaken):
            self._claimed[host.index] = event.epoch, bits_of_ranges(event.slots)
        elif isinstance(event, NodeJoined):
            until_us = self._forgotten.pop((host.index, event.node_id), 0)
            if self._shelf.timeline.now_us < until_us:
                self._broken(host, STAYS_OUT, f"knows {event.node_id} again, which was forgotten")
        elif isinstance(event, NodeLeft):
            self._seen[host.index].known_epochs.pop(event.node_id, None)

    def sent(self, host: ObservedHost, packet: Packet, receivers: list[str]) -> None:
        """The engine took a message for the nodes with these ids. From now on it may be on the wire."""
        letter = _letter(packet)
        if host.config.cluster_observer and (letter is not None or packet.type in PARTS):
            self._broken(host, WATCHES, f"sends a message of type {packet.type}")
        if letter is not None and letter.kind is Kind.VOTE:
            for requester in receivers:
                self._voted(host, letter.epoch, requester)
        if packet.is_light:
            return
        if packet.type == AUTH_ACK:
            for requester in receivers:
                self._voted(host, packet.current_epoch, requester)
        # Without a durable save it is no promise: the disk refused it, but heartbeats still go out (H47).
        if packet.replicaof is None and not host.owes_durable_save:
            announced = self._announced_epochs.get(packet.sender, 0)
            self._announced_epochs[packet.sender] = max(announced, packet.config_epoch)

    def on_wire(self, host: ObservedHost, link: int, packet: Packet) -> None:
        """A message leaves on one end of a link. A heartbeat that is encoded from a view may leave after a newer one
        left on another link, so epochs only rise on each link.
        """
        if packet.is_light or packet.replicaof is not None:
            return
        config_epoch = packet.config_epoch
        before = self._link_epochs.get((link, packet.sender), 0)
        if config_epoch < before:
            self._broken(host, EPOCHS_RISE, f"announced config epoch {before}, then {config_epoch}, on one link")
        self._link_epochs[link, packet.sender] = config_epoch

    def delivered(self, host: ObservedHost, packet: Packet, sender: str) -> None:
        """A packet of the node `sender` is about to be applied."""
        letter = _letter(packet)
        if letter is not None and letter.kind is Kind.VOTE:
            self._acks.setdefault((host.state.myself.node_id, letter.epoch), set()).add(sender)
        if packet.type == AUTH_ACK:
            key = (host.state.myself.node_id, packet.current_epoch)
            self._acks.setdefault(key, set()).add(packet.sender)

    def taken(self, host: ObservedHost, view_version: int, away_ms: int) -> None:
        """A worker took a quiet heartbeat, when the main loop had been away for so long."""
        lease_ms = min(LEASE_MAX_MS, host.config.cluster_node_timeout // LEASE_OF_NODE_TIMEOUT)
        if away_ms > lease_ms:
            self._broken(host, LEASE, f"a worker answers after {away_ms} ms")
        if view_version != host.state.version:
            self._broken(host, AS_OF_NOW, f"a worker takes one at {view_version}, the state is at {host.state.version}")

    # ------------------------------------------------------------ the rules

    def _voted(self, host: ObservedHost, epoch: int, requester: str) -> None:
        voter = host.state.myself.node_id
        earlier = self._votes.get((voter, epoch))
        if earlier is not None:
            self._broken(host, ONE_VOTE, f"votes for {requester} in epoch {epoch}, after {earlier}")
        self._votes[voter, epoch] = requester
        self._stats["votes"] += 1
        durable = self._durable.get(host.index, SavedEpochs())
        if durable.last_vote_epoch < epoch:
            self._broken(
                host,
                VOTE_DURABLE,
                f"votes in epoch {epoch} with lastVoteEpoch {durable.last_vote_epoch} on disk",
            )

    def _check_own(self, host: ObservedHost, seen: Seen, *, by_operator: bool) -> None:
        """The member's own role, slots or config epoch changed."""
        myself = host.state.myself
        is_primary = myself.is_primary
        claim = self._claimed.pop(host.index, None)
        if claim is not None:
            self._check_claim(host, claim[0])
        if is_primary and seen.is_primary and myself.config_epoch < seen.config_epoch and not by_operator:
            self._broken(host, EPOCHS_RISE, f"own config epoch {seen.config_epoch} -> {myself.config_epoch}")
        won = is_primary and not seen.is_primary
        is_elected = claim is not None and claim[0] == myself.config_epoch
        if myself.config_epoch > seen.config_epoch and (not won or host.may_take_over) and not is_elected:
            self._note_taken_alone(host)
            if not by_operator and not host.importing:
                self._taken_unasked.add((myself.node_id, myself.config_epoch))
        if won and not by_operator and myself.slot_bits:
            self._check_winner(host)
        lost = seen.slot_bits & ~myself.slot_bits
        if lost and not by_operator:
            self._check_lost(host, seen, lost)
        gained = myself.slot_bits & ~seen.slot_bits
        with_data = gained & self._shelf.written & ~self._shelf.void
        if with_data and host.is_empty and host.is_older:
            self._shelf.void |= with_data
        elif with_data and host.is_empty:
            self._broken(host, DATA_KEPT, f"{with_data.bit_count()} slots gained by an empty node")
        gained &= ~host.importing & ~(claim[1] if claim is not None else 0)
        if gained and not by_operator and not won:
            self._broken(host, OWN_GAINS, f"{gained.bit_count()} slots gained by a {_role(is_primary)}")
        if is_primary and myself.slot_bits:
            self._check_one_owner(host)

    def _check_claim(self, host: ObservedHost, epoch: int) -> None:
        """The member has taken slots. The votes were counted where they arrived; its own is on disk."""
        node_id = host.state.myself.node_id
        winner = self._winners.setdefault(epoch, node_id)
        if winner != node_id:
            self._broken(host, ONE_WINNER, f"takes slots under epoch {epoch}, which {winner} has won")
        known = sum(1 for node in host.state.nodes if not node.in_handshake)
        votes = self._acks.get((node_id, epoch), set()) | {node_id}
        if len(votes) < known // 2 + 1:
            self._broken(host, MAJORITY, f"{len(votes)} votes of {known} in epoch {epoch}, for slots")
        durable = self._durable.get(host.index, SavedEpochs())
        if durable.last_vote_epoch < epoch:
            self._broken(host, VOTE_DURABLE, f"takes slots under epoch {epoch}, and its own vote is not on disk")

    def _check_one_holder(self, host: ObservedHost) -> None:
        held = host.held_slots(host.state.myself.slot_bits)
        for other in self._hosts:
            if other is host or not other.is_up or not held & other.state.myself.slot_bits:
                continue
            both = other.held_slots(held)
            if both:
                self._broken(host, ONE_HOLDER, f"holds {both.bit_count()} slots that {other.name} holds too")

    def _check_deposed(self, host: ObservedHost, event: RoleChanged) -> None:
        """A node takes another one for a replica. If it knows of the epoch under which that one is a primary now, it
        has applied an old header. What the new replica had must not wait for its successor to speak.
        """
        seen = host.state.find(event.node_id)
        if event.role != "replica" or seen is None or host.is_older:
            return
        if seen.slot_bits and event.primary_id != host.state.myself.node_id:
            self._broken(host, HANDED_OVER, f"{event.node_id} has {seen.slot_bits.bit_count()}")
        for other in self._hosts:
            if other is host or not other.is_up or other.state.myself.node_id != event.node_id:
                continue
            myself = other.state.myself
            if myself.is_primary and myself.slot_bits and seen.config_epoch == myself.config_epoch:
                self._broken(host, WENT_BACK, f"{other.name} is one in epoch {myself.config_epoch}")

    def _check_primary(self, host: ObservedHost, seen: Seen, *, by_operator: bool) -> None:
        """A node without data may be the replica of one with data, but only by order."""
        myself = host.state.myself
        primary_id = _primary_id(myself)
        if primary_id != seen.primary_id:
            is_elsewhere = bool(primary_id) and myself.shard_id != seen.shard_id
            is_unasked = is_elsewhere and not by_operator and not host.is_older
            if is_unasked and host.was_empty and self._shelf.has_keys(primary_id):
                self._broken(host, UNASKED, f"follows {primary_id}")
            seen.primary_id = primary_id
        seen.shard_id = myself.shard_id

    def _note_taken_alone(self, host: ObservedHost) -> None:
        """Notes a config epoch that was taken without votes (BUMPEPOCH, TAKEOVER, a collision, an import).

        An election elsewhere may have been won with the same epoch. The collision is resolved when the two meet, which
        `agreement` checks; until then their slots may overlap. An epoch that an operator set on a node that knew no
        other is not of this kind.
        """
        state = host.state
        if state.known_nodes_count > 1:
            self._taken_alone.add((state.myself.node_id, state.myself.config_epoch))

    def _check_winner(self, host: ObservedHost) -> None:
        myself = host.state.myself
        if host.may_take_over:
            host.may_take_over = False
            return
        node_id = myself.node_id
        epoch = self._won_epochs.pop(node_id, myself.config_epoch)  # they differ only after a BUMPEPOCH meanwhile
        winner = self._winners.setdefault(epoch, node_id)
        if winner != node_id:
            self._broken(host, ONE_WINNER, f"takes epoch {epoch}, which {winner} has won")
        if myself.config_epoch < epoch:
            self._broken(host, ONE_WINNER, f"has won epoch {epoch} and takes epoch {myself.config_epoch}")
        voting = sum(1 for owner in host.state.slot_owners if owner.is_primary)
        votes = self._acks.get((node_id, epoch), set())
        if len(votes) < voting // 2 + 1:
            self._broken(host, MAJORITY, f"{len(votes)} votes of {voting} in epoch {epoch}")

    def _check_lost(self, host: ObservedHost, seen: Seen, lost: int) -> None:
        unexplained = lost
        myself = host.state.myself
        was_elected = self._winners.get(seen.config_epoch) == myself.node_id
        older = {other.state.myself.node_id for other in self._hosts if other.is_up and other.is_older}  # without P16
        for owner in host.state.slot_owners:
            if owner.slot_bits & lost:
                unexplained &= ~owner.slot_bits
                is_unasked = (owner.node_id, owner.config_epoch) in self._taken_unasked
                is_older = owner.node_id in older or host.is_older
                if was_elected and is_unasked and not is_older and owner.shard_id == myself.shard_id:
                    self._broken(host, SUCCESSION, f"{owner.node_id} took epoch {owner.config_epoch} to win them back")
                if owner.config_epoch <= seen.config_epoch and not self._gives_way(host, seen, owner):
                    self._broken(
                        host,
                        OWN_SLOTS,
                        f"{(owner.slot_bits & lost).bit_count()} slots at epoch {seen.config_epoch} lost"
                        f" to {owner.node_id} at epoch {owner.config_epoch}",
                    )
        if unexplained:
            self._broken(host, OWN_SLOTS, f"{unexplained.bit_count()} slots lost, but no node has them")

    def _gives_way(self, host: ObservedHost, seen: Seen, owner: Node) -> bool:
        """Whether a primary took the same epoch without votes in which its successor was elected (P16)."""
        myself, epoch = host.state.myself, seen.config_epoch
        was_elected = self._winners.get(epoch) == owner.node_id and owner.config_epoch == epoch
        return was_elected and (myself.node_id, epoch) in self._taken_alone and owner.shard_id == myself.shard_id

    def _check_one_owner(self, host: ObservedHost) -> None:
        myself = host.state.myself
        if (myself.node_id, myself.config_epoch) in self._taken_alone:
            return
        for other in self._hosts:
            if other is host or not other.is_up:
                continue
            rival = other.state.myself
            if (rival.node_id, rival.config_epoch) in self._taken_alone:
                continue
            if rival.config_epoch == myself.config_epoch and rival.is_primary:
                both = rival.slot_bits & myself.slot_bits
                if both:
                    self._broken(
                        host,
                        ONE_OWNER,
                        f"{both.bit_count()} slots are {other.name}'s too at epoch {rival.config_epoch}",
                    )

    def _broken(self, host: ObservedHost, rule: str, detail: str) -> None:
        """Raises, unless a liar is host of itself, or is among those whose word the rule rests on."""
        if self.liars and (host.index in self.liars or rule in RESTS_ON_WORDS):
            self._stats[f"waived: {rule}"] += 1
            return
        raise InvariantError(f"at {host.now_text()}: {rule}: {host.name}: {detail}")


def _letter(packet: Packet) -> letters.Letter | None:
    """The letter about claims in a packet, if it is one."""
    if packet.type != MODULE:
        return None
    message = packet.decode()
    if not isinstance(message, ModuleMessage) or message.module_id != SLOT_CLAIMS_MODULE_ID:
        return None
    try:
        return letters.decode(message.module_type, bytes(message.data))
    except ValueError:
        return None  # a liar's: it is no letter


def _primary_id(myself: Node) -> str:
    return myself.replicaof.node_id if myself.replicaof is not None else ""


def _role(is_primary: bool) -> str:
    return "primary" if is_primary else "replica"
