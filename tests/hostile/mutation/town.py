"""The attackers' sockets: listeners and links on loopback addresses of their own, read on one background thread.

Owns them all. A link answers PING and MEET like a sound peer, unless it is told not to; what else is sent on it is up
to whoever holds it. The addresses are in 127.88.0.0/16, so that no port that a damaged packet names is anybody's.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from clusterbus import wire
from clusterbus.cluster import constants as c

READ_BYTES: Final = 65_536
SEND_TIMEOUT_S: Final = 30.0
PING_PERIOD_S: Final = 0.25
PACKET_MAX_BYTES: Final = 16 << 20
FLAGS: Final = wire.NodeFlag.PRIMARY | wire.NodeFlag.EXTENSIONS_SUPPORTED
LIGHT: Final = wire.NodeFlag.LIGHT_HDR_PUBLISH_SUPPORTED | wire.NodeFlag.LIGHT_HDR_MODULE_SUPPORTED


@dataclass(frozen=True)
class Person:
    """Who speaks on a link: an id, and where it listens."""

    node_id: str
    ip: str
    cport: int

    @property
    def port(self) -> int:
        return self.cport - c.BUS_PORT_OFFSET

    def heartbeat(self, kind: int) -> bytes:
        """A sound PING, PONG or MEET."""
        header = wire.Header(
            sender=self.node_id, port=self.port, cport=self.cport, flags=FLAGS | LIGHT, mflags=wire.MessageFlag.EXT_DATA
        )
        return wire.encode(wire.Heartbeat(kind, header))


class Link:
    """One connection with the node. Any thread may send, and wait for what has come."""

    def __init__(self, sock: socket.socket, person: Person) -> None:
        self.sock = sock
        self.person = person
        self.answers = True
        self.pongs = 0
        self.packets = 0
        self.is_closed = False
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._rest = b""
        sock.settimeout(SEND_TIMEOUT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """Sends bytes. What a closed link does not take is lost."""
        with self._sending, contextlib.suppress(OSError):
            self.sock.sendall(data)

    def end_sending(self) -> None:
        with self._sending, contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def wait_pong(self, after: int, timeout_s: float) -> bool:
        """Waits for a PONG beyond the first `after` ones. False if the link ends first, or the time."""
        return self._wait(lambda: self.pongs > after, timeout_s) and self.pongs > after

    def wait_packet(self, timeout_s: float) -> bool:
        return self._wait(lambda: self.packets > 0, timeout_s) and self.packets > 0

    def wait_closed(self, timeout_s: float) -> bool:
        return self._wait(lambda: False, timeout_s)

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: condition() or self.is_closed, timeout_s)

    def take_in(self) -> bool:
        """Reads what is there; False at the end. On the thread of the town."""
        try:
            data = self.sock.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            data = b""
        answer_to = self._count(data) if data else False
        if not data:
            with self._changed:
                self.is_closed = True
                self._changed.notify_all()
            return False
        if answer_to and self.answers:
            self.send(self.person.heartbeat(c.PONG))
        return True

    def _count(self, data: bytes) -> bool:
        """Counts whole packets; True if one wants an answer."""
        self._rest += data
        wants_answer = False
        with self._changed:
            while len(self._rest) >= 16:
                length, kind = struct.unpack_from(">I", self._rest, 4)[0], struct.unpack_from(">H", self._rest, 12)[0]
                assert self._rest[:4] == b"RCmb", "the node sends what is no packet"
                assert length <= PACKET_MAX_BYTES, "the node sends a packet that is too long"
                if len(self._rest) < length:
                    break
                wire.decode(self._rest[:length])  # whatever it was made to say must be sound
                self._rest = self._rest[length:]
                self.packets += 1
                self.pongs += kind == c.PONG
                wants_answer = wants_answer or kind in (c.PING, c.MEET)
            self._changed.notify_all()
        return wants_answer


class Town:
    """All listeners and links. `on_link` of a listener is called on the town's thread."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._selector = selectors.DefaultSelector()
        self._wakes, self._wake_end = socket.socketpair()
        self._selector.register(self._wakes, selectors.EVENT_READ, None)
        self._orders: list[Callable[[], None]] = []
        self._ordering = threading.Lock()
        self.pinging: list[Link] = []
        """The links on which a PING goes out all the time, as on those of a sound peer."""
        self._ping_due_s = 0.0
        self.failure: BaseException | None = None
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="town", daemon=True)
        self._thread.start()

    def listen(self, person: Person, on_link: Callable[[Link], None]) -> None:
        """Accepts links of the node at the person's address."""
        listener = socket.create_server((person.ip, person.cport), backlog=64)
        self._do(lambda: self._register(listener, (person, on_link)))

    def dial(self, person: Person) -> Link:
        """A link of this person to the node."""
        sock = socket.create_connection(self._target, SEND_TIMEOUT_S, source_address=(person.ip, 0))
        link = Link(sock, person)
        self._do(lambda: self._register(sock, link))
        return link

    def hang_up(self, link: Link) -> None:
        """Ends a link. What was sent before is still delivered."""
        link.end_sending()
        link.wait_closed(SEND_TIMEOUT_S)

    def close(self) -> None:
        self._is_open = False
        self._wake_end.send(b".")
        self._thread.join(SEND_TIMEOUT_S)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        self._wake_end.close()

    def _do(self, order: Callable[[], None]) -> None:
        with self._ordering:
            self._orders.append(order)
        self._wake_end.send(b".")

    def _register(self, sock: socket.socket, what: object) -> None:
        self._selector.register(sock, selectors.EVENT_READ, what)

    def _run(self) -> None:
        try:
            while self._is_open:
                for key, _events in self._selector.select(PING_PERIOD_S):
                    self._serve(key.fileobj, key.data)  # type: ignore[arg-type]
                self._ping()
        except BaseException as error:
            self.failure = error
            raise

    def _ping(self) -> None:
        if time.monotonic() < self._ping_due_s:
            return
        self._ping_due_s = time.monotonic() + PING_PERIOD_S
        for link in self.pinging:
            link.send(link.person.heartbeat(c.PING))

    def _serve(self, sock: socket.socket, what: object) -> None:
        if what is None:
            sock.recv(READ_BYTES)
            with self._ordering:
                orders, self._orders = self._orders, []
            for order in orders:
                order()
        elif isinstance(what, Link):
            if not what.take_in():
                self._selector.unregister(sock)
                sock.close()
        elif isinstance(what, tuple):
            person, on_link = what
            accepted, _ = sock.accept()
            link = Link(accepted, person)
            on_link(link)
            self._register(accepted, link)
