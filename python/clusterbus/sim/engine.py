"""The engine's port over the simulated network: the links of one simulated process (R38, R42).

Owns what `clusterbus._core.Engine` owns in the real world: links and their nodes, messages that wait for the end of the
step, the published view, the comparison of heartbeats with it and their encoding from it. Must never decide anything of
the protocol. All randomness comes from the random source that it is given. One thread.
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
from clusterbus.view import NodeTimes, Verdict, View
from clusterbus.wire import Packet, parse

LISTENER: Final = 0
"""The number of the only listener of every process."""
EPHEMERAL_PORT: Final = 50_000
"""The port that dials come from: the simulated network has no ports."""
SEED_BITS: Final = 64
SLOW_SHARE: Final = 0.5
"""How often a worker is slow, while the main loop has something to do: it looks at what it has read amid the next step.
"""
UNLIMITED: Final = -1


class Process(Protocol):
    """The process of an engine, and what an engine sees of the world around it."""

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
        """Called before the process does something that the world can see. Does not return if it dies first."""

    def note_handed_over(self, packet: Packet, links: Sequence[End]) -> None:
        """The engine took a message. From now on it may be on the wire."""

    def note_on_wire(self, packet: Packet, end: End) -> None:
        """A message leaves on a link, in the order in which the peer gets them."""

    def damaged(self, packet: Packet) -> Packet:
        """What leaves in the place of a message, if this process is one that damages them."""

    def note_delivered(self, packet: Packet, sender: int) -> None:
        """The network delivered a packet."""

    def drops(self, sender: int, packet: Packet) -> bool:
        """Whether this packet is to be thrown away."""

    def note_quiet(self, view_version: int) -> None:
        """A worker found that a heartbeat says nothing new to the view of that version, and took it."""


class SimEngine:
    """`member.ports.Engine` for one process.

    Messages leave at `flush`; heartbeats are encoded then, from the view of that moment. Events wait for `poll`. While
    the process hangs without I/O workers (`stop_reading`), what arrives stays in the kernel's buffers. With `compares`
    False no view is ever published, so no heartbeat is quiet or encoded from a view.
    """

    def __init__(self, process: Process, network: Network, random: Random, *, compares: bool = True) -> None:
        self._process = process
        self._network = network
        self._random = random
        self._compares = compares
        self._ends: dict[int, End] = {}
        self._drained: dict[int, End] = {}
        """Closed, and not freed yet."""
        self._dials: dict[int, tuple[int, Dial]] = {}
        self._owners: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._view: View | None = None
        self._events: list[EngineEvent] = []
        self._queue: list[tuple[int, Packet | int]] = []
        """(link, a message or the type of a heartbeat that is still to be encoded), in the order of the calls."""
        self._answered = 0
        self._pongs: dict[int, int] = {}
        """The links of quiet PONGs that are still to be told, each with the time of the last one."""
        self._noted = 0
        self._lease_us = 0
        self._lease_until_us = 0
        self._news: set[int] = set()
        """Links of which something was read that the main loop has not applied yet."""
        self._held: list[tuple[End, Any]] = []
        """What has arrived on these links meanwhile."""
        self._in_hand: dict[int, tuple[End, Packet]] = {}
        """What workers have read while the main loop was busy, and look at amid its next step."""
        self._reads = True
        self._unread: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    # ------------------------------------------------------------ the port: a step

    def poll(self, timeout_ms: int | None = 0) -> list[EngineEvent]:
        """What happened since the last call. Never waits, because time passes only between steps."""
        self._renew_lease()
        events, self._events = self._events, []
        if self._answered or self._noted:
            pongs, self._pongs = self._pongs, {}
            events.insert(0, QuietHeartbeats(answered=self._answered, noted=self._noted, pongs=list(pongs.items())))
            self._answered = self._noted = 0
        return events

    def flush(self) -> bool:
        """Sends what is queued, in order, and reads on. Returns True if there are events."""
        self._renew_lease()
        queue, self._queue = self._queue, []
        for link, item in queue:
            end = self._ends.get(link)
            if end is not None and end.is_open:
                self._send(end, item)
        self._look_at_in_hand()
        if not self._events:
            self._news.clear()
            held, self._held = self._held, []
            for end, item in held:
                self._read(end, item)
        return bool(self._events)

    def set_lease_ms(self, lease_ms: int) -> None:
        """For how long after a step the I/O workers answer quiet heartbeats."""
        self._lease_us = lease_ms * 1000
        self._renew_lease()

    def _renew_lease(self) -> None:
        self._lease_until_us = self._network.now_us + self._lease_us

    def _send(self, end: End, item: Packet | int) -> None:
        packet = item if isinstance(item, Packet) else self._encode(end.link, item)
        self._process.act()
        if not isinstance(item, Packet):
            self._process.note_handed_over(packet, (end,))
        self._process.note_on_wire(packet, end)
        self._network.send(end, self._process.damaged(packet))

    def _encode(self, link: int, message_type: int) -> Packet:
        assert self._view is not None
        data = self._view.encode(message_type, self._names[link], self._random.getrandbits(SEED_BITS))
        return _packet_of(data)

    # ------------------------------------------------------------ the port: links

    def connect(self, ip: str, port: int, *, owner: int = 0, tls: bool = False, times: NodeTimes | None = None) -> int:
        """Starts a dial and returns its link at once. `times` stay as they are: a rule must not ask how long PINGs
        take."""
        self._process.act()
        target = self._process.host_at(ip, port)
        dial = self._network.dial(self._process.index, target)
        self._dials[dial.link] = (owner, dial)
        return dial.link

    def close(self, link: int) -> None:
        """Ends a link or a dial. LinkDrained follows."""
        self._process.act()
        end = self._ends.pop(link, None)
        _owner, dial = self._dials.pop(link, (0, None))
        self._names.pop(link, None)
        self._owners.pop(link, None)
        if dial is not None:
            dial.is_over = True
        if end is not None:
            self._drained[link] = end
            self._network.close(end)
        if end is not None or dial is not None:
            self._events.append(LinkDrained(link=link))

    def free(self, link: int) -> None:
        """Forgets a drained link."""
        self._drained.pop(link, None)

    def bind(self, link: int, node_id: str) -> None:
        """Names the node at the other end of a link."""
        if link in self._ends:
            self._names[link] = node_id

    def last_read_ms(self, link: int) -> int | None:
        """Milliseconds, on this process's clock, since the link was last read from. None once it is freed."""
        end = self._ends.get(link) or self._drained.get(link)
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
        before = len(self._queue)
        self.broadcast((link,), data)
        return len(self._queue) > before

    def broadcast(self, links: Sequence[int], data: bytes, *, unsent_max_bytes: int = UNLIMITED) -> int:
        """Queues one message on many links, the same packet for all."""
        packet = _packet_of(data)
        ends = [end for link in links if (end := self._ends.get(link)) is not None and end.is_open]
        takers = ends
        if unsent_max_bytes != UNLIMITED:
            takers = [end for end in ends if self.send_queue(end.link)[1] <= unsent_max_bytes]
        self._process.note_handed_over(packet, takers)
        self._queue += [(end.link, packet) for end in takers]
        return len(ends) - len(takers)

    def publish(self, view: View) -> None:
        """Publishes a view: from now on heartbeats are compared with it and encoded from it."""
        self._look_at_in_hand()
        if self._compares:
            self._view = view

    def send_heartbeat(self, link: int, message_type: int) -> bool:
        """Queues a PING or PONG, to be encoded at `flush`. Returns False if the view has no row for the link's node."""
        end, name = self._ends.get(link), self._names.get(link)
        if end is None or not end.is_open or name is None or self._view is None or not self._view.knows(name):
            return False
        self._queue.append((link, message_type))
        return True

    # ------------------------------------------------------------ the port: the rest

    def stats(self) -> dict[str, int]:
        """Only the numbers that a simulation reads."""
        return {"links": len(self._ends) + len(self._drained)}

    def reset_stats(self) -> None:
        """Does nothing: no number here is a counter."""

    def shutdown(self) -> None:
        """Closes every link."""
        for end in list(self._ends.values()):
            self._network.close(end)
        self._ends.clear()

    def give_up_dials(self) -> None:
        """The process is gone, so its dials no longer matter."""
        for _owner, dial in self._dials.values():
            dial.is_over = True

    # ------------------------------------------------------------ what the network calls

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    def name_of(self, link: int) -> str | None:
        """The id of the node that a link is bound to."""
        return self._names.get(link)

    def end_of(self, link: int) -> End | None:
        """This process's end of a link."""
        return self._ends.get(link)

    def ends(self) -> list[End]:
        """This process's ends of all its links."""
        return list(self._ends.values())

    def stop_reading(self) -> None:
        """The process is stopped with all its threads. Nothing is read until `read_on`."""
        self._reads = False

    def read_on(self) -> None:
        """Reads what has arrived meanwhile, in order."""
        self._reads = True
        unread, self._unread = self._unread, []
        for action, arguments in unread:
            action(*arguments)

    def arrived(self, end: End, item: Any) -> None:
        """Something arrived on a connection."""
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
        else:
            self._read(end, item)

    def _read(self, end: End, item: Any) -> None:
        """Reads an item, unless the main loop has yet to apply what was read before it on the same link."""
        if end.link in self._news or end.link in self._in_hand:
            self._held.append((end, item))
        elif item is FIN:
            self._network.forget(end)
            self._lose(end, "eof", "the peer ended the connection")
        elif end.is_open:
            end.last_read_us = self._network.now_us
            if not self._process.drops(end.path.target, item):
                self._process.note_delivered(item, end.path.target)
                if self._events and self._random.random() < SLOW_SHARE:
                    self._in_hand[end.link] = (end, item)
                else:
                    self._receive(end, item)

    def _look_at_in_hand(self) -> None:
        """Workers that were slow look at what they have read: the state may have moved on from the view by now."""
        in_hand, self._in_hand = self._in_hand, {}
        for end, packet in in_hand.values():
            if end.is_open:
                self._receive(end, packet)

    def broken(self, end: End, reason: str) -> None:
        """The network closed an end."""
        if not self._reads:
            self._unread.append((self.broken, (end, reason)))
        else:
            self._lose(end, "error", reason)

    def dial_answered(self, dial: Dial, end: End) -> None:
        """A dial succeeded. If the process has closed it meanwhile, the connection is closed again."""
        owner, _ = self._dials.pop(dial.link, (None, None))
        if owner is None:
            self._network.close(end)
            return
        self._ends[end.link] = end
        self._owners[end.link] = owner
        self._events.append(LinkConnected(link=end.link, owner=owner, local_ip=self._process.ip))

    def dial_failed(self, dial: Dial, error: str) -> None:
        """A dial failed."""
        owner, _ = self._dials.get(dial.link, (None, None))
        if owner is not None:
            self._events.append(LinkLost(link=dial.link, owner=owner, kind="connect", detail=error))

    def _lose(self, end: End, kind: Any, detail: str) -> None:
        if end.link in self._ends:
            owner = self._owners.get(end.link, 0)
            self._events.append(LinkLost(link=end.link, owner=owner, kind=kind, detail=detail))

    def _receive(self, end: End, packet: Packet) -> None:
        """Takes a heartbeat that says nothing new as a worker does; anything else is for the main loop."""
        verdict = self._verdict(end, packet)
        view = self._view
        is_quiet = verdict is not None and verdict.is_quiet
        if not (is_quiet and self._view_is_current() and self._lease_holds()):
            self._news.add(end.link)
            self._events.append(PacketsReceived(link=end.link, packets=[packet], verdicts=[verdict]))
            return
        assert view is not None
        view.note_offset(packet)
        self._process.note_quiet(view.version)
        if packet.type == PING:
            self._answered += 1
            self._send(end, PONG)
        else:
            self._noted += 1
            self._pongs[end.link] = self._process.clock.now_ms()

    def _view_is_current(self) -> bool:
        return self._view is not None and self._view.is_current

    def _lease_holds(self) -> bool:
        return self._network.now_us < self._lease_until_us

    def _verdict(self, end: End, packet: Packet) -> Verdict | None:
        """What is news in a heartbeat to the view; None if all of it must be looked at.

        Only heartbeats of a bound link are compared (H21): PINGs on the link that the peer dialled, PONGs on ours.
        """
        view = self._view
        kind = packet.type
        if view is None or kind > PONG or self._names.get(end.link) != packet.sender:
            return None
        if (kind == PONG) == end.is_inbound:
            return None
        peer_ip = self._process.ip_of(end.path.target)
        return view.compare(packet, peer_ip, self._process.clock.now_ms())


def _packet_of(data: bytes) -> Packet:
    (packet,) = parse(data)
    return packet
