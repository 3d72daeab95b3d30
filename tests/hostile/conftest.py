"""The fixture of the hostile tests: a node under attack, four ways, checked at the end of every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FAILED
from tests.hostile.attacked import WAYS, Attacked, Way
from tests.peers.tls import Certificates


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    """Each of the four ways."""
    way: Way = request.param
    return way


@pytest.fixture
def attack(
    request: pytest.FixtureRequest, tmp_path: Path, certificates: Certificates
) -> Iterator[Callable[..., Attacked]]:
    """`attack(way, **directives)` opens a node under attack; each is checked when the test ends, and closed."""
    opened: list[Attacked] = []

    def open_one(way: Way, **directives: Any) -> Attacked:
        opened.append(Attacked(tmp_path / f"attacked-{len(opened)}", way, certificates, **directives))
        return opened[-1]

    yield open_one
    try:
        for one in opened:
            if not request.node.stash.get(FAILED, False):
                one.check()
    finally:
        for one in opened:
            if request.node.stash.get(FAILED, False):
                print(one.log)
            one.close()


@pytest.fixture
def attacked(attack: Callable[..., Attacked], way: Way) -> Attacked:
    """A node under attack, on each of the four ways. A good peer is answered when the test ends, or it fails."""
    return attack(way)
