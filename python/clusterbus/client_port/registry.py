"""The command table: the description of a command, and the way from a request to its handler.

One declaration of a command feeds dispatch, errors about arity and subcommands, HELP, and COMMAND with its
subcommands. Error texts are Valkey's (src/server.c, processCommand). Knows no socket. Main thread.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from clusterbus.client_port.client import Client
from clusterbus.client_port.key_specs import KeySpec, key_positions, of_range
from clusterbus.client_port.reply import CommandError, ErrorReply, Reply, Status, error
from clusterbus.errors import ClusterBusError, StateError

logger: Final = logging.getLogger("clusterbus.client_port")

Handler: TypeAlias = "Callable[[Any, Client, list[bytes]], Reply | Awaitable[Reply]]"
"""`handler(member, client, arguments)`: the arguments are those after the name of the command or subcommand.
It returns the reply, or an awaitable of it; the client's next command waits for it. For a CommandError that it raises
the reply is `CODE text`, for another ClusterBusError `ERR text`. Any other exception is logged, and the reply is an
internal error."""

CATEGORIES: Final = (
    *("keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo"),
    *("stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting"),
)
"""The groups of commands, in the order in which they are shown."""
ARGUMENTS_SHOWN_LEN_MAX: Final = 128
NOAUTH: Final = ErrorReply("NOAUTH Authentication required.")


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """One command or subcommand.

    - `name`: in lower case; a subcommand has only its own name, `meet`.
    - `handler`: None if the command is only a container of `subcommands`.
    - `arity`: the number of words, names included (two for a subcommand); negative for a minimum.
    - `words_max`: the most words if the arity is a minimum; 0 for no limit.
    - `synopsis`: the arguments as HELP shows them.
    - `keys`: first key, last key and step; `key_specs` says more where these do not suffice.
    - `names_shard_channels`: the words at these positions are shard channels, not keys.
    - `flags`, `categories`, `tips`: the words that COMMAND INFO shows. The flag `no_auth` admits a client that has
      not given the password yet.
    - `while_subscribed`: a subscribed client may use it in RESP2 too. There, replies and messages look alike, so
      other commands are refused.
    """

    name: str
    handler: Handler | None
    arity: int
    flags: tuple[str, ...] = ()
    summary: str = ""
    synopsis: str = ""
    since: str = "1.0.0"
    group: str = "server"
    complexity: str = "O(1)"
    subcommands: tuple[CommandSpec, ...] = ()
    keys: tuple[int, int, int] = (0, 0, 0)
    categories: tuple[str, ...] = ("@slow",)
    tips: tuple[str, ...] = ()
    help_lines: tuple[str, ...] = ()
    names_shard_channels: bool = False
    words_max: int = 0
    while_subscribed: bool = False
    key_specs: tuple[KeySpec, ...] = ()

    @property
    def all_categories(self) -> tuple[str, ...]:
        """The categories that COMMAND INFO and ACL CAT show: those that follow from the flags, and the others."""
        if self.handler is None:
            return ("@slow",)
        is_script = "@scripting" in self.categories
        by_flags = {
            "write": ("@write",),
            "readonly": () if is_script else ("@read",),
            "admin": ("@admin", "@dangerous"),
            "blocking": ("@blocking",),
        }
        found = [category for flag in self.flags for category in by_flags.get(flag, ())]
        found.append("@fast" if "fast" in self.flags else "@slow")
        found += [category for category in self.categories if category not in ("@fast", "@slow")]
        return tuple(sorted(set(found), key=_place))

    @property
    def has_keys(self) -> bool:
        """Whether some of its words are keys or shard channels."""
        return bool(self.key_specs or self.keys[0])

    def where_keys(self) -> tuple[KeySpec, ...]:
        """The positions of the keys, or of the channels that decide the slot; empty for a command without any."""
        first, last, step = self.keys
        if self.key_specs or not first:
            return self.key_specs
        access = ("not_key",) if self.names_shard_channels else ("RW" if "write" in self.flags else "RO", "access")
        return (of_range(first, last, step, access),)

    def takes(self, count: int) -> bool:
        """Whether a request may have `count` words, names included."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity


