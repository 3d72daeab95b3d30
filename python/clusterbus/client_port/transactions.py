"""MULTI, EXEC and DISCARD: requests are queued, then run one after another.

Other clients' requests come between them only while a handler is awaited. Owns a client's queue and the rules that
spoil it. There is no WATCH, because the server does not know when a user's data changes. Transactions exist because
redis-cli --cluster fix assigns slots in one. Main thread. Source: the answers of a running Valkey 9.1.2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from inspect import isawaitable
from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import Call, CommandSpec, Registry
from clusterbus.client_port.reply import OK, CommandError, ErrorReply, Reply, Status, error

QUEUED_MAX: Final = 4_096
"""The most requests that one transaction may hold."""
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
    return QUEUED


def refused(client: Client, call: Call) -> None:
    """A request was refused before it ran: EXEC will run nothing. If it was EXEC itself, the transaction is over."""
    if call.name == "exec":
        client.transaction = None
    client.transaction_is_spoilt = True


class _Transactions:
    """The handlers. The gates of `registry` look at each call again, because slots may move while one is awaited."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def multi(self, _member: object, client: Client, _arguments: list[bytes]) -> Reply:
        client.transaction, client.transaction_is_spoilt = [], False
        return OK

    def discard(self, _member: object, client: Client, _arguments: list[bytes]) -> Reply:
        if client.transaction is None:
            raise CommandError("DISCARD without MULTI")
        client.transaction = None
        return OK

    def execute(self, member: object, client: Client, _arguments: list[bytes]) -> Reply | Awaitable[Reply]:
        """EXEC: the replies of all queued requests, in order. An error of one does not stop the others."""
        calls, client.transaction = client.transaction, None
        if calls is None:
            raise CommandError("EXEC without MULTI")
        if client.transaction_is_spoilt:
            return _ABORTED
        replies: list[Reply] = []
        rest = iter(calls)
        for call in rest:
            reply = self._run(member, client, call)
            if isawaitable(reply):
                return self._go_on(member, client, call, reply, rest, replies)
            replies.append(reply)
        return replies

    async def _go_on(
        self,
        member: object,
        client: Client,
        call: Call,
        pending: Awaitable[Reply],
        rest: Iterator[Call],
        replies: list[Reply],
    ) -> Reply:
        """Runs the rest of a transaction after a handler that has to be awaited."""
        replies.append(await _waited(call, pending))
        for later in rest:
            reply = self._run(member, client, later)
            replies.append(await _waited(later, reply) if isawaitable(reply) else reply)
        return replies

    def _run(self, member: object, client: Client, call: Call) -> Reply | Awaitable[Reply]:
        try:
            refused = self._registry.refusal(member, client, call, in_exec=True)
            return refused or call.handler(member, client, call.arguments)
        except Exception as fault:
            return call.failed(fault)


async def _waited(call: Call, pending: Awaitable[Reply]) -> Reply:
    try:
        return await pending
    except Exception as fault:
        return call.failed(fault)


_FLAGS: Final = ("noscript", "loading", "stale", "fast", "allow_busy")
_CATEGORIES: Final = ("@fast", "@transaction")


def transaction_commands(registry: Registry) -> tuple[CommandSpec, ...]:
    """The commands MULTI, EXEC and DISCARD for `registry`."""
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
            ("noscript", "loading", "stale"),
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
    )
