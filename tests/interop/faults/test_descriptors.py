"""No file descriptors left: accepting rests and goes on, links and clients that are up are served, nodes.conf is saved
from a descriptor kept for it (H43, H47).
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
from collections.abc import Iterator
from pathlib import Path

from clusterbus.runtime.open_files import FILES_RESERVED

from tests.interop.faults.machine import limited, open_files
from tests.interop.faults.mixed import DEADLINE_S, Mixed
from tests.peers.cluster import node_id, wait_until
from tests.peers.server import Server, Surroundings

ROOM = 3
"""Descriptors that are left when the limit comes."""
TOO_MANY = 12
HEARTBEATS = 20
PONG = b"+PONG\r\n"
REFUSED = b"-ERR max number of clients reached\r\n"


def highest_file(server: Server) -> int:
    return max(int(name) for name in os.listdir(f"/proc/{server.pid}/fd"))


@contextlib.contextmanager
def connections(port: int, count: int = TOO_MANY) -> Iterator[list[socket.socket]]:
    """More connections than there is room for. The kernel completes each; whether the node takes them is its matter."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE_S)) for _ in range(count)]


def links(server: Server) -> set[tuple[str, ...]]:
    """Each link by its direction, node and time of creation."""
    return {tuple(str(text) for text in link[:6]) for link in server.call("CLUSTER", "LINKS")}


def answers(clients: list[socket.socket]) -> list[bytes]:
    """The one line that each client gets. Who is refused gets it unasked; an unread request would reset it away."""
    refused, _, _ = select.select(clients, [], [], 0)
    for client in clients:
        if client not in refused:
            client.sendall(b"PING\r\n")
    return [client.recv(100) for client in clients]


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


def test_clients_leave_the_last_descriptors_to_the_bus_h43(mixed: Mixed) -> None:
    """Far more clients come than there is room for; links that end meanwhile come up again."""
    node = mixed.node
    node.call("PING")
    files = open_files(node)
    with limited(node, resource.RLIMIT_NOFILE, highest_file(node) + 1 + ROOM + FILES_RESERVED):
        with connections(node.port, 2 * FILES_RESERVED) as clients:
            wait_until(
                lambda: node.counter("rejected_connections") + node.counter("connected_clients") > len(clients),
                DEADLINE_S,
                "each is a client or refused",
            )
            assert set(answers(clients)) == {PONG, REFUSED}
            assert "the last are kept for the bus; raise ulimit -n" in node.log_text()
            before = links(node)
            for peer in mixed.servers:
                if peer is not node:
                    assert node.call("DEBUG", "CLUSTERLINK", "KILL", "ALL", node_id(peer)) == "OK"
            wait_until(
                lambda: before.isdisjoint(now := links(node)) and len(now) == len(before),
                DEADLINE_S,
                "all links are up again",
            )
            wait_served(mixed)
        wait_until(lambda: node.counter("connected_clients") < ROOM, DEADLINE_S, "they are gone")
        with connections(node.port, 1) as clients:
            assert answers(clients) == [PONG], "there is room again"
    wait_until(lambda: open_files(node) == files, DEADLINE_S, lambda: f"{open_files(node)} files, {files} at first")


def test_a_node_makes_room_for_its_clients_up_to_the_hard_limit_h43(tmp_path: Path) -> None:
    node = Server("clusterbus", tmp_path, surroundings=Surroundings(("prlimit", "--nofile=64:500"))).start()
    try:
        assert resource.prlimit(node.pid, resource.RLIMIT_NOFILE) == (500, 500)
        log = node.log_text()
        assert "the limit of open files is raised from 64 to 500" in log
        assert "maxclients is 10000, and there can be 500 open files (ulimit -n)" in log
    finally:
        node.stop()
