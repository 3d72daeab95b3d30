"""The command table: lookup, arity, subcommands, HELP, names that are used twice (S11)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from clusterbus.client_port.commands.introspection import standard_registry
from clusterbus.client_port.registry import Call, CommandSpec, Registry
from clusterbus.client_port.reply import ErrorReply, Reply
from clusterbus.config import Config
from clusterbus.errors import StateError


def answer(_node: object, _client: object, arguments: list[bytes]) -> Reply:
    return list(arguments)


CONTAINER = CommandSpec(
    "thing",
    None,
    -2,
    subcommands=(
        CommandSpec("make", answer, -3, summary="Makes one.", synopsis="<name>"),
        CommandSpec("drop", answer, 3, help_lines=("Drops it.", "For good.")),
    ),
)


def test_names_are_found_in_any_case() -> None:
    registry = Registry([CONTAINER])
    found = registry.find("THING|Make")
    assert found is not None
    assert (found[0], found[1].summary) == ("thing|make", "Makes one.")
    assert registry.find("thing|none") is None
    assert registry.find("nothing") is None
    assert registry.find("thing|help") is not None


def test_a_name_is_given_once() -> None:
    registry = Registry([CONTAINER])
    with pytest.raises(StateError, match="thing is in the table already"):
        registry.add(CONTAINER)
    with pytest.raises(StateError, match="names a subcommand twice"):
        Registry([CommandSpec("x", None, -2, subcommands=CONTAINER.subcommands[:1] * 2)])


def test_help_is_made_from_the_table() -> None:
    found = Registry([CONTAINER]).find("thing|help")
    assert found is not None
    assert found[1].handler is not None
    assert found[1].handler(None, None, []) == [  # type: ignore[arg-type]
        "THING <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "MAKE <name>",
        "    Makes one.",
        "DROP",
        "    Drops it.",
        "    For good.",
        "HELP",
        "    Print this help.",
    ]


def test_every_command_says_what_it_does() -> None:
    registry = standard_registry()
    specs = [*registry, *(sub for spec in registry for sub in registry.subcommands_of(spec))]
    assert len(specs) > 25
    for spec in specs:
        assert spec.summary.endswith("."), spec.name
        assert spec.name == spec.name.lower()
        assert spec.arity != 0


def test_a_renamed_command_has_its_new_name_only() -> None:
    registry = Registry([CONTAINER, CommandSpec("ping", answer, -1), CommandSpec("keys", answer, 2)])
    client: Any = SimpleNamespace(server=SimpleNamespace(config=Config()), authenticated=False)
    assert registry.rename("ping", "secret-ping")
    assert registry.rename("thing", "x")
    assert registry.rename("keys", "")
    assert not registry.rename("flushall", "")
    assert not registry.rename("keys", "again")
    assert isinstance(registry.resolve([b"PING"], client), ErrorReply)
    assert isinstance(registry.resolve([b"KEYS", b"*"], client), ErrorReply)
    call = registry.resolve([b"Secret-Ping", b"1"], client)
    assert isinstance(call, Call)
    assert (call.name, call.arguments) == ("ping", [b"1"])
    call = registry.resolve([b"x", b"make", b"1"], client)
    assert isinstance(call, Call)
    assert call.name == "thing|make"
    with pytest.raises(StateError, match="secret-ping is in the table already"):
        registry.rename("x", "secret-ping")
