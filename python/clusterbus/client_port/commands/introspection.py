"""COMMAND and its subcommands: they show the command table to clients.

Reads the registry and must never change it. The shapes are Valkey's (addReplyCommandInfo in src/server.c). Main thread.
"""

from __future__ import annotations

from typing import Final

from clusterbus.client_port.arguments import SYNTAX_ERROR, text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.commands.connection import CONNECTION_COMMANDS
from clusterbus.client_port.key_specs import key_positions
from clusterbus.client_port.registry import CommandSpec, Registry
from clusterbus.client_port.reply import CommandError, Reply, SetOf, Status
from clusterbus.client_port.transactions import transaction_commands
from clusterbus.member.glob import compile_pattern

_FLAGS: Final = ("loading", "stale")


def standard_registry() -> Registry:
    """A registry with the commands that need no member: those about connections, transactions and commands."""
    registry = Registry(CONNECTION_COMMANDS)
    registry.add(*transaction_commands(registry), _Introspection(registry).spec())
    return registry


class _Introspection:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def spec(self) -> CommandSpec:
        """The row of COMMAND in the command table."""

        def sub(
            name: str, handler: object, arity: int, summary: str, synopsis: str = "", since: str = "2.8.13"
        ) -> CommandSpec:
            return CommandSpec(
                name,
                handler,  # type: ignore[arg-type]
                arity,
                _FLAGS,
                summary,
                synopsis=synopsis,
                since=since,
                categories=("@slow", "@connection"),
            )

        return CommandSpec(
            "command",
            self.everything,
            -1,
            _FLAGS,
            "All commands with arity, flags and key positions.",
            since="2.8.13",
            categories=("@slow", "@connection"),
            subcommands=(
                sub("count", self.count, 2, "How many commands there are."),
                sub(
                    "docs",
                    self.docs,
                    -2,
                    "Summary, group and age of commands.",
                    "[<command-name> ...]",
                    "7.0.0",
                ),
                sub("getkeys", self.getkeys, -3, "The keys among a command's arguments.", "<full-command>"),
                sub(
                    "getkeysandflags",
                    self.getkeysandflags,
                    -3,
                    "The same keys, each with what the command does to it.",
                    "<full-command>",
                    "7.0.0",
                ),
                sub(
                    "info",
                    self.info,
                    -2,
                    "Some commands with arity, flags and key positions.",
                    "[<command-name> ...]",
                ),
                sub(
                    "list",
                    self.names,
                    -2,
                    "Names of commands.",
                    "[FILTERBY <filter> <value>]",
                    "7.0.0",
                ),
            ),
        )

    # ---------------------------------------------------------------- handlers

    def everything(self, _member: object, _client: Client, _arguments: list[bytes]) -> Reply:
        return [self._entry(spec.name, spec) for spec in self._registry]

    def count(self, _member: object, _client: Client, _arguments: list[bytes]) -> Reply:
        return len(self._registry)

    def info(self, _member: object, client: Client, arguments: list[bytes]) -> Reply:
        if not arguments:
            return self.everything(_member, client, arguments)
        found = [self._registry.find(text_of(word)) for word in arguments]
        return [self._entry(*one) if one else None for one in found]

    def docs(self, _member: object, _client: Client, arguments: list[bytes]) -> Reply:
        if not arguments:
            return {spec.name: self._documentation(spec) for spec in self._registry}
        found = [self._registry.find(text_of(word)) for word in arguments]
        return {name: self._documentation(spec) for name, spec in filter(None, found)}

    def getkeys(self, _member: object, _client: Client, arguments: list[bytes]) -> Reply:
        """COMMAND GETKEYS: the keys of a request."""
        spec = self._with_keys(arguments)
        positions = key_positions(spec.where_keys(), arguments)
        if positions or "no_mandatory_keys" in spec.flags:
            return [arguments[position] for position in positions or ()]
        raise CommandError("Invalid arguments specified for command")

    def getkeysandflags(self, member: object, client: Client, arguments: list[bytes]) -> Reply:
        """COMMAND GETKEYSANDFLAGS: the keys of a request, each with the flags of its position."""
        keys = self.getkeys(member, client, arguments)
        flags: dict[bytes, Reply] = {}
        for where in self._with_keys(arguments).where_keys():
            for position in where.positions(arguments) or ():
                flags.setdefault(arguments[position], SetOf([Status(flag) for flag in where.flags]))
        assert isinstance(keys, list)
        return [[key, flags[key]] for key in keys]

    def _with_keys(self, arguments: list[bytes]) -> CommandSpec:
        """The command of a request that must have keys. Raises CommandError."""
        found = self._registry.find(text_of(arguments[0]))
        if found is not None and len(arguments) > 1 and found[1].subcommands:
            found = self._registry.find(f"{found[0]}|{text_of(arguments[1])}") or found
        if found is None:
            raise CommandError("Invalid command specified")
        _, spec = found
        specs = spec.where_keys()
        if not any(where.are_keys for where in specs):
            raise CommandError("The command has no key arguments")
        if not spec.takes(len(arguments)):
            raise CommandError("Invalid number of arguments specified for command")
        return spec

    def names(self, _member: object, _client: Client, arguments: list[bytes]) -> Reply:
        specs = list(self._registry)
        if not arguments:
            return [spec.name for spec in specs]
        if len(arguments) != 3 or arguments[0].lower() != b"filterby":
            raise CommandError(SYNTAX_ERROR)
        kind, value = arguments[1].lower(), text_of(arguments[2]).lower()
        if kind == b"pattern":
            full = [spec.name for spec in specs]
            full += [f"{spec.name}|{sub.name}" for spec in specs for sub in self._registry.subcommands_of(spec)]
            try:
                matches = compile_pattern(arguments[2].lower())
            except ValueError as refusal:
                raise CommandError(str(refusal)) from None
            return [name for name in full if matches(name.encode())]
        if kind == b"aclcat":
            return list[Reply](self._registry.names_in(f"@{value}"))
        if kind != b"module":
            raise CommandError(SYNTAX_ERROR)
        return []

    # ---------------------------------------------------------------- shapes

    def _entry(self, name: str, spec: CommandSpec) -> Reply:
        """The ten fields: name, arity, flags, first key, last key, step, categories, tips, key specs, subcommands."""
        subcommands = self._registry.subcommands_of(spec) if "|" not in name else ()
        return [
            name,
            spec.arity,
            SetOf([Status(flag) for flag in spec.flags]),
            *spec.keys,
            SetOf([Status(category) for category in spec.all_categories]),
            SetOf(list(spec.tips)),
            SetOf([where.shape() for where in spec.where_keys()]),
            [self._entry(f"{name}|{sub.name}", sub) for sub in subcommands],
        ]

    def _documentation(self, spec: CommandSpec) -> Reply:
        facts: dict[str, Reply] = {
            "summary": spec.summary,
            "since": spec.since,
            "group": spec.group,
            "complexity": spec.complexity,
        }
        subcommands = {
            f"{spec.name}|{sub.name}": self._documentation(sub) for sub in self._registry.subcommands_of(spec)
        }
        if subcommands:
            facts["subcommands"] = subcommands
        return facts
