"""A user's commands on the client port of a `Bus`: their table rows, their arguments, their replies (S11)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clusterbus
import pytest
import redis
from clusterbus.client_port.registry import CommandSpec

from tests.peers.cluster import wait_until
from tests.peers.ports import free_port

DEADLINE_S = 30.0
# redis-py does not annotate what its client executes.
Client = Any


def nothing(*_arguments: bytes) -> None:
    """Does nothing.

    At length.
    """


def spec(name: str, function: Callable[..., Any] = nothing, **fields: Any) -> CommandSpec:
    return clusterbus.Command(name, function, **fields).spec()


def test_a_command_valkey_has_is_known_but_for_its_function() -> None:
    got = spec("MSet")
    assert (got.name, got.arity, got.keys, got.flags) == ("mset", -3, (1, -1, 2), ("write", "denyoom"))
    assert got.categories == ("@write", "@string", "@slow")
    assert got.summary == "Does nothing."
    assert spec("EVAL").where_keys()[0].counted


def test_what_is_given_goes_before_what_is_known() -> None:
    got = spec("GET", keys=(2, 3, 1), flags=("write", "fast"), arity=-4, summary="Gets.")
    assert (got.arity, got.keys, got.flags, got.summary) == (-4, (2, 3, 1), ("write", "fast"), "Gets.")
    assert got.categories == ("@write", "@fast")
    assert [where.start for where in got.where_keys()] == [2]


@pytest.mark.parametrize(
    ("function", "arity"),
    [
        (lambda: None, 1),
        (lambda one: None, 2),
        (lambda one, two=b"": None, -2),
        (lambda one, *more: None, -2),
        (lambda *more: None, -1),
    ],
)
def test_the_arity_of_an_unknown_command_is_the_functions(function: Callable[..., Any], arity: int) -> None:
    assert spec("MINE.X", function).arity == arity


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("", {}),
        ("two words", {}),
        ("a|b", {}),
        ("x", {"flags": ("wirte",)}),
        ("x", {"keys": (0, 1, 1)}),
        ("x", {"keys": (1, 1, 0)}),
        ("x", {"keys": (2, 1, 1)}),
    ],
)
def test_what_cannot_be_is_refused(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(clusterbus.StateError):
        clusterbus.Command(name, nothing, **fields)


def with_client(bus: clusterbus.Bus, port: int, talk: Callable[[Client], None]) -> None:
    """Runs `talk` on a thread while the bus is open; the bus owns all slots."""

    async def run() -> None:
        async with bus:

            def work() -> None:
                with redis.Redis("127.0.0.1", port, protocol=2, socket_timeout=DEADLINE_S) as client:
                    client.execute_command("CLUSTER ADDSLOTSRANGE 0 16383")
                    talk(client)

            async with asyncio.timeout(DEADLINE_S):
                await asyncio.to_thread(work)

    asyncio.run(run())


def wait_ok(client: Client) -> None:
    wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", DEADLINE_S, "state ok")


def test_functions_answer_on_the_client_port_s11(tmp_path: Path) -> None:
    port = free_port()
    bus = clusterbus.Bus(port=port, dir=str(tmp_path), bind="127.0.0.1")

    @bus.command("GET")
    def get(key: bytes) -> bytes | None:
        return None if key == b"none" else b"<" + key + b">"

    @bus.command("MINE.WAIT", keys=(1, -1, 1), flags=("readonly",))
    async def wait(first: bytes, *more: bytes) -> list[bytes]:
        await asyncio.sleep(0)
        return [first, *more]

    @bus.command("MINE.BAD")
    def bad(how: bytes) -> Any:
        match how:
            case b"raise":
                raise RuntimeError("no")
            case b"refuse":
                raise clusterbus.StateError("not now")
            case b"code":
                return clusterbus.ErrorReply("BUSY come back")
            case b"nested":
                return [object()]
            case _:
                return object()

    def refused(client: Client, *words: str) -> str:
        with pytest.raises(redis.ResponseError) as caught:
            client.execute_command(*words)
        return f"{type(caught.value).__name__} {caught.value}"

    def talk(client: Client) -> None:
        wait_ok(client)
        assert client.execute_command("GET", "a") == b"<a>"
        assert client.execute_command("GET", "none") is None
        assert client.execute_command("mine.wait", "{a}1", "{a}2") == [b"{a}1", b"{a}2"]
        assert "hash to the same slot" in refused(client, "MINE.WAIT", "a", "b")
        assert "wrong number of arguments for 'mine.wait'" in refused(client, "MINE.WAIT")
        assert client.execute_command("COMMAND GETKEYS MINE.WAIT x y") == [b"x", b"y"]
        for how in ("raise", "nested", "type"):
            assert "internal error in 'mine.bad', see the log" in refused(client, "MINE.BAD", how)
        assert "not now" in refused(client, "MINE.BAD", "refuse")
        assert "BUSY come back" in refused(client, "MINE.BAD", "code")
        client.execute_command("ASKING")
        assert client.execute_command("MINE.WAIT", "a") == [b"a"]
        pipe = client.pipeline(transaction=True)
        pipe.execute_command("MINE.WAIT", "a")
        pipe.execute_command("GET", "{a}b")
        assert pipe.execute() == [[b"a"], b"<{a}b>"]
        with pytest.raises(clusterbus.StateError, match="before the bus is opened"):
            bus.command("LATE")(nothing)

    with_client(bus, port, talk)


async def opened(bus: clusterbus.Bus) -> None:
    async with bus:
        pass


@pytest.mark.parametrize("names", [("PING",), ("CLUSTER",), ("X", "x")])
def test_a_name_that_is_taken_is_refused_on_entry(tmp_path: Path, names: tuple[str, ...]) -> None:
    commands = [clusterbus.Command(name, nothing) for name in names]
    bus = clusterbus.Bus(port=free_port(), dir=str(tmp_path), bind="127.0.0.1", commands=commands)
    with pytest.raises(clusterbus.StateError, match="in the table already"):
        asyncio.run(opened(bus))
