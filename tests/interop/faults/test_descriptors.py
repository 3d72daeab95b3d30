"""No file descriptors left: accepting rests and goes on, links and clients that are up are served, nodes.conf is saved
from a descriptor kept for it (H43, H47).
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator

from tests.interop.faults.machine import limited, open_files
from tests.interop.faults.mixed import DEADLINE_S, Mixed
from tests.peers.cluster import wait_until
from tests.peers.server import Server

ROOM = 3
"""Descriptors that are left when the limit comes."""
TOO_MANY = 12
HEARTBEATS = 20


def highest_file(server: Server) -> int:
    return max(int(name) for name in os.listdir(f"/proc/{server.pid}/fd"))


@contextlib.contextmanager
def connections(port: int) -> Iterator[list[socket.socket]]:
    """More connections than there is room for. The kernel completes each; whether the node takes them is its matter."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE_S)) for _ in range(TOO_MANY)]


def wait_served(mixed: Mixed) -> None:
    """The links that are up carry heartbeats, and the client that is connected is answered."""
    node = mixed.node
    before = node.counter("cluster_packets_received")
    wait_until(
        lambda: node.counter("cluster_packets_received") >= before + HEARTBEATS, DEADLINE_S, "heartbeats come in"
    )
    assert mixed.is_held_well()
    assert node.call("CLUSTER", "SAVECONFIG") == "OK"
    assert node.info()["cluster_config_file_last_save_status"] == "ok"


def test_bus_links_take_the_last_descriptors_and_accepting_goes_on_h43_h47(mixed: Mixed) -> None:
    node = mixed.node
    node.call("PING")
    files = open_files(node)
    refused = int(node.info().get("cluster_accepts_refused_no_descriptors", 0))
    with limited(node, resource.RLIMIT_NOFILE, highest_file(node) + ROOM + 1):
        with connections(node.bus_port):
            mixed.wait_info("cluster_accept_paused", 1)
            mixed.wait_info("cluster_accepts_refused_no_descriptors", lambda text: int(text or 0) > refused)
            wait_served(mixed)
        mixed.wait_info("cluster_accept_paused", 0)
    wait_until(lambda: open_files(node) == files, DEADLINE_S, lambda: f"{open_files(node)} files, {files} at first")


def test_clients_take_the_last_descriptors_and_accepting_goes_on_h43_h47(mixed: Mixed) -> None:
    node = mixed.node
    node.call("PING")
    files = open_files(node)
    with limited(node, resource.RLIMIT_NOFILE, highest_file(node) + ROOM + 1):
        with connections(node.port) as clients:
            mixed.wait_info("client_accept_paused", 1)
            wait_served(mixed)
        mixed.wait_info("client_accept_paused", 0)
        with contextlib.closing(socket.create_connection(("127.0.0.1", node.port), DEADLINE_S)) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(64) == b"+PONG\r\n", "accepting goes on"
        assert len(clients) == TOO_MANY
    wait_until(lambda: open_files(node) == files, DEADLINE_S, lambda: f"{open_files(node)} files, {files} at first")
