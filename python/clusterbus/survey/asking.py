"""Asking the nodes of a cluster at their client ports: the questions, one `Answer` for each address, the `Survey`.

Owns which commands are sent; every one of them only reads. Must never ask more than PARALLEL_MAX nodes at once, wait
for one node longer than its deadline, or end because of one. `Asker` belongs to one event loop; what it returns is
plain data.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from clusterbus.config import address_text
from clusterbus.member.membership.seeds import parse as parse_seed
from clusterbus.member.ports import Place
from clusterbus.runtime.peer_commands import PeerCommandError, PeerConnection, Reply
from clusterbus.survey.access import Access
from clusterbus.survey.node_rows import LinkRows, NodeRow, RowTable, parse_links

DEADLINE_S: Final = 5.0
PARALLEL_MAX: Final = 64
ADDRESSES_MAX: Final = 10_000
LINKS_NODES_MAX: Final = 128
"""Up to so many nodes CLUSTER LINKS is asked: n nodes have n * n links, and CLUSTER NODES tells half of them too."""
OVERDUE_MS: Final = 2_000
"""A PONG takes a round trip; a node that has owed one for so long is not heard."""
CONNECTIONS_KEPT_MAX: Final = 512

MYID: Final = "CLUSTER MYID"
NODES: Final = "CLUSTER NODES"
CLUSTER_INFO: Final = "CLUSTER INFO"
LINKS: Final = "CLUSTER LINKS"
SHARD_ID: Final = "CLUSTER MYSHARDID"
INFO_SERVER: Final = "INFO server"
INFO_REPLICATION: Final = "INFO replication"
CONFIG: Final = "CONFIG GET cluster-*"
QUESTIONS: Final = (NODES, CLUSTER_INFO, SHARD_ID, INFO_SERVER, INFO_REPLICATION, CONFIG, LINKS)
"""What a node may be asked, after MYID, which is always asked first and by whose answer the round trip is measured."""

Progress = Callable[[int, int], None]
"""Called with the number of addresses that were asked, and of those that are known so far."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What one address said. `error` says why it said nothing, "" if it did.

    `refused` has for each question that was not answered the reason. `node_id` is "" only with an error. A node whose
    CLUSTER NODES could not be read has an error and may have a `node_id` still. `shard_id` is "" where the server knows
    none (Redis 7.0). `links` is None if it was not asked or refused. `rtt_ms` is that of the question, from here.
    `overdue` are the ids of nodes that have owed it a PONG for more than OVERDUE_MS.
    `unreached` is of an observer on the bus: whom it does not reach there, and why (`observed`).
    `at_s` is when it was heard, on the clock of `time.monotonic`.
    """

    address: str
    node_id: str = ""
    nodes: tuple[NodeRow, ...] = ()
    links: LinkRows | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    cluster_info: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    overdue: frozenset[str] = frozenset()
    shard_id: str = ""
    rtt_ms: float | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    unreached: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    at_s: float = 0.0

    @cached_property
    def rows(self) -> dict[str, NodeRow]:
        """The node's table by id, without nodes in handshake, whose ids are made up."""
        return {row.node_id: row for row in self.nodes if not row.is_in_handshake}

    @property
    def myself(self) -> NodeRow | None:
        return self.rows.get(self.node_id)


@dataclass(frozen=True, eq=False)
class Survey:
    """One look at a cluster. `answers` has one entry for each address that was asked, in the order in which they were
    found, the seeds first. `is_whole` is False if there were more than ADDRESSES_MAX.
    """

    seeds: tuple[str, ...]
    answers: tuple[Answer, ...]
    is_whole: bool = True
    took_ms: float = 0.0

    @cached_property
    def members(self) -> dict[str, Answer]:
        """The answers with a node table, by id; of a node that was found at two addresses, the first."""
        heard: dict[str, Answer] = {}
        for answer in self.answers:
            if not answer.error:
                heard.setdefault(answer.node_id, answer)
        return heard

    @cached_property
    def by_address(self) -> dict[str, Answer]:
        return {answer.address: answer for answer in self.answers}

    @cached_property
    def addresses_of(self) -> dict[str, list[str]]:
        """Where each id answered, with or without a node table."""
        found: dict[str, list[str]] = {}
        for answer in self.answers:
            if answer.node_id:
                found.setdefault(answer.node_id, []).append(answer.address)
        return found

    @property
    def unheard(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.error]


