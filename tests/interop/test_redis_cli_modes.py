"""The modes of redis-cli that look at a node or at its keys, on examples/kv_node.py (S11)."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.interop.test_kv_node import KvNode
from tests.peers.cluster import wait_for_state, wait_until
from tests.peers.server import START_DEADLINE_S, STOP_DEADLINE_S, redis_cli_command

DEADLINE_S = 60.0
KEYS = 120


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KvNode]:
    """One node with all slots and KEYS keys; the value of `key<n>` has n bytes."""
    server = KvNode(tmp_path_factory.mktemp("kv"))
    try:
        server.start()
        server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_for_state(server, "ok", START_DEADLINE_S)
        for number in range(1, KEYS + 1):
            server.call("SET", f"key{number}", "x" * number)
        yield server
    finally:
        server.stop()


def redis_cli(node: KvNode, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*redis_cli_command(), "-p", str(node.port), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL)


def test_bigkeys_finds_the_biggest_s11(node: KvNode) -> None:
    result = redis_cli(node, "--bigkeys")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"Sampled {KEYS} keys in the keyspace!" in result.stdout
    assert f"Biggest string found '\"key{KEYS}\"' has {KEYS} bytes" in result.stdout


@pytest.mark.parametrize("words", [("--memkeys",), ("--memkeys-samples", "5")])
def test_memkeys_asks_for_the_memory_of_each_key_s11(node: KvNode, words: tuple[str, ...]) -> None:
    result = redis_cli(node, *words)
    assert result.returncode == 0, result.stdout + result.stderr
    size_bytes = node.call("MEMORY", "USAGE", f"key{KEYS}")
    assert size_bytes > KEYS
    assert f"Biggest string found '\"key{KEYS}\"' has {size_bytes} bytes" in result.stdout


def test_hotkeys_says_why_there_are_none_s11(node: KvNode) -> None:
    result = redis_cli(node, "--hotkeys")
    assert "does not note how often or when its keys are used" in result.stdout + result.stderr
    assert result.returncode == 1


def test_scan_gives_each_key_once_s11(node: KvNode) -> None:
    result = redis_cli(node, "--scan")
    assert sorted(result.stdout.split()) == sorted(f"key{number}" for number in range(1, KEYS + 1))
    matched = redis_cli(node, "--scan", "--pattern", "key[12]?")
    assert sorted(matched.stdout.split()) == [f"key{number}" for number in range(10, 30)]
    assert sorted(node.call("KEYS", "key[12]?")) == [f"key{number}" for number in range(10, 30)]
    assert node.call("SCAN", 0, "COUNT", 10_000, "TYPE", "list") == ["0", []]


def test_latency_measures_s11(node: KvNode) -> None:
    result = redis_cli(node, "--latency", "-i", "1")
    assert re.fullmatch(r"\d+ \d+ \d+\.\d+ \d+\n", result.stdout), result.stdout + result.stderr


def test_stat_shows_a_line_a_second_until_it_is_ended_s11(node: KvNode) -> None:
    ours, theirs = pty.openpty()  # redis-cli keeps its lines back when nobody watches
    command = [*redis_cli_command(), "-p", str(node.port), "--stat", "-i", "0.1"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.STDOUT)
    seen: list[str] = []

    def shown() -> bool:
        seen.append(os.read(ours, 65_536).decode())
        return len(re.findall(rf"^{KEYS} +[\d.]+[MGK]? ", "".join(seen), re.MULTILINE)) >= 2

    try:
        wait_until(shown, DEADLINE_S, lambda: "".join(seen))
    finally:
        process.terminate()
        process.wait(STOP_DEADLINE_S)
        os.close(ours)
        os.close(theirs)


def test_a_transaction_on_a_watched_key_of_the_example_s11(node: KvNode) -> None:
    connection = node.connect()
    try:

        def ask(*words: str) -> object:
            connection.send_command(*words, check_health=False)
            return connection.read_response()

        for key in ("key1", "nothing"):
            assert [ask("WATCH", key), ask("MULTI"), ask("GET", key)] == ["OK", "OK", "QUEUED"]
            node.call("SET", key, "x")
            assert ask("EXEC") is None
        ask("WATCH", "nothing")
        node.call("DEL", "nothing")
        ask("MULTI")
        assert ask("EXEC") is None, "it was deleted"
        ask("WATCH", "nothing")
        node.call("SET", "nothing", "x")
        node.call("DEL", "nothing")
        ask("MULTI")
        assert ask("EXEC") is None, "it came and went"
        assert [ask("WATCH", "key1"), ask("MULTI"), ask("STRLEN", "key1"), ask("EXEC")][-1] == [1]
    finally:
        connection.disconnect()


def test_flushslot_empties_a_slot_of_the_example_p28(node: KvNode) -> None:
    node.call("SET", "{flush}1", "x")
    slot = node.call("CLUSTER", "KEYSLOT", "{flush}1")
    assert node.call("CLUSTER", "FLUSHSLOT", slot, "SYNC") == "OK"
    assert node.call("EXISTS", "{flush}1") == 0
