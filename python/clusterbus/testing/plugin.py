"""The pytest plugin: fixtures for tests of programs that use the bus. pytest finds it by the entry point `clusterbus`.

Owns no cluster itself; what a fixture started ends with the test. Must never load the package at import, because pytest
imports this file in every run. Needs no other plugin: a test that awaits uses `clusterbus_run`, or the async plugin of
its choice together with `clusterbus.testing.cluster`. The thread of the test.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack

import pytest

if TYPE_CHECKING:
    from clusterbus.testing.blocking import BlockingCluster
    from clusterbus.testing.clusters import Options

Result = TypeVar("Result")


class StartCluster(Protocol):
    """The type of the fixture `clusterbus_cluster`."""

    def __call__(self, nodes: int | None = None, **options: Unpack[Options]) -> BlockingCluster:
        """Starts a cluster that ends with the test."""


class RunCoroutine(Protocol):
    """The type of the fixture `clusterbus_run`."""

    def __call__(self, coroutine: Coroutine[Any, Any, Result], /) -> Result:
        """Runs a coroutine to its end and returns its result."""


@pytest.fixture
def clusterbus_cluster() -> Iterator[StartCluster]:
    """A function that starts a cluster in a thread beside the test, with the arguments of `clusterbus.testing.cluster`.

    It returns a `BlockingCluster`, which ends with the test.
    """
    from clusterbus.testing.blocking import blocking_cluster

    with ExitStack() as started:

        def start(nodes: int | None = None, **options: Unpack[Options]) -> BlockingCluster:
            return started.enter_context(blocking_cluster(nodes, **options))

        yield start


@pytest.fixture
def clusterbus_run() -> Iterator[RunCoroutine]:
    """A function that runs a coroutine to its end and returns its result; all of a test's run on the same loop."""
    import asyncio

    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def clusterbus_ports() -> Callable[[int], list[int]]:
    """A function that returns so many client ports whose bus ports, 10,000 above, are free too (on 127.0.0.1)."""
    from clusterbus.testing.ports import free_port_pair

    return lambda count: [free_port_pair() for _ in range(count)]
