"""What a server knows of the other nodes after a workload that changes them, compared with what it was told.

Owns the question on the client port, CLUSTER NODES, which every server answers in the same lines.
"""

from __future__ import annotations

import socket
import time

from runner.cluster_file import SERVER_IP
from runner.errors import MeasurementError

DEADLINE_S = 5.0
REPLY_DEADLINE_S = 10.0
POLL_INTERVAL_S = 0.05
READ_LEN_BYTES = 1 << 16
DIFFERENCES_SHOWN = 3

# Of one node: address, role, primary, epoch, slots.
Known = tuple[str, str, str, str, frozenset[int]]


def wait_until_known(port: int, expected: str) -> None:
    """Returns once the server on this client port knows of every node what `expected` says.

    Raises MeasurementError if it never does.
    """
    wanted = parse_nodes(expected)
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = parse_nodes(_cluster_nodes(port))
        differing = [node_id for node_id, known in wanted.items() if found.get(node_id) != known]
        if not differing:
            return
        if time.monotonic() > deadline:
            shown = [f"{wanted[node_id]} but {found.get(node_id)}" for node_id in differing[:DIFFERENCES_SHOWN]]
            raise MeasurementError(f"{len(differing)} nodes are not known as they are\n" + "; ".join(shown))
        time.sleep(POLL_INTERVAL_S)


def parse_nodes(text: str) -> dict[str, Known]:
    """The nodes of CLUSTER NODES by id, without the server itself and without slots that are on the move."""
    nodes = {}
    for line in text.splitlines():
        node_id, address, flags, primary, _sent, _received, epoch, _state, *slots = line.split()
        role = next((flag for flag in flags.split(",") if flag in ("master", "slave")), flags)
        if "myself" not in flags:
            numbers = [number for text in slots if not text.startswith("[") for number in _slots(text)]
            nodes[node_id] = (address.partition(",")[0], role, primary, epoch, frozenset(numbers))
    return nodes


def _slots(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _cluster_nodes(port: int) -> str:
    """The server's answer to CLUSTER NODES, a bulk string."""
    with socket.create_connection((SERVER_IP, port), timeout=REPLY_DEADLINE_S) as client:
        client.sendall(b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n")
        reply = b""
        while b"\r\n" not in reply:
            reply += _received(client)
        head, _, body = reply.partition(b"\r\n")
        if not head.startswith(b"$"):
            raise MeasurementError(f"CLUSTER NODES: {head.decode(errors='replace')}")
        length = int(head[1:])
        while len(body) < length:
            body += _received(client)
        return body[:length].decode()


def _received(client: socket.socket) -> bytes:
    data = client.recv(READ_LEN_BYTES)
    if not data:
        raise MeasurementError("the server closed the client's connection")
    return data
