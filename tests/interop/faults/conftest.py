"""Fixtures of the faults: one mixed cluster for each file of tests, on a machine whose faults can be turned on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import FAILED
from tests.interop.faults.machine import Machine
from tests.interop.faults.mixed import PRIMARIES, Mixed


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine of the cluster's node."""
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def formed(tmp_path_factory: pytest.TempPathFactory, machine: Machine) -> Iterator[Mixed]:
    surroundings = [*[None] * PRIMARIES, machine.surroundings, None]
    disk = str(machine.disk)
    cluster = Mixed(tmp_path_factory.mktemp("mixed"), surroundings, dir=disk, logfile=f"{disk}/node.log")
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture
def mixed(request: pytest.FixtureRequest, formed: Mixed) -> Iterator[Mixed]:
    """The cluster of this file, well before and after each test, with a load meanwhile."""
    with formed.load():
        yield formed
    formed.check()
    if request.node.stash.get(FAILED, False):
        print(formed.log_tails())
