"""A program of a user whose callbacks take most of the main loop: a `clusterbus.Bus` on asyncio beside them.

At a fixed rate a callback burns CPU time of the main thread without a pause. After each one a line is added to
`busy.log`: the time (CLOCK_MONOTONIC), the CPU time of the main thread, and that which callbacks have burnt, all in
nanoseconds. The difference of the last two is what the bus took. Run as
`busy.py FOLDER PORT IO_THREADS NODE_TIMEOUT_MS BURN_MS PERIOD_MS`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TextIO

import clusterbus

NS_PER_MS = 1_000_000


class Callbacks:
    """Calls itself again and again, and notes what it burnt."""

    def __init__(self, burn_ms: int, period_ms: int, log: TextIO) -> None:
        self._loop = asyncio.get_running_loop()
        self._burn_ns = burn_ms * NS_PER_MS
        self._period_s = period_ms / 1e3
        self._log = log
        self._burnt_ns = 0
        self._due_s = self._loop.time()

    def burn(self) -> None:
        began_ns = time.thread_time_ns()
        end_ns = began_ns + self._burn_ns
        while (now_ns := time.thread_time_ns()) < end_ns:
            pass
        self._burnt_ns += now_ns - began_ns
        self._log.write(f"{time.monotonic_ns()} {now_ns} {self._burnt_ns}\n")
        # One that comes late is not made up for.
        self._due_s = max(self._due_s + self._period_s, self._loop.time())
        self._loop.call_at(self._due_s, self.burn)


async def serve(folder: Path, port: int, io_threads: int, node_timeout_ms: int, burn_ms: int, period_ms: int) -> None:
    bus = clusterbus.Bus(
        bind=["127.0.0.1"],
        dir=str(folder),
        port=port,
        io_threads=io_threads,
        cluster_config_file="nodes.conf",
        cluster_node_timeout=node_timeout_ms,
    )
    with (folder / "busy.log").open("w", buffering=1) as log:
        async with bus:
            Callbacks(burn_ms, period_ms, log).burn()
            await bus.wait_stopped()


def main() -> None:
    folder, *numbers = sys.argv[1:]
    asyncio.run(serve(Path(folder), *map(int, numbers)))


if __name__ == "__main__":
    main()
