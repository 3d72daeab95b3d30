"""What the server knows of one connected client, and what a command may do to it.

Holds state only: bytes are the connection's business (`connection.py`). Must never decide who may do what
(`registry.py`). Main thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from clusterbus.client_port.reply import Reply
from clusterbus.config import Config
from clusterbus.member.subscriptions import Subscriber


class Connection(Protocol):
    """The socket side of a client."""

    def send(self, reply: Reply) -> None:
        """Queues a reply or push out of turn."""

    def send_encoded(self, data: bytes) -> None:
        """Queues bytes out of turn: behind the reply to the command that is being run, if there is one."""

    def close(self) -> None:
        """Closes at once; queued output is lost."""

    def close_after_reply(self) -> None:
        """Closes when the reply of the present command is written; later commands are not read."""

    def check_output_limit(self) -> None:
        """Closes the client when it leaves more unread than client-output-buffer-limit lets it."""

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
    transaction: list[Any] | None = None
    """The calls queued since MULTI; None outside of a transaction."""
    transaction_is_spoilt: bool = False
    """Something was refused since MULTI, so EXEC will run nothing."""
    subscriber: Subscriber | None = None
    """What it is subscribed to; None before its first subscription."""

    @property
    def is_subscribed(self) -> bool:
        """Whether it holds a channel, a pattern or a shard channel."""
        return self.subscriber is not None and self.subscriber.total_count > 0

    @property
    def is_ipv6(self) -> bool:
        """Whether it came over IPv6; IPv4 mapped into IPv6 is IPv4."""
        return self.local_address.startswith("[") and not self.local_address.startswith("[::ffff:")

    def unsubscribe_all(self) -> None:
        """Gives up all subscriptions without a word."""
        if self.subscriber is not None:
            self.subscriber.subscriptions.leave(self.subscriber)

    def reset(self) -> None:
        """Back to the state of a new connection, as RESET asks."""
        self.unsubscribe_all()
        self.transaction = None
        self.protocol = 2
        self.name = ""
        self.readonly = self.asking = self.no_evict = self.no_touch = False
        self.replies = "on"
        self.authenticated = not self.server.config.requirepass
