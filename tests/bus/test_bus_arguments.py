"""Wrong arguments of the buses: one error that names the argument, and nothing has changed."""

from __future__ import annotations

import inspect
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
]
"""Method of both buses, its arguments, its keywords, and the argument that is of a wrong type."""


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


def test_the_blocking_bus_has_the_same_checks(tmp_path: Path) -> None:
    with clusterbus.BlockingBus(**settings(tmp_path / "bus")) as bus:
        for method, positional, keywords, name in CALLS:
            refused(lambda m=method, p=positional, k=keywords: getattr(bus, m)(*p, **k), name)  # type: ignore[misc]
        assert len(bus.nodes) == 1
