"""`BlockingCluster`: a cluster for tests in plain code. Its nodes live on an event loop in a thread of their own.

Owns that thread, from the start of the cluster to its end. So the test may block, as synchronous clients do, and the
nodes go on. Any thread may call.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar, Unpack

from clusterbus.testing.clusters import WAIT_S, Cluster, Options, cluster

Result = TypeVar("Result")


class BlockingCluster:
    """The nodes of a test by number. Every method does what that of `Cluster` does, and returns when it is done.

    The buses belong to the loop's thread: `ask` and `run` reach them there.
    """

    def __init__(self, made: Cluster, loop: asyncio.AbstractEventLoop) -> None:
        self._made = made
        self._loop = loop

    def ask(self, function: Callable[[Cluster], Result]) -> Result:
        """What `function(cluster)` returns, called in the thread of the nodes: `c.ask(lambda c: c.nodes[0].slots)`."""

        async def call(made: Cluster) -> Result:
            return function(made)

        return self.run(call)

    def run(self, function: Callable[[Cluster], Coroutine[Any, Any, Result]]) -> Result:
        """What the coroutine function returns for the cluster, run on the loop of the nodes."""
        return asyncio.run_coroutine_threadsafe(function(self._made), self._loop).result()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """(host, client port) of every running node, for clients of the cluster."""
        return self.ask(lambda made: made.addresses)

    @property
    def running(self) -> list[int]:
        """The numbers of the nodes that run."""
        return self.ask(lambda made: made.running)

    def primary_of(self, n: int) -> int | None:
        """As `Cluster.primary_of`."""
        return self.run(lambda made: made.primary_of(n))

    def replicas_of(self, n: int) -> list[int]:
        """As `Cluster.replicas_of`."""
        return self.run(lambda made: made.replicas_of(n))

    def owner_of(self, slot: int) -> int | None:
        """As `Cluster.owner_of`."""
        return self.run(lambda made: made.owner_of(slot))

    def fail(self, n: int) -> None:
        """As `Cluster.fail`."""
        self.run(lambda made: made.fail(n))

    def restart(self, n: int) -> None:
        """As `Cluster.restart`."""
        self.run(lambda made: made.restart(n))

    def replace(self, n: int, by: int, *, timeout_s: float = WAIT_S) -> str:
        """As `Cluster.replace`."""
        return self.run(lambda made: made.replace(n, by, timeout_s=timeout_s))

    def partition(self, *groups: Iterable[int]) -> None:
        """As `Cluster.partition`."""
        self.run(lambda made: made.partition(*groups))

    def heal(self) -> None:
        """As `Cluster.heal`."""
        self.run(lambda made: made.heal())

    def failover(self, n: int, *, timeout_s: float = WAIT_S) -> int:
        """As `Cluster.failover`."""
        return self.run(lambda made: made.failover(n, timeout_s=timeout_s))

    def move_slots(self, slots: Iterable[int], to: int, *, timeout_s: float = WAIT_S) -> None:
        """As `Cluster.move_slots`."""
        self.run(lambda made: made.move_slots(slots, to, timeout_s=timeout_s))

    def wait_until(
        self, condition: Callable[[Cluster], object], timeout_s: float = WAIT_S, what: str = "condition"
    ) -> None:
        """As `Cluster.wait_until`; the condition gets the cluster, and is asked in the thread of the nodes."""
        self.run(lambda made: made.wait_until(lambda: condition(made), timeout_s, what))

    def wait_ok(self, *nodes: int, timeout_s: float = WAIT_S) -> None:
        """As `Cluster.wait_ok`."""
        self.run(lambda made: made.wait_ok(*nodes, timeout_s=timeout_s))

    def wait_failed(self, n: int, timeout_s: float = WAIT_S) -> None:
        """As `Cluster.wait_failed`."""
        self.run(lambda made: made.wait_failed(n, timeout_s))


@contextlib.contextmanager
def blocking_cluster(nodes: int | None = None, **options: Unpack[Options]) -> Iterator[BlockingCluster]:
    """A cluster as `cluster` makes it, for plain code:

    with blocking_cluster(primaries=3, replicas=1) as c:
        c.fail(0)
    """
    ready: Future[tuple[BlockingCluster, asyncio.Event]] = Future()
    ended: Future[None] = Future()

    async def live() -> None:
        async with cluster(nodes, **options) as made:
            end = asyncio.Event()
            ready.set_result((BlockingCluster(made, asyncio.get_running_loop()), end))
            await end.wait()

    def serve() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:
            (ended if ready.done() else ready).set_exception(error)
            return
        ended.set_result(None)

    thread = threading.Thread(target=serve, name="clusterbus-cluster", daemon=True)
    thread.start()
    made, end = ready.result()
    try:
        yield made
    finally:
        made._loop.call_soon_threadsafe(end.set)
        thread.join()
        ended.result()
