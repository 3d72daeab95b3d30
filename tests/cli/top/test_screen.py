"""The screen of `clusterbus top`: how it looks, what keys do, and how it stands a large cluster. No node is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from clusterbus.cli import top
from clusterbus.cli.top.app import TopApp
from clusterbus.cli.top.screens import DetailsScreen, HelpScreen
from clusterbus.cli.top.watch import Moment
from textual.pilot import Pilot

from tests.cli.top.written import Script, World, after_failover, many, six

Step = Callable[[Pilot[None]], Awaitable[None]]
REFRESH_MAX_S = 1.0
"""Many times what it takes on a machine that has nothing else to do."""


def app_of(source: Script, now_s: float) -> TopApp:
    return TopApp(source, now_s=lambda: now_s, local=time.gmtime)


def after_a_failover() -> TopApp:
    world = World()
    moments = [world.moment(six()), world.moment(six()), world.moment(after_failover())]
    return app_of(Script(moments), world.now_s + 0.4)


def drive(app: TopApp, step: Step, size: tuple[int, int] = (100, 30)) -> None:
    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await step(pilot)

    asyncio.run(run())


@pytest.mark.parametrize("size", [(80, 24), (150, 34), (46, 12)])
def test_it_looks_like_this(snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    assert snap_compare(after_a_failover(), terminal_size=size)


@pytest.mark.parametrize("keys", [["enter"], ["h"], ["space"], ["s", "s", "r", "g"], ["slash", *"fail"]], ids="-".join)
def test_it_looks_like_this_after_keys(snap_compare: Callable[..., bool], keys: list[str]) -> None:
    assert snap_compare(after_a_failover(), terminal_size=(80, 24), press=keys)


def test_keys() -> None:
    app = after_a_failover()

    async def step(pilot: Pilot[None]) -> None:
        await pilot.press("home")
        assert app.table.current is not None
        first = app.table.current.address
        await pilot.press("down")
        assert app.table.current.address != first
        await pilot.press("end", "down")
        assert app.table.current.error
        await pilot.press("enter")
        assert isinstance(app.screen, DetailsScreen)
        await pilot.press("escape", "h")
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape", "slash", *"replica", "enter")
        assert len(app.table.rows_on_screen) == 2
        await pilot.press("escape")
        assert len(app.table.rows_on_screen) == 6
        await pilot.press("q")

    drive(app, step)
    assert not app.is_running


def test_a_pause_holds_the_picture() -> None:
    world = World()
    source = Script([world.moment(six())])
    app = app_of(source, world.now_s)

    async def step(pilot: Pilot[None]) -> None:
        await pilot.press("space")
        source.deliver(world.moment(after_failover()))
        await pilot.pause()
        assert source.is_paused
        assert not any(row.error for row in app.table.rows_on_screen)
        await pilot.press("space")
        source.deliver(world.moment(after_failover()))
        await pilot.pause()
        assert any(row.error for row in app.table.rows_on_screen)

    drive(app, step)


def test_the_cursor_stays_on_its_node() -> None:
    world = World()
    source = Script([world.moment(six())])
    app = app_of(source, world.now_s)

    async def step(pilot: Pilot[None]) -> None:
        await pilot.press("down", "down")
        assert app.table.current is not None
        here = app.table.current.node_id
        await pilot.press("s", "s", "r")
        assert app.table.current.node_id == here

    drive(app, step)


def test_two_thousand_nodes_are_a_table_of_what_is_seen() -> None:
    world = World()
    begun_s = time.perf_counter()
    picture = world.picture(many(1000), tellers=3)
    source = Script([Moment(picture, ())])
    app = app_of(source, world.now_s)

    async def step(pilot: Pilot[None]) -> None:
        assert len(source.on_screen) < 40
        await pilot.press("end")
        assert app.table.current is picture.rows[-1]
        assert picture.rows[-1].address in source.on_screen
        begun = time.perf_counter()
        app._show()
        assert time.perf_counter() - begun < REFRESH_MAX_S

    drive(app, step)
    assert time.perf_counter() - begun_s < 60


@pytest.mark.parametrize("value", ["0", "x", "-1", "1e9"])
def test_a_wrong_interval_is_one_line(capsys: pytest.CaptureFixture[str], value: str) -> None:
    with pytest.raises(SystemExit) as ended:
        top.main(["127.0.0.1:1", "--interval", value])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("clusterbus top: ")


def test_without_a_terminal_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert top.main(["127.0.0.1:1"]) == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_a_seed_that_does_not_answer_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert top.main(["127.0.0.1:1"]) == 3
    error = capsys.readouterr().err
    assert error == "clusterbus top: 127.0.0.1:1: Connection refused\n"
