"""Fixtures of the interop tests: hand-made bus peers beside the real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.bus_peer import PeerGroup


@pytest.fixture
def bus() -> Iterator[PeerGroup]:
    """Hand-made peers, which are closed at the end of the test, before the servers stop."""
    group = PeerGroup()
    yield group
    group.close()
