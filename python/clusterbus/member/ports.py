"""What a member needs from the world that it lives in: an engine, a file, a clock, a log; and what an engine reports.

Owns the protocols alone. `runtime/` implements them with sockets, a disk and real time, `sim/` with simulated ones;
nothing in `member/` knows which. The engine's events are the core's own classes, so both worlds report in the same
terms. Main thread.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from clusterbus._core import (
    AcceptRefused,
    LinkAccepted,
    LinkConnected,
    LinkDrained,
    LinkLost,
    PacketsReceived,
    QuietHeartbeats,
)
from clusterbus.view import NodeTimes, View

__all__ = [
    "AcceptRefused",
    "ClientPort",
    "Clock",
    "Engine",
    "EngineEvent",
    "Errand",
    "Errands",
    "LinkAccepted",
    "LinkConnected",
    "LinkDrained",
    "LinkLost",
    "Log",
    "NodesFile",
    "PacketsReceived",
    "PeerAnswer",
    "Place",
    "QuietHeartbeats",
    "Replacement",
]

T_co = TypeVar("T_co", covariant=True)

EngineEvent: TypeAlias = (
    LinkAccepted | LinkConnected | PacketsReceived | QuietHeartbeats | LinkLost | LinkDrained | AcceptRefused
)
"""What happened to links. `_core.pyi` says what each event means and how the main loop answers it."""


class Engine(Protocol):
    """Links and bytes. `clusterbus._core.Engine` is one; its stub says more about each method."""

    def poll(self, timeout_ms: int | None = ...) -> Sequence[EngineEvent]:
        """Waits at most `timeout_ms` (None: until something happens) and returns what happened, in order. A link whose
        packets it returns is not read again before `flush`.
        """

    def flush(self) -> bool:
        """What the last poll returned has been applied; dispatches what was queued. Returns True if `poll(0)` has
        something to return.
        """

    def connect(self, ip: str, port: int, *, owner: int = ..., tls: bool = ..., times: NodeTimes | None = ...) -> int:
        """Starts a dial and returns its link at once; LinkConnected or LinkLost with `owner` follows. `times` are those
        of the node that is dialled, and get how long its PINGs take. Raises OSError and ClusterBusError.
        """

    def send(self, link: int, data: bytes) -> bool:
        """Queues one encoded message. Returns False if the link takes none."""

    def broadcast(self, links: Sequence[int], data: bytes, *, unsent_max_bytes: int = ...) -> int:
        """Queues one message on many links, but not on one with more unsent. Returns how many such there are."""

    def publish(self, view: View) -> None:
        """Publishes a view: from now on heartbeats are compared with it and encoded from it."""

    def bind(self, link: int, node_id: str) -> None:
        """Tells which node a link is of. From now on that node's heartbeats on it are compared with the view."""

    def send_heartbeat(self, link: int, message_type: int) -> bool:
        """Queues a PING or PONG, to be encoded from the published view when it is sent. Returns False if that fails."""

    def set_lease_ms(self, lease_ms: int) -> None:
        """For how long after the last poll or flush quiet heartbeats are answered without the main loop; 0: never."""

    def close(self, link: int) -> None:
        """Ends a link. LinkDrained follows when its last job is done."""

    def free(self, link: int) -> None:
        """Frees a drained link."""

    def last_read_ms(self, link: int) -> int | None:
        """Milliseconds since bytes were last read from a link; None before the first (R23)."""

    def send_queue(self, link: int) -> tuple[int, int]:
        """(messages, bytes) that are not wholly sent."""

    def stats(self) -> dict[str, int]:
        """Counters and gauges by name (`counters` lists them)."""

    def reset_stats(self) -> None: ...

    def shutdown(self) -> None:
        """Closes every link."""


class Replacement(Protocol):
    """A write of nodes.conf that was begun."""

    @property
    def is_done(self) -> bool: ...

    def result(self) -> None:
        """To be asked only when it is done. Raises OSError and ClusterBusError if the old file is still in place."""


class NodesFile(Protocol):
    """The file nodes.conf of this member. It belongs to the member until `close`."""

    def save(self, text: str, durable: bool) -> None:
        """Replaces the whole file. `durable`: it is on disk before this returns. Waits for the end of what was begun.
        Raises OSError and ClusterBusError.
        """

    def begin(self, text: str, durable: bool) -> Replacement:
        """The same, but waits only for a disk that answers as disks do. Nothing may be begun before the last one is
        done.
        """

    def close(self) -> None: ...


class Clock(Protocol):
    """The one timeline of a member: unix milliseconds that never jump (H29)."""

    @property
    def monotonic_ns(self) -> Callable[[], int]:
        """A function that returns nanoseconds which never go back, to measure how long something takes."""

    def now_ms(self) -> int: ...
    def now_us(self) -> int: ...


class Log(Protocol):
    """Takes lines for the operator. `level` is debug, verbose, notice or warning, as in valkey.conf."""

    def __call__(self, level: str, text: str, error: BaseException | None = None) -> None:
        """Writes one line. `error` is the exception that it reports, whose traceback follows."""


class ClientPort(Protocol):
    """The port for clients, if the member has one: what INFO shows of it."""

    def stats(self) -> dict[str, int]:
        """The counters of the port, under INFO's names."""

    def section(self, name: str) -> list[tuple[str, object]]:
        """The lines of a section of INFO that the port knows: commandstats, errorstats, latencystats,
        or `paused`, the lines about CLIENT PAUSE."""

    def reset_stats(self) -> None: ...


class Certificates(Protocol):
    """What TLS connections are made from, and how it is renewed."""

    @property
    def is_used(self) -> bool:
        """Whether any port of this node speaks TLS."""

    def lines(self) -> Iterable[tuple[str, object]]:
        """The lines of INFO's section TLS."""

    def port(self) -> ssl.SSLContext | None:
        """The rules of the client port; None if this node does not speak TLS."""

    def on_renewed(self, user: Callable[[], None]) -> Callable[[], None]:
        """Calls `user` whenever there are other rules. Call the returned function to stop."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the clients of another node connect, and whether they speak TLS there."""

    ip: str
    port: int
    tls: bool = False


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What became of a command at another node's client port. `reply` is the node's own text, "" if it gave none;
    `text` says more where the command was not carried out.
    """

    is_ok: bool
    reply: str
    text: str


class Errand(Protocol[T_co]):
    """Something that was begun and takes its time."""

    @property
    def is_done(self) -> bool: ...

    def result(self) -> T_co:
        """What came of it. To be asked only when it is done; raises ClusterBusError if it failed."""


class Errands(Protocol):
    """What a member may have done that takes long and is no business of the bus. Nothing of it blocks the main loop."""

    def resolve(self, host: str) -> Errand[tuple[str, ...]]:
        """The addresses that a name stands for now, each once, IPv4 first."""

    def command(self, place: Place, *words: str) -> Errand[PeerAnswer]:
        """One command at the client port of another node, within some seconds."""

    def commands(self, place: Place, commands: Sequence[Sequence[str]]) -> Errand[PeerAnswer]:
        """Several commands, one after another. The first that is refused ends it, and is the answer."""
