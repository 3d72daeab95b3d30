"""MULTI, EXEC and DISCARD: requests kept back and then run in one go, with nobody else's between them.

Owns a client's queue and what spoils it. There is no WATCH: the server does not know when a user's data changes.
Main thread. Source: what a running 9.1.2 answers; redis-cli --cluster fix gives slots in a transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterator
from inspect import isawaitable
from typing import TYPE_CHECKING, Final

from clusterbus.errors import ClusterBusError
from clusterbus.runtime.resp.client import Client
from clusterbus.runtime.resp.registry import Call, CommandSpec
from clusterbus.runtime.resp.reply import OK, ErrorReply, Reply, Status, error

if TYPE_CHECKING:
    from clusterbus.runtime.resp.server import RespServer

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


def multi(_node: object, client: Client, _arguments: list[bytes]) -> Reply:
    client.transaction, client.transaction_is_spoilt = [], False
    return OK


def discard(_node: object, client: Client, _arguments: list[bytes]) -> Reply:
    if client.transaction is None:
        return error("DISCARD without MULTI")
    client.transaction = None
    return OK


def execute(node: object, client: Client, _arguments: list[bytes]) -> Reply | Awaitable[Reply]:
    """The replies of all queued requests, in order; an error of one does not keep the others from running."""
    calls, client.transaction = client.transaction, None
    if calls is None:
        return error("EXEC without MULTI")
    if client.transaction_is_spoilt:
        return _ABORTED
    replies: list[Reply] = []
    rest = iter(calls)
    for call in rest:
        reply = _run(node, client, call)
        if isawaitable(reply):
            return _go_on(node, client, call, reply, rest, replies)
        replies.append(reply)
    return replies


async def _go_on(
    node: object, client: Client, call: Call, pending: Awaitable[Reply], rest: Iterator[Call], replies: list[Reply]
) -> Reply:
    """The rest of a transaction in which something has to be waited for."""
    replies.append(await _waited(call, pending))
    for later in rest:
        reply = _run(node, client, later)
        replies.append(await _waited(later, reply) if isawaitable(reply) else reply)
    return replies


def _run(node: object, client: Client, call: Call) -> Reply | Awaitable[Reply]:
    server: RespServer = client.server  # type: ignore[assignment]
    try:
        refused = server.registry.refusal(node, client, call, was_queued=True)
        return refused or call.handler(node, client, call.arguments)
    except Exception as fault:
        return _error_of(call, fault)


async def _waited(call: Call, pending: Awaitable[Reply]) -> Reply:
    try:
        return await pending
    except Exception as fault:
        return _error_of(call, fault)


def _error_of(call: Call, fault: Exception) -> ErrorReply:
    if isinstance(fault, ClusterBusError):
        return error(str(fault))
    logger.error("the handler of %s failed", call.name, exc_info=fault)
    return error(f"internal error in '{call.name}', see the log")


_FLAGS: Final = ("noscript", "loading", "stale", "fast", "allow_busy")
_CATEGORIES: Final = ("@fast", "@transaction")

TRANSACTIONS: Final = (
    CommandSpec(
        "multi",
        multi,
        1,
        (*_FLAGS, "no_multi"),
        "Begins a transaction.",
        group="transactions",
        categories=_CATEGORIES,
    ),
    CommandSpec(
        "exec",
        execute,
        1,
        ("noscript", "loading", "stale"),
        "Runs what was queued since MULTI.",
        group="transactions",
        categories=("@slow", "@transaction"),
    ),
    CommandSpec(
        "discard",
        discard,
        1,
        _FLAGS,
        "Forgets what was queued since MULTI.",
        group="transactions",
        categories=_CATEGORIES,
    ),
)
