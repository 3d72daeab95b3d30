"""The engine's port over the simulated network: the links of one simulated process (R38, R42).

Owns what `clusterbus._core.Engine` owns in the real world: links and their names, messages waiting for the end of
the step, the published view, the comparison of heartbeats with it and the encoding from it. Decides nothing of the
protocol. All chance comes from the random source it is given. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Protocol

from clusterbus.cluster.constants import PING, PONG
from clusterbus.member.ports import (
    EngineEvent,
    LinkAccepted,
    LinkConnected,
    LinkDrained,
    LinkLost,
    PacketsReceived,
    QuietHeartbeats,
)
from clusterbus.sim.network import ACCEPT, FIN, Dial, End, Network
from clusterbus.sim.timeline import NodeClock
from clusterbus.view import View
from clusterbus.wire import Packet, parse

LISTENER: Final = 0
"""Every process listens in one place."""
EPHEMERAL_PORT: Final = 50_000
"""The port a dial comes from: the simulated network has none."""
SEED_BITS: Final = 64


class Process(Protocol):
    """The process an engine belongs to, and what of the world around it an engine sees."""

    @property
    def index(self) -> int:
        """The number of its host."""

    @property
    def ip(self) -> str: ...
    @property
    def clock(self) -> NodeClock: ...
    def ip_of(self, host: int) -> str:
        """The address of a host."""

    def host_at(self, ip: str, port: int) -> int | None:
        """The number of the host with that address."""

    def act(self) -> None:
        """The process is about to do something that the world can see. Does not return if it dies first."""

    def note_handed_over(self, packet: Packet, links: Sequence[End]) -> None:
        """A message is the engine's now: from here on it may be on the wire."""

    def note_delivered(self, packet: Packet) -> None:
        """A packet came out of the network."""

    def drops(self, sender: int, packet: Packet) -> bool:
        """Whether packets like this are to be thrown away."""

    def note_quiet(self, count: int) -> None:
        """So many heartbeats said nothing new."""


