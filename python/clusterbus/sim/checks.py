"""The rules that hold after every event of a simulated cluster, whatever the network does.

Owns the memory of what was seen, announced and promised: votes, winners, epochs, slots. Looks only at what the
event may have changed, at the messages sent and at what is on disk; must never change a member. A broken
rule raises `InvariantError`. One thread.

| Rule | Seen by |
|---|---|
| one winner per epoch, with the votes of a majority | a replica that is a primary after the event |
| one vote per voter per epoch, also across restarts; on disk before it is sent | FAILOVER_AUTH_ACK sent |
| epochs never go down, also across restarts for what was durable or announced | every event, every start |
| no slot with two owners at one config epoch, if both won it or were given it | every change of a claim |
| my own slots are only lost to a greater epoch, and only gained by an election | every change of my slots |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn, Protocol

from clusterbus.cluster.constants import AUTH_ACK
from clusterbus.cluster.events import ElectionWon, EpochChanged, Event, NodeLeft
from clusterbus.cluster.state import ClusterState
from clusterbus.errors import InvariantError
from clusterbus.sim.disk import SavedEpochs
from clusterbus.wire import Packet

ONE_WINNER: Final = "one winner per epoch"
MAJORITY: Final = "a winner has the votes of a majority"
ONE_VOTE: Final = "one vote per voter per epoch"
VOTE_DURABLE: Final = "a vote is on disk before it is sent"
EPOCHS_RISE: Final = "epochs never go down"
ONE_OWNER: Final = "no slot with two owners at one config epoch"
OWN_SLOTS: Final = "own slots are only lost to a greater epoch"
OWN_GAINS: Final = "slots are only gained by an election or an operator"


class ObservedHost(Protocol):
    """What is looked at of a member, its process running or not; `Host` is one."""

    may_take_over: bool

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def is_up(self) -> bool: ...
    @property
    def state(self) -> ClusterState: ...
    @property
    def importing(self) -> int: ...
    @property
    def owes_durable_save(self) -> bool: ...
    def now_text(self) -> str: ...
    def epochs(self) -> SavedEpochs: ...


@dataclass(slots=True)
class Seen:
    """What the last event left of a member's process."""

    current_epoch: int = 0
    config_epoch: int = 0
    slot_bits: int = 0
    flags: int = 0
    is_primary: bool = True
    known_epochs: dict[str, int] = field(default_factory=dict)


