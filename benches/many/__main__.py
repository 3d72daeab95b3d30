"""`make bench-many`: many buses in one process, on one event loop: do they converge, and what do they cost at rest?

Prints one line for each number of buses: the time to open them and until each knows all others and has both links to
each, processor time at rest by thread, the time to close them, file descriptors, memory, and the warnings that were
logged. `--profile` also profiles the loop's Python while they converge.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import logging
import os
import pstats
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

import clusterbus

NUMBERS: Final = (20, 60, 100)
CONVERGE_MAX_S: Final = 180
REST_S: Final = 20
SETTLE_S: Final = 5
CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Warnings(logging.Handler):
    """Counts warnings by their text without what differs from one to the next."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        words = (word for word in record.getMessage().split() if not any(letter.isdigit() for letter in word))
        self.texts[" ".join(words)] += 1


def cpu_s_by_thread() -> dict[str, float]:
    """Seconds of processor time by the name of the thread; the main thread is `main`."""
    used: dict[str, float] = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            key = "main" if int(task.name) == os.getpid() else name
            used[key] = used.get(key, 0.0) + (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
    return used


def count_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


async def open_buses(
    stack: contextlib.AsyncExitStack, number: int, options: argparse.Namespace
) -> list[clusterbus.Bus]:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    buses = []
    for index in range(number):
        home = Path(folder, str(index))
        home.mkdir()
        bus = clusterbus.Bus(port=0, bind="127.0.0.1", dir=str(home), resp=options.resp, save="", **options.directives)
        await bus.open()
        buses.append(bus)
    return buses


def is_joined(bus: clusterbus.Bus, number: int) -> bool:
    links = bus.links()
    return len(bus.nodes) == number and len(links) >= 2 * (number - 1) and all(link.node_id for link in links)


async def converge(buses: list[clusterbus.Bus], begun: float) -> tuple[float | None, float | None]:
    """Seconds until each knows all others, and until all links between them have told whose they are."""
    missing = list(buses)
    known_s = None
    told = begun
    while time.monotonic() - begun < CONVERGE_MAX_S:
        if known_s is None and all(len(bus.nodes) == len(buses) for bus in buses):
            known_s = time.monotonic() - begun
        missing = [bus for bus in missing if known_s is None or not is_joined(bus, len(buses))]
        if not missing:
            return known_s, time.monotonic() - begun
        if time.monotonic() - told > 10:
            told = time.monotonic()
            nodes = [len(bus.nodes) for bus in buses]
            links = sum(len(bus.links()) for bus in buses)
            print(
                f"  {told - begun:.0f} s: {len(missing)} to join, nodes {min(nodes)}-{max(nodes)}, links {links} "
                f"of {2 * len(buses) * (len(buses) - 1)}",
                file=sys.stderr,
            )
        await asyncio.sleep(0.2)
    return known_s, None


async def measure(number: int, options: argparse.Namespace) -> None:
    warnings = Warnings()
    logging.getLogger("clusterbus").addHandler(warnings)
    stack = contextlib.AsyncExitStack()
    begun = time.monotonic()
    buses = await open_buses(stack, number, options)
    opened_s = time.monotonic() - begun
    for index, bus in enumerate(buses):
        for other in buses[:index] if options.mesh else buses[: min(index, 1)]:
            await bus.meet("127.0.0.1", other.port)
    begun, cpu_s = time.monotonic(), time.process_time()
    with cProfile.Profile() if options.profile else contextlib.nullcontext() as profile:
        known_s, joined_s = await converge(buses, begun)
    joined_cpu_s = time.process_time() - cpu_s
    if profile is not None:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(35)
    line = f"{number:4} buses: open {opened_s:.2f} s, "
    line += f"known {known_s:.1f} s, " if known_s is not None else "NOT known, "
    line += f"joined {joined_s:.1f} s (CPU {joined_cpu_s:.1f} s)" if joined_s is not None else "NOT joined"
    if joined_s is not None:
        await asyncio.sleep(SETTLE_S)
        before, begun = cpu_s_by_thread(), time.monotonic()
        rest_profile = cProfile.Profile() if options.profile else None
        if rest_profile is not None:
            rest_profile.enable()
        await asyncio.sleep(REST_S)
        took_s = time.monotonic() - begun
        after = cpu_s_by_thread()
        if rest_profile is not None:
            rest_profile.disable()
            pstats.Stats(rest_profile, stream=sys.stderr).sort_stats("tottime").print_stats(35)
        used = {name: 100 * (s - before.get(name, 0.0)) / took_s for name, s in after.items()}
        by_thread = ", ".join(f"{name} {share:.1f}" for name, share in sorted(used.items(), key=lambda u: -u[1])[:4])
        line += f"; at rest {sum(used.values()):.1f} % of a core ({by_thread})"
    line += f"; {count_files()} files, {len(os.listdir('/proc/self/task'))} threads, {rss_mib():.0f} MiB"
    begun = time.monotonic()
    await asyncio.gather(*(bus.close() for bus in buses))
    line += f"; closed {time.monotonic() - begun:.2f} s, {count_files()} files left"
    print(line, flush=True)
    for text, count in warnings.texts.most_common(6):
        print(f"     {count} x {text}", flush=True)
    await stack.aclose()
    logging.getLogger("clusterbus").removeHandler(warnings)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench-many", description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, default=NUMBERS)
    parser.add_argument("--resp", action="store_true", help="with client ports")
    parser.add_argument("--mesh", action="store_true", help="each meets all others instead of the first")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--io-threads", type=int)
    options = parser.parse_args()
    options.directives = {} if options.io_threads is None else {"io_threads": options.io_threads}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    print(f"limit on files: {soft}, {hard}", file=sys.stderr)
    for number in options.numbers:
        if options.uvloop:
            import uvloop

            uvloop.run(measure(number, options))
        else:
            asyncio.run(measure(number, options))


main()
