"""Fixtures for every test: certificates, event loops, and `peers`, which starts real servers and always stops them.

The hooks tell how to repeat what failed (`repeat`), keep processes to the tests marked so (`processes`), and keep
together what shares a fixture (`workers`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import processes, repeat, workers
from tests.loops import LOOPS, Run, run_on
from tests.peers.server import Server
from tests.peers.tls import Certificates

FAILED = pytest.StashKey[bool]()

# A slow machine is no failure, and what fails is repeated by its seed: a database would change what that draws.
settings.register_profile(
    "clusterbus", deadline=None, database=None, derandomize=False, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("clusterbus")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    repeat.draw_seed(config)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    processes.mark(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Any:
    return workers.scheduler(config, log) if config.option.dist == "load" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    processes.begin(item)
    try:
        return (yield)
    finally:
        processes.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints for each failed test the one command that repeats it."""
    reports = [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]
    if reports:
        terminalreporter.section("to repeat")
        for line in repeat.lines(config, reports):
            terminalreporter.line(line)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes that a test failed, so that its fixtures print the logs of its servers."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        repeat.keep_seed(item, report)
    return report


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine; the test runs once on asyncio's loop and once on uvloop's."""
    return partial(run_on, LOOPS[request.param])


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority that the servers of the tests trust, and a certificate from it."""
    return Certificates.issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def stranger_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Another authority, which no server trusts."""
    return Certificates.issue(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def peers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`peers(kind, certificates=..., config_file=..., **directives)` starts a valkey, redis or clusterbus server.

    Directives are those of valkey.conf, with underscores. Every server is stopped when the test ends. If the test
    failed, its log is printed.
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
