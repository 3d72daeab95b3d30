"""One measurement: a cluster of one kind, its single orders, and a thousand open slots that redis-cli mends.

Numbers are milliseconds of wall time, as the operator waits for it, except for the CPU time of the nodes. Main thread.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from moves.nodes import Cluster, Node, NodeError

FIX_DEADLINE_S: Final = 600.0
SINGLE_ORDERS: Final = 300
MIGRATED_KEYS: Final = 300
VALUE: Final = "v" * 100


@dataclass(frozen=True)
class Case:
    """What is measured: a kind of node, with or without keys in the slots that move."""

    kind: str
    keys_per_slot: int

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.keys_per_slot} keys a slot" if self.keys_per_slot else self.kind


def measure(case: Case, slots: int) -> dict[str, float]:
    """The figures of one run, by name, in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="bench-slots-") as folder, Cluster(case.kind, Path(folder)) as cluster:
        figures = _single_orders(cluster, slots)
        if case.keys_per_slot:
            figures["MIGRATE"] = _migrate(cluster)
            _fill(cluster.nodes[0], slots, case.keys_per_slot)
        _open(cluster, slots)
        cpu_ms = sum(node.cpu_ms() for node in cluster.nodes)
        figures["fix"] = _fix(cluster)
        figures["fix, CPU of the nodes"] = sum(node.cpu_ms() for node in cluster.nodes) - cpu_ms
        figures["fix, a slot"] = figures["fix"] / slots
        _check_moved(cluster, slots, case.keys_per_slot)
    return figures


def _single_orders(cluster: Cluster, slots: int) -> dict[str, float]:
    """Medians of one order at a time, on slots that no other measurement uses."""
    source, target = cluster.nodes[0], cluster.nodes[1]
    numbers = range(slots, slots + SINGLE_ORDERS)
    # In an order in which each of them changes something; the last one repeats what a heartbeat has told the source.
    orders: dict[str, tuple[Node, tuple[str, ...]]] = {
        "SETSLOT MIGRATING": (source, ("MIGRATING", cluster.ids[1])),
        "SETSLOT STABLE": (source, ("STABLE",)),
        "SETSLOT IMPORTING": (target, ("IMPORTING", cluster.ids[0])),
        "SETSLOT NODE, target": (target, ("NODE", cluster.ids[1])),
        "SETSLOT NODE, source": (source, ("NODE", cluster.ids[1])),
    }
    return {name: _median_ms(partial(_set_slot, node, words), numbers) for name, (node, words) in orders.items()}


def _set_slot(node: Node, words: tuple[str, ...], slot: int) -> object:
    return node.call("CLUSTER", "SETSLOT", slot, *words)


def _migrate(cluster: Cluster) -> float:
    """The median of a MIGRATE of one key, in a slot that moves and then moves on no further."""
    source, target = cluster.nodes[0], cluster.nodes[1]
    slot = 0
    tag = next(_tags_of(source, slot))
    source.call_all([("SET", f"{{{tag}}}{number}", VALUE) for number in range(MIGRATED_KEYS)])
    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.ids[0])
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.ids[1])

    def migrate(number: int) -> object:
        return source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 60_000, "KEYS", f"{{{tag}}}{number}")

    return _median_ms(migrate, range(MIGRATED_KEYS))


def _median_ms(order: Callable[[int], object], numbers: range) -> float:
    times = []
    for number in numbers:
        begun = time.perf_counter()
        reply = order(number)
        times.append((time.perf_counter() - begun) * 1000)
        if reply != "OK":
            raise NodeError(f"{reply} instead of OK")
    return statistics.median(times)


def _tags_of(node: Node, slot: int) -> Iterator[str]:
    """Hash tags of a slot, found by asking."""
    start = 0
    while True:
        found = node.call_all([("CLUSTER", "KEYSLOT", number) for number in range(start, start + 10_000)])
        yield from (str(start + offset) for offset, slot_found in enumerate(found) if slot_found == slot)
        start += 10_000


def _fill(source: Node, slots: int, keys_per_slot: int) -> None:
    """Puts some keys into each of the slots from 0 on."""
    tags: dict[int, str] = {}
    start = 0
    while len(tags) < slots:
        found = source.call_all([("CLUSTER", "KEYSLOT", number) for number in range(start, start + 10_000)])
        tags |= {slot: str(start + offset) for offset, slot in enumerate(found) if slot < slots}
        start += 10_000
    tags.pop(0)  # the slot of the single MIGRATEs: its keys are at the target already
    source.call_all([("SET", f"{{{tag}}}{number}", VALUE) for tag in tags.values() for number in range(keys_per_slot)])


def _open(cluster: Cluster, slots: int) -> None:
    """Leaves the slots from 0 on as a reshard that was ended leaves them: on the way from the first to the second."""
    source, target = cluster.nodes[0], cluster.nodes[1]
    target.call_all([("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.ids[0]) for slot in range(slots)])
    source.call_all([("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.ids[1]) for slot in range(slots)])


def _fix(cluster: Cluster) -> float:
    redis_cli = shutil.which("redis-cli")
    if redis_cli is None:
        raise NodeError("needs the package redis-tools (Debian)")
    # redis-cli wants to see one configuration everywhere before it mends slots.
    cluster.wait_until(lambda node: "cluster_state:ok" in node.call("CLUSTER", "INFO"), "the cluster is not ok")
    begun = time.perf_counter()
    done = subprocess.run(
        [redis_cli, "--cluster", "fix", str(cluster.nodes[0])],
        capture_output=True,
        text=True,
        input="yes\n",
        timeout=FIX_DEADLINE_S,
        check=False,
    )
    taken_ms = (time.perf_counter() - begun) * 1000
    if done.returncode:
        raise NodeError(f"redis-cli --cluster fix:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return taken_ms


def _check_moved(cluster: Cluster, slots: int, keys_per_slot: int) -> None:
    """Every slot must have arrived, with its keys: a fix that does less is not faster."""
    nodes_text = cluster.nodes[0].call("CLUSTER", "NODES")
    if "->-" in nodes_text or "-<-" in nodes_text:
        raise NodeError("slots are still open after the fix")
    target_line = next(line for line in nodes_text.splitlines() if line.startswith(cluster.ids[1]))
    if not any(word.startswith("0-") and int(word[2:]) >= slots - 1 for word in target_line.split()):
        raise NodeError(f"the slots did not move: {target_line}")
    if keys_per_slot and (at_target := cluster.nodes[1].call("DBSIZE")) < (slots - 1) * keys_per_slot:
        raise NodeError(f"only {at_target} keys arrived")
