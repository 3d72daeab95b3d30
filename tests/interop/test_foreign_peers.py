"""Nodes whose address turns out to be that of another protocol (P32): a line, a counter, and dials ever more rarely."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.peers.cluster import all_know_all, form, listings, node_id, wait_until
from tests.peers.server import Server

Peers = Callable[..., Server]

DEADLINE_S = 40.0
GREETING = b"RAFT 1 HELLO\r\n"
DIALS = 8
LEAST_S = 5.0
"""The waits between so many dials: 100 ms, doubled each time, and half of it by chance. Without the rule none is longer
than half the node timeout, and all together last 1.75 s."""


class Babbler:
    """Listens on a port and greets everybody in a protocol of its own. Counts who came."""

    def __init__(self, port: int) -> None:
        self.came = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return  # closed by the test
            self.came += 1
            with connection:
                connection.sendall(GREETING)
                connection.settimeout(DEADLINE_S)
                while connection.recv(65_536):
                    pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE_S)


@contextmanager
def babbling(port: int) -> Iterator[Babbler]:
    babbler = Babbler(port)
    try:
        yield babbler
    finally:
        babbler.close()


def test_another_protocol_at_the_address_of_a_node_is_told_and_dialled_rarely_p32(peers: Peers) -> None:
    ours, gone = peers("clusterbus", cluster_node_timeout=500), peers("valkey", cluster_node_timeout=5_000)
    form([ours, gone], [ours, gone])
    gone_id = node_id(gone)
    gone.kill()
    with babbling(gone.bus_port) as babbler:
        wait_until(lambda: babbler.came >= 1, DEADLINE_S, "the first dial")
        begun_s = time.monotonic()
        wait_until(lambda: babbler.came >= DIALS, DEADLINE_S, lambda: f"{babbler.came} dials\n{ours.log_tail()}")
        assert time.monotonic() - begun_s >= LEAST_S
        told = [
            line for line in ours.log_text().splitlines() if gone_id in line and "not speak this cluster bus" in line
        ]
        assert told, ours.log_tail()
        assert ours.counter("cluster_refused_protocol") >= DIALS - 1
    gone.start()
    wait_until(lambda: all_know_all([ours, gone]), DEADLINE_S, lambda: listings([ours, gone]))