class Checker:
    """Checks one simulation. `members` are all of them, those that are down included."""

    def __init__(self, members: Sequence[ObservedHost], stats: Counter[str]) -> None:
        self._members = members
        self._stats = stats
        self._seen: dict[int, Seen] = {}
        self._winners: dict[int, str] = {}
        self._won_epochs: dict[str, int] = {}
        self._taken_alone: set[tuple[str, int]] = set()
        self._votes: dict[tuple[str, int], str] = {}
        self._acks: dict[tuple[str, int], set[str]] = {}
        self._announced_epochs: dict[str, int] = {}
        self._durable: dict[int, SavedEpochs] = {}

    # ------------------------------------------------------------ what happens

    def booted(self, member: ObservedHost) -> None:
        """A process has read its nodes.conf."""
        state = member.state
        myself = state.myself
        saved = self._durable.get(member.index, SavedEpochs())
        now = member.epochs()
        if now.current_epoch < saved.current_epoch or now.last_vote_epoch < saved.last_vote_epoch:
            self._broken(member, EPOCHS_RISE, f"{saved} was durable, and it starts with {now}")
        announced = self._announced_epochs.get(myself.node_id, 0)
        if myself.is_primary and myself.config_epoch < announced:
            detail = f"announced config epoch {announced}, and starts with {myself.config_epoch}"
            self._broken(member, EPOCHS_RISE, detail)
        self._seen[member.index] = Seen(
            state.current_epoch, myself.config_epoch, myself.slot_bits, myself.flags, myself.is_primary
        )

    def saved(self, member: ObservedHost, durable: SavedEpochs) -> None:
        """The member's nodes.conf was written; `durable` is what no crash can take away now."""
        self._durable[member.index] = durable

    def settled(self, member: ObservedHost, *, by_operator: bool = False) -> None:
        """An input was applied and its effects carried out."""
        seen = self._seen[member.index]
        state = member.state
        myself = state.myself
        current_epoch = state.current_epoch
        if current_epoch != seen.current_epoch:
            if current_epoch < seen.current_epoch and not by_operator:
                self._broken(member, EPOCHS_RISE, f"current epoch {seen.current_epoch} -> {current_epoch}")
            seen.current_epoch = current_epoch
        if (
            myself.config_epoch == seen.config_epoch
            and myself.slot_bits == seen.slot_bits
            and myself.flags == seen.flags
        ):
            return
        self._check_own(member, seen, by_operator=by_operator)
        seen.config_epoch = myself.config_epoch
        seen.slot_bits = myself.slot_bits
        seen.flags = myself.flags
        seen.is_primary = myself.is_primary

    def notified(self, member: ObservedHost, event: Event) -> None:
        """The member tells an event."""
        if isinstance(event, EpochChanged):
            known = self._seen[member.index].known_epochs
            before = known.get(event.node_id, 0)
            if event.config_epoch < before:
                self._broken(member, EPOCHS_RISE, f"config epoch of {event.node_id} {before} -> {event.config_epoch}")
            known[event.node_id] = event.config_epoch
        elif isinstance(event, ElectionWon):
            self._won_epochs[event.node_id] = event.epoch
        elif isinstance(event, NodeLeft):
            self._seen[member.index].known_epochs.pop(event.node_id, None)

    def sent(self, member: ObservedHost, packet: Packet, receivers: list[str]) -> None:
        """A message was handed to the engine, for the members of these ids: from here on it may be on the wire."""
        if packet.is_light:
            return
        if packet.type == AUTH_ACK:
            for requester in receivers:
                self._voted(member, packet.current_epoch, requester)
        if packet.replicaof is None:
            sender, config_epoch = packet.sender, packet.config_epoch
            announced = self._announced_epochs.get(sender, 0)
            if config_epoch > announced:
                if member.owes_durable_save:  # no promise: the disk refused it, and heartbeats still go (H47)
                    return
                self._announced_epochs[sender] = config_epoch
            elif config_epoch < announced:
                self._broken(member, EPOCHS_RISE, f"announced config epoch {announced}, then {config_epoch}")

    def delivered(self, member: ObservedHost, packet: Packet) -> None:
        """A packet is about to be applied."""
        if packet.type == AUTH_ACK:
            key = (member.state.myself.node_id, packet.current_epoch)
            self._acks.setdefault(key, set()).add(packet.sender)

    # ------------------------------------------------------------ the rules

    def _voted(self, member: ObservedHost, epoch: int, requester: str) -> None:
        voter = member.state.myself.node_id
        earlier = self._votes.get((voter, epoch))
        if earlier is not None:
            self._broken(member, ONE_VOTE, f"votes for {requester} in epoch {epoch}, after {earlier}")
        self._votes[voter, epoch] = requester
        self._stats["votes"] += 1
        durable = self._durable.get(member.index, SavedEpochs())
        if durable.last_vote_epoch < epoch:
            self._broken(
                member,
                VOTE_DURABLE,
                f"votes in epoch {epoch} with lastVoteEpoch {durable.last_vote_epoch} on disk",
            )

    def _check_own(self, member: ObservedHost, seen: Seen, *, by_operator: bool) -> None:
        """The member's own role, slots or config epoch changed."""
        myself = member.state.myself
        is_primary = myself.is_primary
        if is_primary and seen.is_primary and myself.config_epoch < seen.config_epoch and not by_operator:
            self._broken(member, EPOCHS_RISE, f"own config epoch {seen.config_epoch} -> {myself.config_epoch}")
        won = is_primary and not seen.is_primary
        if myself.config_epoch > seen.config_epoch and (not won or member.may_take_over):
            self._note_taken_alone(member)
        if won and not by_operator and myself.slot_bits:
            self._check_winner(member)
        lost = seen.slot_bits & ~myself.slot_bits
        if lost and not by_operator:
            self._check_lost(member, seen, lost)
        gained = myself.slot_bits & ~seen.slot_bits & ~member.importing
        if gained and not by_operator and not won:
            self._broken(member, OWN_GAINS, f"{gained.bit_count()} slots gained by a {_role(is_primary)}")
        if is_primary and myself.slot_bits:
            self._check_one_owner(member)

    def _note_taken_alone(self, member: ObservedHost) -> None:
        """A config epoch taken with nobody's consent (BUMPEPOCH, TAKEOVER, a collision, an import) may be the very
        one that an election elsewhere has been won with. The collision is resolved when the two meet, which
        `agreement` sees to; until then their slots may overlap. What an operator set on a node that knew
        nobody is no such epoch.
        """
        state = member.state
        if state.known_nodes_count > 1:
            self._taken_alone.add((state.myself.node_id, state.myself.config_epoch))

    def _check_winner(self, member: ObservedHost) -> None:
        myself = member.state.myself
        if member.may_take_over:
            member.may_take_over = False
            return
        node_id = myself.node_id
        epoch = self._won_epochs.pop(node_id, myself.config_epoch)  # another only if it was bumped meanwhile
        winner = self._winners.setdefault(epoch, node_id)
        if winner != node_id:
            self._broken(member, ONE_WINNER, f"takes epoch {epoch}, which {winner} has won")
        if myself.config_epoch < epoch:
            self._broken(member, ONE_WINNER, f"has won epoch {epoch} and takes epoch {myself.config_epoch}")
        voting = sum(1 for owner in member.state.slot_owners if owner.is_primary)
        votes = self._acks.get((node_id, epoch), set())
        if len(votes) < voting // 2 + 1:
            self._broken(member, MAJORITY, f"{len(votes)} votes of {voting} in epoch {epoch}")

    def _check_lost(self, member: ObservedHost, seen: Seen, lost: int) -> None:
        unexplained = lost
        for owner in member.state.slot_owners:
            if owner.slot_bits & lost:
                unexplained &= ~owner.slot_bits
                if owner.config_epoch <= seen.config_epoch:
                    self._broken(
                        member,
                        OWN_SLOTS,
                        f"{(owner.slot_bits & lost).bit_count()} slots at epoch {seen.config_epoch} lost"
                        f" to {owner.node_id} at epoch {owner.config_epoch}",
                    )
        if unexplained:
            self._broken(member, OWN_SLOTS, f"{unexplained.bit_count()} slots lost to nobody")

    def _check_one_owner(self, member: ObservedHost) -> None:
        myself = member.state.myself
        if (myself.node_id, myself.config_epoch) in self._taken_alone:
            return
        for other in self._members:
            if other is member or not other.is_up:
                continue
            rival = other.state.myself
            if (rival.node_id, rival.config_epoch) in self._taken_alone:
                continue
            if rival.config_epoch == myself.config_epoch and rival.is_primary:
                both = rival.slot_bits & myself.slot_bits
                if both:
                    self._broken(
                        member,
                        ONE_OWNER,
                        f"{both.bit_count()} slots are {other.name}'s too at epoch {rival.config_epoch}",
                    )

    def _broken(self, member: ObservedHost, rule: str, detail: str) -> NoReturn:
        raise InvariantError(f"at {member.now_text()}: {rule}: {member.name}: {detail}")


def _role(is_primary: bool) -> str:
    return "primary" if is_primary else "replica"
