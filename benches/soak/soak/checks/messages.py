"""Every published message is accounted for: delivered to each subscriber, or lost for a reason that has a name.

The bus is fire-and-forget. PUBLISH on a node goes out on its own links, one to each other node, and is lost with a link
that ends before the receiver has read it; nobody sends it again. So a message of a node S must reach a subscriber at
a node R if

    1. PUBLISH was answered (a message without an answer may have been sent or not),
    2. the subscription was confirmed before PUBLISH was given, and lasted TRANSIT_S beyond its answer,
    3. one and the same link from S to R was open from SETTLE_S before PUBLISH until TRANSIT_S after its answer, or
       after a fault let the link go that held it,
    4. R dropped no PUBLISH packets meanwhile by the order of a fault.

On the node where it was published, 1 and 2 are enough. If 3 does not hold, a disturbance of that link or of a node at
either end must have been going on, or have ended RELINK_MAX_S ago at most: so long a link may take to come back. Else
the loss is unexplained. Unexplained losses, doubles, messages out of order, and links and subscriptions that ended
while nothing disturbed them, must be 0.
"""

from __future__ import annotations

import enum
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

SETTLE_S: Final = 1.0
"""A link that is younger may not have ended its handshake: what is published meanwhile may be lost."""
TRANSIT_S: Final = 2.0
"""A message is under way for so long at most, on a machine that is busy."""
REACH_S: Final = 1.0
"""A disturbance is noted by the one who makes it; its effects on links show this much later at most."""
RELINK_MAX_S: Final = 8.0
"""A link is up again this long after what ended it: a node that was away is dialled with each tick, but a handshake
that hangs is given up only after the node timeout."""
FOREVER_S: Final = float("inf")

NO_LINK: Final = "there was no link, and nothing explains that"
UNASKED: Final = "nothing"
SECOND: Final = "a second one of the same nodes"
"""Valkey dials a node again to MEET it when it misses the node's own link; one of the two links is given up then."""
FILTERED: Final = "PUBLISH packets filtered"


class End(enum.Enum):
    """The two ends of a link. PINGs are read where it was accepted, PONGs where it was dialled."""

    SENDER = "sender"
    RECEIVER = "receiver"


@dataclass
class Published:
    """One PUBLISH. `answered_s` is None if its client got no answer."""

    sender: str
    number: int
    begun_s: float
    answered_s: float | None = None


@dataclass
class Session:
    """One subscription of a client at a node, from its confirmation to its end."""

    node: str
    since_s: float
    until_s: float = FOREVER_S
    received: dict[tuple[str, int], float] = field(default_factory=dict)
    doubles: list[tuple[str, int]] = field(default_factory=list)
    disordered: list[tuple[str, int]] = field(default_factory=list)
    _last: dict[str, int] = field(default_factory=dict)

    def take(self, sender: str, number: int, at_s: float) -> None:
        """A message came."""
        if (sender, number) in self.received:
            self.doubles.append((sender, number))
            return
        if number < self._last.get(sender, -1):
            self.disordered.append((sender, number))
        self._last[sender] = max(number, self._last.get(sender, -1))
        self.received[sender, number] = at_s


@dataclass
class LinkLife:
    """One connection from `sender` to `receiver`. `order` names the fault for which the sidecar ended it, if it did."""

    sender: str
    receiver: str
    opened_s: float
    ended_s: float = FOREVER_S
    order: str = ""