class SimEngine:
    """`member.ports.Engine` for one process. With `compares` False no heartbeat is quiet and none is encoded from
    the view, as if no view were ever published.

    What was sent leaves at `flush`, heartbeats encoded from the view of that moment. Events wait for `poll`. While
    the process hangs without I/O workers (`stop_reading`) what arrives stays in the kernel's buffers.
    """

    def __init__(self, process: Process, network: Network, random: Random, *, compares: bool = True) -> None:
        self._process = process
        self._network = network
        self._random = random
        self._compares = compares
        self._ends: dict[int, End] = {}
        self._dials: dict[int, tuple[int, Dial]] = {}
        self._owners: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._view: View | None = None
        self._events: list[EngineEvent] = []
        self._queue: list[tuple[int, Packet | int]] = []
        """(link, message or type of a heartbeat still to be encoded), in the order given."""
        self._reads = True
        self._unread: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    # ------------------------------------------------------------ the port: a step

    def poll(self, timeout_ms: int | None = 0) -> list[EngineEvent]:
        """What happened since the last call; never waits, since time passes only between steps."""
        events, self._events = self._events, []
        return events

    def flush(self) -> bool:
        """What is queued leaves, in order; True when there are events."""
        queue, self._queue = self._queue, []
        for link, item in queue:
            end = self._ends.get(link)
            if end is None or not end.is_open:
                continue
            packet = item if isinstance(item, Packet) else self._encode(link, item)
            self._process.act()
            if not isinstance(item, Packet):
                self._process.note_handed_over(packet, (end,))
            self._network.send(end, packet)
        return bool(self._events)

    def _encode(self, link: int, message_type: int) -> Packet:
        assert self._view is not None
        data = self._view.encode(message_type, self._names[link], self._random.getrandbits(SEED_BITS))
        return _packet_of(data)

    # ------------------------------------------------------------ the port: links

    def connect(self, ip: str, port: int, *, owner: int = 0, tls: bool = False) -> int:
        """Starts a dial; its link at once."""
        self._process.act()
        target = self._process.host_at(ip, port)
        dial = self._network.dial(self._process.index, target)
        self._dials[dial.link] = (owner, dial)
        return dial.link

    def close(self, link: int) -> None:
        """Ends a link, or a dial; LinkDrained follows."""
        self._process.act()
        end = self._ends.pop(link, None)
        _owner, dial = self._dials.pop(link, (0, None))
        self._names.pop(link, None)
        self._owners.pop(link, None)
        if dial is not None:
            dial.is_over = True
        if end is not None:
            self._network.close(end)
        if end is not None or dial is not None:
            self._events.append(LinkDrained(link=link))

    def free(self, link: int) -> None:
        """Nothing is left of a drained link already."""

    def bind(self, link: int, node_id: str) -> None:
        """Names the node at the other end of a link."""
        if link in self._ends:
            self._names[link] = node_id

    def last_read_ms(self, link: int) -> int | None:
        """Milliseconds of this process's clock since the link was last read from."""
        end = self._ends.get(link)
        if end is None or end.last_read_us is None:
            return None
        return self._process.clock.ms_since(end.last_read_us)

    def send_queue(self, link: int) -> tuple[int, int]:
        """(messages, bytes) that have not arrived yet."""
        end = self._ends.get(link)
        waiting = [item for item in end.queue if isinstance(item, Packet)] if end is not None else []
        return len(waiting), sum(map(len, waiting))

    # ------------------------------------------------------------ the port: messages

    def send(self, link: int, data: bytes) -> bool:
        """Queues one encoded message."""
        return self.broadcast((link,), data) == 1

    def broadcast(self, links: Sequence[int], data: bytes) -> int:
        """Queues one message on many links: the same packet for all."""
        packet = _packet_of(data)
        ends = [end for link in links if (end := self._ends.get(link)) is not None and end.is_open]
        self._process.note_handed_over(packet, ends)
        self._queue += [(end.link, packet) for end in ends]
        return len(ends)

    def publish(self, view: View) -> None:
        """Heartbeats are compared with `view`, and encoded from it, from now on."""
        if self._compares:
            self._view = view

    def send_heartbeat(self, link: int, message_type: int) -> bool:
        """Queues a PING or PONG to be encoded at `flush`; False without a name, or a view that knows it."""
        end, name = self._ends.get(link), self._names.get(link)
        if end is None or not end.is_open or name is None or self._view is None or not self._view.knows(name):
            return False
        self._queue.append((link, message_type))
        return True

    def answer(self, heartbeats: QuietHeartbeats) -> int:
        """Keeps the replication offsets, and queues a PONG for each PING of the event."""
        if self._view is not None:
            self._view.note_offsets(heartbeats)
        packets = heartbeats.packets
        self._process.note_quiet(len(packets))
        return sum(packet.type == PING and self.send_heartbeat(link, PONG) for link, packet in packets)

    # ------------------------------------------------------------ the port: the rest

    def stats(self) -> dict[str, int]:
        """Only what a simulation looks at."""
        return {"links": len(self._ends)}

    def reset_stats(self) -> None:
        """Nothing is counted here."""

    def shutdown(self) -> None:
        """Closes every link."""
        for end in list(self._ends.values()):
            self._network.close(end)
        self._ends.clear()

    def give_up_dials(self) -> None:
        """The process is gone: nobody waits for its dials."""
        for _owner, dial in self._dials.values():
            dial.is_over = True

    # ------------------------------------------------------------ what the network brings

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    def name_of(self, link: int) -> str | None:
        """The node a link is bound to."""
        return self._names.get(link)

    def end_of(self, link: int) -> End | None:
        """This end of a link's connection."""
        return self._ends.get(link)

    def ends(self) -> list[End]:
        """The ends of all connections this process knows of."""
        return list(self._ends.values())

    def stop_reading(self) -> None:
        """The process is stopped, threads and all: nothing is read until `read_on`."""
        self._reads = False

    def read_on(self) -> None:
        """What came meanwhile is read now, in order."""
        self._reads = True
        unread, self._unread = self._unread, []
        for action, arguments in unread:
            action(*arguments)

    def arrived(self, end: End, item: Any) -> None:
        """Something came out of a connection."""
        if not self._reads:
            self._unread.append((self.arrived, (end, item)))
        elif item is ACCEPT:
            self._ends[end.link] = end
            peer_ip = self._process.ip_of(end.path.target)
            self._events.append(
                LinkAccepted(
                    link=end.link, listener=LISTENER, ip=peer_ip, port=EPHEMERAL_PORT, local_ip=self._process.ip
                )
            )
        elif item is FIN:
            self._network.forget(end)
            self._lose(end, "eof", "the peer ended the connection")
        elif end.is_open:
            end.last_read_us = self._network.now_us
            if not self._process.drops(end.path.target, item):
                self._process.note_delivered(item)
                self._receive(end, item)

    def broken(self, end: End, reason: str) -> None:
        """The network closed an end."""
        if not self._reads:
            self._unread.append((self.broken, (end, reason)))
        else:
            self._lose(end, "error", reason)

    def dial_answered(self, dial: Dial, end: End) -> None:
        """A dial came up; one that was closed meanwhile is no longer wanted."""
        owner, _ = self._dials.pop(dial.link, (None, None))
        if owner is None:
            self._network.close(end)
            return
        self._ends[end.link] = end
        self._owners[end.link] = owner
        self._events.append(LinkConnected(link=end.link, owner=owner, local_ip=self._process.ip))

    def dial_failed(self, dial: Dial, error: str) -> None:
        """A dial did not come up."""
        owner, _ = self._dials.get(dial.link, (None, None))
        if owner is not None:
            self._events.append(LinkLost(link=dial.link, owner=owner, kind="connect", detail=error))

    def _lose(self, end: End, kind: Any, detail: str) -> None:
        if end.link in self._ends:
            owner = self._owners.get(end.link, 0)
            self._events.append(LinkLost(link=end.link, owner=owner, kind=kind, detail=detail))

    def _receive(self, end: End, packet: Packet) -> None:
        """Compares a heartbeat with the view, as a worker does; quiet ones join those that wait already."""
        version = self._quiet_version(end, packet)
        if version is None:
            self._events.append(PacketsReceived(link=end.link, packets=[packet]))
            return
        heartbeats = [(end.link, packet)]
        last = self._events[-1] if self._events else None
        if isinstance(last, QuietHeartbeats) and last.version == version:
            heartbeats = [*last.packets, *heartbeats]
            self._events.pop()
        self._events.append(QuietHeartbeats(version=version, heartbeats=heartbeats))

    def _quiet_version(self, end: End, packet: Packet) -> int | None:
        """The version of the view that a heartbeat says nothing new to; None when it is to be looked at.

        Only a proven sender's is compared (H21), a PING on the peer's own link and a PONG on ours.
        """
        view = self._view
        kind = packet.type
        if view is None or kind > PONG or self._names.get(end.link) != packet.sender:
            return None
        if (kind == PONG) == end.is_inbound:
            return None
        peer_ip = self._process.ip_of(end.path.target)
        return view.version if view.is_quiet(packet, peer_ip, self._process.clock.now_ms()) else None


def _packet_of(data: bytes) -> Packet:
    (packet,) = parse(data)
    return packet
