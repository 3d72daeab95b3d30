"""The fixture `mixed`: one cluster of three Valkey and three clusterbus nodes for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.eyes.mixed import Mixed, mixed_cluster
from tests.peers.server import valkey_command


@pytest.fixture(scope="module")
def mixed(request: pytest.FixtureRequest) -> Iterator[Mixed]:
    """A module may say more directives in `MIXED`, a mapping; its `ours` are for clusterbus nodes alone."""
    valkey_command()
    with mixed_cluster(**getattr(request.module, "MIXED", {})) as cluster:
        yield cluster
