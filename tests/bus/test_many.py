"""Several buses in one process: they share their I/O threads and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import clusterbus
import pytest

from tests.bus.harness import pair, settings, well
from tests.loops import Run, until

MEMBERS = 12


def io_threads() -> int:
    """The I/O threads of this process, which Python does not know."""
    names = (Path(task, "comm").read_text() for task in Path("/proc/self/task").iterdir())
    return sum(name.startswith("clusterbus-io") for name in names)


def workers(bus: clusterbus.Bus) -> int:
    return int(bus.cluster_info()["cluster_io_workers"])


def test_a_dozen_members_that_all_meet_converge_on_one_thread_without_warnings(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            buses = []
            for number in range(MEMBERS):
                bus = clusterbus.Bus(**settings(tmp_path / str(number), cluster_node_timeout=5000), resp=False)
                buses.append(await stack.enter_async_context(bus))
            await until(lambda: io_threads() == 1)
            for bus in buses:
                for other in buses:
                    if other is not bus:
                        await bus.meet("127.0.0.1", other.port)
            await until(lambda: all(well(bus) == MEMBERS for bus in buses))
            assert {workers(bus) for bus in buses} == {1}
            reads = [bus.cluster_info()["cluster_main_thread_reads_processed"] for bus in buses]
            assert set(reads) == {"0"}, "all were served by that thread"
        assert io_threads() == 0

    with caplog.at_level(logging.WARNING, "clusterbus"):
        run(scenario())
    about_all = ("slots are not served", "the disk is slow")  # the latter of a busy machine
    assert not [line for line in caplog.messages if not any(part in line for part in about_all)]


def test_as_many_threads_as_the_bus_wants_that_wants_most_and_none_for_one_that_wants_none(
    run: Run, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with pair(tmp_path, io_threads=2) as (first, second):
            async with clusterbus.Bus(**settings(tmp_path / "c", io_threads=1)) as alone:
                assert (io_threads(), workers(first), workers(alone)) == (1, 1, 0)
                await alone.join([f"127.0.0.1:{first.port}"], timeout_s=20)
                second._config.set("io-threads", "4")
                assert (workers(first), workers(second), workers(alone)) == (3, 3, 0)
                await until(lambda: io_threads() == 3)  # a thread gives itself its name
                assert alone.cluster_info()["cluster_threaded_reads_processed"] == "0"
            second._config.set("io-threads", "1")
            assert (io_threads(), workers(first), workers(second)) == (1, 1, 0)
            await until(lambda: well(first) == well(second) == 2)

    run(scenario())


def test_buses_on_loops_of_several_threads_share_workers_too(tmp_path: Path) -> None:
    both_met = threading.Barrier(2, timeout=60)
    failures: list[BaseException] = []
    first = clusterbus.Bus(**settings(tmp_path / "a"), resp=False)
    second = clusterbus.Bus(**settings(tmp_path / "b"), resp=False)

    async def live(bus: clusterbus.Bus, other: clusterbus.Bus) -> None:
        async with bus:
            await asyncio.to_thread(both_met.wait)
            await bus.meet("127.0.0.1", other._config.port)
            await until(lambda: well(bus) == 2)
            assert io_threads() == 1
            await asyncio.to_thread(both_met.wait)

    def serve(bus: clusterbus.Bus, other: clusterbus.Bus) -> None:
        try:
            asyncio.run(live(bus, other))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=serve, args=args) for args in ((first, second), (second, first))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert io_threads() == 0


@pytest.mark.processes
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own_for_buses_that_it_opens(tmp_path: Path) -> None:
    async def child() -> int:
        async with pair(tmp_path / "child") as (first, second):
            await until(lambda: io_threads() == 1)
            return 0 if (workers(first), workers(second)) == (1, 1) else 1

    async def scenario() -> int:
        async with clusterbus.Bus(**settings(tmp_path / "parent"), resp=False) as bus:
            (tmp_path / "child").mkdir()
            pid = os.fork()
            if pid == 0:
                code = 2
                try:
                    asyncio.events._set_running_loop(None)
                    code = asyncio.run(child())
                finally:
                    os._exit(code)
            status = await asyncio.to_thread(os.waitpid, pid, 0)
            assert workers(bus) == 1
            return os.waitstatus_to_exitcode(status[1])

    assert asyncio.run(scenario()) == 0
