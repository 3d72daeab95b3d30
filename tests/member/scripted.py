"""A driver on a real engine, with a state that follows a script: for tests of the main loop alone.

`ScriptedState` notes every input and answers it with the effects that the test chose. `Peer` is a plain socket that
speaks bus packets. No rule of the protocol is in here.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from clusterbus import wire
from clusterbus._core import Engine
from clusterbus.cluster.effects import Effect
from clusterbus.cluster.model.node import OwnClaims
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.member.driver import Driver
from clusterbus.member.faults import Faults
from clusterbus.runtime.clock import Clock
from clusterbus.runtime.live_certificates import LiveCertificates
from clusterbus.runtime.live_config import build_engine
from clusterbus.runtime.log import write_line
from clusterbus.runtime.nodes_conf import NodesFile
from clusterbus.view import Verdict

DEADLINE_S = 30.0
PEER_ID = "b" * 40

Answer = Callable[..., list[Effect] | None]


class ScriptedState:
    """Notes inputs as (name, *arguments without now_ms). `answers[name]` returns the effects of one."""

    def __init__(self) -> None:
        self.inputs: list[tuple[Any, ...]] = []
        self.answers: dict[str, Answer] = {}
        self.counters: Counter[str] = Counter()
        self.own_header_version = 0
        self.own_claims = OwnClaims("a" * 40, 0, None, 0, 0, b"")
        self.version = 0  # the version that a driver starts with, so it publishes no view
        self.text = "scripted\nvars currentEpoch 0 lastVoteEpoch 0\n"
        self.epoch = 0
        """The current epoch in its heartbeats."""
        self.effects: list[Effect] = []
        """Not polled yet."""

    def _take(self, name: str, *arguments: Any) -> None:
        self.inputs.append((name, *arguments))
        answer = self.answers.get(name)
        if answer is not None:
            self.effects += answer(*arguments) or []

    def handle_link_opened(self, node_id: str, link: int, local_ip: str, _now_ms: int) -> None:
        self._take("opened", node_id, link, local_ip)

    def handle_dial_failed(self, node_id: str, error: str, _now_ms: int) -> None:
        self._take("dial failed", node_id, error)

    def handle_link_accepted(self, link: int, ip: str, local_ip: str, _now_ms: int) -> None:
        self._take("accepted", link, ip, local_ip)

    def find(self, _node_id: str) -> None:
        return None

    def is_of_node(self, _link: int) -> bool:
        return True

    def handle_packet(self, link: int, packet: wire.Packet, _now_ms: int, _verdict: Verdict | None = None) -> None:
        self._take("packet", link, packet)

    def handle_quiet(self, answered: int, noted: int, pongs: Sequence[tuple[int, int]], _now_ms: int) -> None:
        self._take("quiet", answered, noted, pongs)

    def handle_link_closed(self, link: int, reason: str, _now_ms: int) -> None:
        self._take("closed", link, reason)

    def tick(self, _now_ms: int) -> None:
        self._take("tick")

    def heartbeat(self, link: int, kind: int) -> wire.Heartbeat:
        return ping(kind, epoch=self.epoch)

    def poll_effects(self) -> list[Effect]:
        effects, self.effects = self.effects, []
        return effects

    def nodes_conf_text(self) -> str:
        return self.text

    def heard(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every input with that name, the oldest first."""
        return [tuple(arguments) for input_name, *arguments in self.inputs if input_name == name]


class Writing:
    """A replacement of nodes.conf that ends when the test says so (`member.ports.Replacement`)."""

    def __init__(self, write: Callable[[], None]) -> None:
        self._write = write
        self._error: Exception | None = None
        self.is_done = False

    def end(self) -> None:
        try:
            self._write()
        except Exception as error:
            self._error = error
        self.is_done = True

    def result(self) -> None:
        if self._error is not None:
            raise self._error


class Loop:
    """A driver, its scripted state, and the port on which its engine listens."""

    def __init__(self, driver: Driver, state: ScriptedState, port: int, certificates: LiveCertificates) -> None:
        self.driver = driver
        self.state = state
        self.port = port
        self.certificates = certificates
        self.peers: list[Peer] = []

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Takes steps until the condition holds. Fails at the deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}; inputs {self.state.inputs}"
            self.driver.step(20)

    def connect(self) -> Peer:
        """A peer whose link the state knows."""
        before = len(self.state.heard("accepted"))
        peer = Peer(socket.create_connection(("127.0.0.1", self.port), DEADLINE_S))
        self.until(lambda: len(self.state.heard("accepted")) > before, "the link is accepted")
        self.peers.append(peer)
        peer.link = cast(int, self.state.heard("accepted")[-1][0])
        return peer


class Peer:
    """The other end of a link."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self.link = 0
        raw.settimeout(DEADLINE_S)

    def send(self, *packets: bytes) -> None:
        self.raw.sendall(b"".join(packets))

    def is_closed(self) -> bool:
        """Whether the connection has ended. What arrived before that is thrown away."""
        self.raw.setblocking(False)
        try:
            while self.raw.recv(65_536):
                pass
            return True
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        finally:
            self.raw.settimeout(DEADLINE_S)

    def has_received(self, count: int) -> Callable[[], bool]:
        """A condition: at least this many bytes wait to be read."""
        return lambda: len(self._peek(count)) >= count

    def _peek(self, count: int) -> bytes:
        self.raw.setblocking(False)
        try:
            return self.raw.recv(count, socket.MSG_PEEK)
        except BlockingIOError:
            return b""
        finally:
            self.raw.settimeout(DEADLINE_S)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.raw.recv(count - len(data))
            assert more, f"the link ended after {len(data)} of {count} bytes"
            data += more
        return data

    def close(self) -> None:
        self.raw.close()


def ping(type: int = 0, *, sender: str = PEER_ID, epoch: int = 0) -> wire.Heartbeat:
    """A heartbeat without gossip. `epoch` makes it recognisable."""
    return wire.Heartbeat(type, wire.Header(sender=sender, current_epoch=epoch, flags=1))


@contextmanager
def running(folder: Path, state: ScriptedState | None = None, **directives: Any) -> Iterator[Loop]:
    """A driver that listens on a free port of 127.0.0.1, closed at the end."""
    state = state or ScriptedState()
    config = Config.from_keywords(dir=str(folder), port=7000, io_threads=1, **directives)
    certificates = LiveCertificates(config)
    engine: Engine = build_engine(config, certificates)
    listener = engine.listen("127.0.0.1", 0, tls=config.tls_cluster)
    clock = Clock()
    counters: Counter[str] = Counter()
    driver = Driver(
        config=config,
        engine=engine,
        state=cast(ClusterState, state),
        nodes_file=NodesFile(config.path("cluster-config-file")),
        clock=clock,
        log=write_line,
        counters=counters,
        faults=Faults(clock, write_line, counters),
    )
    loop = Loop(driver, state, engine.listener_port(listener), certificates)
    try:
        yield loop
    finally:
        for peer in loop.peers:
            peer.close()
        driver.close(save=False)
