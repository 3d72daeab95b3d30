"""The run itself: forms the cluster, disturbs it, calms it, and judges what was seen.

Owns the nodes and everything around them from start to end, and takes all of it down whatever happens: at the end of
the time, by Ctrl-C, or by an error. The loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis

from soak.acts import Acts, Done, Shards
from soak.cast import Part, shards_of, slots_of
from soak.checks import logs, ownership, vitals
from soak.checks.messages import SETTLE_S, TRANSIT_S, Account, account
from soak.checks.ownership import DoubleOwners, Table
from soak.schedule import heavy_lane, light_lane
from soak.world.certificates import Authority
from soak.world.commands import NO_ANSWER
from soak.world.keys import Keys
from soak.world.node import Node, SoakError
from soak.world.sidecar import Sidecars
from soak.world.traffic import Traffic

FORM_DEADLINE_S: Final = 90.0
WHOLE_DEADLINE_S: Final = 90.0
"""After a fault all nodes are of one mind again within this time."""
WATCH_INTERVAL_S: Final = 1.0
SAMPLE_EVERY: Final = 3
"""Of so many looks one also takes memory, descriptors, threads and INFO."""
CALM_S: Final = 5.0
"""Published after the last fault: all of it must arrive."""
FINDINGS_MAX: Final = 200


@dataclass
class Outcome:
    """What a run came to."""

    seed: int
    cast: tuple[Part, ...]
    begun_s: float
    ended_s: float = 0.0
    is_interrupted: bool = False
    account: Account = field(default_factory=Account)
    samples: list[vitals.Sample] = field(default_factory=list)
    slopes: list[vitals.Slopes] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    counters: dict[str, dict[str, str]] = field(default_factory=dict)
    deliveries_s: list[float] = field(default_factory=list)
    keys_kept: int = 0
    longest_double_owner_s: float = 0.0
    longest_until_whole_s: float = 0.0
    agreed_after_s: float | None = None
    slow_clients_ended: int = 0
    links_opened: int = 0
    starts: int = 0
    findings: list[str] = field(default_factory=list)


class Story:
    """One run. `now` tells how it stands, while it goes on."""

    def __init__(self, cast: tuple[Part, ...], seed: int, minutes: float, folder: Path) -> None:
        self._cast, self._seed, self._minutes = cast, seed, minutes
        self._authority = Authority(folder / "certificates")
        client = self._authority.issue("client")
        self.nodes = {part.name: Node(part, folder / part.name, self._authority, client) for part in cast}
        self._sidecars = Sidecars(self.nodes.values(), self._authority)
        self.traffic = Traffic()
        self._tables: dict[str, Table] = {}
        self._owners = DoubleOwners()
        self._keys = Keys(cast, self._primary_in_tables)
        self.acts = Acts(
            self.nodes, self._sidecars, self._authority, self.traffic, Shards(self._primary_of, self._replica_of)
        )
        self.outcome = Outcome(seed, cast, time.monotonic())
        self.stop_asked = asyncio.Event()
        self._light_acts: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------ from beginning to end

    async def run(self) -> Outcome:
        """The whole of it. Raises SoakError if the cluster does not form."""
        outcome = self.outcome
        try:
            await self._form()
            await asyncio.sleep(SETTLE_S)
            outcome.begun_s = time.monotonic()
            async with _beside(self._watch(), self._keys.run()):
                await self._disturb()
                await self._calm()
            await self._judge()
        finally:
            await self._take_down()
        outcome.findings = list(dict.fromkeys(outcome.findings + self.acts.findings))[:FINDINGS_MAX]
        return outcome

    async def _form(self) -> None:
        for node in self.nodes.values():
            self.traffic.start(node)
        await asyncio.gather(*(self.acts.start(node) for node in self.nodes.values()))
        shards = shards_of(self._cast)
        primaries = [node for node in self.nodes.values() if node.part.shard and not node.part.is_replica]
        for node in primaries:
            slots = slots_of(self._cast, node.part.shard)
            await node.commander.call("CLUSTER", "SET-CONFIG-EPOCH", shards.index(node.part.shard) + 1)
            await node.commander.call("CLUSTER", "ADDSLOTSRANGE", slots[0], slots[-1])
        first = primaries[0]
        for node in self.nodes.values():
            if node is not first:
                await first.commander.call("CLUSTER", "MEET", "127.0.0.1", node.port, node.announced_bus_port)
        await self._wait_whole(FORM_DEADLINE_S, "form")
        for node in self.nodes.values():
            if node.part.is_replica:
                primary = next(one for one in primaries if one.part.shard == node.part.shard)
                await node.commander.call("CLUSTER", "REPLICATE", primary.node_id)
        await self._wait_whole(FORM_DEADLINE_S, "replicate")
        if self.outcome.findings:
            raise SoakError(self.outcome.findings[0])

    async def _disturb(self) -> None:
        """Both lanes until the time is over or the end is asked for."""
        lanes = [asyncio.create_task(self._heavy()), asyncio.create_task(self._light())]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._minutes * 60):
                await self.stop_asked.wait()
        self.stop_asked.set()
        for result in await asyncio.gather(*lanes, return_exceptions=True):
            if isinstance(result, BaseException):
                self.outcome.findings.append(f"a lane of faults broke down: {result!r}")

    async def _heavy(self) -> None:
        for planned in heavy_lane(self._seed, self._cast):
            if await self._stops_within(planned.pause_s):
                return
            await self.acts.do(planned)
            begun_s = time.monotonic()
            await self._wait_whole(WHOLE_DEADLINE_S, f"after {planned.fault.value} at {planned.target}")
            self.outcome.longest_until_whole_s = max(self.outcome.longest_until_whole_s, time.monotonic() - begun_s)

    async def _light(self) -> None:
        for planned in light_lane(self._seed, self._cast):
            if await self._stops_within(planned.pause_s):
                break
            task = asyncio.create_task(self.acts.do(planned))
            self._light_acts.add(task)
            task.add_done_callback(self._light_acts.discard)
        await asyncio.gather(*self._light_acts)

    async def _stops_within(self, pause_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self.stop_asked.wait()
        return self.stop_asked.is_set()

    async def _calm(self) -> None:
        """All nodes are of one mind again, and then every message arrives."""
        begun_s = time.monotonic()
        if await self._wait_whole(WHOLE_DEADLINE_S, "at the end"):
            self.outcome.agreed_after_s = time.monotonic() - begun_s
        await asyncio.sleep(CALM_S)

    async def _judge(self) -> None:
        outcome = self.outcome
        await self.traffic.stop_publishing()
        await asyncio.sleep(TRANSIT_S + 1)
        outcome.ended_s = time.monotonic()
        outcome.account = account(
            self.traffic.published,
            self.traffic.sessions,
            self._sidecars.lives,
            self.acts.disturbances,
            outcome.begun_s,
            outcome.ended_s,
        )
        outcome.deliveries_s = sorted(at for session in self.traffic.sessions for at in session.received.values())
        await self._look()
        await self._read_info()
        outcome.keys_kept = sum(len(keys) for keys in self._keys.kept.values())
        outcome.findings += outcome.account.findings() + self.traffic.damaged + self.traffic.lost_in_streams
        outcome.findings += await self._keys.missing() + self._owners.findings + self._sidecars.errors
        outcome.slopes = vitals.slopes(outcome.samples)
        outcome.findings += [text for one in outcome.slopes for text in one.findings()]
        outcome.longest_double_owner_s = self._owners.longest_s
        outcome.slow_clients_ended = self.acts.slow_clients_ended
        outcome.links_opened = len(self._sidecars.lives)
        outcome.starts = sum(len(node.lives) for node in self.nodes.values())
        outcome.done = self.acts.done

    async def _take_down(self) -> None:
        for task in list(self._light_acts):
            task.cancel()
        await self.traffic.stop()
        await asyncio.gather(*(self.acts.end(node, signal.SIGTERM) for node in self.nodes.values() if node.is_up))
        self._sidecars.close()
        for node in self.nodes.values():
            self.outcome.findings += logs.cries(node.name, node.log_text())

    # ------------------------------------------------------------ looking

    async def _watch(self) -> None:
        """Looks at all nodes again and again, as long as the soak runs."""
        for number in range(1 << 62):
            for node in self.nodes.values():
                await self._mend(node)
            await self._look()
            if number % SAMPLE_EVERY == 0:
                self._sample()
                await self._read_info()
            await asyncio.sleep(WATCH_INTERVAL_S)

    async def _mend(self, node: Node) -> None:
        """A process that ended by itself is a finding; it is started again, so that the rest can be judged."""
        if node.turn.locked():
            return
        async with node.turn:
            life = node.note_end()
            if life is None:
                return
            self.outcome.findings.append(f"{node} (pid {life.pid}) ended by itself with exit code {life.exit_code}")
            self.traffic.end_session(node.name)
            self._sidecars.shut(node.name)
            await self.acts.start(node)

    async def _look(self) -> None:
        """CLUSTER NODES of all that answer."""

        async def ask(node: Node) -> tuple[str, Table | None]:
            with contextlib.suppress(*NO_ANSWER, redis.ResponseError):
                text = await node.commander.call("CLUSTER", "NODES")
                try:
                    return node.name, ownership.parse(text)
                except ValueError as error:
                    self.outcome.findings.append(f"CLUSTER NODES of {node} is not well-formed: {error}")
            return node.name, None

        answers = await asyncio.gather(*(ask(node) for node in self.nodes.values() if node.is_up))
        self._tables = {name: table for name, table in answers if table is not None}
        self._owners.see(self._tables, time.monotonic() - self.outcome.begun_s)

    def _sample(self) -> None:
        for node in self._ours():
            sample = vitals.read(node.name, node.pid, time.monotonic(), node.io_threads)
            if sample is not None:
                self.outcome.samples.append(sample)

    async def _read_info(self) -> None:
        """The counters of our nodes; those of faults must be 0 at every look, since a restart forgets them."""
        for node in self._ours():
            with contextlib.suppress(*NO_ANSWER, redis.ResponseError):
                info = logs.parse_info(await node.commander.call("INFO"))
                self.outcome.counters[node.name] = info
                for finding in logs.faults(node.name, info):
                    if finding not in self.outcome.findings:
                        self.outcome.findings.append(finding)

    def _ours(self) -> Iterator[Node]:
        return (node for node in self.nodes.values() if node.is_up and node.part.kind.is_ours)

    # ------------------------------------------------------------ the shards

    def _primary_in_tables(self, shard: str) -> Node | None:
        """Who claims the shard's first slot, by the last look; the highest epoch if several do."""
        slot = slots_of(self._cast, shard)[0]
        claims = [
            (line.config_epoch, name)
            for name, table in self._tables.items()
            for line in table.values()
            if line.is_myself and slot in line.slots
        ]
        return self.nodes[max(claims)[1]] if claims else None

    async def _primary_of(self, shard: str) -> Node | None:
        await self._look()
        return self._primary_in_tables(shard)

    async def _replica_of(self, shard: str) -> Node | None:
        primary = await self._primary_of(shard)
        members = (node for node in self.nodes.values() if node.part.shard == shard and node.is_up)
        return next((node for node in members if node is not primary), None)

    async def _wait_whole(self, deadline_s: float, when: str) -> bool:
        """Waits until all nodes are up and of one mind, and replicas have their data; a finding if they are not."""
        end_s = time.monotonic() + deadline_s
        while True:
            reason = await self._not_whole()
            if not reason:
                return True
            if time.monotonic() > end_s:
                self.outcome.findings.append(f"not whole within {deadline_s:.0f} s {when}: {reason}")
                return False
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _not_whole(self) -> str:
        await self._look()
        missing = set(self.nodes) - set(self._tables)
        if missing:
            return f"no answer from {', '.join(sorted(missing))}"
        if reason := ownership.disagreement(self._tables, len(self.nodes)):
            return reason
        for node in self.nodes.values():
            if node.part.kind.has_keys:
                with contextlib.suppress(*NO_ANSWER, redis.ResponseError):
                    info = logs.parse_info(await node.commander.call("INFO", "replication"))
                    if info.get("role") == "slave" and info.get("master_link_status") != "up":
                        return f"{node} has no link to its primary"
        return ""


POLL_INTERVAL_S: Final = 0.3


@contextlib.asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs these while the block runs. One that breaks down ends the block with its error."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