class Asker:
    """Asks nodes, again and again if need be, on connections that stay open up to CONNECTIONS_KEPT_MAX of them."""

    def __init__(self, access: Access | None = None, *, timeout_s: float = DEADLINE_S) -> None:
        """`timeout_s` is for each node, from the dial to the last answer."""
        self._access = access or Access()
        self._config = self._access.config()
        self._timeout_s = timeout_s
        self._table = RowTable()
        self._kept: dict[Place, PeerConnection] = {}

    async def survey(
        self, seeds: Sequence[str], *, questions: Sequence[str] = QUESTIONS, progress: Progress | None = None
    ) -> Survey:
        """Asks the seeds (`host:port`), then every node that any answer names. Never raises for what a node does, nor
        for a name that nobody knows; raises ConfigError for a seed that is no address.
        """
        begun_s = time.monotonic()
        self._table.trim()
        places, nameless = await self.places(seeds)
        walk = _Walk(places)
        running: dict[asyncio.Task[Answer], Place] = {}
        try:
            while walk.waiting or running:
                while walk.waiting and len(running) < PARALLEL_MAX:
                    place = walk.waiting.popleft()
                    asked = [word for word in questions if word != LINKS or walk.nodes_known <= LINKS_NODES_MAX]
                    running[asyncio.create_task(self.ask(place, asked))] = place
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    walk.heard(running.pop(task), task.result())
                if progress is not None:
                    progress(len(walk.answers), len(walk.places))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        answers = tuple(walk.answers[place] for place in walk.places if place in walk.answers)
        return Survey(tuple(seeds), (*answers, *nameless), walk.is_whole, (time.monotonic() - begun_s) * 1000)

    async def places(self, seeds: Sequence[str]) -> tuple[list[Place], list[Answer]]:
        """The first address of each seed, and what there is to say of those that have none. Raises ConfigError."""
        places, nameless = [], []
        for seed in map(parse_seed, seeds):
            try:
                found = await asyncio.get_running_loop().getaddrinfo(seed.host, seed.port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or error
                nameless.append(Answer(seed.text, error=f"can't resolve {seed.host!r}: {reason}"))
                continue
            by_version = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)
            places.append(Place(str(by_version[0][4][0]), seed.port, tls=self._access.tls is not None))
        return places, nameless

    def trim(self) -> None:
        """Forgets rows that were kept to be met again, if there are many. Not while a survey is under way."""
        self._table.trim()

    async def ask(self, place: Place, questions: Sequence[str] = QUESTIONS) -> Answer:
        """One node, with its own deadline for all of it. Never raises for what the node does."""
        where = address_text(place.ip, place.port)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._ask(place, where, questions)
        except TimeoutError:
            await self._drop(place)
            return Answer(where, error=f"no answer within {self._timeout_s:g} s")
        except PeerCommandError as error:
            await self._drop(place)
            return Answer(where, error=str(error).removeprefix(f"{where}: "))
        except BaseException:
            await self._drop(place)
            raise

    async def _ask(self, place: Place, where: str, questions: Sequence[str]) -> Answer:
        connection = self._kept.get(place)
        if connection is not None:
            try:
                rtt_ms, myid = await self._id_of(connection)
            except PeerCommandError:  # the node may have been started again since it was asked last
                await self._drop(place)
                connection = None
        if connection is None:
            connection = self._kept[place] = await PeerConnection.open(
                self._config, place, timeout_s=self._timeout_s, tls=self._access.context
            )
            rtt_ms, myid = await self._id_of(connection)
        replies = await connection.ask([question.split() for question in questions], timeout_s=self._timeout_s)
        if len(self._kept) > CONNECTIONS_KEPT_MAX:
            await self._drop(place)
        return self._read(where, rtt_ms, myid, dict(zip(questions, replies, strict=True)))

    async def _id_of(self, connection: PeerConnection) -> tuple[float, Reply | PeerCommandError]:
        """The round trip of the shortest question in milliseconds, and its reply."""
        begun_s = time.monotonic()
        (reply,) = await connection.ask([MYID.split()], timeout_s=self._timeout_s)
        return (time.monotonic() - begun_s) * 1000, reply

    def _read(
        self, where: str, rtt_ms: float, myid: Reply | PeerCommandError, replies: Mapping[str, Reply | PeerCommandError]
    ) -> Answer:
        parts: dict[str, Any] = {}
        refused: dict[str, str] = {}
        for question, reply in replies.items():
            try:
                if isinstance(reply, PeerCommandError):
                    raise ValueError(reply.reply)
                self._note(parts, question, reply)
            except ValueError as reason:
                refused[question] = str(reason)
        if isinstance(myid, PeerCommandError):
            refused[MYID] = myid.reply
        node_id = parts.pop("node_id", "") or _text(myid)
        owed = parts.pop("owed", {})
        if owed and "server_time_usec" in parts.get("info", {}):
            now_ms = int(parts["info"]["server_time_usec"]) // 1000
            parts["overdue"] = frozenset(other for other, sent_ms in owed.items() if now_ms - sent_ms > OVERDUE_MS)
        error = f"{NODES}: {refused[NODES]}" if NODES in refused else ""
        if error and refused[NODES].startswith("NOAUTH"):
            error = refused[NODES]
        return Answer(where, str(node_id), rtt_ms=rtt_ms, refused=refused, error=error, at_s=time.monotonic(), **parts)

    def _note(self, parts: dict[str, Any], question: str, reply: Reply) -> None:
        """Puts what a reply says among the fields of the answer. Raises ValueError if it is none to that question."""
        if question == NODES:
            parts["nodes"], parts["node_id"], parts["owed"] = self._table.parse(_text(reply))
        elif question == LINKS:
            parts["links"] = parse_links(reply)
        elif question == SHARD_ID:
            parts["shard_id"] = _text(reply)
        elif question == CONFIG:
            parts["config"] = _pairs(reply)
        elif question == CLUSTER_INFO:
            parts["cluster_info"] = _fields(_text(reply))
        else:
            parts["info"] = {**parts.get("info", {}), **_fields(_text(reply))}

    async def _drop(self, place: Place) -> None:
        connection = self._kept.pop(place, None)
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        for place in list(self._kept):
            await self._drop(place)


