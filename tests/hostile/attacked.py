"""A node under attack: a real one in the process of the test, hand-made peers beside it, and what must hold afterwards.

Owns the node (a `BlockingBus` with a thread of its own), its folder and its log, and the raw connections to it. A test
sends any bytes on them, and asks for the node's counters and its log. Starts no process. The fixture `attacked`
(`conftest.py`) gives a test one on each of the four ways, and has it checked at the end of the test.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import clusterbus
from clusterbus import wire
from clusterbus.client_port.info import info_table
from clusterbus.cluster.operator import persist
from clusterbus.member.counters import cluster_info_lines
from clusterbus.member.member import Member
from clusterbus.runtime.log import ValkeyFormatter

from tests.interop.bus_peer import TYPE_MEET, TYPE_PING, TYPE_PONG, BusLoop, Link, packet_type, server_context
from tests.peers.cluster import NodeLine, wait_until
from tests.peers.ports import free_port
from tests.peers.tls import Certificates

DEADLINE_S = 20.0
NODE_TIMEOUT_MS = 15_000
"""So long that a peer that answers nothing stays well for the whole of a test."""
GROWTH_MAX_BYTES = 96 << 20
"""The most that the process may have grown by the end of a test: more than a test's own bytes, far less than a lie."""
KEPT_PACKETS = 256
"""Each connection keeps this many of the packets that came in last."""
PAGE_BYTES = resource.getpagesize()
GOOD_ID = "a" * 40
EPOCH = 15
"""The current epoch of all hand-made peers, above each one's config epoch, so that none collides."""
FLAG_PRIMARY = 1

T = TypeVar("T")


@dataclass(frozen=True)
class Way:
    """One of the four ways that bytes take into a node."""

    io_threads: int
    tls: bool


WAYS = {"main-tcp": Way(1, False), "worker-tcp": Way(3, False), "main-tls": Way(1, True), "worker-tls": Way(3, True)}


def resident_bytes() -> int:
    """The memory of this process that is in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def writable_bytes() -> int:
    """The memory that this process has for data, in use or not."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * PAGE_BYTES


class Log(logging.Handler):
    """The node's log, as `clusterbus node` would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(ValkeyFormatter())
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines += self.format(record).split("\n")

    def lines(self, part: str = "") -> list[str]:
        """The lines so far that contain `part`."""
        return [line for line in list(self._lines) if part in line]

    def warnings(self, part: str = "") -> list[str]:
        """Those of them that an operator sees at any level, but for the one that nobody has slots here."""
        return [line for line in self.lines(part) if " # " in line and "Cluster is currently down" not in line]

    def __contains__(self, part: str) -> bool:
        return bool(self.lines(part))

    def __str__(self) -> str:
        return "\n".join(self.lines())


class Connection:
    """A raw connection with the attacked node's bus port: bytes go out as they are, packets that come in are kept."""

    def __init__(self, loop: BusLoop, link: Link) -> None:
        self._loop = loop
        self._link = link
        self._asked: asyncio.Queue[bytes | None] = asyncio.Queue(KEPT_PACKETS)
        self.received: list[bytes] = []
        """The packets that came in last, oldest first."""
        self._closed = threading.Event()
        self._reading = loop.start(self._read())

    async def _read(self) -> None:
        while (packet := await self._link.receive()) is not None:
            self._note(packet)
        self._closed.set()
        if self._asked.full():
            self._asked.get_nowait()
        self._asked.put_nowait(None)

    def _note(self, packet: bytes) -> None:
        self.received = [*self.received[1 - KEPT_PACKETS :], packet]
        if packet_type(packet) == TYPE_PONG:
            if self._asked.full():
                self._asked.get_nowait()
            self._asked.put_nowait(packet)

    @property
    def address(self) -> str:
        """Our end, as the node's log names its peer."""
        return f"127.0.0.1:{self._link.local_port}"

    def send(self, data: bytes) -> None:
        """Sends any bytes. If the node has ended the connection, they go nowhere."""

        async def send() -> None:
            with suppress(ConnectionError, ssl.SSLError):
                await self._link.send(data)

        self._loop.run(send(), DEADLINE_S)

    def ask(self, ping: bytes) -> bytes | None:
        """Sends a packet and waits for a PONG, which it returns; None if the connection ends instead."""

        async def ask() -> bytes | None:
            while not self._asked.empty():
                self._asked.get_nowait()
            with suppress(ConnectionError, ssl.SSLError):
                await self._link.send(ping)
            return await asyncio.wait_for(self._asked.get(), DEADLINE_S)

        return None if self.is_closed() else self._loop.run(ask(), 2 * DEADLINE_S)

    def is_closed(self) -> bool:
        """Whether the node has ended the connection."""
        return self._closed.is_set()

    def wait_closed(self, deadline_s: float = DEADLINE_S) -> None:
        """Waits until the node ends the connection; fails if it does not."""
        assert self._closed.wait(deadline_s), f"{self.address} is still open after {deadline_s} s"

    def close(self) -> None:
        """Ends the connection from our side."""
        self._loop.run(self._link.close(), DEADLINE_S)
        self._reading.cancel()