@dataclass(eq=False, slots=True)
class Call:
    """A request that has been resolved. `name` is the full name, `cluster|meet`; `words` is the whole request.

    `slot` is the slot that it names, if somebody asked for that (`SlotStats`).
    """

    name: str
    spec: CommandSpec
    handler: Handler
    arguments: list[bytes]
    words: list[bytes]
    slot: int | None = None

    def failed(self, fault: BaseException) -> ErrorReply:
        """The reply when the handler raised: what was raised on purpose is for the client, anything else is logged."""
        if isinstance(fault, ClusterBusError):
            return error(str(fault), fault.code if isinstance(fault, CommandError) else "ERR")
        return internal_error(self.name, fault)

    def key_arguments(self) -> list[bytes]:
        """The keys among the arguments, or the channels in their place; empty if the words do not fit the command."""
        specs = self.spec.where_keys()
        if not specs:
            return []
        words = self.words
        if self.spec.names_shard_channels:
            return [words[position] for spec in specs for position in spec.positions(words) or ()]
        return [words[position] for position in key_positions(specs, words) or ()]


def internal_error(name: str, fault: BaseException) -> ErrorReply:
    """Logs a fault of the command's code, or of the user's; the client learns only that there was one."""
    logger.error("the handler of %s failed", name, exc_info=fault)
    return error(f"internal error in '{name}', see the log")


def _place(category: str) -> int:
    return CATEGORIES.index(category[1:]) if category[1:] in CATEGORIES else len(CATEGORIES)


Gate: TypeAlias = Callable[[Any, Client, Call], ErrorReply | None]
"""`gate(member, client, call)`: the error if the call must not run now, or None."""


def subscribed_gate(_member: object, client: Client, call: Call) -> ErrorReply | None:
    """In RESP2 a subscribed client may only use the commands that belong to subscriptions (processCommand)."""
    if client.protocol != 2 or call.spec.while_subscribed or not client.is_subscribed:
        return None
    return error(
        f"Can't execute '{call.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed "
        "in this context"
    )


