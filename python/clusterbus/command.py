"""`Command`: a command that the user's program adds to the client port of a `Bus`.

Turns a plain function into a row of the command table: the arity comes from the function's parameters, keys and flags
come from Valkey's table when Valkey has a command of that name. Must never run a command that belongs to another node:
the client port redirects by the keys named here before it calls the function. Main thread.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

from clusterbus import arguments
from clusterbus.client_port.client import Client
from clusterbus.client_port.commands.data import data_commands
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, ErrorReply, NullArray, Push, Reply, SetOf, Status, Verbatim
from clusterbus.errors import StateError

__all__ = ["OK", "Command", "ErrorReply", "Reply", "Status"]

Function: TypeAlias = "Callable[..., Reply | Awaitable[Reply]]"
"""Called with the arguments of a request as bytes. The reply is what it returns or, if that is an awaitable, the
awaitable's result."""

FLAGS: Final = frozenset(
    {"write", "readonly", "fast", "denyoom", "blocking", "admin", "asking", "noscript", "loading", "stale"}
)
_NAME: Final = re.compile(r"[!-~]+")
_REPLIES: Final = (bool, int, float, str, bytes, Verbatim, Push, SetOf, NullArray, Sequence, Mapping)


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the client port: its name in any case, and the function that runs it.

    The function gets the request's arguments as bytes and returns the reply: None, bytes or str (a bulk string),
    int, float, bool, list, dict, `OK` or another `Status`, or an `ErrorReply("CODE text")`. It may be a coroutine
    function; the client's next request waits until it returns. If it raises a ClusterBusError, the reply is
    `ERR text`. Any other exception is logged, and the reply is an internal error.

    `keys` are the first key, the last key and the step between keys among the words of the request; the name is word 0.
    A negative last key counts from the end: (1, -1, 2) are the keys of MSET. (0, 0, 0) means a command without keys.
    `flags` are some of FLAGS: "write" for a command that changes data, "readonly" for one that only reads it. `arity`
    is the number of words, the name included; a negative arity is a minimum. If `keys`, `flags` or `arity` is None, it
    comes from Valkey's command of that name. If Valkey has no such command, there are no keys and no flags, and the
    arity follows from the parameters of the function.

    A request reaches the function only if this node is to serve it: all its keys are in one slot, this node owns that
    slot or is importing it (after ASKING), and the cluster is ok. A replica also gets the reads of a client that sent
    READONLY; `cluster-allow-reads-when-down` admits reads while the cluster is down. Any other request is answered with
    MOVED, ASK, TRYAGAIN, CROSSSLOT or CLUSTERDOWN. While the function awaits something, the slot may move to another
    node.

    Raises StateError for an impossible name, an unknown flag, or key positions that fit no request, and TypeError for
    an argument of a wrong type.
    """

    name: str
    function: Function
    keys: tuple[int, int, int] | None = None
    flags: tuple[str, ...] | None = None
    arity: int | None = None
    summary: str = ""

    def __post_init__(self) -> None:
        self._check_types()
        if not _NAME.fullmatch(self.name) or "|" in self.name:
            raise StateError(f"{self.name!r} cannot be the name of a command")
        if unknown := set(self.flags or ()) - FLAGS:
            raise StateError(f"unknown flags of a command: {', '.join(sorted(unknown))}")
        first, last, step = self.keys or (0, 0, 0)
        if self.keys not in (None, (0, 0, 0)) and not (first > 0 and step > 0 and (last < 0 or last >= first)):
            raise StateError(f"keys {self.keys} of command {self.name} fit no request")

    def _check_types(self) -> None:
        arguments.text("name", self.name)
        arguments.function("function", self.function)
        arguments.text("summary", self.summary)
        if self.keys is not None:
            keys = arguments.sequence("keys", self.keys, "three int")
            if len(keys) != 3:
                raise StateError(f"keys must be the first key, the last key and the step, not {self.keys!r}")
            for key in keys:
                arguments.integer("an item of keys", key)
        for flag in arguments.sequence("flags", self.flags, "str") if self.flags is not None else ():
            arguments.text("an item of flags", flag)
        if self.arity is not None:
            arguments.integer("arity", self.arity)

    def spec(self) -> CommandSpec:
        """The row that this command adds to the command table."""
        known = _valkeys().get(self.name.lower())
        flags = self.flags if self.flags is not None else known.flags if known is not None else ()
        keys = self.keys if self.keys is not None else known.keys if known is not None else (0, 0, 0)
        by_flags = (("write", "@write"), ("readonly", "@read"), ("blocking", "@blocking"), ("admin", "@admin"))
        categories = (*(group for flag, group in by_flags if flag in flags), "@fast" if "fast" in flags else "@slow")
        return CommandSpec(
            self.name.lower(),
            self._handler(),
            self.arity or (known.arity if known is not None else 0) or _arity_of(self.function),
            flags,
            self.summary or (inspect.getdoc(self.function) or "").partition("\n")[0],
            group=known.group if known is not None else "application",
            keys=keys,
            categories=known.categories if known is not None and self.flags is None else categories,
            key_specs=known.key_specs if known is not None and self.keys is None else (),
        )

    def _handler(self) -> Callable[[Any, Client, list[bytes]], Reply | Awaitable[Reply]]:
        name, function = self.name, self.function

        def run(_node: object, _client: Client, arguments: list[bytes]) -> Reply | Awaitable[Reply]:
            reply = function(*arguments)
            return wait(reply) if inspect.isawaitable(reply) else checked(reply)

        async def wait(reply: Awaitable[Reply]) -> Reply:
            return checked(await reply)

        def checked(reply: Reply) -> Reply:
            if reply is not None and not isinstance(reply, _REPLIES):
                raise TypeError(f"command {name} returned {reply!r}, which cannot be a reply")
            return reply

        return run


@cache
def _valkeys() -> dict[str, CommandSpec]:
    return {spec.name: spec for spec in data_commands() if not spec.subcommands}


def _arity_of(function: Function) -> int:
    """The arity that follows from the function's parameters; negative if some arguments may be left out."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = 1 + sum(p.default is p.empty for p in positional)
    is_open = len(positional) + 1 > required or any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return -required if is_open else required