class HostilePeer:
    """A peer of the attacked node whose packets the test writes: one id, and the connection that it dialled.

    A peer made by `Attacked.known` also listens: it answers each PING that the node sends on a link of the node's, and
    `dialled` is that link, on which a test can send as well.
    """

    def __init__(self, attacked: Attacked, node_id: str) -> None:
        self._attacked = attacked
        self.node_id = node_id
        self.port = free_port()
        self.cport = self.port + wire.BUS_PORT_OFFSET
        self.answers = True
        """Whether PING and MEET on the node's links get their PONG. A test may switch it off."""
        self.extensions: Sequence[wire.Extension] = ()
        """What its heartbeats say, unless they are told otherwise."""
        self._connection: Connection | None = None
        self._dialled: list[Connection] = []
        self._listener: asyncio.Server | None = None

    # ------------------------------------------------------------ packets

    def header(self, **fields: Any) -> wire.Header:
        """The header of a primary without slots, with a config epoch of its own. `fields`: those of `wire.Header`."""
        ours: dict[str, Any] = {
            "sender": self.node_id,
            "port": self.port,
            "cport": self.cport,
            "flags": FLAG_PRIMARY,
            "config_epoch": int(self.node_id[0], 16),
            "current_epoch": EPOCH,
        }
        return wire.Header(**(ours | fields))

    def heartbeat(
        self,
        type: int = TYPE_PING,
        *,
        gossip: Sequence[wire.GossipEntry] = (),
        extensions: Sequence[wire.Extension] | None = None,
        **fields: Any,
    ) -> bytes:
        """One encoded PING, PONG or MEET; `fields` go into the header."""
        extensions = self.extensions if extensions is None else extensions
        return wire.encode(wire.Heartbeat(type, self.header(**fields), gossip, extensions))

    # ------------------------------------------------------------ its own connection

    @property
    def connection(self) -> Connection:
        assert self._connection is not None, "the peer has not dialled"
        return self._connection

    @property
    def address(self) -> str:
        """Our end of its connection."""
        return self.connection.address

    def dial(self) -> HostilePeer:
        """Opens the peer's connection, or a new one in its place; the old one stays open."""
        self._connection = self._attacked.connect()
        return self

    def send(self, data: bytes) -> None:
        self.connection.send(data)

    def ask(self, data: bytes) -> bytes | None:
        return self.connection.ask(data)

    def ping(self, **parts: Any) -> bytes | None:
        """Sends a PING, and returns the PONG that answers it or None if the connection ends."""
        return self.ask(self.heartbeat(**parts))

    def is_closed(self) -> bool:
        return self.connection.is_closed()

    def wait_closed(self, deadline_s: float = DEADLINE_S) -> None:
        self.connection.wait_closed(deadline_s)

    # ------------------------------------------------------------ the node's links to it

    @property
    def dialled(self) -> Connection:
        """The link that the node has dialled last."""
        assert self._dialled, "the node has not dialled this peer"
        return self._dialled[-1]

    async def listen(self) -> None:
        context = self._attacked.server_context
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.cport, ssl=context)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Answered(self, reader, writer)
        self._dialled = [*self._dialled[-8:], self._attacked.took(link)]

    def meet(self) -> None:
        """Has the node know this peer, as far as MEET and the answers of `dialled` go."""
        self._attacked.loop.run(self.listen(), DEADLINE_S)
        self.dial().ask(self.heartbeat(TYPE_MEET))  # its PONG is no answer to what is sent next

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()