@dataclass(frozen=True)
class Disturbance:
    """A fault while it lasted, and whom it concerns: all links of `nodes`, or those of the pairs (sender, receiver).

    It ends links if `ends_links`, up to `lingers_s` after its end; with `drops_publish` its nodes read no messages, and
    with `ends_clients` they lose their clients.
    """

    name: str
    begun_s: float
    ended_s: float
    nodes: frozenset[str] = frozenset()
    pairs: frozenset[tuple[str, str]] = frozenset()
    ends_links: bool = True
    drops_publish: bool = False
    ends_clients: bool = False
    lingers_s: float = REACH_S
    drops_at: End | None = None
    holds: bool = False
    """What is sent meanwhile is under way until it ends."""

    def leaves_unanswered(self, life: LinkLife) -> bool:
        """Whether a PING on that link may have got no answer. Who sent it sends no other before the answer, and gives
        the link up when nothing else comes from the peer either, which may be long after.
        """
        if self.drops_at is None or not (life.opened_s <= self.ended_s and self.begun_s <= life.ended_s):
            return False
        return (life.sender if self.drops_at is End.SENDER else life.receiver) in self.nodes

    def concerns(self, link: tuple[str, str]) -> bool:
        return self.ends_links and (link in self.pairs or bool(self.nodes & set(link)))

    def is_on(self, from_s: float, to_s: float, lingers_s: float) -> bool:
        """Whether it was going on at some time between those two."""
        return self.begun_s - REACH_S <= to_s and from_s <= self.ended_s + lingers_s


@dataclass
class Account:
    """The sums. `expected` counts pairs of a message and a subscription that had to get it or a reason."""

    published: int = 0
    unanswered: int = 0
    expected: int = 0
    delivered: int = 0
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    doubles: int = 0
    disordered: int = 0
    links_ended: Counter[str] = field(default_factory=Counter)
    unasked: list[str] = field(default_factory=list)
    sessions_ended: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)

    def findings(self) -> list[str]:
        found = [f"a message was lost without a reason: {text}" for text in self.unexplained]
        found += [f"{self.doubles} messages came twice"] * bool(self.doubles)
        found += [f"{self.disordered} messages of a sender came out of order"] * bool(self.disordered)
        found += [f"{self.links_ended[UNASKED]} links ended unasked: {'; '.join(self.unasked)}"] * bool(self.unasked)
        found += [f"{self.sessions_ended[UNASKED]} subscriptions ended unasked"] * bool(self.sessions_ended[UNASKED])
        return found


def account(
    published: Iterable[Published],
    sessions: Sequence[Session],
    links: Iterable[LinkLife],
    disturbances: Sequence[Disturbance],
    from_s: float,
    to_s: float,
) -> Account:
    """Goes through every message that was published between these times, and every end of a link or subscription."""
    sums = Account(
        doubles=sum(len(session.doubles) for session in sessions),
        disordered=sum(len(session.disordered) for session in sessions),
    )
    known = _Links(links, disturbances)
    sums.links_ended, sums.unasked = known.endings(from_s, to_s)
    sums.sessions_ended = _session_endings(sessions, disturbances, from_s, to_s)
    filters = [disturbance for disturbance in disturbances if disturbance.drops_publish]
    for message in published:
        if not (from_s <= message.begun_s and (message.answered_s or message.begun_s) + TRANSIT_S <= to_s):
            continue
        sums.published += 1
        if message.answered_s is None:
            sums.unanswered += 1
            continue
        for session in sessions:
            there_s = known.there_s(message, session.node)
            if not (session.since_s <= message.begun_s and there_s <= session.until_s):
                continue
            sums.expected += 1
            came_s = session.received.get((message.sender, message.number))
            if came_s is not None:
                sums.delivered += 1
                sums.latencies_s.append(came_s - message.begun_s)
                continue
            reason = _reason(message, session.node, there_s, known, filters)
            if reason in ("", NO_LINK):
                sums.unexplained.append(
                    f"{message.sender} number {message.number} to {session.node}"
                    f" at {message.begun_s - from_s:.2f} s{': ' if reason else ''}{reason}"
                )
            else:
                sums.explained[reason] += 1
    return sums


def _reason(message: Published, receiver: str, there_s: float, links: _Links, filters: list[Disturbance]) -> str:
    """Why the message, which must be there by then, did not come; empty if nothing explains it."""
    if message.sender == receiver:
        return ""
    if any(receiver in one.nodes and one.begun_s <= there_s and message.begun_s <= one.ended_s for one in filters):
        return FILTERED
    return links.reason_for_none(message.sender, receiver, message.begun_s - SETTLE_S, there_s)


