"""A program that uses the bus, and its tests: each job is done by the owner of its slot.

    pytest examples/test_app.py

The fixture `clusterbus_run` comes with the package, and needs no other plugin of pytest. `docs/guide/testing.md` says
what else there is.
"""

from __future__ import annotations

import clusterbus
from clusterbus.testing import Cluster, RunCoroutine, cluster

JOBS = [f"job-{number}" for number in range(100)]


def jobs_of(bus: clusterbus.Bus) -> list[str]:
    """The program: the jobs that are for this node now."""
    return [job for job in JOBS if bus.is_mine(job)]


def done(c: Cluster) -> list[str]:
    """Each job as often as running nodes would do it."""
    return sorted(job for number in c.running for job in jobs_of(c.nodes[number]))


def test_each_job_is_done_once_and_again_after_a_crash(clusterbus_run: RunCoroutine) -> None:
    async def scenario() -> None:
        async with cluster(primaries=3, replicas=1) as c:
            await c.wait_until(lambda: done(c) == sorted(JOBS))
            await c.fail(0)
            await c.wait_until(lambda: done(c) == sorted(JOBS))

    clusterbus_run(scenario())


def test_a_node_that_is_cut_off_does_nothing(clusterbus_run: RunCoroutine) -> None:
    async def scenario() -> None:
        async with cluster(primaries=3, replicas=1) as c:
            await c.wait_until(lambda: done(c) == sorted(JOBS))
            await c.partition([0], [1, 2, 3, 4, 5])
            await c.wait_ok(1, 2, 3, 4, 5)
            await c.wait_until(lambda: done(c) == sorted(JOBS))
            assert jobs_of(c.nodes[0]) == []

    clusterbus_run(scenario())
