"""What the server knows of one connected client, and what a command may do to it.

Holds state only; `connection.py` handles the bytes. Must never decide whether a client may run a command, because
`registry.py` does. Main thread.
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
        """Queues a push, or a reply that answers no request; see `send_encoded`."""

    def send_encoded(self, data: bytes) -> None:
        """Queues bytes that answer no request. While a command of the client runs, they wait behind its reply."""

    def close(self) -> None:
        """Closes at once; queued output is lost."""

    def close_after_reply(self) -> None:
        """Closes after the reply to the present command is written. Later commands are not read."""

    def unblock(self, reply: Reply) -> bool:
        """Ends the wait of a blocking command, which is answered with `reply`. False if the client waits in none."""

    @property
    def is_blocked(self) -> bool:
        """Whether the client waits in a blocking command."""

    def check_output_limit(self) -> None:
        """Closes the client if it leaves more output unread than client-output-buffer-limit allows."""

    def query_buffer_len_bytes(self) -> int: ...
    def output_len_bytes(self) -> int: ...
    def memory_bytes(self) -> int:
        """What the client makes this node keep: requests that are not whole, and unread output."""


class Clients(Protocol):
    """The server side of a client: all connected clients, the configuration, a clock."""

    @property
    def config(self) -> Config: ...
    @property
    def clients(self) -> Mapping[int, Client]: ...
    def now_s(self) -> float:
        """Seconds of a clock that never goes back."""

    @property
    def observer(self) -> Any:
        """What the port notes about commands, an `Observer`. It knows clients, so it cannot be named here."""

    @property
    def pause(self) -> Any:
        """The `Pause` of all clients."""

    def greeting(self) -> Mapping[str, Reply]:
        """The facts about the node that HELLO shows."""


@dataclass(eq=False, slots=True)
class Client:
    """One connected client. An `id` is never used again. `is_local`: the client connects over loopback.

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
    """Whether it has given the password, or there was none when it came."""
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
    """CLIENT REPLY: `on`, `off`, `skip` (no reply to the present command), or `skip next` (none to the next one)."""
    last_interaction_s: float = 0.0
    last_command: str = "NULL"
    commands_processed: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    transaction: list[Any] | None = None
    """The calls queued since MULTI; None outside a transaction."""
    transaction_len_bytes: int = 0
    """The bytes of the requests that the transaction has queued."""
    has_been_in_transaction: bool = False
    watched: dict[bytes, int] = field(default_factory=dict)
    """WATCH: keys with their versions when they were watched first."""
    is_monitor: bool = False
    transaction_is_spoilt: bool = False
    """A request was refused since MULTI, so EXEC will run nothing. Has no meaning outside a transaction."""
    subscriber: Subscriber | None = None
    """Its subscriptions; None before the first one."""

    @property
    def is_subscribed(self) -> bool:
        """Whether it is subscribed to a channel, a pattern or a shard channel."""
        return self.subscriber is not None and self.subscriber.total_count > 0

    @property
    def is_ipv6(self) -> bool:
        """Whether it connected over IPv6. An IPv4 address mapped into IPv6 counts as IPv4."""
        return self.local_address.startswith("[") and not self.local_address.startswith("[::ffff:")

    @property
    def owes_password(self) -> bool:
        """Whether it must give the password before anything else."""
        return not self.authenticated and bool(self.server.config.requirepass)

    def unsubscribe_all(self) -> None:
        """Ends all subscriptions; the client is sent nothing."""
        if self.subscriber is not None:
            self.subscriber.subscriptions.leave(self.subscriber)

    def reset(self) -> None:
        """RESET: back to the state of a new connection."""
        self.unsubscribe_all()
        self.server.observer.monitors.remove(self)
        self.transaction = None
        self.watched.clear()
        self.protocol = 2
        self.name = ""
        self.readonly = self.asking = self.no_evict = self.no_touch = False
        self.replies = "on"
        self.authenticated = not self.server.config.requirepass
