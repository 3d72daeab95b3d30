"""How a member joins a cluster by its seeds: names resolved again at each try, handshakes, and the proof of success.

Owns the tries, their rate, and why each seed has come to nothing so far. A seed has been joined when this node and the
seed's know each other: a handshake of ours may be done and theirs given up. Must never wait: a tick of the member moves
it on. Main thread. Beyond the source, where an operator says MEET and looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from clusterbus.cluster.membership.handshake import OWN_ADDRESS, failure_so_far
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.state import ClusterState
from clusterbus.errors import ClusterBusError, StateError
from clusterbus.member.membership.seeds import Seed
from clusterbus.member.ports import Clock, Errand, Errands, Log

RETRY_FIRST_MS: Final = 500
RETRY_MAX_MS: Final = 5_000
"""The wait after a try: twice as long each time, up to this, and half of it by chance."""
ADDRESSES_MAX: Final = 16
"""The most addresses of one name that are tried, one at each try."""
PING_EVERY_MS: Final = 500
"""So often a seed that has answered is asked whether it knows us."""
NOT_KNOWN_THERE: Final = "it answers, but does not know this node: it may have been told to forget it"


@dataclass(slots=True)
class _Attempt:
    """What is known of one seed."""

    seed: Seed
    reason: str = "not tried yet"
    resolving: Errand[tuple[str, ...]] | None = None
    tries: int = 0
    next_ms: int = 0
    pinged_ms: int = 0
    own: set[str] = field(default_factory=set)
    """Addresses at which this node itself answered."""
    is_own: bool = False
    nodes: dict[str, Node] = field(default_factory=dict)
    """By address: the node in handshake there, or the member that it became."""


class Joining:
    """The attempt to join the cluster of any of these seeds. `tick` moves it on; it begins with the first."""

    def __init__(
        self, seeds: Sequence[Seed], *, state: ClusterState, clock: Clock, errands: Errands, random: Random
    ) -> None:
        self._attempts = [_Attempt(seed) for seed in seeds]
        self._state = state
        self._clock = clock
        self._errands = errands
        self._random = random
        self.joined: Seed | None = None
        """The seed whose cluster we are in."""

    @property
    def is_done(self) -> bool:
        """Whether a seed has been joined, or each of them is this node itself, so that there is none to join."""
        return self.joined is not None or all(attempt.is_own for attempt in self._attempts)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each seed has come to nothing so far."""
        return {attempt.seed.text: attempt.reason for attempt in self._attempts}

    def tick(self) -> None:
        """Looks at each seed; begins what is due."""
        now_ms = self._clock.now_ms()
        for attempt in self._attempts:
            if not self.is_done and not attempt.is_own:
                self._look(attempt, now_ms)

    def _look(self, attempt: _Attempt, now_ms: int) -> None:
        for address, node in list(attempt.nodes.items()):
            if self._has_joined(attempt, address, node, now_ms):
                self.joined = attempt.seed
                return
        if attempt.resolving is None and now_ms >= attempt.next_ms:
            delay_ms = min(RETRY_FIRST_MS << min(attempt.tries, 16), RETRY_MAX_MS)
            attempt.next_ms = now_ms + delay_ms // 2 + int(self._random.random() * delay_ms / 2)
            attempt.tries += 1
            attempt.resolving = self._errands.resolve(attempt.seed.host)
        if attempt.resolving is not None and attempt.resolving.is_done:
            resolving, attempt.resolving = attempt.resolving, None
            try:
                self._meet(attempt, resolving.result(), now_ms)
            except ClusterBusError as error:
                attempt.reason = str(error)

    def _meet(self, attempt: _Attempt, addresses: Sequence[str], now_ms: int) -> None:
        """Begins a handshake with the next of the addresses. Raises ClusterBusError for one that cannot be dialled."""
        others = [ip for ip in addresses[:ADDRESSES_MAX] if ip not in attempt.own]
        if not others:
            attempt.is_own, attempt.reason = True, OWN_ADDRESS
            return
        ip = others[(attempt.tries - 1) % len(others)]
        if ip in attempt.nodes:
            return  # under way, or answered
        node = self._state.meet(ip, attempt.seed.port, attempt.seed.cport, now_ms)
        if node is None:
            raise StateError("too many handshakes are under way")
        attempt.nodes[ip] = node

    def _has_joined(self, attempt: _Attempt, address: str, node: Node, now_ms: int) -> bool:
        """Whether the node at an address and this one know each other. Notes why not, and drops what has ended."""
        if self._state.find(node.node_id) is not node:
            member = self._state.find(node.known_as) if node.known_as else None
            if member is None:
                self._note_failure(attempt, address, node)
                return False
            attempt.nodes[address] = node = member
        if node is self._state.myself:
            self._note_failure(attempt, address, node)
            return False
        if node.in_handshake:
            attempt.reason = failure_so_far(node)
            return False
        if self._state.is_mutual(node.node_id, now_ms):
            return True
        attempt.reason = NOT_KNOWN_THERE if node.link is not None else node.last_end or NOT_KNOWN_THERE
        if now_ms - attempt.pinged_ms >= PING_EVERY_MS:
            attempt.pinged_ms = now_ms
            self._state.ping(node.node_id, now_ms)
        if now_ms - node.created_ms > self._state.handshake_timeout_ms and now_ms >= attempt.next_ms:
            del attempt.nodes[address]  # a MEET again: the other side may have given up its handshake
        return False

    def _note_failure(self, attempt: _Attempt, address: str, node: Node) -> None:
        del attempt.nodes[address]
        if node.last_end == OWN_ADDRESS or node is self._state.myself:
            attempt.own.add(address)
            attempt.next_ms = 0  # the next address at once, if there is one
        attempt.reason = node.last_end or OWN_ADDRESS


class Seeding:
    """Joins by the seeds of a bus: when it opens, and again whenever the node finds itself alone.

    Alone is a node that no other member answers: it knows none, or all of them are failing or gone.
    """

    def __init__(
        self,
        seeds: Sequence[Seed],
        *,
        state: ClusterState,
        clock: Clock,
        errands: Errands,
        random: Random,
        log: Log,
    ) -> None:
        self._seeds = seeds
        self._state = state
        self._clock = clock
        self._errands = errands
        self._random = random
        self._log = log
        self._joining: Joining | None = None
        self._alone_ms = 0
        """Since when the node has been alone, 0 if it is not."""
        self._has_told = False
        if state.known_nodes_count == 1:
            self._begin()

    def tick(self) -> None:
        """Goes on joining; begins again after the node has been alone for a handshake's time."""
        now_ms = self._clock.now_ms()
        is_alone = members_within_reach(self._state) == 1
        if not is_alone:
            self._alone_ms = 0
            self._has_told = False
        elif not self._alone_ms:
            self._alone_ms = now_ms
        if self._joining is None:
            if is_alone and now_ms - self._alone_ms > self._state.handshake_timeout_ms:
                if not self._has_told:
                    self._log("notice", "No other member is within reach: joining by the seeds")
                self._has_told = True
                self._begin()
            return
        self._joining.tick()
        if self._joining.joined is not None:
            self._log("notice", f"Joined the cluster of the seed {self._joining.joined.text}")
        if self._joining.is_done:
            self._joining, self._alone_ms = None, 0

    def _begin(self) -> None:
        self._joining = Joining(
            self._seeds, state=self._state, clock=self._clock, errands=self._errands, random=self._random
        )


def members_within_reach(state: ClusterState) -> int:
    """How many members are within reach, this node included: they have answered on our link, and are not failing."""
    return sum(1 for node in state.nodes if node is state.myself or node.is_within_reach)
