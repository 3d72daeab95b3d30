"""What a failover costs a cluster client: with its own way to find the topology, and with the pushed one.

Three Valkey and three clusterbus nodes. Again and again the Valkey primary of a shard is killed, and its replica is
elected; then it comes back as a replica. Meanwhile two redis-py clients, one of each kind, write to that shard, a call
each CALL_PERIOD_S. So each failover is a pair. Counted for each: calls that failed, the longest time without a success,
the longest call, and CLUSTER SLOTS at the data nodes for the pushed client.

    make bench-push BENCH_ARGS="--failovers 5"
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from clusterbus import topology
from clusterbus.testing import BlockingCluster, blocking_cluster

FAILOVERS = 10
NODE_TIMEOUT_MS = 2_000
CALL_PERIOD_S = 0.01
SETTLE_S = 1.0
PATIENCE_S = 10.0
WAIT_S = 30.0
VALKEY = (0, 2, 3)
SHARD = (0, 3)
"""The nodes of the shard that fails over, both Valkey."""
KEY = "{06S}"  # of slot 0


@dataclass
class Calls:
    """The calls of one client during one failover."""

    failed: int = 0
    made: int = 0
    longest_s: float = 0.0
    gap_s: float = 0.0
    recovered_s: float = 0.0
    """When the longest time without a success ended, of the monotonic clock."""
    _succeeded_s: float = field(default_factory=time.monotonic)

    def note(self, began_s: float, *, is_good: bool) -> None:
        now_s = time.monotonic()
        self.made += 1
        self.longest_s = max(self.longest_s, now_s - began_s)
        if is_good:
            if now_s - self._succeeded_s > self.gap_s:
                self.gap_s, self.recovered_s = now_s - self._succeeded_s, now_s
            self._succeeded_s = now_s
        else:
            self.failed += 1


class Load:
    """One client that writes, in a thread."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._ends = threading.Event()
        self.calls = Calls()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        number = 0
        while not self._ends.is_set():
            number += 1
            began_s = time.monotonic()
            try:
                self._client.set(f"{KEY}{number % 100}", number)
                self.calls.note(began_s, is_good=True)
            except redis.RedisError:
                self.calls.note(began_s, is_good=False)
            self._ends.wait(max(0.0, CALL_PERIOD_S - (time.monotonic() - began_s)))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()


@contextlib.contextmanager
def client_of(cluster: BlockingCluster, *, pushed: bool) -> Iterator[Any]:
    """A client that starts at a clusterbus node; all else is the library's default."""
    handles = cluster.ask(lambda made: made.handles)
    with contextlib.closing(redis.RedisCluster(host="127.0.0.1", port=handles[1].port)) as client:
        if not pushed:
            yield client
            return
        seeds = [f"127.0.0.1:{handles[n].port}" for n in (1, 4, 5)]
        with topology.attach(client, seeds, patience_s=PATIENCE_S):
            yield client


def _command_stats(cluster: BlockingCluster, node: Any) -> str:
    async def ask(_made: object) -> bytes:
        reply: bytes = await node.command("INFO", "commandstats")
        return reply

    return cluster.run(ask).decode()


def asked(cluster: BlockingCluster, nodes: Sequence[int]) -> int:
    """How often these nodes were asked CLUSTER SLOTS."""
    total = 0
    for node in cluster.ask(lambda made: [made.handles[n] for n in nodes]):
        text = _command_stats(cluster, node)
        lines = [line for line in text.splitlines() if line.startswith("cmdstat_cluster|slots:")]
        total += sum(int(line.split("calls=")[1].split(",")[0]) for line in lines)
    return total


def fail_over(cluster: BlockingCluster, primary: int) -> None:
    """Kills the primary of the shard, waits for its replica, and lets it come back."""
    cluster.fail(primary)
    cluster.wait_ok(timeout_s=WAIT_S)
    time.sleep(SETTLE_S)
    cluster.restart(primary)
    cluster.wait_ok(timeout_s=WAIT_S)
    time.sleep(SETTLE_S)


def measure(failovers: int) -> tuple[list[tuple[Calls, Calls]], int]:
    """The calls with the library's way and with pushes, in each failover; and CLUSTER SLOTS at the data nodes in one
    more failover, in which only the pushed client runs.
    """
    pairs = []
    with blocking_cluster(
        primaries=3, replicas=1, processes=True, valkey=VALKEY, cluster_node_timeout=NODE_TIMEOUT_MS
    ) as cluster:
        primary, replica = SHARD
        for number in range(failovers):
            with (
                client_of(cluster, pushed=False) as own,
                client_of(cluster, pushed=True) as pushed,
                Load(own) as first,
                Load(pushed) as second,
            ):
                time.sleep(SETTLE_S)
                fail_over(cluster, primary)
            pairs.append((first.calls, second.calls))
            print(
                f"{number + 1} of {failovers}: {first.calls.failed} and {second.calls.failed} failed", file=sys.stderr
            )
            primary, replica = replica, primary
        with client_of(cluster, pushed=True) as pushed, Load(pushed):
            time.sleep(SETTLE_S)
            survivors = [n for n in VALKEY if n != primary]
            before = asked(cluster, survivors)
            cluster.fail(primary)
            cluster.wait_ok(timeout_s=WAIT_S)
            time.sleep(SETTLE_S)
            slots = asked(cluster, survivors) - before
    return pairs, slots


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def table(pairs: Sequence[tuple[Calls, Calls]], slots: int) -> str:
    """The figures for people: median, and least to most."""
    rows = [f"{'in each failover':<28}{'the library alone':>22}{'pushed topology':>22}"]
    for name, figure in (
        ("calls that failed", "failed"),
        ("seconds without a success", "gap_s"),
        ("longest call, seconds", "longest_s"),
    ):
        own, pushed = ([getattr(pair[which], figure) for pair in pairs] for which in (0, 1))
        rows.append(f"{name:<28}{spread(own):>22}{spread(pushed):>22}")
    earlier = [(alone.recovered_s - fed.recovered_s) * 1e3 for alone, fed in pairs]
    rows.append(f"the pushed client recovered earlier by, ms: {spread(earlier)}")
    ratios = [fed.gap_s / alone.gap_s for alone, fed in pairs]
    rows.append(f"without a success, pushed / alone: {spread(ratios)}, of {len(pairs)} failovers")
    rows.append(f"CLUSTER SLOTS at the data nodes by the pushed client: {slots}")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="failover_calls", description="What a failover costs a cluster client.")
    parser.add_argument("--failovers", type=int, default=FAILOVERS)
    options = parser.parse_args(arguments)
    pairs, slots = measure(options.failovers)
    print(table(pairs, slots))
    return 0


if __name__ == "__main__":
    sys.exit(main())
