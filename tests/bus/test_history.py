"""`bus.history()`, CLUSTERLOG and `cluster-log-file` of a node: the same changes in three shapes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import clusterbus
import pytest
import redis
from clusterbus import Cause, Change, ChangeKind
from clusterbus.client_port.commands.cluster_log import AT_ONCE_MAX, _in_pieces

from tests.bus.harness import pair, settings
from tests.loops import Run, until

DEADLINE_S = 20.0
NAMES = ["number", "time", "kind", "node", "old", "new", "cause", "source", "packet", "link", "slots", "detail"]


def ask(port: int, *words: str | int, protocol: int = 2) -> Any:
    client = redis.Redis(port=port, protocol=protocol, decode_responses=True, socket_timeout=DEADLINE_S)
    with client:
        client.response_callbacks.clear()
        return client.execute_command("CLUSTERLOG", *words)  # type: ignore[no-untyped-call]


def refusal(port: int, *words: str | int) -> str:
    with pytest.raises(redis.ResponseError) as refused:
        ask(port, *words)
    return str(refused.value)


def kinds(changes: list[Change], kind: ChangeKind) -> list[Change]:
    return [change for change in changes if change.kind is kind]


def test_a_program_asks_what_is_newer_than_what_it_has_seen(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            changes = first.history()
            numbers = [change.number for change in changes]
            assert numbers == list(range(1, numbers[-1] + 1))
            (joined,) = kinds(changes, ChangeKind.JOINED)
            assert (joined.node_id, joined.source) == (second.node_id, second.node_id)
            assert first.history(2) == changes[-2:]
            assert first.history(0) == []
            await first.add_slots(range(5))
            fresh = first.history(since=numbers[-1])
            assert [change.kind for change in fresh[:2]] == [ChangeKind.ORDER, ChangeKind.SLOTS]
            assert (fresh[1].slots, fresh[1].source) == (((0, 4),), "program")
            assert first.history(1, since=numbers[-1]) == fresh[-1:]
            assert first.history(since=fresh[-1].number) == []
            await until(lambda: kinds(second.history(), ChangeKind.SLOTS))
            (told,) = kinds(second.history(), ChangeKind.SLOTS)
            assert (told.new, told.source, told.cause) == (first.node_id, first.node_id, Cause.HEADER)

    run(scenario())


def test_both_buses_and_the_errors_of_their_arguments(tmp_path: Path) -> None:
    with clusterbus.BlockingBus(**settings(tmp_path / "bus"), thread=True) as bus:
        bus.add_slots([1])
        assert kinds(bus.history(), ChangeKind.SLOTS)[0].new == bus.node_id
        for count, since in ((-1, 0), (None, -1)):
            with pytest.raises(clusterbus.StateError, match=f"{'count' if count else 'since'} must be at least 0"):
                bus.history(count, since=since)
    with pytest.raises(clusterbus.StateError):
        bus.history()


def test_clusterlog_has_the_shapes_of_both_protocols_newest_first(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "a")) as bus:
            await bus.add_slots(range(20))
            port, expected = bus.port, [change.fields() for change in bus.history()][::-1]
            newest = bus.history()[-1].number

            def check() -> None:
                entries = ask(port, "GET", -1, protocol=3)
                assert entries == expected
                assert list(entries[0]) == NAMES
                flat = ask(port, "GET", -1)
                assert [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in flat] == expected
                assert ask(port, "GET", 1, protocol=3) == expected[:1]
                assert ask(port, "get", "since", newest - 1, protocol=3) == expected[:1]
                assert ask(port, "GET", 1, "SINCE", 0, protocol=3) == expected[:1]
                assert ask(port, "GET", 0) == []
                assert ask(port, "LEN") == len(expected)
                assert ask(port, "RESET") == "OK"
                assert (ask(port, "LEN"), ask(port, "GET")) == (0, [])
                assert ask(port, "HELP")[0].startswith("CLUSTERLOG <subcommand>")

            await asyncio.to_thread(check)
            assert bus.history() == []
            await bus.del_slots([3])
            assert bus.history()[0].number == newest + 1, "numbers go on"

    run(scenario())


def test_many_changes_are_shown_without_holding_the_loop_up(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "a")) as bus:
            for slot in range(8 * AT_ONCE_MAX):
                await bus.add_slots([slot])
            expected = [change.fields() for change in bus.history()][::-1]
            assert len(expected) > 10 * AT_ONCE_MAX
            assert await asyncio.to_thread(ask, bus.port, "GET", -1, protocol=3) == expected
            flat = await asyncio.to_thread(ask, bus.port, "GET", -1)
            assert [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in flat] == expected

            def within_a_transaction() -> Any:
                with redis.Redis(port=bus_port, protocol=3, decode_responses=True) as client:
                    pipeline = client.pipeline(transaction=True)
                    pipeline.execute_command("CLUSTERLOG", "LEN")
                    pipeline.execute_command("CLUSTERLOG", "GET", -1)
                    return pipeline.execute()

            bus_port = bus.port
            assert await asyncio.to_thread(within_a_transaction) == [len(expected), expected]
            pieces = _in_pieces(bus.history(), 2)
            for _ in range(-(-len(expected) // AT_ONCE_MAX)):
                assert pieces.send(None) is None, "others have their turn"
            with pytest.raises(StopIteration):
                pieces.send(None)

    run(scenario())


def test_ten_are_shown_without_a_count(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "a")) as bus:
            for slot in range(12):
                await bus.add_slots([slot])
            assert len(await asyncio.to_thread(ask, bus.port, "GET")) == 10

    run(scenario())


def test_what_is_wrong_is_refused_in_valkeys_words(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "a")) as bus:
            port, count_wrong = bus.port, "count should be greater than or equal to -1"

            def check() -> None:
                assert refusal(port, "GET", "x") == refusal(port, "GET", -2) == count_wrong
                assert refusal(port, "GET", "SINCE", "x") == "number should be greater than or equal to 0"
                assert refusal(port, "GET", 1, 2) == "syntax error"
                assert refusal(port, "LEN", 1) == "wrong number of arguments for 'clusterlog|len' command"
                assert refusal(port, "FOO") == "unknown subcommand 'FOO'. Try CLUSTERLOG HELP."
                assert refusal(port) == "wrong number of arguments for 'clusterlog' command"

            await asyncio.to_thread(check)

    run(scenario())


def test_an_order_of_a_client_is_told_with_its_address(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "a")) as bus:
            port = bus.port

            def order() -> None:
                with redis.Redis(port=port) as client:
                    client.execute_command("CLUSTER", "ADDSLOTS", 7)
                    with pytest.raises(redis.ResponseError):
                        client.execute_command("CLUSTER", "ADDSLOTS", 7)

            await asyncio.to_thread(order)
            (change,) = kinds(bus.history(), ChangeKind.ORDER)
            assert (change.new, change.source) == ("CLUSTER ADDSLOTS", "client")
            assert change.detail.startswith("127.0.0.1:")
            await bus.add_slots([8])
            assert kinds(bus.history(), ChangeKind.ORDER)[-1].source == "program", "the client's command is over"

    run(scenario())


def test_the_ring_follows_config_set(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "a"), cluster_log_max_len=4) as bus:
            for slot in range(5):
                await bus.add_slots([slot])
            assert len(bus.history()) == 4
            with_redis = asyncio.to_thread(redis.Redis(port=bus.port).config_set, "cluster-log-max-len", 0)
            await with_redis
            await bus.add_slots([9])
            assert bus.history() == []

    run(scenario())


def test_the_file_has_what_the_ring_has_and_more(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        given = settings(tmp_path / "a", cluster_log_file="changes.jsonl", cluster_log_max_len=1)
        async with clusterbus.Bus(**given) as bus:
            path = tmp_path / "a" / "changes.jsonl"
            for slot in range(5):
                await bus.add_slots([slot])
            last = bus.history()[-1]
            await until(lambda: path.read_text().count("\n") >= last.number)
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            assert [line["number"] for line in lines] == list(range(1, last.number + 1))
            assert lines[-1] == last.fields()
            path.rename(path.with_suffix(".1"))
            await bus.del_slots([1])
            await until(path.exists)
            await until(lambda: path.read_text().endswith("\n"))
            assert json.loads(path.read_text().splitlines()[0])["number"] == last.number + 1

    run(scenario())


def test_a_file_that_cannot_be_written_keeps_a_bus_from_opening(tmp_path: Path) -> None:
    given = settings(tmp_path / "a", cluster_log_file=str(tmp_path / "no" / "file"))
    with pytest.raises(clusterbus.ConfigError, match=r"cluster-log-file .* cannot be written: No such file"):
        clusterbus.BlockingBus(**given)
    with clusterbus.BlockingBus(**given | {"cluster_log_file": ""}) as again:
        assert again.node_id, "everything was closed again"
