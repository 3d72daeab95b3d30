"""MONITOR: clients that see every request of every client.

Owns the set of such clients. What one of them does not read waits in its output, which limits it. Admin commands are
not shown, and secrets are replaced. Main thread. Source: `replicationFeedMonitors`.
"""

from __future__ import annotations

from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.observation.shown_words import quoted, shown_words
from clusterbus.client_port.registry import Call
from clusterbus.client_port.reply import ErrorReply, error

_KEYSPACE_FLAGS: Final = frozenset({"write", "readonly", "may_replicate"})


def monitor_gate(_member: object, client: Client, call: Call) -> ErrorReply | None:
    """A monitor gets no data, because what it reads is the requests of others (processCommand)."""
    if client.is_monitor and not _KEYSPACE_FLAGS.isdisjoint(call.spec.flags):
        return error("Replica can't interact with the keyspace")
    return None


def monitor_gate_in_exec(_member: object, _client: Client, call: Call) -> ErrorReply | None:
    """EXEC gives one reply, so no monitor begins inside it (monitorCommand)."""
    return error("MONITOR isn't allowed for DENY BLOCKING client") if call.name == "monitor" else None


class Monitors:
    """The clients that sent MONITOR."""

    def __init__(self) -> None:
        self._clients: dict[Client, None] = {}

    def __bool__(self) -> bool:
        return bool(self._clients)

    def add(self, client: Client) -> None:
        client.is_monitor = True
        self._clients[client] = None

    def remove(self, client: Client) -> None:
        """Called for every client that ends or sends RESET."""
        client.is_monitor = False
        self._clients.pop(client, None)

    def feed(self, client: Client, call: Call, now_us: int) -> None:
        """Shows a request of `client` to all monitors."""
        if "admin" in call.spec.flags:
            return
        seconds, microseconds = divmod(now_us, 1_000_000)
        words = " ".join(map(quoted, shown_words(call)))
        line = f"+{seconds}.{microseconds:06d} [0 {client.address}] {words}\r\n".encode()
        for monitor in list(self._clients):
            monitor.connection.send_encoded(line)
