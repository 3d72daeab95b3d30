"""MULTI, EXEC, DISCARD, WATCH and UNWATCH: requests are queued, then run one after another.

Other clients' requests come between them only while a handler is awaited. Owns a client's queue and the rules that
spoil it. WATCH needs a data plane that gives keys versions; EXEC compares them. Main thread. Source: the answers of a
running Valkey 9.1.2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from inspect import isawaitable
from typing import Any, Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.key_specs import of_range
from clusterbus.client_port.registry import Call, CommandSpec, Registry
from clusterbus.client_port.reply import OK, CommandError, ErrorReply, NullArray, Reply, Status, error

QUEUED_MAX: Final = 4_096
"""The most requests that one transaction may hold."""
WATCHED_MAX: Final = 4_096
"""The most keys that one client may watch."""
NO_VERSIONS: Final = (
    "WATCH needs a data plane that says when a key changes, and this node's does not (DataPlane.key_version)"
)
QUEUED: Final = Status("QUEUED")
_ABORTED: Final = ErrorReply("EXECABORT Transaction discarded because of previous errors.")
_AT_ONCE: Final = frozenset({"exec", "discard", "quit", "reset"})


def queue(client: Client, call: Call) -> Reply:
    """Queues a request inside a transaction and returns QUEUED, or an error if it cannot be queued.

    None means that the request is to run now.
    """
    if client.transaction is None or call.name in _AT_ONCE:
        return None
    if "no_multi" in call.spec.flags:
        client.transaction_is_spoilt = True
        return error(f"Command '{call.name}' not allowed inside a transaction")
    if client.transaction_is_spoilt:
        return QUEUED  # EXEC will run nothing, so there is no need to keep it
    if len(client.transaction) >= QUEUED_MAX:
        client.transaction_is_spoilt = True
        return error(f"a transaction takes {QUEUED_MAX} commands at most")
    client.transaction.append(call)
    client.transaction_len_bytes += sum(map(len, call.words))
    return QUEUED


def refused(client: Client, call: Call) -> None:
    """A request was refused before it ran: EXEC will run nothing. If it was EXEC itself, the transaction is over."""
    if call.name == "exec":
        client.transaction = None
        client.watched.clear()
    client.transaction_is_spoilt = True


class _Transactions:
    """The handlers. The gates of `registry` look at each call again, because slots may move while one is awaited."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def multi(self, _member: object, client: Client, _arguments: list[bytes]) -> Reply:
        client.transaction, client.transaction_is_spoilt = [], False
        client.transaction_len_bytes = 0
        client.has_been_in_transaction = True
        return OK

    def discard(self, _member: object, client: Client, _arguments: list[bytes]) -> Reply:
        if client.transaction is None:
            raise CommandError("DISCARD without MULTI")
        client.transaction = None
        client.watched.clear()
        return OK

    def watch(self, member: Any, client: Client, arguments: list[bytes]) -> Reply:
        """WATCH: EXEC will run nothing if one of the keys changes before."""
        if len(client.watched) + len(arguments) > WATCHED_MAX:
            raise CommandError(f"a client watches {WATCHED_MAX} keys at most")
        versions = {key: member.data_plane.key_version(key) for key in arguments}
        if None in versions.values():
            raise CommandError(NO_VERSIONS)
        client.watched = versions | client.watched  # a key that is watched already keeps its first version
        return OK

    def unwatch(self, _member: object, client: Client, _arguments: list[bytes]) -> Reply:
        client.watched.clear()
        return OK

    def execute(self, member: Any, client: Client, _arguments: list[bytes]) -> Reply | Awaitable[Reply]:
        """EXEC: the replies of all queued requests, in order. An error of one does not stop the others.

        Null if a watched key has changed.
        """
        calls, client.transaction = client.transaction, None
        if calls is None:
            raise CommandError("EXEC without MULTI")
        watched, client.watched = client.watched, {}
        if client.transaction_is_spoilt:
            return _ABORTED
        if any(member.data_plane.key_version(key) != version for key, version in watched.items()):
            return NullArray()
        replies: list[Reply] = []
        rest = iter(calls)
        for call in rest:
            reply = self._run(member, client, call)
            if isawaitable(reply):
                return self._go_on(member, client, reply, rest, replies)
            replies.append(reply)
        return replies

    async def _go_on(
        self, member: object, client: Client, pending: Awaitable[Reply], rest: Iterator[Call], replies: list[Reply]
    ) -> Reply:
        """Runs the rest of a transaction after a handler that has to be awaited."""
        replies.append(await pending)
        for later in rest:
            reply = self._run(member, client, later)
            replies.append(await reply if isawaitable(reply) else reply)
        return replies

    def _run(self, member: object, client: Client, call: Call) -> Reply | Awaitable[Reply]:
        observer = client.server.observer
        refused = self._registry.refusal(member, client, call, in_exec=True)
        if refused is not None:
            observer.refuse(call.name, refused)
            return refused
        reply: Reply | Awaitable[Reply] = observer.run(member, client, call, in_exec=True)
        return reply


_FLAGS: Final = ("noscript", "loading", "stale", "fast", "allow_busy")
_CATEGORIES: Final = ("@fast", "@transaction")


def transaction_commands(registry: Registry) -> tuple[CommandSpec, ...]:
    """The commands of transactions for `registry`."""
    transactions = _Transactions(registry)
    return (
        CommandSpec(
            "multi",
            transactions.multi,
            1,
            (*_FLAGS, "no_multi"),
            "Begins a transaction.",
            group="transactions",
            categories=_CATEGORIES,
        ),
        CommandSpec(
            "exec",
            transactions.execute,
            1,
            ("noscript", "loading", "stale", "skip_commandlog"),
            "Runs the commands queued since MULTI.",
            group="transactions",
            categories=("@slow", "@transaction"),
        ),
        CommandSpec(
            "discard",
            transactions.discard,
            1,
            _FLAGS,
            "Forgets the commands queued since MULTI.",
            group="transactions",
            categories=_CATEGORIES,
        ),
        CommandSpec(
            "watch",
            transactions.watch,
            -2,
            (*_FLAGS, "no_multi"),
            "EXEC runs nothing if one of these keys changes before.",
            "<key> [<key> ...]",
            since="2.2.0",
            group="transactions",
            categories=_CATEGORIES,
            key_specs=(of_range(1, -1, 1, ("RO",)),),
            keys=(1, -1, 1),
        ),
        CommandSpec(
            "unwatch",
            transactions.unwatch,
            1,
            _FLAGS,
            "Ends WATCH.",
            since="2.2.0",
            group="transactions",
            categories=_CATEGORIES,
        ),
    )
