"""Who is closed when all clients together hold more memory than maxmemory-clients.

Owns the sum of what clients hold, in requests that are not whole, queued transactions and unread output. Must never
close a client itself. Main thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.config import Config

LEAST_BYTES: Final = 128 * 1024
"""A lower limit counts as this one, or no client could be served (getClientEvictionLimit)."""


class ClientMemory:
    """The sum, kept while there is a limit: `weigh` notes what one client holds now, `excess` who has to go."""

    def __init__(self, clients: Mapping[int, Client], config: Config) -> None:
        self._clients = clients
        self._config = config
        self._held_bytes: dict[int, int] = {}
        """By the client's id, as it was when the client was weighed last."""
        self._sum_bytes = 0

    @property
    def limit_bytes(self) -> int:
        """What all clients together may hold; 0 is no limit. A percentage is one of maxmemory."""
        limit = self._config.maxmemory_clients
        if isinstance(limit, str):
            limit = int(self._config.text("maxmemory")) * int(limit[:-1]) // 100
        return max(limit, LEAST_BYTES) if limit else 0

    def weigh(self, client: Client) -> bool:
        """Notes what a client holds. True if all together seem to hold more than they may."""
        limit_bytes = self.limit_bytes
        if not limit_bytes:
            return False
        self._note(client)
        return self._sum_bytes > limit_bytes

    def forget(self, client: Client) -> None:
        """The client is gone."""
        self._sum_bytes -= self._held_bytes.pop(client.id, 0)

    def excess(self) -> list[Client]:
        """The clients to close, those that hold most first, until the others hold no more than they may together.
        CLIENT NO-EVICT excepts a client. All are weighed anew: what a client has read since was not noted.
        """
        for client in self._clients.values():
            self._note(client)
        too_much_bytes = self._sum_bytes - self.limit_bytes
        chosen: list[Client] = []
        for client in sorted(self._clients.values(), key=lambda one: self._held_bytes[one.id], reverse=True):
            if too_much_bytes <= 0:
                break
            if not client.no_evict:
                chosen.append(client)
                too_much_bytes -= self._held_bytes[client.id]
        return chosen

    def _note(self, client: Client) -> None:
        held_bytes = client.connection.memory_bytes() + client.transaction_len_bytes
        self._sum_bytes += held_bytes - self._held_bytes.get(client.id, 0)
        self._held_bytes[client.id] = held_bytes
