"""`Observer`: a member that only watches, for as long as its context lasts; and `bus_view`, one look as such a member.

Owns the way in and out: the seeds are asked at their client ports first, because who cannot be asked there cannot be
told to forget the observer; one seed is joined, never two, so that seeds of two clusters do not become one; nodes.conf
is in a folder that goes with the observer. Must never own, vote or stand (`cluster-observer yes` sees to it). Of one
event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from clusterbus.bus.bus import Bus
from clusterbus.cluster import constants as c
from clusterbus.config import Config
from clusterbus.errors import JoinError, StateError
from clusterbus.member.membership.leaving import LeaveReport
from clusterbus.member.membership.seeds import parse
from clusterbus.member.ports import Place
from clusterbus.streams.snapshots import NodeView
from clusterbus.survey.access import Access
from clusterbus.survey.asking import CONFIG, DEADLINE_S, MYID, NODES, Answer, Asker

JOIN_TIMEOUT_S: Final = 30.0
LEAVE_TIMEOUT_S: Final = 10.0
SETTLE_S: Final = 5.0
"""So long at most do we wait after the join for links with all members that the seed has links with."""
HALF_MET_S: Final = 1.0
"""Whoever stops while joining waits so long for the handshake to end: the seed may know the observer already."""

_NOT_WELL: Final = c.FAILING | c.FLAG_HANDSHAKE | c.FLAG_NOADDR


class Observer:
    """Joins with `join`, watches through `bus` from then on, and leaves with `leave`; `async with` closes it.

    It takes over the node timeout of the seed that it joins, if that tells it: what it holds failed, and when it does
    no longer, goes by that. `unheard` has the seeds that are not seen, each with the reason.
    """

    def __init__(self, seeds: Sequence[str], access: Access | None = None, **directives: Any) -> None:
        """`directives` are those of `Bus`, above all `tls_cluster` and its files. Raises ConfigError."""
        self.seeds = tuple(parse(seed).text for seed in seeds)
        self.unheard: dict[str, str] = {}
        self._access = access or Access()
        self._bus: Bus | None = None
        self._is_joining = False
        self._words: dict[str, Any] = {
            "port": 0,
            "cluster_observer": True,
            "primaryuser": self._access.user or None,
            "primaryauth": self._access.password or None,
        }
        self._words |= {name: value for name, value in directives.items() if value not in ("", None)}
        Config.from_keywords(**self._words)
        self._folder = tempfile.TemporaryDirectory(prefix="clusterbus-observe-", ignore_cleanup_errors=True)

    @property
    def bus(self) -> Bus:
        """Raises StateError before the join."""
        if self._bus is None:
            raise StateError("the observer has not joined")
        return self._bus

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        try:
            if self._bus is not None:
                await self._bus.close()
        finally:
            self._folder.cleanup()

    async def join(self, timeout_s: float = JOIN_TIMEOUT_S, settle_s: float = SETTLE_S) -> None:
        """Joins the first seed that lets it in, and waits up to `settle_s` for links with whom that one has links.

        Raises JoinError, which names each seed and its reason.
        """
        asker = Asker(self._access, timeout_s=min(timeout_s, DEADLINE_S))
        try:
            asked = await asyncio.gather(*(asker.survey([seed], questions=()) for seed in self.seeds))
            answers = {seed: survey.answers[0] for seed, survey in zip(self.seeds, asked, strict=True)}
            self.unheard = {seed: reason for seed, answer in answers.items() if (reason := _fault(answer))}
            able = [seed for seed in self.seeds if seed not in self.unheard]
            answer = await self._join_one(asker, able, answers, timeout_s)
        finally:
            await asker.close()
        well = {row.node_id for row in answer.nodes if row.is_connected and not row.flags & _NOT_WELL}
        with contextlib.suppress(TimeoutError):
            await self.bus.wait_until(lambda: well <= self._linked(), timeout_s=settle_s)
        for seed in able:
            if answers[seed].node_id not in self.bus.nodes:
                self.unheard[seed] = f"it is no member that {answer.address} has told of: another cluster, or cut off"

    async def _join_one(
        self, asker: Asker, seeds: Sequence[str], answers: Mapping[str, Answer], timeout_s: float
    ) -> Answer:
        """Joins the first seed that lets us in, at the bus port that it names; returns what it sees."""
        for seed in seeds:
            place = parse(answers[seed].address)
            answer = await asker.ask(Place(place.host, place.port, tls=self._access.tls is not None), (NODES, CONFIG))
            told = answer.myself
            address = seed if told is None or "@" in seed else f"{seed}@{told.cport}"
            bus = await self._open(answer.config.get("cluster-node-timeout", ""))
            self._is_joining = True
            try:
                await bus.join([address], timeout_s=timeout_s / len(seeds))
            except JoinError as error:
                self.unheard[seed] = error.reasons[address]
            else:
                return answer
        raise JoinError(self.unheard, timeout_s)

    async def _open(self, node_timeout_ms: str) -> Bus:
        """The bus, with the node timeout of the first seed that is tried."""
        if self._bus is None:
            words = {"cluster_node_timeout": int(node_timeout_ms)} if node_timeout_ms.isdecimal() else {}
            bus = Bus(resp=False, dir=self._folder.name, **(words | self._words))
            await bus.open()
            self._bus = bus
        return self._bus

    def _linked(self) -> set[str]:
        """The nodes with links both ways, this one included."""
        both = {True: {self.bus.node_id}, False: {self.bus.node_id}}
        for link in self.bus.links():
            if link.node_id is not None:
                both[link.inbound].add(link.node_id)
        return both[True] & both[False]

    @property
    def one_sided(self) -> dict[str, str]:
        """The members with which there is a link one way only."""
        dialled = {link.node_id for link in self.bus.links() if not link.inbound}
        dialling = {link.node_id for link in self.bus.links() if link.inbound}
        found = {}
        for node_id, node in self.bus.nodes.items():
            if not node.is_myself and (node_id in dialled) != (node_id in dialling):
                reached = node_id in dialled
                found[node_id] = "it does not dial the observer" if reached else "the observer cannot dial it"
        return found

    async def leave(self, timeout_s: float = LEAVE_TIMEOUT_S) -> LeaveReport | None:
        """Has all members forget this node. None if there is nobody who could know it. After a join that was stopped
        half-way too.
        """
        bus = self._bus
        if bus is None:
            return None
        if self._is_joining and len(bus.nodes) == 1:
            with contextlib.suppress(TimeoutError):
                await bus.wait_until(lambda: len(bus.nodes) > 1, timeout_s=HALF_MET_S)
        return await bus.leave(timeout_s=timeout_s) if len(bus.nodes) > 1 else None


@dataclass(frozen=True)
class BusView:
    """What an observer has seen on the bus. `one_sided` and `unreached` have a reason for each node id, `unheard` for
    each seed, `untold` for each node that still knows the observer. `clusterbus` are the members that have said that
    they are clusterbus nodes, as each does within a node timeout; what version a node is, no packet tells.
    """

    node_id: str
    nodes: Mapping[str, NodeView]
    unreached: Mapping[str, str] = field(default_factory=dict)
    one_sided: Mapping[str, str] = field(default_factory=dict)
    unheard: Mapping[str, str] = field(default_factory=dict)
    clusterbus: frozenset[str] = frozenset()
    untold: Mapping[str, str] = field(default_factory=dict)


async def bus_view(
    seeds: Sequence[str],
    access: Access | None = None,
    *,
    timeout_s: float = JOIN_TIMEOUT_S,
    settle_s: float = SETTLE_S,
    **directives: Any,
) -> BusView:
    """Joins as an observer, looks, and leaves, also when it is cancelled. Raises JoinError if no seed lets it in, and
    ConfigError for a wrong argument.
    """
    async with Observer(seeds, access, **directives) as observer:
        report = None
        try:
            await observer.join(timeout_s, settle_s)
            view = _view(observer)
        finally:
            report = await observer.leave()
    untold = dict(report.untold) if report is not None else {}
    return BusView(**{**vars(view), "untold": untold})


def _view(observer: Observer) -> BusView:
    bus = observer.bus
    others = {node_id: node for node_id, node in bus.nodes.items() if not node.is_myself}
    unreached = {}
    for node_id, node in others.items():
        if node.is_failed or node.is_suspected:
            unreached[node_id] = "failed" if node.is_failed else "does not answer the observer"
        elif not node.connected:
            unreached[node_id] = "there is no link to it"
    ours = frozenset(node_id for node_id, node in others.items() if node.is_clusterbus)
    return BusView(bus.node_id, others, unreached, observer.one_sided, dict(observer.unheard), ours)


def _fault(answer: Answer) -> str:
    """Why a seed cannot be asked, "" if it can."""
    reason = answer.error or answer.refused.get(MYID, "")
    return f"{reason} (who cannot be asked at its client port cannot be told to forget an observer)" if reason else ""
