"""The page's files, the picture as JSON and the stream of events, as a program reads them; and what trouble costs."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import clusterbus
import pytest
from clusterbus.cluster.events import ClusterEvent, EpochChanged, Message, SlotsChanged
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.slots import bits_of, ranges_of
from clusterbus.web import feed, page, picture

from tests.bus.harness import order, pair
from tests.loops import Run, until
from tests.web.harness import get, served, url_of

DEADLINE_S = 30.0
NODE_ID = "a" * 40
FORBIDDEN = r"https?://|innerHTML|outerHTML|insertAdjacent|document\.write|eval\("
"""What would load from elsewhere, or take text for markup."""


class Sent(NamedTuple):
    """One event of a stream."""

    kind: str
    data: str
    event_id: str


class Events:
    """What a page is sent. `comments` counts lines that say nothing."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.comments = 0

    async def next(self) -> Sent:
        fields: dict[str, str] = {}
        while line := (await asyncio.wait_for(self.answer.content.readline(), DEADLINE_S)).decode():
            if line == "\n":
                if fields.keys() - {"retry"}:
                    return Sent(fields.get("event", ""), fields.get("data", ""), fields.get("id", ""))
                continue
            name, _, value = line.rstrip("\n").partition(":")
            self.comments += not name
            fields |= {name: value.removeprefix(" ")} if name else {}
        raise EOFError

    async def of(self, kind: str) -> Sent:
        """The next event of that kind."""
        while (sent := await self.next()).kind != kind:
            pass
        return sent


@asynccontextmanager
async def opened(bus: clusterbus.Bus, last_id: str = "", query: str = "") -> AsyncIterator[Events]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with (
        aiohttp.ClientSession() as session,
        session.get(url_of(bus, f"/events{query}"), headers=headers) as answer,
    ):
        yield Events(answer)


def tell(bus: clusterbus.Bus, *events: ClusterEvent | Message) -> None:
    for event in events:
        for listener in bus._member().driver.event_listeners:
            listener(event)


def epochs(*numbers: int) -> list[ClusterEvent]:
    return [EpochChanged(NODE_ID, number) for number in numbers]


async def told_epochs(events: Events, count: int) -> list[tuple[int, str]]:
    """The epochs and ids of so many changes of an epoch."""
    found: list[tuple[int, str]] = []
    while len(found) < count:
        sent = await events.of("change")
        told = json.loads(sent.data)
        if told["kind"] == "EpochChanged":
            found.append((told["fields"]["config_epoch"], sent.event_id))
    return found


async def picture_of(bus: clusterbus.Bus) -> dict[str, Any]:
    return dict(json.loads((await get(url_of(bus, "/topology.json"))).text))


