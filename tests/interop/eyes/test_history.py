"""What the history of a clusterbus node says of a failover, a partition and a node with another id, among Valkey nodes.

Who said what, and when, is what operators ask for after each of them (valkey#2029, valkey#656).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.interop.eyes.mixed import Mixed
from tests.peers.cluster import wait_until

pytestmark = pytest.mark.processes

DEADLINE_S = 20.0
WITNESS = 5
"""A clusterbus replica that neither the failover nor the partition meets."""
MIXED = {"ours": {"cluster_log_file": "changes.jsonl"}}
SLOTS_OF_0 = "0-5460"
Entry = dict[str, Any]


class Feed:
    """The changes of one node, asked for by what is newer than the last one."""

    def __init__(self, mixed: Mixed, n: int) -> None:
        self._mixed, self._n = mixed, n
        self.number = 0
        self.entries: list[Entry] = []

    def take(self) -> list[Entry]:
        """Those since the last call, in order."""
        rows = self._mixed.call(self._n, "CLUSTERLOG", "GET", "SINCE", self.number)
        fresh = [{_text(name): _text(value) for name, value in _pairs(row)} for row in rows][::-1]
        if fresh:
            assert fresh[0]["number"] == self.number + 1, "none is missing"
            self.number = fresh[-1]["number"]
        self.entries += fresh
        return fresh

    def begin(self) -> None:
        self.take()
        self.entries = []

    def until(self, what: Callable[[Entry], bool], why: str) -> Entry:
        """The first entry since `begin` for which it holds."""

        def found() -> Entry | None:
            self.take()
            return next((entry for entry in self.entries if what(entry)), None)

        wait_until(lambda: found() is not None, DEADLINE_S, lambda: f"{why}: {self.lines()}")
        entry = found()
        assert entry is not None
        return entry

    def lines(self) -> str:
        return "\n".join(json.dumps(entry) for entry in self.entries)


def _pairs(row: Any) -> list[tuple[Any, Any]]:
    return list(row.items()) if isinstance(row, dict) else list(zip(row[::2], row[1::2], strict=True))


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def is_failure(node_id: str, new: str) -> Callable[[Entry], bool]:
    return lambda entry: entry["kind"] == "failure" and entry["node"] == node_id and entry["new"] == new


def moves_to(node_id: str) -> Callable[[Entry], bool]:
    return lambda entry: entry["kind"] == "slots" and entry["new"] == node_id


def test_who_said_what_and_when(mixed: Mixed) -> None:
    feed = Feed(mixed, WITNESS)
    ids = [node.node_id for node in mixed.nodes]

    # The partition: the majority holds 1 failed, and takes that back by its answer.
    feed.begin()
    mixed.partition()
    failed = feed.until(is_failure(ids[1], "fail"), "1 is not FAIL")
    assert failed["cause"] in ("gossip", "fail-message", "node-timeout")
    assert failed["source"] in {ids[n] for n in (0, 2, 3, WITNESS)}, "none of the minority"
    mixed.heal()
    back = feed.until(is_failure(ids[1], "ok"), "1 is not back")
    assert (back["old"], back["cause"], back["source"]) == ("fail", "answer", ids[1])
    assert failed["time"] < back["time"]

    # The failover: who was suspected, who was elected, and whose slots went where by whose word.
    feed.begin()
    mixed.failover()
    failed = feed.until(is_failure(ids[0], "fail"), "0 is not FAIL")
    assert failed["source"] != ids[0]
    slots = feed.until(moves_to(ids[3]), "3 has no slots")
    assert (slots["old"], slots["slots"], slots["source"]) == (ids[0], SLOTS_OF_0, ids[3])
    assert (slots["cause"], slots["packet"]) in {("header", "PONG"), ("header", "PING"), ("update", "UPDATE")}
    role = feed.until(lambda entry: entry["kind"] == "role" and entry["node"] == ids[3], "3 is no primary")
    assert (role["old"], role["new"], role["source"]) == ("replica", "primary", ids[3])
    assert failed["number"] < slots["number"]
    voter = Feed(mixed, 1)
    vote = voter.until(lambda entry: entry["kind"] == "vote-given", "1, a primary of ours, has not voted")
    assert (vote["node"], vote["packet"]) == (ids[3], "AUTH-REQ")
    mixed.come_back()

    # Node 5 itself comes back with another id; 4 tells how it heard.
    feed = Feed(mixed, 4)
    feed.begin()
    replaced = mixed.come_back_with_another_id()
    joined = feed.until(
        lambda entry: entry["kind"] == "joined" and entry["node"] == replaced.new_id, "the new id is not known"
    )
    assert f":{replaced.handle.port}@" in joined["new"]
    assert joined["source"] != replaced.old_id
    lost = feed.until(
        lambda entry: entry["kind"] == "failure" and entry["node"] == replaced.old_id, "the old id is well"
    )
    assert lost["new"] in ("pfail", "fail")

    # The file has the same, whole.
    numbers = [entry["number"] for entry in of_file(mixed, 4)]
    assert numbers == list(range(1, len(numbers) + 1))
    wait_until(lambda: of_file(mixed, 4)[-1]["number"] >= feed.number, DEADLINE_S, lambda: "the file is behind")


def of_file(mixed: Mixed, n: int) -> list[Entry]:
    folder = _text(mixed.call(n, "CONFIG", "GET", "dir")[1])
    return [json.loads(line) for line in Path(folder, "changes.jsonl").read_text().splitlines()]
