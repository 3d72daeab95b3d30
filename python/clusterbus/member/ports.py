"""What a member needs of the world it lives in: an engine, a file, a clock, a log; and what an engine reports.

Owns the shapes (protocols) alone. `runtime/` fills them with sockets, a disk and real time, `sim/` with simulated
ones; nothing here or in the rest of `member/` knows which. The engine's events are the core's own classes, so both
worlds report in the same words. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from clusterbus._core import (
    AcceptRefused,
    LinkAccepted,
    LinkConnected,
    LinkDrained,
    LinkLost,
    PacketsReceived,
    QuietHeartbeats,
)
from clusterbus.view import View

__all__ = [
    "AcceptRefused",
    "ClientPort",
    "Clock",
    "Engine",
    "EngineEvent",
    "LinkAccepted",
    "LinkConnected",
    "LinkDrained",
    "LinkLost",
    "Log",
    "NodesFile",
    "PacketsReceived",
    "QuietHeartbeats",
]

EngineEvent: TypeAlias = (
    LinkAccepted | LinkConnected | PacketsReceived | QuietHeartbeats | LinkLost | LinkDrained | AcceptRefused
)
"""What happened to links, in order; `_core.pyi` says what each tells and how it is answered."""


class Engine(Protocol):
    """Links and bytes. `clusterbus._core.Engine` is one; its stub says more of each method."""

    def poll(self, timeout_ms: int | None = ...) -> Sequence[EngineEvent]:
        """Waits at most `timeout_ms` (None: until something happens); what happened, in order."""

    def flush(self) -> bool:
        """Dispatches what was queued; True when `poll(0)` has something to give."""

    def connect(self, ip: str, port: int, *, owner: int = ..., tls: bool = ...) -> int:
        """Starts a dial; its link at once, LinkConnected or LinkLost with `owner` later. Raises OSError,
        ClusterBusError."""

    def send(self, link: int, data: bytes) -> bool:
        """Queues one encoded message; False when the link takes none."""

    def broadcast(self, links: Sequence[int], data: bytes) -> int:
        """Queues one message on many links; how many took it."""

    def publish(self, view: View) -> None:
        """Heartbeats are compared with `view`, and encoded from it, from now on."""

    def bind(self, link: int, node_id: str) -> None:
        """Names the node at the other end of a link, once it is proven."""

    def send_heartbeat(self, link: int, message_type: int) -> bool:
        """Queues a PING or PONG, encoded from the published view when it is sent; False when it cannot be."""

    def answer(self, heartbeats: QuietHeartbeats) -> int:
        """Keeps replication offsets of quiet heartbeats and queues a PONG for each PING; how many links took one."""

    def close(self, link: int) -> None:
        """Ends a link; LinkDrained follows when its last job is done."""

    def free(self, link: int) -> None:
        """Frees a drained link."""

    def last_read_ms(self, link: int) -> int | None:
        """Milliseconds since bytes were last read from a link; None before the first (R23)."""

    def send_queue(self, link: int) -> tuple[int, int]:
        """(messages, bytes) not wholly sent."""

    def stats(self) -> dict[str, int]:
        """Counters and gauges by name (`counters`)."""

    def reset_stats(self) -> None: ...

    def shutdown(self) -> None:
        """Closes every link."""


class NodesFile(Protocol):
    """The file nodes.conf of this member, held until `close`."""

    def save(self, text: str, durable: bool) -> None:
        """Replaces the file as a whole; `durable`: on disk before this returns. Raises OSError, ClusterBusError."""

    def close(self) -> None: ...


class Clock(Protocol):
    """The one timeline of a member: unix milliseconds that never jump (H29)."""

    @property
    def monotonic_ns(self) -> Callable[[], int]:
        """Gives nanoseconds for measuring how long something took; they never go back."""

    def now_ms(self) -> int: ...
    def now_us(self) -> int: ...


class Log(Protocol):
    """Where lines for the operator go. `level` is debug, verbose, notice or warning, as in valkey.conf."""

    def __call__(self, level: str, text: str, error: BaseException | None = None) -> None:
        """One line; with `error` it tells of a fault, and the traceback follows."""


class ClientPort(Protocol):
    """The port for clients, where a member has one: what INFO shows of it."""

    def stats(self) -> dict[str, int]:
        """Its counters by INFO's names."""

    def reset_stats(self) -> None: ...