class _Answered(Link):
    """A link that the node has dialled: its peer answers while it `answers`."""

    def __init__(self, peer: HostilePeer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._peer = peer

    async def receive(self) -> bytes | None:
        packet = await super().receive()
        if packet is not None and packet_type(packet) in (TYPE_PING, TYPE_MEET) and self._peer.answers:
            with suppress(ConnectionError, ssl.SSLError):
                await self.send(self._peer.heartbeat(TYPE_PONG))
        return packet


class Attacked:
    """A real node, and what a test does to it.

    `stranger()` gives a connection of nobody known, `known()` a peer that the node knows; the good peer beside them is
    there from the start. `check()` asserts what must hold whatever was sent.
    """

    def __init__(self, folder: Path, way: Way, certificates: Certificates, **directives: Any) -> None:
        self.way = way
        self.certificates = certificates
        self.client_context = certificates.client_context() if way.tls else None
        self.server_context = server_context(certificates) if way.tls else None
        self.log = Log()
        self._logger = logging.getLogger("clusterbus")
        self._level = self._logger.level
        self._logger.addHandler(self.log)
        self._logger.setLevel(logging.DEBUG)
        self.loop = BusLoop()
        self._connections: list[Connection] = []
        self._peers: list[HostilePeer] = []
        self.folder = folder
        self.bus = self._open(directives)
        self._begun_bytes = resident_bytes()
        self._workers = self.counter("cluster_io_workers")
        self.good = self._peer(GOOD_ID)
        self.good.meet()

    def _open(self, directives: dict[str, Any]) -> clusterbus.BlockingBus:
        self.folder.mkdir(exist_ok=True)
        port = free_port()
        ours: dict[str, Any] = {
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "io_threads": self.way.io_threads,
            "cluster_node_timeout": NODE_TIMEOUT_MS,
            "port": port,
        }
        if self.way.tls:
            ours |= {"port": 0, "tls_port": port}
            ours |= {name.replace("-", "_"): value for name, value in self.certificates.directives().items()}
        return clusterbus.BlockingBus(**(ours | directives), thread=True)

    # ------------------------------------------------------------ attackers

    def connect(self, context: ssl.SSLContext | None = None, *, plain: bool = False) -> Connection:
        """A new connection to the bus port: as the node's way is, over TLS with another `context`, or without TLS.

        Raises what the TLS handshake raises.
        """
        context = None if plain else context or self.client_context
        return self.took(self.loop.run(Link.open_port(self.bus.bus_port, context), DEADLINE_S))

    def took(self, link: Link) -> Connection:
        """A connection on a link that is open; it is closed at the end of the test."""
        connection = Connection(self.loop, link)
        self._connections.append(connection)
        return connection

    def stranger(self, node_id: str = "5" * 40) -> HostilePeer:
        """A connection of nobody known, which has sent nothing yet. It does not listen."""
        return self._peer(node_id).dial()

    def known(self, node_id: str = "e" * 40) -> HostilePeer:
        """A peer that the node knows and finds well, with its own connection bound to it."""
        peer = self._peer(node_id)
        peer.meet()
        self.wait(lambda: self.is_well(node_id) and self.is_well(GOOD_ID), "both peers are well")
        assert peer.ping() is not None
        return peer

    def meeting(self, node_id: str = "6" * 40) -> HostilePeer:
        """A peer whose MEET came and whose handshake does not go on, because it answers nothing."""
        peer = self._peer(node_id)
        peer.answers = False
        self.wait(lambda: self.is_well(GOOD_ID), "the good peer is well")
        before = self._handshakes()
        peer.meet()
        self.wait(lambda: self._handshakes() > before, "its handshake is under way")
        return peer

    def _handshakes(self) -> int:
        return sum("handshake" in line.flags for line in self.nodes().values())

    def _peer(self, node_id: str) -> HostilePeer:
        peer = HostilePeer(self, node_id)
        self._peers.append(peer)
        return peer

    # ------------------------------------------------------------ questions

    def ask(self, question: Callable[[Member], T]) -> T:
        """What the member says to a question, between two steps."""
        node = self.bus._node
        assert node is not None
        with node.turns:
            return question(node.member)

    def counter(self, name: str) -> int:
        """A counter by the name that INFO or CLUSTER INFO shows; 0 while it is not shown."""

        def tables(member: Member) -> Iterator[tuple[str, object]]:
            for section in info_table(member).values():
                yield from section.items()
            yield from cluster_info_lines(member.driver)

        found = self.ask(lambda member: dict(tables(member)))
        return int(str(found.get(name, 0)))

    def counts(self, name: str, count: int) -> None:
        """Waits until a counter is `count`. A worker counts before the main loop hears of it."""
        self.wait(lambda: self.counter(name) == count, lambda: f"{name} is {count}, not {self.counter(name)}")

    def nodes(self) -> dict[str, NodeLine]:
        """CLUSTER NODES by node id. A line that is not well-formed is a failure."""
        text = self.nodes_text()
        lines = [NodeLine.parse(line) for line in text.splitlines()]
        assert len({line.node_id for line in lines}) == len(lines), text
        return {line.node_id: line for line in lines}

    def nodes_text(self) -> str:
        return self.ask(lambda member: member.state.nodes_text())

    def is_well(self, node_id: str) -> bool:
        line = self.nodes().get(node_id)
        return line is not None and line.is_well

    def knows(self, node_id: str) -> bool:
        return node_id in self.nodes()

    def forgotten(self) -> dict[str, int]:
        """The ids that are kept out, with the seconds for which they still are."""
        return self.ask(lambda member: dict(member.state._core.forgotten.remaining(member.driver.clock.now_ms())))

    def wait(self, condition: Callable[[], object], describe: str | Callable[[], str]) -> None:
        """Waits for a condition; fails with `describe` and the node's log."""
        text = describe if callable(describe) else lambda: describe
        wait_until(condition, DEADLINE_S, lambda: f"{text()}\n{self.nodes_text()}\n{self.log}")

    def wait_logged(self, part: str) -> list[str]:
        """Waits for a warning with `part`, and returns all of them."""
        self.wait(lambda: self.log.warnings(part), f"a line with '{part}'")
        return self.log.warnings(part)

    def wait_line(self, part: str) -> list[str]:
        """Waits for a line of any level with `part`, and returns all of them."""
        self.wait(lambda: self.log.lines(part), f"a line with '{part}'")
        return self.log.lines(part)

    # ------------------------------------------------------------ what must hold

    def refuses(
        self,
        peer: HostilePeer | Connection,
        packets: Sequence[bytes],
        *,
        counter: str,
        logged: str | None,
        closes: bool = False,
        count: int | None = None,
    ) -> None:
        """Sends packets, and asserts what every row asks for: the link goes on, or it `closes`; `counter` goes up by
        `count` (by default once a packet); and one line with `logged` names the peer (None: there is no line at all).
        Where links close, each packet after the first comes on a new one of nobody known.
        """
        before = self.counter(counter)
        lines_before = len(self.log.warnings(logged or ""))
        for number, data in enumerate(packets):
            sender = self._stranger_on_link().connection if closes and number else peer
            sender.send(data)
            if closes:
                sender.wait_closed()
        self.counts(counter, before + (len(packets) if count is None else count))
        if logged is None:
            assert self.log.warnings()[lines_before:] == []
        else:
            self._names_once(peer, self.wait_logged(logged)[lines_before:])
        if not closes:
            assert isinstance(peer, HostilePeer)
            assert peer.ping() is not None, "the link goes on"

    def _stranger_on_link(self) -> HostilePeer:
        """A stranger whose link is up. What comes at the end of a TLS handshake is refused with the connection."""
        stranger = self.stranger()
        assert stranger.ping() is not None
        return stranger

    def _names_once(self, peer: HostilePeer | Connection, lines: list[str]) -> None:
        assert len(lines) == 1, f"one line about it, not {lines}:\n{self.log}"
        # Who does not speak this bus may come from a new port each time, and is named by its address alone.
        names = [peer.address, "127.0.0.1: "] + ([] if isinstance(peer, Connection) else [peer.node_id])
        assert any(name in lines[0] for name in names), f"{lines[0]} names none of {names}"

    def check(self) -> None:
        """Asserts that a good peer is answered, that what is told and kept is well-formed, and that nothing grew or
        died.
        """
        self.wait(lambda: self.is_well(GOOD_ID), "the good peer is well")
        assert self.good.ping() is not None, f"a good peer is answered\n{self.log}"
        table = self.nodes()
        assert [line.node_id for line in table.values() if "myself" in line.flags] == [self.bus.node_id]
        self.ask(lambda member: member.driver.save())
        saved = persist.parse((self.folder / "nodes.conf").read_text())
        assert {record.node_id for record in saved.nodes} <= set(table)
        for name in ("packet", "event", "effect", "tick"):
            assert self.counter(f"cluster_{name}_errors") == 0, f"a fault of ours\n{self.log}"
        assert self.counter("cluster_io_job_panics") == 0
        assert self.counter("cluster_io_workers") == self._workers == self.way.io_threads - 1
        self.counts("cluster_io_inbox_length", 0)  # not yet, while a worker has just been given a job
        for kind in ("reads", "accepts") if self.way.tls else ("reads",):
            by_workers = self.counter(f"cluster_threaded_{kind}_processed")
            assert (by_workers > 0) == (self.way.io_threads > 1), f"{by_workers} {kind} by workers"
        assert not self.log.lines("Traceback"), str(self.log)
        grown_bytes = resident_bytes() - self._begun_bytes
        assert grown_bytes < GROWTH_MAX_BYTES, f"grew by {grown_bytes >> 20} MiB"

    def close(self) -> None:
        """Closes the node and everything that the test opened."""

        async def stop(peers: Sequence[HostilePeer]) -> None:
            for peer in peers:
                await peer.stop()

        try:
            self.bus.close()
        finally:
            self.loop.run(stop(self._peers), DEADLINE_S)
            for connection in list(self._connections):
                connection.close()
            self.loop.stop()
            self._logger.removeHandler(self.log)
            self._logger.setLevel(self._level)
