"""Wrong arguments of the buses: one error that names the argument, and nothing has changed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clusterbus
import pytest

from tests.bus.harness import settings
from tests.loops import Run

ID = "f" * 40

CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("meet", (7, 7000), {}, "ip"),
    ("meet", (b"127.0.0.1", 7000), {}, "ip"),
    ("meet", ("127.0.0.1", "7000"), {}, "port"),
    ("meet", ("127.0.0.1", 7000.0), {}, "port"),
    ("meet", ("127.0.0.1", 7000), {"bus_port": "17000"}, "bus_port"),
    ("forget", (5,), {}, "node_id"),
    ("publish", (5, "m"), {}, "channel"),
    ("publish", ("c", 5), {}, "message"),
    ("publish", ("c", "m"), {"sharded": "no"}, "sharded"),
    ("send", (5, 1, 1, b""), {}, "node_id"),
    ("send", (ID, "1", 1, b""), {}, "module_id"),
    ("send", (ID, 1, None, b""), {}, "module_type"),
    ("send", (ID, 1, 1, 5), {}, "data"),
    ("on_message", (5,), {}, "callback"),
    ("subscribe", (5,), {}, "an item of channels"),
    ("subscribe", (), {"patterns": "abc"}, "patterns"),
    ("subscribe", (), {"shard_channels": b"abc"}, "shard_channels"),
    ("subscribe", ("c",), {"max_queued": "5"}, "max_queued"),
    ("subscribe", ("c",), {"max_queued_bytes": 5.5}, "max_queued_bytes"),
    ("events", (5,), {}, "a kind of event"),
    ("events", (), {"backlog": "5"}, "backlog"),
    ("join", ("127.0.0.1:7000",), {}, "seeds"),
    ("join", ([7000],), {}, "an item of seeds"),
    ("join", (["127.0.0.1:7000"], "5"), {}, "timeout_s"),
    ("leave", ("5",), {}, "timeout_s"),
    ("leave", (), {"with_keys": 1}, "with_keys"),
    ("set_tags", (5,), {}, "tags"),
    ("set_tags", ({5: "a"},), {}, "a name in tags"),
    ("set_tags", ({"a": 5},), {}, "tags['a']"),
    ("wait_until", (True, 1), {}, "condition"),
    ("wait_until", (lambda: False, "1"), {}, "timeout_s"),
    ("wait_ok", ("1",), {}, "timeout_s"),
    ("wait_for_nodes", ("2", 1), {}, "count"),
    ("wait_for_nodes", (2, "1"), {}, "timeout_s"),
    ("slot_of", (5,), {}, "key"),
    ("owner", (5,), {}, "key"),
    ("is_mine", (None,), {}, "key"),
    ("add_slots", ("5",), {}, "slots"),
    ("add_slots", (["5"],), {}, "a slot of slots"),
    ("add_slots", (5.0,), {}, "slots"),
    ("del_slots", (None,), {}, "slots"),
    ("take_slots", (True,), {}, "a slot of slots"),
    ("take_slots", (5,), {"force": "no"}, "force"),
    ("take_slots", (5,), {"votes_min": "2"}, "votes_min"),
    ("take_slots", (5,), {"timeout_s": "2"}, "timeout_s"),
    ("move_slots", ("5", ID), {}, "slots"),
    ("move_slots", (5, 5), {}, "to"),
    ("move_slots", (5, ID), {"timeout_s": "2"}, "timeout_s"),
    ("replicate", (5,), {}, "node_id"),
    ("failover", (), {"force": "no"}, "force"),
    ("failover", (), {"takeover": "no"}, "takeover"),
    ("failover", (), {"timeout_s": "2"}, "timeout_s"),
    ("history", ("5",), {}, "count"),
    ("history", (), {"since": 1.5}, "since"),
]
"""Method of both buses, its arguments, its keywords, and the argument that is of a wrong type."""


TESTED_BELOW = {"command", "wait_events", "wait_messages", "get", "wait"}
ARGUMENT_OF = {"kinds": "kind"}
"""An argument that stands for several -> what an error calls one of them."""


def refused(call: Callable[[], object], name: str) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value).startswith(f"{name} must be "), caught.value


def test_a_wrong_type_is_a_type_error_that_names_the_argument(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            for method, positional, keywords, name in CALLS:

                async def call(method: str = method, given: Any = positional, named: Any = keywords) -> None:
                    result = getattr(bus, method)(*given, **named)
                    if inspect.isawaitable(result):
                        await result

                with pytest.raises(TypeError) as caught:
                    await call()
                assert str(caught.value).startswith(f"{name} must be "), caught.value
            assert len(bus.nodes) == 1

    run(scenario())


@pytest.mark.parametrize("kind", [clusterbus.Bus, clusterbus.BlockingBus])
def test_every_argument_of_every_method_has_its_line_in_the_table(kind: type) -> None:
    missing = []
    for method, function in inspect.getmembers(kind, callable):
        if method.startswith("_") or method in TESTED_BELOW:
            continue
        # `self` is known by its name: a static method has none.
        for name in inspect.signature(function).parameters.keys() - {"self"}:
            if not any(
                line[0] == method and re.search(rf"\b{ARGUMENT_OF.get(name, name)}\b", line[3]) for line in CALLS
            ):
                missing.append(f"{method}({name})")
    assert missing == []


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1])
def test_a_time_that_is_none_is_refused(run: Run, tmp_path: Path, seconds: float) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            for call in (
                lambda: bus.wait_until(lambda: False, seconds),
                lambda: bus.wait_ok(seconds),
                lambda: bus.wait_for_nodes(2, seconds),
                lambda: bus.join(["127.0.0.1:7000"], seconds),
                lambda: bus.leave(seconds),
                lambda: bus.take_slots(5, timeout_s=seconds),
            ):
                with pytest.raises(clusterbus.StateError, match=r"^timeout_s must be "):
                    await call()

    run(scenario())
    with clusterbus.BlockingBus(**settings(tmp_path / "blocking")) as bus:
        for call in (
            lambda: bus.wait_until(lambda: False, seconds),
            lambda: bus.wait_ok(seconds),
            lambda: bus.wait_for_nodes(2, seconds),
            lambda: bus.join(["127.0.0.1:7000"], seconds),
            lambda: bus.leave(seconds),
            lambda: bus.take_slots(5, timeout_s=seconds),
        ):
            with pytest.raises(clusterbus.StateError, match=r"^timeout_s must be "):
                call()


def test_the_constructors_have_the_same_checks(tmp_path: Path) -> None:
    directives = settings(tmp_path / "bus")
    for kind in (clusterbus.Bus, clusterbus.BlockingBus):
        refused(lambda kind=kind: kind(config_file=5, **directives), "config_file")  # type: ignore[misc]
    refused(lambda: clusterbus.Bus(resp="no", **directives), "resp")  # type: ignore[arg-type]
    refused(lambda: clusterbus.Bus(commands=clusterbus.Command("A", print), **directives), "commands")  # type: ignore[arg-type]
    refused(lambda: clusterbus.Bus(commands=[print], **directives), "an item of commands")  # type: ignore[list-item]
    refused(lambda: clusterbus.BlockingBus(thread=1, **directives), "thread")  # type: ignore[arg-type]
    for kind in (clusterbus.Bus, clusterbus.BlockingBus):
        refused(lambda kind=kind: kind(seeds="127.0.0.1:7000", **directives), "seeds")  # type: ignore[misc]
    refused(lambda: clusterbus.BlockingBus(backlog="5", **directives), "backlog")  # type: ignore[arg-type]
    refused(lambda: clusterbus.Bus(data_plane=clusterbus.DataPlane, **directives), "data_plane")  # type: ignore[arg-type]
    assert [file.name for file in (tmp_path / "bus").iterdir()] == []  # no node has started


def test_an_object_that_is_no_data_plane_is_refused_and_told_what_it_lacks(tmp_path: Path) -> None:
    class Half:
        def replication_offset(self) -> int:
            return 1

        has_key = None

    directives = settings(tmp_path / "bus")
    for kind in (clusterbus.Bus, clusterbus.BlockingBus):
        with pytest.raises(TypeError, match=r"^data_plane: object lacks replication_offset, data_age_ms, has_key, "):
            kind(data_plane=object(), **directives)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"inherit from clusterbus.DataPlane") as caught:
            kind(data_plane=Half(), **directives)  # type: ignore[arg-type]
        assert "Half lacks data_age_ms, has_key, " in str(caught.value)
        assert "replication_offset" not in str(caught.value)
    whole = type("Whole", (), {name: lambda *_: 0 for name in vars(clusterbus.DataPlane) if name[0] != "_"})()
    clusterbus.Bus(data_plane=whole, **directives)


def test_a_command_has_the_same_checks() -> None:
    refused(lambda: clusterbus.Command(5, print), "name")  # type: ignore[arg-type]
    refused(lambda: clusterbus.Command("A", 5), "function")  # type: ignore[arg-type]
    refused(lambda: clusterbus.Command("A", print, keys="1"), "keys")  # type: ignore[arg-type]
    refused(lambda: clusterbus.Command("A", print, keys=("1", 1, 1)), "an item of keys")  # type: ignore[arg-type]
    refused(lambda: clusterbus.Command("A", print, flags="write"), "flags")  # type: ignore[arg-type]
    refused(lambda: clusterbus.Command("A", print, flags=(5,)), "an item of flags")  # type: ignore[arg-type]
    refused(lambda: clusterbus.Command("A", print, arity="2"), "arity")  # type: ignore[arg-type]
    refused(lambda: clusterbus.Command("A", print, summary=5), "summary")  # type: ignore[arg-type]
    with pytest.raises(clusterbus.StateError, match=r"^keys must be the first key, the last key and the step"):
        clusterbus.Command("A", print, keys=(1, 1))  # type: ignore[arg-type]


def test_limits_and_waiting_have_the_same_checks(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "bus")) as bus:
            refused(lambda: bus.events(backlog="5"), "backlog")  # type: ignore[call-overload]
            with pytest.raises(clusterbus.StateError, match=r"^backlog must be at least 1, not 0$"):
                bus.events(backlog=0)
            with pytest.raises(clusterbus.StateError, match=r"^max_queued must be at least 1, not 0$"):
                bus.subscribe("c", max_queued=0)

    run(scenario())
    with pytest.raises(clusterbus.StateError, match=r"^backlog must be at least 1, not 0$"):
        clusterbus.BlockingBus(backlog=0)
    with clusterbus.BlockingBus(**settings(tmp_path / "blocking")) as bus:
        refused(lambda: bus.wait_events("5"), "timeout_ms")  # type: ignore[arg-type]
        refused(lambda: bus.wait_until(lambda: True, None), "timeout_s")  # type: ignore[arg-type]
        refused(lambda: bus.wait_until(True, 5), "condition")  # type: ignore[arg-type]
        with bus.subscribe("c") as messages:
            refused(lambda: messages.wait_messages("5"), "timeout_ms")  # type: ignore[arg-type]
            refused(lambda: messages.get("5"), "timeout_s")  # type: ignore[arg-type]
            refused(lambda: bus.events().wait("5"), "timeout_s")  # type: ignore[arg-type]


def test_the_blocking_bus_has_the_same_checks(tmp_path: Path) -> None:
    with clusterbus.BlockingBus(**settings(tmp_path / "bus")) as bus:
        for method, positional, keywords, name in CALLS:
            refused(lambda m=method, p=positional, k=keywords: getattr(bus, m)(*p, **k), name)  # type: ignore[misc]
        assert len(bus.nodes) == 1
