"""MULTI, EXEC and DISCARD: requests kept back and then run in one go, with nobody else's between them.

Owns a client's queue and what spoils it. There is no WATCH: the server does not know when a user's data changes.
Main thread. Source: what a running 9.1.2 answers; redis-cli --cluster fix gives slots in a transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterator
from inspect import isawaitable
from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import Call, CommandSpec, Registry
from clusterbus.client_port.reply import OK, CommandError, ErrorReply, Reply, Status, error, error_of
from clusterbus.errors import ClusterBusError

QUEUED_MAX: Final = 4_096
"""Requests of one transaction."""
QUEUED: Final = Status("QUEUED")
_ABORTED: Final = ErrorReply("EXECABORT Transaction discarded because of previous errors.")
_AT_ONCE: Final = frozenset({"exec", "discard", "quit", "reset"})

logger: Final = logging.getLogger("clusterbus.resp")


def queue(client: Client, call: Call) -> Reply:
    """QUEUED for a request inside a transaction, an error for one that cannot be there, None for any other."""
    if client.transaction is None or call.name in _AT_ONCE:
        return None
    if "no_multi" in call.spec.flags:
        client.transaction_is_spoilt = True
        return error(f"Command '{call.name}' not allowed inside a transaction")
    if len(client.transaction) >= QUEUED_MAX:
        client.transaction_is_spoilt = True
        return error(f"a transaction takes {QUEUED_MAX} commands at most")
    client.transaction.append(call)
    return QUEUED


class _Transactions:
    """MULTI, EXEC and DISCARD; EXEC asks the gates of `registry` again for each call."""

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
        """The replies of all queued requests, in order; an error of one does not keep the others from running."""
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
        """The rest of a transaction in which something has to be waited for."""
        replies.append(await _waited(call, pending))
        for later in rest:
            reply = self._run(member, client, later)
            replies.append(await _waited(later, reply) if isawaitable(reply) else reply)
        return replies

    def _run(self, member: object, client: Client, call: Call) -> Reply | Awaitable[Reply]:
        try:
            refused = self._registry.refusal(member, client, call, was_queued=True)
            return refused or call.handler(member, client, call.arguments)
        except Exception as fault:
            return _error_of(call, fault)


async def _waited(call: Call, pending: Awaitable[Reply]) -> Reply:
    try:
        return await pending
    except Exception as fault:
        return _error_of(call, fault)


def _error_of(call: Call, fault: Exception) -> ErrorReply:
    if isinstance(fault, ClusterBusError):
        return error_of(fault)
    logger.error("the handler of %s failed", call.name, exc_info=fault)
    return error(f"internal error in '{call.name}', see the log")


_FLAGS: Final = ("noscript", "loading", "stale", "fast", "allow_busy")
_CATEGORIES: Final = ("@fast", "@transaction")


def transaction_commands(registry: Registry) -> tuple[CommandSpec, ...]:
    """The commands of transactions on `registry`."""
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
            "Runs what was queued since MULTI.",
            group="transactions",
            categories=("@slow", "@transaction"),
        ),
        CommandSpec(
            "discard",
            transactions.discard,
            1,
            _FLAGS,
            "Forgets what was queued since MULTI.",
            group="transactions",
            categories=_CATEGORIES,
        ),
    )
