"""The nodes.conf of a cluster of N primaries, and the ports of a run, all on loopback.

Every node except the server has an address of its own in 127.1.0.0/16, with the same bus port. So the load generator
can listen as each of them, and the address shows which node was dialled.
"""

from __future__ import annotations

import random
import re
import socket
from dataclasses import dataclass
from pathlib import Path

SLOT_COUNT = 16_384
BUS_PORT_OFFSET = 10_000
FIRST_PORT, LAST_PORT = 11_000, 22_700
MAX_TRIES = 500
ADDRESSES_PER_BLOCK = 250
SERVER_IP = "127.0.0.1"
FIRST_PEER_IP = "127.1.0.1"

# Matches the line of a peer, but not the server's own line.
PEER_ADDRESS = re.compile(r" 127\.1\.\S+ master ")

# Not seeded, because two runs on one machine must not try the same ports in the same order.
_ports = random.SystemRandom()


@dataclass(frozen=True)
class ClusterFile:
    """A cluster for one server: the server's own port, and the text of its nodes.conf."""

    port: int
    text: str

    @property
    def bus_port(self) -> int:
        return self.port + BUS_PORT_OFFSET

    def write(self, folder: Path, *, addresses: bool = True) -> Path:
        """Writes nodes.conf into `folder`. Every server needs a new one, because a server rewrites its file.

        Without addresses the server knows the peers but cannot dial them.
        """
        file = folder / "nodes.conf"
        file.write_text(self.text if addresses else PEER_ADDRESS.sub(r" :0@0 master,noaddr ", self.text))
        return file


def peer_ip(peer: int) -> str:
    """The address of the peer with this number, counted from 0."""
    return f"127.1.{peer // ADDRESSES_PER_BLOCK}.{peer % ADDRESSES_PER_BLOCK + 1}"


def make_cluster(nodes: int) -> ClusterFile:
    """A cluster of `nodes` primaries that share all slots, each with a config epoch of its own."""
    port = _free_port(SERVER_IP)
    peer_port = _free_port(FIRST_PEER_IP)
    # The ids are the same every time, so that all servers hash the same ids.
    ids = random.Random(nodes)
    lines = []
    for index in range(nodes):
        node_id = f"{ids.getrandbits(160):040x}"
        ip, client_port = (SERVER_IP, port) if index == 0 else (peer_ip(index - 1), peer_port)
        flags = "myself,master" if index == 0 else "master"
        first, last = SLOT_COUNT * index // nodes, SLOT_COUNT * (index + 1) // nodes - 1
        lines.append(
            f"{node_id} {ip}:{client_port}@{client_port + BUS_PORT_OFFSET} {flags} - 0 0 {index + 1} "
            f"connected {first}-{last}"
        )
    lines.append(f"vars currentEpoch {nodes} lastVoteEpoch 0")
    return ClusterFile(port, "\n".join(lines) + "\n")


def _free_port(ip: str) -> int:
    """A client port below the ephemeral range that is free on `ip` now, together with its bus port."""
    for _ in range(MAX_TRIES):
        port = _ports.randint(FIRST_PORT, LAST_PORT)
        if _is_free(ip, port) and _is_free(ip, port + BUS_PORT_OFFSET):
            return port
    raise RuntimeError(f"no free pair of ports found in {MAX_TRIES} tries")


def _is_free(ip: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError:
            return False
        return True