def test_the_page_loads_nothing_from_elsewhere_and_says_so(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as bus:
            for path, (_name, kind) in page.FILES.items():
                answer = await get(url_of(bus, path))
                assert (answer.status, answer.headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
                policy = answer.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; script-src 'self'")
                assert "unsafe" not in policy
                assert not re.search(
                    r"https?://|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", answer.text
                )

    run(scenario())


def test_a_picture_has_all_that_a_node_knows_of_the_others(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (plain, _other), served(tmp_path / "c", availability_zone="z-1") as bus:
            hostile = "<script>alert(1)</script>"
            await bus.set_tags({hostile: hostile})
            await bus.add_slots(range(100, 16_384))
            await bus.meet("127.0.0.1", plain._config.port)
            await until(lambda: len(bus.nodes) == 3 and all(node.connected for node in bus.nodes.values()))
            await order(bus, f"CLUSTER SETSLOT 7 IMPORTING {plain.node_id}".encode())
            await order(bus, f"CLUSTER SETSLOT 8 IMPORTING {plain.node_id}".encode())
            await asyncio.sleep(0)
            bus._started()._web._page._pictures._made_s = 0.0  # type: ignore[union-attr]
            seen = await picture_of(bus)
            nodes = {node["id"]: node for node in seen["nodes"]}
            assert seen["me"] == bus.node_id
            assert (seen["state"], seen["reason"]) == ("fail", bus._member().state.reason.value)
            assert seen["importing"] == [[7, 8, plain.node_id]]
            assert seen["migrating"] == []
            mine = nodes[bus.node_id]
            assert mine["slots"] == [[100, 16_383]]
            assert (mine["role"], mine["zone"], mine["tags"], mine["up"]) == (
                "primary",
                "z-1",
                {hostile: hostile},
                True,
            )
            assert nodes.keys() == bus.nodes.keys()
            for node_id, view in bus.nodes.items():
                told = nodes[node_id]
                assert (told["ip"], told["port"], told["bus_port"]) == (view.ip, view.port, view.bus_port)
                assert set(told["flags"]) == view.flags
                assert told["shard"] == view.shard_id
                assert told["epoch"] == view.config_epoch

    run(scenario())


SLOT_MAPS: list[list[int]] = [
    [],
    list(range(16_384)),
    list(range(0, 16_384, 2)),
    list(range(1, 16_384, 2)),
    [0, 1_023, 1_024, 2_047, 2_049, 16_383],
    [*range(1_000, 3_100), *range(3_101, 9_000, 3)],
]


@pytest.mark.parametrize("slots", SLOT_MAPS, ids=range(len(SLOT_MAPS)))
def test_a_slot_map_in_pieces_is_told_in_pieces(run: Run, tmp_path: Path, slots: list[int]) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as bus:
            if slots:
                await bus.add_slots(slots)
            other = "b" * 40
            node = Node(other, 0, other, 0)
            member, bits = bus._member(), bits_of(slots)
            taken = picture.moment(member)
            assert taken.slot_bits == [bits]
            pieces = list(picture.json_pieces(member, taken._replace(moves=(("migrating", {node: bits}),))))
            told = json.loads(b"".join(pieces))
            ranges = [list(span) for span in ranges_of(bits)]
            assert told["nodes"][0]["slots"] == ranges
            assert told["migrating"] == [[*span, other] for span in ranges]
            assert all(piece.count(b"[") <= picture.RANGES_PER_PIECE_MAX + 1 for piece in pieces)

    run(scenario())


def test_a_picture_is_made_once_for_all_who_ask(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        made = 0
        moment = picture.moment

        def counted(member: Any) -> picture.Moment:
            nonlocal made
            made += 1
            return moment(member)

        monkeypatch.setattr(picture, "moment", counted)
        async with served(tmp_path) as bus:
            answers = await asyncio.gather(*(picture_of(bus) for _ in range(20)))
            assert made == 1
            assert all(answer == answers[0] for answer in answers)
            bus._member().state.myself.touch()
            await picture_of(bus)
            assert made == 1, "a changed one is too young to be made anew"
            monkeypatch.setattr(picture, "PICTURE_AGE_MIN_S", 0.0)
            await picture_of(bus)
            assert made == 2
            await picture_of(bus)
            assert made == 2, "nothing has changed"

    run(scenario())


def test_who_goes_while_a_picture_is_made_leaves_no_old_one_behind(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as bus:
            pictures = picture.Pictures(bus._member())
            await pictures.pieces()
            pictures._made_s = 0.0
            bus._member().state.myself.touch()
            asking = asyncio.create_task(pictures.pieces())
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert pictures.is_stale
            await pictures.pieces()
            assert not pictures.is_stale

    run(scenario())


def test_a_stream_tells_what_happens_and_goes_on_where_it_was_cut_off(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as bus:
            async with opened(bus) as events:
                assert events.answer.headers["Content-Type"] == "text/event-stream"
                hello = await events.next()
                assert hello.kind == "hello"
                assert json.loads(hello.data)["me"] == bus.node_id
                tell(bus, *epochs(1, 2))
                first, _second = await told_epochs(events, 2)
                assert first[0] == 1
            tell(bus, *epochs(3))
            for headers, query in ((first[1], ""), ("", f"?after={first[1]}")):
                async with opened(bus, headers, query) as events:
                    assert [number for number, _id in await told_epochs(events, 2)] == [2, 3]

    run(scenario())


@pytest.mark.parametrize("last_id", ["", "another-1", "-", "x" * 500, "1", "{run}-999999", "{run}-²"])
def test_an_id_of_another_life_gets_the_whole_backlog(run: Run, tmp_path: Path, last_id: str) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as bus:
            tell(bus, *epochs(1, 2))
            asked = last_id.replace("{run}", bus._member().run_id).encode().decode("latin-1")
            async with opened(bus, asked) as events:
                assert [number for number, _id in await told_epochs(events, 2)] == [1, 2]

    run(scenario())


def test_the_backlog_is_bounded_and_says_what_it_lost(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "BACKLOG_EVENTS_MAX", 4)

    async def scenario() -> None:
        async with served(tmp_path) as bus:
            async with opened(bus) as events:
                tell(bus, *epochs(1))
                [(_, first_id)] = await told_epochs(events, 1)
            tell(bus, *epochs(*range(2, 9)))
            async with opened(bus, first_id) as events:
                assert (await events.of("lost")).data == "3"
                assert [number for number, _id in await told_epochs(events, 4)] == [5, 6, 7, 8]

    run(scenario())


def test_an_event_is_told_in_few_words_and_messages_of_programs_not_at_all(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as bus, opened(bus) as events:
            tell(bus, Message(NODE_ID, b"secret", b"secret", sharded=False))
            tell(bus, SlotsChanged(NODE_ID, tuple((slot, slot) for slot in range(0, 16_384, 2)), ()))
            sent = await events.of("change")
            while "SlotsChanged" not in sent.data:
                assert "secret" not in sent.data
                sent = await events.of("change")
            fields = json.loads(sent.data)["fields"]
            assert len(fields["gained"]) == feed.RANGES_MAX
            assert fields["gained_not_told"] == 8_192 - feed.RANGES_MAX

    run(scenario())


def test_a_stream_beats_and_tells_of_other_pictures(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "BEAT_S", 0.05)
    monkeypatch.setattr(feed, "PICTURE_AGE_MIN_S", 0.05)

    async def scenario() -> None:
        async with served(tmp_path) as bus, opened(bus) as events:
            await events.of("picture")
            await events.of("beat")
            assert events.comments == 1
            bus._member().state.myself.touch()
            await events.of("picture")

    run(scenario())


def test_pages_too_many_are_refused_and_one_that_goes_makes_room(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PAGES_MAX", 2)

    async def scenario() -> None:
        async with served(tmp_path) as bus:
            async with opened(bus) as one, opened(bus) as two:
                await one.next()
                await two.next()
                answer = await get(url_of(bus, "/events"))
                assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
                assert (await get(url_of(bus, "/livez"))).status == 200
            await until(lambda: not bus._started()._web._page._feed._news)  # type: ignore[union-attr]
            async with opened(bus) as three:
                assert (await three.next()).kind == "hello"

    run(scenario())


def test_a_page_that_never_reads_is_cut_off_and_holds_nobody_up(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "WRITE_TIMEOUT_S", 0.2)

    async def scenario() -> None:
        async with served(tmp_path) as bus:
            feed_of_bus = bus._started()._web._page._feed  # type: ignore[union-attr]
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.connect(("127.0.0.1", bus._config.metrics_port))
                deaf.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
                await until(lambda: feed_of_bus._news)
                number = 0
                while (
                    feed_of_bus._news
                ):  # until what the kernel takes is full, and then for as long as a write may take
                    number += 1
                    tell(bus, *epochs(*[number] * 200))
                    assert len(feed_of_bus._backlog) <= feed.BACKLOG_EVENTS_MAX
                    async with asyncio.timeout(DEADLINE_S):
                        await asyncio.sleep(0.001)
            async with opened(bus) as events:
                assert (await events.next()).kind == "hello"

    run(scenario())


def test_open_streams_end_with_the_node(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as bus, opened(bus) as events:
            await events.next()
            await bus.close()
            with pytest.raises((EOFError, aiohttp.ClientError)):
                await events.of("never")

    run(scenario())


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/topology.json", "/events"])
def test_the_page_wants_the_password(run: Run, tmp_path: Path, path: str) -> None:
    async def scenario() -> None:
        async with served(tmp_path, requirepass="geheim") as bus:
            answer = await get(url_of(bus, path))
            assert answer.status == 401
            assert "geheim" not in answer.text

    run(scenario())
