"""A scenario goes as it would with ticks that walk over all nodes, to the last packet and log line (S3)."""

from __future__ import annotations

import pytest
from clusterbus.cluster.state import ClusterState
from clusterbus.sim.scenario import Scenario

from tests.cluster.plain_walk import PlainState


def story(seed: int, state_class: type[ClusterState]) -> list[str]:
    lines: list[str] = []
    Scenario(seed, trace=lines.append, trace_heartbeats=True, state_class=state_class).play()
    return lines


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_seed_has_the_same_story_with_plain_walks_s3(seed: int) -> None:
    assert story(seed, ClusterState) == story(seed, PlainState)
