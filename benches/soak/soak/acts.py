"""Carries the faults out, and notes from when to when each lasted and whom it concerned.

Owns the list of disturbances that explains losses. A node is ended and started here only, by the heavy lane, so no two
acts do so at once. What did not work as it must, a failover that does not come or a wrong exit code, is a finding.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import redis

from soak.cast import NODE_TIMEOUT_MS
from soak.checks.logs import parse_info
from soak.checks.messages import REACH_S, Disturbance, End
from soak.schedule import FILTERED_TYPES, Fault, Planned
from soak.world.certificates import Authority
from soak.world.commands import NO_ANSWER, Reply
from soak.world.node import Node
from soak.world.sidecar import Sidecars
from soak.world.slow_clients import SlowClients
from soak.world.traffic import NAME_OF_PUBLISHER, NAME_OF_SUBSCRIBER, Traffic

NODE_TIMEOUT_S: Final = NODE_TIMEOUT_MS / 1000
TAKEOVER_DEADLINE_S: Final = 45.0
FAILOVER_TRIES: Final = 8
"""A packet filter at a voter may make a manual failover fail, so that it must be given again."""
FAILOVER_WAIT_S: Final = 6.0
FOLLOW_DEADLINE_S: Final = 10.0
ACT_DEADLINE_S: Final = 120.0
"""No fault takes so long; one that does hangs."""
POLL_INTERVAL_S: Final = 0.1
NO_FILTER: Final = -1


@dataclass(frozen=True)
class Done:
    """A fault as it went. `outcome` is empty if it went as planned."""

    planned: Planned
    begun_s: float
    ended_s: float
    outcome: str = ""


class Shards:
    """What the acts ask of the cluster; the story knows it."""

    def __init__(
        self, primary_of: Callable[[str], Awaitable[Node | None]], replica_of: Callable[[str], Awaitable[Node | None]]
    ) -> None:
        self.primary_of = primary_of
        self.replica_of = replica_of


class Acts:
    """Does what is planned. `do` never raises for what a fault in the cluster causes."""

    def __init__(
        self, nodes: dict[str, Node], sidecars: Sidecars, authority: Authority, traffic: Traffic, shards: Shards
    ) -> None:
        self._nodes, self._sidecars, self._authority, self._traffic = nodes, sidecars, authority, traffic
        self._shards = shards
        self._filtered: set[str] = set()
        self.disturbances: list[Disturbance] = []
        self.done: list[Done] = []
        self.findings: list[str] = []
        self.slow_clients_ended = 0
        self._ways: dict[Fault, Callable[[Planned], Awaitable[str]]] = {
            Fault.TERM: self._restart,
            Fault.KILL: self._restart,
            Fault.CRASH: self._crash,
            Fault.FAILOVER: self._failover,
            Fault.PARTITION: self._partition,
            Fault.CUT: self._cut,
            Fault.DEBUG_KILL: self._debug_kill,
            Fault.HOLD: self._hold,
            Fault.FILTER: self._filter,
            Fault.IO_THREADS: self._io_threads,
            Fault.CERTIFICATES: self._certificates,
            Fault.TLS_FILES: self._tls_files,
            Fault.CLIENT_KILL: self._client_kill,
            Fault.SLOW_CLIENT: self._slow_client,
        }

    async def do(self, planned: Planned) -> None:
        """Carries one out from beginning to end."""
        begun_s = time.monotonic()
        outcome = ""
        try:
            async with asyncio.timeout(ACT_DEADLINE_S) as limit:
                outcome = await self._ways[planned.fault](planned)
        except redis.ResponseError as error:
            outcome = f"refused: {error}"
            self.findings.append(f"{planned.fault.value} at {planned.target} was refused: {error}")
        except NO_ANSWER as error:
            outcome = f"no answer: {type(error).__name__}"  # the other lane has taken the node down meanwhile
            if limit.expired():
                self.findings.append(f"{planned.fault.value} at {planned.target} took over {ACT_DEADLINE_S} s")
        self.done.append(Done(planned, begun_s, time.monotonic(), outcome))

    @contextlib.contextmanager
    def _noted(self, planned: Planned, **about: Any) -> Iterator[None]:
        """Notes a disturbance that lasts as long as the block."""
        begun_s = time.monotonic()
        try:
            yield
        finally:
            self.disturbances.append(Disturbance(planned.fault.value, begun_s, time.monotonic(), **about))

    @contextlib.asynccontextmanager
    async def _away(self, planned: Planned, node: Node) -> AsyncIterator[None]:
        """Notes that a process is away as long as the block lasts."""
        with self._noted(planned, nodes=frozenset({node.name}), ends_clients=True):
            yield

    # ------------------------------------------------------------ heavy

    async def end(self, node: Node, number: signal.Signals) -> None:
        """Ends a node's process and everything that hangs on it."""
        code = await node.end(number)
        self._traffic.end_session(node.name)
        self._sidecars.shut(node.name)
        expected = 0 if number is signal.SIGTERM else -number
        if code != expected:
            self.findings.append(f"{node} ended by {number.name} with exit code {code}")

    async def start(self, node: Node) -> None:
        await node.start()
        self._sidecars.open(node.name)

    async def _restart(self, planned: Planned) -> str:
        node = self._nodes[planned.target]
        number = signal.SIGTERM if planned.fault is Fault.TERM else signal.SIGKILL
        async with node.turn, self._away(planned, node):
            await self.end(node, number)
            await asyncio.sleep(planned.lasts_s)
            await self.start(node)
        return ""

    async def _crash(self, planned: Planned) -> str:
        """The primary of a shard is killed, and comes back when its replica has taken over."""
        primary = await self._shards.primary_of(planned.target)
        if primary is None:
            return "no primary"
        async with primary.turn, self._away(planned, primary):
            await self.end(primary, signal.SIGKILL)
            begun_s = time.monotonic()
            taken = False
            while not taken and time.monotonic() < begun_s + TAKEOVER_DEADLINE_S:
                await asyncio.sleep(POLL_INTERVAL_S)
                taken = await self._shards.primary_of(planned.target) not in (None, primary)
            await self.start(primary)
        if not taken:
            self.findings.append(f"nobody took shard {planned.target} over within {TAKEOVER_DEADLINE_S} s")
            return "nobody took over"
        return ""

    async def _failover(self, planned: Planned) -> str:
        replica = await self._shards.replica_of(planned.target)
        if replica is None:
            return "no replica"
        for attempt in range(1, FAILOVER_TRIES + 1):
            try:
                await replica.commander.call("CLUSTER", "FAILOVER")
            except redis.ResponseError as error:
                if "master is down" not in str(error) and "primary is down" not in str(error).lower():
                    raise
            deadline_s = time.monotonic() + FAILOVER_WAIT_S
            while time.monotonic() < deadline_s:
                await asyncio.sleep(POLL_INTERVAL_S)
                if await self._shards.primary_of(planned.target) is replica:
                    return "" if attempt == 1 else f"at the {attempt}th order"
        self.findings.append(f"{replica} did not become primary by {FAILOVER_TRIES} manual failovers")
        return "it did not happen"

    async def _partition(self, planned: Planned) -> str:
        with self._noted(planned, nodes=frozenset({planned.target})):
            self._sidecars.cut_off(planned.target, planned.fault.value)
            try:
                await asyncio.sleep(planned.lasts_s)
            finally:
                self._sidecars.let_back(planned.target)
        return ""

    # ------------------------------------------------------------ light

    async def _cut(self, planned: Planned) -> str:
        with self._noted(planned, pairs=frozenset({(planned.target, planned.other)})):
            count = self._sidecars.cut(planned.target, planned.other, planned.fault.value)
        return "" if count else "no link"

    async def _debug_kill(self, planned: Planned) -> str:
        ways = {"to": (planned.target, planned.other), "from": (planned.other, planned.target)}
        pairs = set(ways.values()) if planned.detail == "all" else {ways[planned.detail]}
        with self._noted(planned, pairs=frozenset(pairs)):
            other_id = self._nodes[planned.other].node_id
            try:
                await self._order(planned, "DEBUG", "CLUSTERLINK", "KILL", planned.detail, other_id)
            except redis.ResponseError as error:
                if "no link" not in str(error).lower() and "not found" not in str(error).lower():
                    raise
                return str(error)
        return ""

    async def _hold(self, planned: Planned) -> str:
        pairs = frozenset({(planned.target, planned.other)})
        with self._noted(planned, pairs=pairs, lingers_s=NODE_TIMEOUT_S, holds=True):
            release = self._sidecars.hold(planned.target, planned.other)
            try:
                await asyncio.sleep(planned.lasts_s)
            finally:
                release()
        return ""

    async def _filter(self, planned: Planned) -> str:
        if planned.target in self._filtered:
            return "another filter is on"
        drops_at = {"PING": End.RECEIVER, "PONG": End.SENDER}.get(planned.detail)
        self._filtered.add(planned.target)
        try:
            with self._noted(
                planned,
                nodes=frozenset({planned.target}),
                ends_links=drops_at is not None,
                drops_publish=planned.detail == "PUBLISH",
                lingers_s=NODE_TIMEOUT_S if drops_at is not None else REACH_S,
                drops_at=drops_at,
            ):
                await self._order(planned, "DEBUG", "DROP-CLUSTER-PACKET-FILTER", FILTERED_TYPES[planned.detail])
                await asyncio.sleep(planned.lasts_s)
                await self._order(planned, "DEBUG", "DROP-CLUSTER-PACKET-FILTER", NO_FILTER)
        finally:
            self._filtered.discard(planned.target)
        return ""

    async def _io_threads(self, planned: Planned) -> str:
        node = self._nodes[planned.target]
        await self._order(planned, "CONFIG", "SET", "io-threads", planned.detail)
        node.io_threads = int(planned.detail)
        return ""

    async def _certificates(self, planned: Planned) -> str:
        node = self._nodes[planned.target]
        pair = self._authority.issue(node.name)
        await self._order(
            planned, "CONFIG", "SET", "tls-cert-file", str(pair.cert_file), "tls-key-file", str(pair.key_file)
        )
        node.pair = pair
        return ""

    async def _tls_files(self, planned: Planned) -> str:
        """The node looks at its files by itself, and must show the new certificate soon."""
        node = self._nodes[planned.target]
        before = await self._serial(planned)
        self._authority.replace(node.pair, node.name)
        replaced_s = time.monotonic()
        while await self._serial(planned) == before:
            if time.monotonic() > replaced_s + FOLLOW_DEADLINE_S:
                self.findings.append(f"{node} does not follow its TLS files within {FOLLOW_DEADLINE_S} s")
                return "not followed"
            await asyncio.sleep(POLL_INTERVAL_S)
        return ""

    async def _serial(self, planned: Planned) -> str:
        return parse_info(str(await self._order(planned, "INFO", "tls")))["tls_server_cert_serial"]

    async def _client_kill(self, planned: Planned) -> str:
        killed = 0
        with self._noted(planned, nodes=frozenset({planned.target}), ends_links=False, ends_clients=True):
            for line in str(await self._order(planned, "CLIENT", "LIST")).splitlines():
                fields = dict(word.partition("=")[::2] for word in line.split())
                if fields.get("name") in (NAME_OF_PUBLISHER, NAME_OF_SUBSCRIBER):
                    killed += int(await self._order(planned, "CLIENT", "KILL", "ID", fields["id"]))
        return "" if killed else "no client"

    async def _slow_client(self, planned: Planned) -> str:
        async with SlowClients(self._nodes[planned.target].address) as clients:
            await asyncio.sleep(planned.lasts_s)
            self.slow_clients_ended += clients.ended()
        return ""

    async def _order(self, planned: Planned, *words: str | int) -> Reply:
        node = self._nodes[planned.target]
        if not node.is_up:
            raise ConnectionError(f"{node} is down")
        return await node.commander.call(*words)