async def survey(
    seeds: Sequence[str],
    access: Access | None = None,
    *,
    timeout_s: float = DEADLINE_S,
    questions: Sequence[str] = QUESTIONS,
    progress: Progress | None = None,
) -> Survey:
    """One look at the cluster of these seeds (`host:port`); see `Asker.survey`."""
    asker = Asker(access, timeout_s=timeout_s)
    try:
        return await asker.survey(seeds, questions=questions, progress=progress)
    finally:
        await asker.close()


class _Walk:
    """Which addresses are known, which are still to be asked, and what was said."""

    def __init__(self, seeds: Iterable[Place]) -> None:
        self.places: dict[Place, None] = {}
        self.waiting: deque[Place] = deque()
        self.answers: dict[Place, Answer] = {}
        self.nodes_known = 0
        self.is_whole = True
        for place in seeds:
            self._find(place)

    def _find(self, place: Place) -> None:
        if place in self.places:
            return
        if len(self.places) >= ADDRESSES_MAX:
            self.is_whole = False
            return
        self.places[place] = None
        self.waiting.append(place)

    def heard(self, place: Place, answer: Answer) -> None:
        self.answers[place] = answer
        self.nodes_known = max(self.nodes_known, len(answer.nodes))
        for row in answer.nodes:
            if row.has_address:
                self._find(Place(row.ip, row.port, tls=place.tls))


def _text(reply: object) -> str:
    if isinstance(reply, bytes):
        return reply.decode(errors="replace")
    return reply if isinstance(reply, str) else ""


def _fields(text: str) -> dict[str, str]:
    """`name:value` lines."""
    return {name: value for name, colon, value in (line.partition(":") for line in text.splitlines()) if colon}


def _pairs(reply: Reply) -> dict[str, str]:
    if not isinstance(reply, list):
        raise ValueError("no pairs of name and value")
    return dict(zip(map(_text, reply[::2]), map(_text, reply[1::2]), strict=False))
