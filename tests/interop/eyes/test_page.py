"""The page of clusterbus nodes in a browser, in a cluster with Valkey: cut apart, failed over, and back again."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.interop.eyes.mixed import Mixed
from tests.peers.ports import free_port
from tests.web.chromium import Browser, Tab, chromium

PORTS: dict[int, int] = {}
SLOTS = (0, 5_461, 10_923)
"""The first slot of each shard."""
COLOUR = "(slot) => [...byId('map').getContext('2d').getImageData(slot % 128 * 4, (slot >> 7) * 4, 1, 1).data].join()"
CORE = COLOUR.replace("* 4", "* 4 + 2")
BLACK = "0,0,0,255"


def with_page(n: int) -> dict[str, Any]:
    PORTS[n] = free_port()
    return {"metrics_port": PORTS[n]}


MIXED = {"ours": with_page}


async def page_of(browser: Browser, n: int) -> Tab:
    tab = await browser.tab()
    await tab.open(f"http://127.0.0.1:{PORTS[n]}/")
    await tab.until("byId('connection').textContent === 'live' && byId('state').textContent === 'ok'")
    return tab


async def colours(tab: Tab, what: str = COLOUR) -> list[str]:
    return [await tab.value(f"({what})({slot})") for slot in SLOTS]


def row(node_id: str) -> str:
    return f"document.querySelector(\"tr[data-node='{node_id}']\")"


async def told(tab: Tab, kind: str, node_id: str) -> None:
    """Waits until the feed has told of such an event of a node."""
    line = f"line.querySelector('b').textContent === '{kind}' && line.textContent.includes('{node_id[:8]}')"
    await tab.until(f"[...document.querySelectorAll('#feed li:has(b)')].some((line) => {line})")


def test_the_page_in_three_kinds_of_trouble(mixed: Mixed) -> None:
    async def scenario() -> None:
        async with chromium() as browser:
            cut_off, watching = await page_of(browser, 1), await page_of(browser, 5)
            await healthy(mixed, cut_off)
            before = await colours(watching)
            assert len(set(before)) == 3
            await partition(mixed, cut_off, watching)
            await failover(mixed, watching, before)
            await another_id(mixed, watching)
            assert [words for words in cut_off.complaints if "Failed to load" not in words] == []

    asyncio.run(scenario())


async def healthy(mixed: Mixed, tab: Tab) -> None:
    await tab.until("document.querySelectorAll('#shards tr').length === 6")
    assert (await tab.text("#numbers")).startswith("6 nodes, 3 primaries with slots, 0 failed")
    assert (await tab.text("#me")).startswith(mixed.nodes[1].node_id[:8])
    for n, (role, primary) in enumerate([("primary", None)] * 3 + [("replica", 0), ("replica", 1), ("replica", 2)]):
        node = mixed.nodes[n]
        shown = await tab.value(f"{row(node.node_id)}.innerText")
        assert role in shown, shown
        assert f"{node.host}:{node.port}" in shown
        if primary is not None:
            above = f"{row(node.node_id)}.previousElementSibling.dataset.node"
            assert await tab.value(above) == mixed.nodes[primary].node_id
    await tab.until(f"/[µm]s/.test({row(mixed.nodes[0].node_id)}.innerText)")
    assert await tab.text("#gaps") == ""


async def partition(mixed: Mixed, cut_off: Tab, watching: Tab) -> None:
    cut = await asyncio.to_thread(mixed.partition)
    failed = cut.minority[0].node_id
    await watching.until(f"{row(failed)}.classList.contains('fail')")
    assert (await colours(watching, CORE))[1] == BLACK
    assert BLACK not in (await colours(watching, CORE))[0:3:2]
    await told(watching, "NodeFailed", failed)
    await cut_off.until("byId('state').textContent === 'fail' && byId('state').classList.contains('fail')")
    await cut_off.until("byId('reason').textContent.includes('the cluster is down')")
    await asyncio.to_thread(mixed.heal)
    await watching.until("byId('state').textContent === 'ok' && !document.querySelector('#shards .fail')")
    await told(watching, "NodeRecovered", failed)
    await watching.until(f"({CORE})(5461) !== '{BLACK}'")


async def failover(mixed: Mixed, tab: Tab, before: list[str]) -> None:
    change = await asyncio.to_thread(mixed.failover)
    new, old = row(change.new.node_id), row(change.old.node_id)
    await tab.until(f"{new}.classList.contains('primary') && {new}.innerText.includes('0-5460')")
    await tab.until(f"{old}.classList.contains('fail')")
    await told(tab, "RoleChanged", change.new.node_id)
    assert await colours(tab) == before, "the shard keeps its colour"
    await tab.value("tellSlot(0)")
    assert (await tab.text("#slot")).startswith(f"slot 0: {change.new.node_id[:8]}@")
    await asyncio.to_thread(mixed.come_back)
    await tab.until(f"{old}.classList.contains('replica') && !{old}.classList.contains('fail')")


async def another_id(mixed: Mixed, tab: Tab) -> None:
    """The node whose page is open is the one that comes back: the page goes on with it by itself."""
    replaced = await asyncio.to_thread(mixed.come_back_with_another_id)
    await tab.until(f"byId('me').textContent.startsWith('{replaced.new_id[:8]}')")
    await tab.until("byId('connection').textContent === 'live'")
    await tab.until(f"{row(replaced.new_id)}.classList.contains('me')")
    await tab.until("byId('feed').textContent.includes('the node was started anew')")
