"""The nodes.conf of a cluster of N primaries, and the ports of a run, all on loopback.

Every node but the server has an address of its own in 127.1.0.0/16 and the same bus port there, so the load
generator can listen as each of them and know by the address which one was dialled.
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

# What stands in the line of a peer, and not in the server's own.
PEER_ADDRESS = re.compile(r" 127\.1\.\S+ master ")

# Not seeded: two runs on one machine must not walk through the same ports.
_ports = random.SystemRandom()


@dataclass(frozen=True)
class ClusterFile:
    """A cluster as one server is told it: its own ports, and the text of nodes.conf."""

    port: int
    text: str

    @property
    def bus_port(self) -> int:
        return self.port + BUS_PORT_OFFSET

    def write(self, folder: Path, *, addresses: bool = True) -> Path:
        """Writes nodes.conf below `folder`, new for every server: a server rewrites its own.

        Without addresses the peers are known and nobody dials them.
        """
        file = folder / "nodes.conf"
        file.write_text(self.text if addresses else PEER_ADDRESS.sub(r" :0@0 master,noaddr ", self.text))
        return file


def peer_ip(peer: int) -> str:
    """The address of the peer with this number, from 0 on."""
    return f"127.1.{peer // ADDRESSES_PER_BLOCK}.{peer % ADDRESSES_PER_BLOCK + 1}"


def make_cluster(nodes: int) -> ClusterFile:
    """A cluster of `nodes` primaries that share all slots, each with a config epoch of its own."""
    port = _free_port(SERVER_IP)
    peer_port = _free_port(FIRST_PEER_IP)
    # The same ids every time: which node is hashed where must not differ between servers.
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
    """A client port below the ephemeral range, it and its bus port free on `ip` now."""
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
