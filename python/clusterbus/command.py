"""`Command`: a command of the user's on the client port of a `Bus`.

Owns the way from a plain function to a row of the command table: arity from its parameters, keys and flags from
Valkey's table when it has a command of that name. Must never run a command that belongs to another node: the
client port redirects by the keys named here before the function is called. Main thread.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

from clusterbus.client_port.client import Client
from clusterbus.client_port.commands.data import data_commands
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, ErrorReply, NullArray, Push, Reply, SetOf, Status, Verbatim
from clusterbus.errors import StateError

__all__ = ["OK", "Command", "ErrorReply", "Reply", "Status"]

Function: TypeAlias = "Callable[..., Reply | Awaitable[Reply]]"
"""Called with the arguments of a request as bytes; what it returns, or what the awaitable it returns gives, is
the reply."""

FLAGS: Final = frozenset(
    {"write", "readonly", "fast", "denyoom", "blocking", "admin", "asking", "noscript", "loading", "stale"}
)
_NAME: Final = re.compile(r"[!-~]+")
_REPLIES: Final = (bool, int, float, str, bytes, Verbatim, Push, SetOf, NullArray, Sequence, Mapping)


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the client port: its name in any case, and the function that runs it.

    The function gets the request's arguments as bytes and returns the reply: None, bytes or str (a bulk string),
    int, float, bool, list, dict, `OK` or another `Status`, or an `ErrorReply("CODE text")`; a coroutine function
    may wait before. A ClusterBusError it raises is replied as `ERR text`, anything else is logged and replied as an
    internal error.

    `keys` are first, last and step of the key arguments, counted from the name, which is 0; a negative last counts
    from the end, (1, -1, 2) are the keys of MSET. (0, 0, 0) is a command without keys. `flags` are some of FLAGS;
    say "write" for what changes data and "readonly" for what does not. `arity` counts the name and is negative
    for "at least". What is None comes from Valkey's command of that name, where there is one; else there are no keys
    and no flags, and the arity is that of the function.

    A request reaches the function only when this node is to serve it: its keys are in one slot, which is this
    node's or being imported by it (ASKING), and the cluster is ok; every other is answered with MOVED, ASK, TRYAGAIN,
    CROSSSLOT or CLUSTERDOWN. After an `await` the slot may be somebody else's.

    Raises StateError for a name, flag or key position that cannot be.
    """

    name: str
    function: Function
    keys: tuple[int, int, int] | None = None
    flags: tuple[str, ...] | None = None
    arity: int | None = None
    summary: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or "|" in self.name:
            raise StateError(f"{self.name!r} is no name of a command")
        if unknown := set(self.flags or ()) - FLAGS:
            raise StateError(f"no flags of a command: {', '.join(sorted(unknown))}")
        first, last, step = self.keys or (0, 0, 0)
        if self.keys not in (None, (0, 0, 0)) and not (first > 0 and step > 0 and (last < 0 or last >= first)):
            raise StateError(f"keys {self.keys} of command {self.name} name no arguments")

    def spec(self) -> CommandSpec:
        """The row of the command table."""
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
                raise TypeError(f"command {name} gave {reply!r}, which is no reply")
            return reply

        return run


@cache
def _valkeys() -> dict[str, CommandSpec]:
    return {spec.name: spec for spec in data_commands() if not spec.subcommands}


def _arity_of(function: Function) -> int:
    """The command's arity by the function's parameters; negative when some may be left out."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = 1 + sum(p.default is p.empty for p in positional)
    is_open = len(positional) + 1 > required or any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return -required if is_open else required
