"""How long a scrape of a node's metrics holds its main loop, in a cluster of thousands of nodes.

A node starts from a nodes.conf with so many members, none of which is there; the round trips of each are those that two
nodes measured of each other before. What is shown is processor time of the main thread: for the snapshot, which is
taken in one go, when nothing has changed since the last one and when a node has; and for the pieces of the text,
between which the loop does other things.

    make bench-scrape BENCH_ARGS="--nodes 500"
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import clusterbus
from clusterbus.member.member import Member
from clusterbus.metrics.snapshot import Snapshot, take
from clusterbus.metrics.text import pieces
from clusterbus.testing import free_port_pair
from clusterbus.view import NodeTimes

NODES = 2_000
ROUNDS = 50
SLOTS = 16_384
BOUND_MS = 2.0
FIELDS = {
    "snapshot": "snapshot_ms",
    "after a change": "changed_ms",
    "longest piece of text": "longest_ms",
    "all text": "text_ms",
}
DEADLINE_S = 30.0


class Scrape(NamedTuple):
    """Milliseconds of one scrape: the snapshot, one after a node has changed, the longest piece, all pieces together;
    and the bytes of the text.
    """

    snapshot_ms: float
    changed_ms: float
    longest_ms: float
    text_ms: float
    len_bytes: int


def nodes_conf(count: int, port: int, others_port: int) -> str:
    """A nodes.conf with `count` primaries, whose first is the node itself. Nobody listens at the port of the others."""
    lines = []
    for number in range(count):
        first, last = SLOTS * number // count, SLOTS * (number + 1) // count - 1
        flags = "myself,master" if number == 0 else "master"
        at = port if number == 0 else others_port
        address = f"127.0.0.1:{at}@{at + 10_000},,tls-port=0,shard-id={number + count:040x}"
        lines.append(f"{number + 1:040x} {address} {flags} - 0 0 {number + 1} connected {first}-{last}\n")
    return "".join([*lines, f"vars currentEpoch {count} lastVoteEpoch 0\n"])


def scrape(bus: clusterbus.Bus) -> Scrape:
    """The figures of one scrape."""
    member = bus._member()
    snapshot, snapshot_ms = _taken(member)
    taken = list(_timed(snapshot))
    myself = member.state.myself
    myself.nodename = "other" if myself.nodename else "name"
    _snapshot, changed_ms = _taken(member)
    return Scrape(
        snapshot_ms,
        changed_ms,
        longest_ms=max(took_ms for _text, took_ms in taken),
        text_ms=sum(took_ms for _text, took_ms in taken),
        len_bytes=sum(len(text) for text, _took_ms in taken),
    )


def _taken(member: Member) -> tuple[Snapshot, float]:
    began_s = time.thread_time()
    snapshot = take(member)
    return snapshot, (time.thread_time() - began_s) * 1e3


def _timed(snapshot: Snapshot) -> Iterator[tuple[str, float]]:
    rest = pieces(snapshot)
    while True:
        began_s = time.thread_time()
        text = next(rest, None)
        took_ms = (time.thread_time() - began_s) * 1e3
        if text is None:
            return
        yield text, took_ms


async def measured_times(folder: Path) -> NodeTimes:
    """The times of a node whose PONGs were measured."""
    for name in ("ours", "theirs"):
        (folder / name).mkdir()
    ours, theirs = (
        clusterbus.Bus(port=free_port_pair(), dir=str(folder / name), resp=False) for name in ("ours", "theirs")
    )
    async with ours, theirs, asyncio.timeout(DEADLINE_S):
        await ours.meet("127.0.0.1", theirs.port)
        while True:
            for node in ours._member().state.nodes:
                if node.times.round_trip_us is not None:
                    return node.times
            await asyncio.sleep(0.01)


async def measure(count: int, rounds: int) -> list[Scrape]:
    """Scrapes a node that knows `count` nodes."""
    with tempfile.TemporaryDirectory() as folder:
        times = await measured_times(Path(folder))
        port, others_port = free_port_pair(), free_port_pair()
        (Path(folder) / "nodes.conf").write_text(nodes_conf(count, port, others_port))
        # So long a node timeout that none of the members fails meanwhile.
        async with clusterbus.Bus(port=port, dir=folder, resp=False, cluster_node_timeout=3_600_000) as bus:
            for node in bus._member().state.nodes:
                node.times = times
            figures = []
            for _ in range(rounds):
                figures.append(scrape(bus))
                await asyncio.sleep(0.01)
            return figures


def table(count: int, figures: list[Scrape]) -> str:
    """The figures for people."""
    lines = [f"{'ms of the main thread':<24}{'median':>8}{'most':>8}"]
    for name, field in FIELDS.items():
        values = [getattr(figure, field) for figure in figures]
        lines.append(f"{name:<24}{statistics.median(values):>8.2f}{max(values):>8.2f}")
    return "\n".join([*lines, f"{count} nodes, {figures[0].len_bytes / 1024:.0f} KiB of text, {len(figures)} scrapes"])


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the loop was held no longer than the bound, at the median."""
    parser = argparse.ArgumentParser(prog="scrape_cost", description="How long a scrape holds the main loop.")
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    figures = asyncio.run(measure(options.nodes, options.rounds))
    print(table(options.nodes, figures))
    held_ms = statistics.median(max(figure.snapshot_ms, figure.changed_ms, figure.longest_ms) for figure in figures)
    print(f"the loop is held {held_ms:.2f} ms at a time; at most {BOUND_MS:g} were wanted")
    return int(held_ms > BOUND_MS)


if __name__ == "__main__":
    sys.exit(main())
