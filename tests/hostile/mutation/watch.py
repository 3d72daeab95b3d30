"""What must hold while a node is attacked: it answers, its tables are well-formed, no fault of ours, memory stays.

Owns the checks. Each raises AssertionError with what it found. Main thread.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis
from clusterbus.cluster.operator import persist

from tests.hostile.mutation.positions import Attack
from tests.peers.cluster import NodeLine
from tests.peers.server import Server

FAULTS: Final = (
    "cluster_packet_errors",
    "cluster_event_errors",
    "cluster_effect_errors",
    "cluster_tick_errors",
    "cluster_callback_errors",
    "cluster_data_plane_errors",
    "cluster_io_job_panics",
)
"""The counters of INFO that count faults of this package. No peer can make one of them move."""
LINE: Final = re.compile(
    r"[0-9a-z]{40} [0-9a-f.:]*:\d{1,5}@\d{1,5}(,[\w.-]*(,[a-z0-9-]+=[\x21-\x7e]*)*)?"
    r" [a-z?,]+ (-|[0-9a-z]{40}) \d+ \d+ \d+ (dis)?connected( \S+)*"
)
BAD_LOG: Final = ("Traceback (most recent call last)", "panicked at", "RuntimeWarning", "never awaited")
MEMORY_SLACK_KIB: Final = 96 * 1024
"""By so much the resident memory may grow after the first look. A table of NODES_MAX nodes takes less."""
NODES_KEPT_MAX: Final = 100
"""With more nodes in the table, the operator forgets those that nobody plays."""
ANSWER_S: Final = 10.0


@dataclass
class Watch:
    """The looks at one node, and the worst that was seen."""

    node: Server
    attack: Attack
    memory_first_kib: int = 0
    memory_most_kib: int = 0
    descriptors_most: int = 0
    threads_most: int = 0
    nodes_most: int = 0
    forgotten: int = 0
    answer_worst_ms: float = 0.0
    looks: int = 0
    reached: dict[str, str] = field(default_factory=dict)
    _log_read: int = 0

    def look(self) -> None:
        """Checks all of it."""
        self.looks += 1
        assert self.node.exit_code() is None, f"the node ended: {self.node.exit_code()}\n{self.node.log_tail()}"
        self._good_peer_is_answered()
        self.reached = self.node.info()
        moved = {name: self.reached.get(name, "0") for name in FAULTS if self.reached.get(name, "0") != "0"}
        assert not moved, f"faults of ours: {moved}\n{self.node.log_tail()}"
        text = str(self.node.call("CLUSTER", "NODES"))
        check_table(text, self.attack.target_id)
        assert self.node.call("CLUSTER", "SAVECONFIG") == "OK"
        check_file(self.node.folder / "nodes.conf", self.attack.target_id)
        self._measure(text.count("\n"))
        self._read_log()
        self._forget(text)
        self.attack.renew()

    def _good_peer_is_answered(self) -> None:
        link = self.attack.good_link
        before, begun = link.pongs, time.monotonic()
        link.send(self.attack.good.heartbeat(0))
        assert link.wait_pong(before, ANSWER_S), f"the good peer is not answered; link closed: {link.is_closed}"
        assert self.node.call("PING") == "PONG"
        self.answer_worst_ms = max(self.answer_worst_ms, (time.monotonic() - begun) * 1000)

    def _measure(self, nodes: int) -> None:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.node.pid}/status").read_text().splitlines())
        memory_kib = int(status["VmRSS"].split()[0])
        self.memory_first_kib = self.memory_first_kib or memory_kib
        self.memory_most_kib = max(self.memory_most_kib, memory_kib)
        self.threads_most = max(self.threads_most, int(status["Threads"]))
        descriptors = len(list(Path(f"/proc/{self.node.pid}/fd").iterdir()))
        self.descriptors_most = max(self.descriptors_most, descriptors)
        self.nodes_most = max(self.nodes_most, nodes)
        grown_kib = memory_kib - self.memory_first_kib
        assert grown_kib < MEMORY_SLACK_KIB, f"memory grew by {grown_kib} KiB, with {nodes} nodes"

    def _read_log(self) -> None:
        text = self.node.log_text()
        new, self._log_read = text[self._log_read :], len(text)
        for bad in BAD_LOG:
            assert bad not in new, f"{bad} in the log:\n{new[max(0, new.index(bad) - 2000) :][:6000]}"

    def _forget(self, text: str) -> None:
        """As an operator would, who sees a table full of nodes that nobody has ever started."""
        kept = self.attack.kept()
        ids = [line.split()[0] for line in text.splitlines()]
        if len(ids) <= NODES_KEPT_MAX:
            return
        for node_id in set(ids) - kept:
            with contextlib.suppress(redis.ResponseError):  # it is gone already, in handshake, or our primary
                self.node.call("CLUSTER", "FORGET", node_id)
                self.forgotten += 1


def check_table(text: str, own_id: str) -> None:
    """Checks that a CLUSTER NODES is well-formed: each line, each id once, ourselves once, each slot once."""
    assert text.isascii(), text
    assert all(character.isprintable() or character == "\n" for character in text), repr(text)
    for found in text.splitlines():
        assert LINE.fullmatch(found), f"a line that is not well-formed: {found!r}"
    lines = [NodeLine.parse(found) for found in text.splitlines()]
    ids = [line.node_id for line in lines]
    assert len(set(ids)) == len(ids), "an id stands there twice"
    assert [line.node_id for line in lines if "myself" in line.flags] == [own_id]
    owned: set[int] = set()
    for line in lines:
        for part in line.slots:
            if part.startswith("["):
                continue
            first, _, last = part.partition("-")
            slots = set(range(int(first), int(last or first) + 1))
            assert slots <= set(range(16_384)), part
            assert not slots & owned, f"slots of two nodes: {part} of {line.node_id}"
            owned |= slots


def check_file(path: Path, own_id: str) -> None:
    """Checks that a nodes.conf can be read again, and is of this node."""
    text = path.read_text(encoding="ascii")
    conf = persist.parse(text)
    assert persist.myself_of(conf).node_id == own_id
    *lines, variables = text.splitlines()
    assert re.fullmatch(r"vars currentEpoch \d+ lastVoteEpoch \d+", variables), variables
    assert len(lines) == len(conf.nodes)
