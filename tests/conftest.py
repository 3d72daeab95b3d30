"""Fixtures for every test: certificates, and `peers`, which starts real servers and always stops them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.loops import LOOPS, Run, run_on
from tests.peers.server import Server
from tests.peers.tls import Certificates

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers that a test failed, so that its fixtures can print what its servers logged."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine; the test runs once on asyncio's loop and once on uvloop's."""
    return partial(run_on, LOOPS[request.param])


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The authority that servers of the tests trust, and a certificate of it."""
    return Certificates.issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def stranger_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Another authority, trusted by no server."""
    return Certificates.issue(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def peers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`peers(kind, certificates=..., config_file=..., **directives)` starts a valkey, redis or clusterbus server.

    Directives are valkey.conf's with underscores. Every server is stopped at the end of the test, and its
    log printed when the test failed.
    """
    started: list[Server] = []

    def start(
        kind: str, *, certificates: Certificates | None = None, config_file: bool = False, **directives: object
    ) -> Server:
        words = {name.replace("_", "-"): str(value) for name, value in directives.items()}
        folder = tmp_path / f"{len(started)}-{kind}"
        server = Server(kind, folder, certificates=certificates, directives=words, config_file=config_file)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()
    if request.node.stash.get(FAILED, False):
        for server in started:
            print(server.log_tail())
