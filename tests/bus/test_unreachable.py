"""NodeUnreachable and NodeReachable among buses that own no slots."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import clusterbus

from tests.bus.harness import DEADLINE_S, settings, well
from tests.loops import Run, until


def test_without_slots_a_member_that_dies_is_unreachable_and_never_failed(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            buses = [
                await stack.enter_async_context(clusterbus.Bus(**settings(tmp_path / name, cluster_node_timeout=500)))
                for name in "abc"
            ]
            first, second, third = buses
            for other in (second, third):
                await first.meet("127.0.0.1", other._config.port)
            await until(lambda: all(well(bus) == 3 for bus in buses))
            assert all(bus.in_majority for bus in buses)
            events = [bus.events() for bus in (first, second)]
            gone_id, settings_of_third = third.node_id, third._config
            await third.close()
            for stream in events:
                async with asyncio.timeout(DEADLINE_S):
                    async for event in stream:
                        assert not isinstance(event, clusterbus.NodeFailed)
                        if isinstance(event, clusterbus.NodeUnreachable):
                            break
                assert event == clusterbus.NodeUnreachable(gone_id, 2, 2)
            assert first.nodes[gone_id].is_unreachable
            assert not first.nodes[gone_id].is_failed
            assert first.in_majority
            back = clusterbus.Bus(**settings(tmp_path / "c", port=settings_of_third.port, cluster_node_timeout=500))
            await stack.enter_async_context(back)
            assert back.node_id == gone_id
            for stream in events:
                async with asyncio.timeout(DEADLINE_S):
                    async for event in stream:
                        if isinstance(event, clusterbus.NodeReachable):
                            break
                assert event == clusterbus.NodeReachable(gone_id)
            assert not first.nodes[gone_id].is_unreachable

            await first.close()
            await second.close()
            await until(lambda: not back.in_majority)

    run(scenario())
