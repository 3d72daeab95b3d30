"""What the server knows of one connected client, and what a command may do to it.

Holds state only: bytes are the connection's business (`connection.py`). Must never decide who may do what
(`registry.py`). Main thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from clusterbus.config import Config
from clusterbus.runtime.resp.reply import Reply


class Connection(Protocol):
    """The socket side of a client."""

    def send(self, reply: Reply) -> None:
        """Queues a reply or push out of turn."""

    def close(self) -> None:
        """Closes at once; queued output is lost."""

    def close_after_reply(self) -> None:
        """Closes when the reply of the present command is written; later commands are not read."""

    def query_buffer_len_bytes(self) -> int: ...
    def output_len_bytes(self) -> int: ...


class Clients(Protocol):
    """The server side of a client: its fellows and the configuration."""

    @property
    def config(self) -> Config: ...
    @property
    def clients(self) -> Mapping[int, Client]: ...
    def now_s(self) -> float:
        """Seconds of a clock that never goes back."""

    def greeting(self) -> Mapping[str, Reply]:
        """What HELLO says of the node."""


@dataclass(eq=False, slots=True)
class Client:
    """One connected client. `id` is never used twice. `is_local`: the peer is on this machine.

    `address` and `local_address` are `ip:port` (`[ip6]:port`); times are seconds of `server.now_s()`.
    """

    id: int
    address: str
    local_address: str
    is_local: bool
    tls: bool
    descriptor: int
    server: Clients
    connection: Connection
    created_s: float
    authenticated: bool
    protocol: int = 2
    name: str = ""
    library_name: str = ""
    library_version: str = ""
    capabilities: set[str] = field(default_factory=set)
    readonly: bool = False
    asking: bool = False
    no_evict: bool = False
    no_touch: bool = False
    replies: str = "on"
    """`on`, `off`, or `skip` for the next command alone (CLIENT REPLY)."""
    last_interaction_s: float = 0.0
    last_command: str = "NULL"
    commands_processed: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0

    def reset(self) -> None:
        """Back to the state of a new connection, as RESET asks."""
        self.protocol = 2
        self.name = ""
        self.readonly = self.asking = self.no_evict = self.no_touch = False
        self.replies = "on"
        self.authenticated = not self.server.config.requirepass