def _session_endings(
    sessions: Iterable[Session], disturbances: Sequence[Disturbance], from_s: float, to_s: float
) -> Counter[str]:
    """How many subscriptions ended for each reason."""
    ending = [one for one in disturbances if one.ends_clients]
    return Counter(
        next(
            (
                one.name
                for one in ending
                if session.node in one.nodes and one.is_on(session.until_s, session.until_s, REACH_S)
            ),
            UNASKED,
        )
        for session in sessions
        if from_s <= session.until_s < to_s
    )


class _Links:
    """The lives of all links by their ends, and what ended them."""

    def __init__(self, links: Iterable[LinkLife], disturbances: Sequence[Disturbance]) -> None:
        self._lives: defaultdict[tuple[str, str], list[LinkLife]] = defaultdict(list)
        for life in links:
            self._lives[life.sender, life.receiver].append(life)
        self._disturbances = disturbances
        self._holds: defaultdict[tuple[str, str], list[Disturbance]] = defaultdict(list)
        for one in disturbances:
            for pair in one.pairs if one.holds else ():
                self._holds[pair].append(one)

    def there_s(self, message: Published, receiver: str) -> float:
        """When the message must have been read: TRANSIT_S after its answer, or after its link was let go."""
        assert message.answered_s is not None
        let_go_s = message.answered_s
        for one in self._holds[message.sender, receiver]:
            if one.begun_s <= message.answered_s + TRANSIT_S and message.begun_s <= one.ended_s:
                let_go_s = max(let_go_s, one.ended_s)
        return let_go_s + TRANSIT_S

    def endings(self, from_s: float, to_s: float) -> tuple[Counter[str], list[str]]:
        """How many links ended for each reason, and which ended for none."""
        ended = [life for lives in self._lives.values() for life in lives if from_s <= life.ended_s < to_s]
        reasons = [self._why(life) for life in ended]
        unasked = [
            f"{life.sender} to {life.receiver}, {life.opened_s - from_s:.2f} to {life.ended_s - from_s:.2f} s"
            for life, reason in zip(ended, reasons, strict=True)
            if reason == UNASKED
        ]
        return Counter(reasons), unasked

    def reason_for_none(self, sender: str, receiver: str, from_s: float, to_s: float) -> str:
        """Why no single link lived through that time; empty if one did."""
        link = (sender, receiver)
        if any(life.opened_s <= from_s and to_s <= life.ended_s for life in self._lives.get(link, ())):
            return ""
        concerned = (one for one in self._disturbances if one.concerns(link))
        named = (one.name for one in concerned if one.is_on(from_s, to_s, max(one.lingers_s, RELINK_MAX_S)))
        given_up = (
            name
            for life in self._lives.get(link, ())
            if from_s - RELINK_MAX_S <= life.ended_s <= to_s and (name := self._unanswered(life))
        )
        return next(named, next(given_up, NO_LINK))

    def _why(self, life: LinkLife) -> str:
        link = (life.sender, life.receiver)
        concerned = (one for one in self._disturbances if one.concerns(link))
        named = (one.name for one in concerned if one.is_on(life.ended_s, life.ended_s, one.lingers_s))
        rest = self._unanswered(life) or (SECOND if self._has_twin(life) else UNASKED)
        return life.order or next(named, rest)

    def _unanswered(self, life: LinkLife) -> str:
        """What left a PING on it unanswered, if anything did."""
        return next((one.name for one in self._disturbances if one.leaves_unanswered(life)), "")

    def _has_twin(self, life: LinkLife) -> bool:
        """Whether another link of the same nodes was open when it ended, and lived on."""
        return any(
            other is not life and other.opened_s < life.ended_s < other.ended_s
            for other in self._lives[life.sender, life.receiver]
        )