class Registry:
    """All commands by name. A container without a `help` subcommand gets one."""

    def __init__(self, commands: Iterable[CommandSpec] = ()) -> None:
        self._gates: list[Gate] = [subscribed_gate]
        self._gates_in_exec: list[Gate] = []
        self._commands: dict[str, CommandSpec] = {}
        self._subcommands: dict[str, dict[str, CommandSpec]] = {}
        self._names: dict[str, str] = {}
        """What clients write -> the name in the table, "" for none; only where `rename` made them differ."""
        self.add(*commands)

    def add(self, *commands: CommandSpec) -> None:
        """Adds commands. Raises StateError for a name that is in the table already."""
        for spec in commands:
            if spec.name in self._commands:
                raise StateError(f"command {spec.name} is in the table already")
            self._commands[spec.name] = spec
            if spec.subcommands:
                table = {sub.name: sub for sub in spec.subcommands}
                if len(table) != len(spec.subcommands):
                    raise StateError(f"command {spec.name} names a subcommand twice")
                table.setdefault("help", _help_spec(spec))
                self._subcommands[spec.name] = table

    def rename(self, old: str, new: str) -> bool:
        """From now on clients call a command `new` and no longer `old`; if `new` is empty, nobody can call it.

        Returns False if there is no command `old`. Raises StateError if there is a command `new` already.
        """
        known = self._names.get(old, old)
        if known not in self._commands:
            return False
        if new and self._names.get(new, new) in self._commands:
            raise StateError(f"command {new} is in the table already")
        self._names[old] = ""
        if new:
            self._names[new] = known
        return True

    def add_gate(self, gate: Gate, in_exec: Gate | None = None) -> None:
        """Adds a gate. It is asked before the gates that were added earlier.

        EXEC passes it once for the whole transaction; `in_exec` is then asked before each call that EXEC runs.
        """
        self._gates.insert(0, gate)
        if in_exec is not None:
            self._gates_in_exec.insert(0, in_exec)

    def refusal(self, member: object, client: Client, call: Call, *, in_exec: bool = False) -> ErrorReply | None:
        """The error of the first gate that refuses a call; None if the call may run.

        `in_exec`: EXEC was admitted, and the call is one of its transaction. As in Valkey, a subscription that the same
        transaction made does not refuse it.
        """
        for gate in self._gates_in_exec if in_exec else self._gates:
            refused = gate(member, client, call)
            if refused is not None:
                return refused
        return None

    def __len__(self) -> int:
        return len(self._commands)

    def __iter__(self) -> Iterator[CommandSpec]:
        return iter(self._commands.values())

    def subcommands_of(self, spec: CommandSpec) -> Iterable[CommandSpec]:
        """A container's subcommands, HELP included; empty for others."""
        is_command = self._commands.get(spec.name) is spec
        return self._subcommands.get(spec.name, {}).values() if is_command else ()

    def names_in(self, category: str) -> list[str]:
        """The full names of all commands and subcommands in a category (`@fast`)."""
        listed = [(spec.name, spec) for spec in self]
        listed += [(f"{spec.name}|{sub.name}", sub) for spec in self for sub in self.subcommands_of(spec)]
        return [name for name, spec in listed if category in spec.all_categories]

    def find(self, name: str) -> tuple[str, CommandSpec] | None:
        """The full name and the spec of `ping` or `cluster|meet`; case does not matter."""
        container, _, subcommand = name.lower().partition("|")
        spec = self._commands.get(container)
        if spec is not None and subcommand:
            spec = self._subcommands.get(container, {}).get(subcommand)
        return (name.lower(), spec) if spec else None

    def resolve(self, words: list[bytes], client: Client) -> Call | ErrorReply:
        """The command that a request names, with its arguments, or Valkey's error.

        A client that has not given the password gets only NOAUTH, unless the command has the flag `no_auth`.
        """
        name = words[0].decode("utf-8", "surrogateescape").lower()
        name = self._names.get(name, name)
        spec = self._commands.get(name)
        owes = bool(client.server.config.requirepass) and not client.authenticated
        if owes and (spec is None or "no_auth" not in spec.flags):
            return NOAUTH
        if spec is None:
            return _unknown_command(words)
        arguments = words[1:]
        table = self._subcommands.get(name)
        if table is not None and arguments:
            subcommand = arguments[0].decode("utf-8", "surrogateescape")
            found = table.get(subcommand.lower())
            if found is None:
                return error(f"unknown subcommand '{subcommand:.128}'. Try {name.upper()} HELP.")
            if found.words_max and len(words) > found.words_max:
                return error(
                    f"unknown subcommand or wrong number of arguments for '{subcommand:.128}'. Try {name.upper()} HELP."
                )
            spec, name, arguments = found, f"{name}|{found.name}", arguments[1:]
        if spec.handler is None or not spec.takes(len(words)):
            return error(f"wrong number of arguments for '{name}' command")
        return Call(name, spec, spec.handler, arguments, words)

    def name_of(self, words: list[bytes]) -> str | None:
        """The full name of the command that a request names, whether its arguments fit or not; None without one."""
        name = words[0].decode("utf-8", "surrogateescape").lower()
        name = self._names.get(name, name)
        if len(words) > 1 and name in self._subcommands:
            found = self.find(f"{name}|{words[1].decode('utf-8', 'surrogateescape')}")
            if found is not None:
                return found[0]
        return name if name in self._commands else None


def _unknown_command(words: list[bytes]) -> ErrorReply:
    shown = ""
    for word in words[1:]:
        if len(shown) >= ARGUMENTS_SHOWN_LEN_MAX:
            break
        text = word.decode("utf-8", "surrogateescape")[: ARGUMENTS_SHOWN_LEN_MAX - len(shown)]
        shown += f"'{text}' "
    name = words[0].decode("utf-8", "surrogateescape")[:ARGUMENTS_SHOWN_LEN_MAX]
    return error(f"unknown command '{name}', with args beginning with: {shown}")


def _help_spec(container: CommandSpec) -> CommandSpec:
    lines = [f"{container.name.upper()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    if container.handler is not None:
        lines += ["(no subcommand)", f"    {container.summary}"]
    for sub in container.subcommands:
        lines.append(f"{sub.name.upper()} {sub.synopsis}".rstrip())
        lines += [f"    {line}" for line in (sub.help_lines or (sub.summary,))]
    lines += ["HELP", "    Print this help."]

    def print_help(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
        return [Status(line) for line in lines]

    return CommandSpec(
        "help",
        print_help,
        2,
        ("loading", "stale"),
        "Lists the subcommands.",
        group=container.group,
        since="5.0.0",
    )
