"""`clusterbus top` beside Valkey and clusterbus nodes: what it shows of a failover, a partition and another id.

The program runs as it does for its users, but for the terminal: its screen is driven by Textual's pilot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from clusterbus.cli.top.app import TopApp
from clusterbus.cli.top.panels import FeedPanel, Title
from clusterbus.cli.top.picture import Row
from clusterbus.cli.top.watch import Watch
from clusterbus.survey.access import Access

from tests.interop.eyes.mixed import Mixed

pytestmark = pytest.mark.processes
DEADLINE_S = 20.0


class Screen:
    """What stands on the screen of a running `top`."""

    def __init__(self, app: TopApp) -> None:
        self._app = app

    def row(self, address: str) -> Row | None:
        """The last row of an address: a node that came back with another id stands beside what it was."""
        return next((row for row in reversed(self._app.table.rows_on_screen) if row.address == address), None)

    def rows(self) -> dict[str, Row]:
        return {row.node_id: row for row in self._app.table.rows_on_screen}

    def feed(self) -> str:
        return "\n".join(event.text for event in self._app._events)

    def title(self) -> str:
        return self._app.query_one(Title).render().plain

    def lines(self) -> str:
        panel = self._app.query_one(FeedPanel)
        return f"{self.title()}\n{self.rows()}\n{self.feed()}\n{panel.render()}"

    async def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end, self.lines()
            await asyncio.sleep(0.05)


def test_it_shows_a_failover_a_partition_and_another_id(mixed: Mixed) -> None:
    asyncio.run(_watch(mixed))


async def _watch(mixed: Mixed) -> None:
    watch = Watch([mixed.seed], Access(), interval_s=0.3, timeout_s=2.0)
    app = TopApp(watch, interval_s=0.3)
    async with app.run_test(size=(140, 40)):
        screen = Screen(app)
        await screen.wait(lambda: len(screen.rows()) == 6 and all(row.rates for row in screen.rows().values()))
        await screen.wait(lambda: all(row.bus_rtt_us is not None for row in screen.rows().values()))
        assert "cluster ok  all slots  6 nodes, 3 shards" in screen.title()
        assert sum(row.slots for row in screen.rows().values()) == 16384
        versions = {row.version.split()[0] for row in screen.rows().values()}
        assert versions == {"valkey", "clusterbus"}

        over = await asyncio.to_thread(mixed.failover)
        await screen.wait(lambda: "is primary now" in screen.feed() and "takes 5461 slots" in screen.feed())
        await screen.wait(lambda: "Connection refused" in getattr(screen.row(mixed.address(0)), "error", ""))
        taken = screen.row(mixed.address(3))
        assert taken is not None
        assert (taken.node_id, taken.slots, taken.is_primary) == (over.new.node_id, 5461, True)
        assert "1 silent" in screen.title()
        await asyncio.to_thread(mixed.come_back)
        await screen.wait(
            lambda: screen.rows()[over.old.node_id].role == "replica" and "answers again" in screen.feed()
        )

        await asyncio.to_thread(mixed.partition)
        cut = mixed.nodes[1].node_id
        await screen.wait(lambda: screen.rows()[cut].failed_by >= 3)
        assert screen.rows()[cut].error == ""
        assert "is held failed by" in screen.feed()
        await asyncio.to_thread(mixed.heal)
        await screen.wait(lambda: screen.rows()[cut].failed_by == 0 and "is well again" in screen.feed())

        came = await asyncio.to_thread(mixed.come_back_with_another_id)
        await screen.wait(lambda: came.new_id in screen.rows())
        await screen.wait(lambda: f"is another node now: {came.new_id[:8]}" in screen.feed())
