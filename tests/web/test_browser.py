"""The page in a browser: what it shows of hostile text, of gaps and open slots, of a node that is gone or new, and of
thousands of nodes; keys, and windows of all sizes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import clusterbus
import pytest

from tests.bus.harness import order, pair, settings
from tests.loops import until
from tests.peers.ports import free_port
from tests.web.chromium import Tab, chromium
from tests.web.harness import served, url_of

pytestmark = pytest.mark.processes

HOSTILE: Final = "<script>alert(1)</script><img src=x onerror=alert(2)>"
MANY: Final = 2_000
DRAW_MAX_MS: Final = 1_000.0
"""Ten times what it takes on a quiet machine."""
COLOUR: Final = (
    "(slot) => [...byId('map').getContext('2d').getImageData(slot % 128 * 4, (slot >> 7) * 4, 1, 1).data].join()"
)


@asynccontextmanager
async def shown(bus: clusterbus.Bus, *, ready: str = "picture !== null") -> AsyncIterator[Tab]:
    """The page of a node in a browser."""
    async with chromium() as browser:
        tab = await browser.tab()
        await tab.open(url_of(bus, "/"))
        await tab.until(ready)
        yield tab


def test_text_of_peers_is_text_and_slots_are_coloured(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            pair(tmp_path, metrics_port=0) as (other, third),
            served(tmp_path / "c") as bus,
            chromium() as browser,
        ):
            other_id = other.node_id
            await bus.meet("127.0.0.1", other._config.port)
            await bus.add_slots(range(200, 16_384))
            await until(lambda: len(bus.nodes) == 3)
            await order(bus, f"CLUSTER SETSLOT 300 MIGRATING {other_id}".encode())
            await bus.set_tags({HOSTILE: HOSTILE})
            for gone in (other, third):  # a heartbeat, with names that the rules allow, would take these back
                await gone.close()
            peer = next(node for node in bus._member().state.nodes if node.node_id == other_id)
            peer.hostname = peer.nodename = peer.availability_zone = HOSTILE
            tab = await browser.tab()
            await tab.open(url_of(bus, "/"))
            await tab.until("document.querySelectorAll('#shards tr').length >= 3")
            await tab.until("byId('feed').textContent.includes('TagsChanged')")
            row = f"tr[data-node='{other_id}']"
            assert (await tab.text(f"{row} td:nth-child(3)")).endswith(HOSTILE)
            assert HOSTILE in await tab.text(f"tr[data-node='{bus.node_id}'] .tags")
            assert HOSTILE in await tab.text("#feed")
            assert await tab.value("document.querySelectorAll('body script, body img').length") == 0
            assert await tab.text("#state") == "fail"
            assert "without an owner: 0-199 (200)" in await tab.text("#gaps")
            assert "open, going to" in await tab.text("#gaps")
            gap, mine, moving = [await tab.value(f"({COLOUR})({slot})") for slot in (0, 5_000, 300)]
            assert len({gap, mine, moving}) == 3
            assert await tab.value("byId('map').getAttribute('aria-label')") == "16184 of 16384 slots have an owner"
            assert tab.complaints == []

            await tab.value("byId('map').focus()")
            for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
                await tab.key(key)
            assert (await tab.text("#slot")).startswith(f"slot 257: {bus.node_id[:8]}@127.0.0.1:")
            await tab.value("byId('filter').value = 'no such node', byId('filter').dispatchEvent(new Event('input'))")
            assert await tab.value("byId('shards').childElementCount") == 0

    asyncio.run(scenario())


def test_a_page_says_that_it_is_cut_off_and_comes_back(tmp_path: Path) -> None:
    directives = settings(tmp_path / "node", metrics_port=free_port())

    async def scenario() -> None:
        async with clusterbus.Bus(**directives) as bus, chromium() as browser:
            tab = await browser.tab()
            await tab.open(url_of(bus, "/"))
            await tab.until("byId('connection').textContent === 'live'")
            await bus.close()
            await tab.until("byId('connection').textContent.startsWith('cut off from the node')")
            assert await tab.value("document.body.classList.contains('old')")
            async with clusterbus.Bus(**directives) as again:
                await tab.until("byId('connection').textContent === 'live'")
                await again.add_slots(range(16_384))
                await tab.until("byId('state').textContent === 'ok'")
                assert "the node was started anew" in await tab.text("#feed")
                # A node that hangs ends no connection: the page finds out by itself.
                await tab.value("window.before = source, heard = 0")
                await tab.until("source !== before && byId('connection').textContent === 'live'")

    asyncio.run(scenario())


def many_nodes_conf(port: int) -> str:
    """Primaries with a replica each, all at addresses of loopback that nobody listens at."""
    lines = []
    for number in range(MANY // 2):
        first, last = 16_384 * number // (MANY // 2), 16_384 * (number + 1) // (MANY // 2) - 1
        at, mine = f"127.1.{number // 250}.{number % 250 + 1}", number == 0
        address = f"127.0.0.1:{port}@{port + 10_000}" if mine else f"{at}:7000@17000"
        shard, flags = f"{number + MANY:040x}", "myself,master" if mine else "master"
        rest, node_id = f",,tls-port=0,shard-id={shard}", f"{number + 1:040x}"
        lines.append(f"{node_id} {address}{rest} {flags} - 0 0 1 connected {first}-{last}")
        lines.append(f"{number + 2 * MANY:040x} {at}:7001@17001{rest} slave {node_id} 0 0 1 connected")
    return "\n".join([*lines, "vars currentEpoch 1 lastVoteEpoch 0\n"])


def test_two_thousand_nodes_are_drawn_quickly(tmp_path: Path) -> None:
    directives = settings(tmp_path, metrics_port=free_port(), cluster_node_timeout=3_600_000, resp=False)
    (tmp_path / "nodes.conf").write_text(many_nodes_conf(directives["port"]))

    async def scenario() -> None:
        async with clusterbus.Bus(**directives) as bus, shown(bus, ready=f"nodes.size === {MANY}") as tab:
            assert (await tab.text("#numbers")).startswith(f"{MANY} nodes, {MANY // 2} primaries with slots")
            rows = int(await tab.value("ROWS_MAX"))
            assert await tab.value("byId('shards').childElementCount") == rows
            assert await tab.text("#more") == f"show {MANY - rows} more"
            drawn_ms = await tab.value(
                "(() => { const begin = performance.now(); kept.clear(); drawHead(); drawMap(); drawShards();"
                " document.body.offsetHeight; return performance.now() - begin; })()"
            )
            assert drawn_ms < DRAW_MAX_MS
            await tab.value("byId('filter').value = '127.1.3.7:', byId('filter').dispatchEvent(new Event('input'))")
            assert await tab.value("byId('shards').childElementCount") == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_phone_and_wears_the_users_colours(tmp_path: Path, dark: bool) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as bus, shown(bus) as tab:
            await tab.look(390, 800, dark=dark, mobile=True)
            await tab.until("innerWidth === 390")
            assert await tab.value("document.documentElement.scrollWidth") <= 390
            ink = await tab.value("getComputedStyle(document.body).color")
            assert (int(ink.partition("(")[2].partition(",")[0]) > 128) is dark

    asyncio.run(scenario())
