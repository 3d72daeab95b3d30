"""So many damaged packets against one node, with checks all along, then its restart on its own nodes.conf.

Owns the order: the node comes up with slots of its own, packets are thrown, looks are taken, it is ended with SIGTERM,
started again, killed, and started once more. Main thread.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.hostile.mutation.positions import Attack
from tests.hostile.mutation.watch import Watch, check_file, check_table
from tests.peers.cluster import cluster_nodes, node_id
from tests.peers.server import Server

LOOK_EVERY: Final = 768
"""So many packets are thrown between two looks."""
DIRECTIVES: Final = {"cluster-blacklist-ttl": "1", "loglevel": "notice", "cluster-node-timeout": "2000"}


@dataclass
class Report:
    """What came of it."""

    io_threads: int
    packets: int
    duration_s: float
    watch: Watch
    attack: Attack


def run(folder: Path, *, seed: int, numbers: range, io_threads: int, progress: Callable[[int, float], None]) -> Report:
    """Throws the packets with these numbers at a new node. Raises AssertionError, naming the last packets thrown."""
    node = Server("clusterbus", folder, directives=DIRECTIVES | {"io-threads": str(io_threads)})
    node.start()
    try:
        assert node.call("CLUSTER", "ADDSLOTSRANGE", 0, 99) == "OK"
        attack = Attack(node, seed)
        try:
            return _throw(node, attack, numbers, io_threads, progress)
        finally:
            attack.close()
    finally:
        node.stop()


def _throw(
    node: Server, attack: Attack, numbers: range, io_threads: int, progress: Callable[[int, float], None]
) -> Report:
    begun = time.monotonic()
    watch = Watch(node, attack)
    watch.look()
    for start in range(numbers.start, numbers.stop, LOOK_EVERY):
        part = range(start, min(start + LOOK_EVERY, numbers.stop))
        try:
            attack.throw(part)
            watch.look()
        except Exception as error:
            where = f"packets {part.start} to {part.stop - 1} of seed {attack.seed}, io-threads {io_threads}"
            raise AssertionError(f"{where}: {error}\n{node.log_tail()}") from error
        progress(len(part), time.monotonic() - begun)
    report = Report(io_threads, len(numbers), time.monotonic() - begun, watch, attack)
    _restart(node, attack)
    return report


def _restart(node: Server, attack: Attack) -> None:
    """The process ends and starts on its own nodes.conf: after a save of its own, and after none."""
    for end in (signal.SIGTERM, signal.SIGKILL):
        own_id = node_id(node)
        assert own_id == attack.target_id
        before = cluster_nodes(node)
        epoch = int(node.info()["cluster_current_epoch"])
        assert node.call("CLUSTER", "SAVECONFIG") == "OK"
        if end is signal.SIGKILL:
            node.kill()
        else:
            assert node.stop() == 0, node.log_tail()
        check_file(node.folder / "nodes.conf", own_id)
        node.start()
        assert node_id(node) == own_id, "another identity"
        text = str(node.call("CLUSTER", "NODES"))
        check_table(text, own_id)
        after = cluster_nodes(node)
        kept = {key for key, line in before.items() if "handshake" not in line.flags}
        assert kept <= set(after), f"nodes that it does not know any more: {kept - set(after)}"
        assert int(node.info()["cluster_current_epoch"]) >= epoch
        assert node.call("PING") == "PONG"
