"""What `clusterbus observe` prints: a line for each thing that happens, for people or as JSON.

Owns the form of the lines, and the thread that writes them: a terminal that is paused, or a pipe that nobody reads,
must not hold up the member, which others would hold failed. What is too much is counted and said. `say`, `member` and
`event` are for the main thread.
"""

from __future__ import annotations

import dataclasses
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from clusterbus.streams.snapshots import NodeView

LINES_WAITING_MAX: Final = 10_000
CLOSE_TIMEOUT_S: Final = 2.0
ID_SHOWN_CHARS: Final = 8


class Lines:
    """Lines on stdout. `start` begins the thread, `close` ends it when all is written, or soon."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._waiting: queue.Queue[str | None] = queue.Queue(LINES_WAITING_MAX)
        self._lost = 0
        self._thread: threading.Thread | None = None

    def start(self, on_closed: Callable[[], object]) -> None:
        """`on_closed` is called in the thread when nobody reads any more."""
        self._thread = threading.Thread(target=self._write, args=(on_closed,), name="clusterbus-lines", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Waits a moment for what is not written yet."""
        try:
            self._waiting.put(None, timeout=CLOSE_TIMEOUT_S)
        except queue.Full:
            return
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)

    def _write(self, on_closed: Callable[[], object]) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                print(line, flush=True)
            except OSError:
                sys.stdout = None  # the interpreter would try again at its end
                on_closed()
                return

    # ------------------------------------------------------------ what is said

    def say(self, kind: str, text: str, **fields: object) -> None:
        """Something about the observer itself."""
        self._add(kind, text, fields)

    def member(self, node: NodeView, one_sided: str) -> None:
        """A member as it is when the watch begins."""
        role = "primary" if node.is_primary else f"replica of {(node.primary_id or '-')[:ID_SHOWN_CHARS]}"
        state = (
            "failed" if node.is_failed else "suspected" if node.is_suspected else "" if node.connected else "no link"
        )
        fields: dict[str, Any] = {
            "node_id": node.node_id,
            "ip": node.ip,
            "port": node.port or node.tls_port,
            "role": "primary" if node.is_primary else "replica",
            "primary_id": node.primary_id,
            "slots": node.slots,
            "config_epoch": node.config_epoch,
            "state": state or "ok",
            "one_sided": one_sided,
        }
        words = [f"{node.node_id[:ID_SHOWN_CHARS]}@{node.ip}:{fields['port']}", role, f"epoch {node.config_epoch}"]
        words += [f"slots {','.join(_ranges(node.slots))}"] if node.slots else []
        words += [word for word in (state, one_sided) if word]
        self._add("member", f"{'member':<16} {', '.join(words)}", fields)

    def event(self, event: object, nodes: Mapping[str, NodeView]) -> None:
        """Something in the cluster. A node is shown by its address too, where that is known."""
        fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}  # type: ignore[arg-type]
        words = " ".join(f"{name}={shown(value, nodes)}" for name, value in fields.items())
        self._add(type(event).__name__, f"{type(event).__name__:<16} {words}", fields)

    def _add(self, kind: str, text: str, fields: Mapping[str, Any]) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._put("lines_lost", f"{lost} lines were not written in time", {"count": lost})
        self._put(kind, text, fields)

    def _put(self, kind: str, text: str, fields: Mapping[str, Any]) -> None:
        now_s = time.time()
        if self._as_json:
            text = json.dumps({"at_ms": int(now_s * 1e3), "kind": kind, **fields}, default=str)
        else:
            clock = time.strftime("%H:%M:%S", time.localtime(now_s))
            text = f"{clock}.{int(now_s * 1e3) % 1_000:03} {text}"
        try:
            self._waiting.put_nowait(text)
        except queue.Full:
            self._lost += 1


def shown(value: object, nodes: Mapping[str, NodeView]) -> str:
    """One field for people: a node's id short and with its address, ranges of slots as CLUSTER NODES has them."""
    if isinstance(value, str) and (node := nodes.get(value)) is not None:
        return f"{value[:ID_SHOWN_CHARS]}@{node.ip}:{node.port or node.tls_port}"
    if isinstance(value, tuple):
        return ",".join(_ranges(value)) or "-"
    return "-" if value in (None, "") else str(value)


def _ranges(pairs: Sequence[tuple[int, int]]) -> Iterator[str]:
    for first, last in pairs:
        yield str(first) if first == last else f"{first}-{last}"
