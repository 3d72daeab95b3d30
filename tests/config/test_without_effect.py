"""Directives that are known and do nothing here: all names, their values, and the one line that tells of them."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from clusterbus.config import BY_NAME, DIRECTIVES, Config
from clusterbus.config.syntax import split_arguments
from clusterbus.config.without_effect import WITHOUT_EFFECT
from clusterbus.errors import ConfigError

from tests.config.stock import OTHERS, REDIS_ACTIVE, REDIS_ONLY_NAMES, VALKEY_ACTIVE, VALKEY_NAMES


def read(folder: Path, text: str) -> Config:
    path = folder / "valkey.conf"
    path.write_text(text)
    return Config.from_arguments([str(path)])


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")


@pytest.mark.parametrize("name", [*VALKEY_NAMES.split(), *REDIS_ONLY_NAMES.split()])
def test_every_name_of_both_servers_is_known(name: str) -> None:
    assert name in BY_NAME, f"nearest: {difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0)}"


def test_no_name_stands_twice() -> None:
    names = [name for directive in DIRECTIVES for name in (directive.name, *directive.aliases)]
    assert len(names) == len(set(names)) == len(BY_NAME)


@pytest.mark.parametrize("text", [VALKEY_ACTIVE, REDIS_ACTIVE.replace("/var/lib/redis", ".")], ids=["valkey", "redis"])
def test_the_active_lines_of_a_stock_file_are_taken_and_shown(tmp_path: Path, text: str) -> None:
    config = read(tmp_path, text)
    last = {}
    for line in text.splitlines():
        words = split_arguments(line.encode())
        assert words is not None
        last[words[0].decode()] = " ".join(word.decode() for word in words[1:])
    for name, written in last.items():
        shown = config.text(name)
        assert shown == written or name in {"dir", "auto-aof-rewrite-min-size", "client-output-buffer-limit"}, name
    assert set(config.without_effect) == {BY_NAME[name].name for name in last if BY_NAME[name].without_effect}


@pytest.mark.parametrize("line", OTHERS.splitlines())
def test_a_line_of_a_real_file_is_taken(tmp_path: Path, line: str) -> None:
    config = read(tmp_path, line)
    name = line.split()[0]
    directive = BY_NAME.get(name)
    expected = [directive.name] if directive is not None and directive.without_effect else []
    if directive is None and name != "rename-command":
        expected = [name]
    assert list(config.without_effect) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("rdbchecksum maybe", "rdbchecksum 'maybe': argument must be 'yes' or 'no'"),
        ("appendonly", "appendonly: wrong number of arguments"),
        ("maxmemory much", "maxmemory 'much': argument must be a memory value"),
        ("maxmemory-clients 101%", "maxmemory-clients '101%': percentage argument must be less or equal to 100"),
        ("maxmemory-policy none", "maxmemory-policy 'none': argument(s) must be one of the following: volatile-lru, "),
        ("databases 0", "databases '0': argument must be between 1 and 2147483647 inclusive"),
        ("databases x", "databases 'x': argument couldn't be parsed into an integer"),
        ("unixsocketperm 888", "unixsocketperm '888': argument couldn't be parsed as an octal number"),
        ("unixsocketperm 1000", "unixsocketperm '1000': argument must be between 0 and 777 inclusive"),
        ("oom-score-adj-values 0 1", "oom-score-adj-values '0' '1': wrong number of arguments"),
        ("oom-score-adj-values 0 1 2001", "elements must be between -2000 and 2000"),
        ("latency-tracking-info-percentiles 101", "Invalid percentile, must be a number between 0 and 100"),
        ("shutdown-on-sigterm save nosave", "shutdown options SAVE and NOSAVE can't be used simultaneously"),
        ("shutdown-on-sigterm later", "shutdown-on-sigterm 'later': argument(s) must be one of the following: default"),
        ("notify-keyspace-events Q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ("dbfilename a/b", "dbfilename can't be a path, just a filename"),
        ("replicaof host", "replicaof 'host': wrong number of arguments"),
        ("replicaof host 70000", "replicaof 'host' '70000': Invalid primary port"),
        ("masterauth a b", "primaryauth: wrong number of arguments"),
        ("proto-max-bulk-len 1mb 2", "proto-max-bulk-len '1mb' '2': wrong number of arguments"),
        ("proto-max-bulk-len 1kb", "argument must be between 1048576 and 9223372036854775807 inclusive"),
        ("slot-migration-max-failover-repl-bytes -2", "argument must be a memory value"),
        ("rename-command CONFIG", "rename-command: wrong number of arguments"),
        ("user", "user: wrong number of arguments"),
        ("json.max-path-limit", "json.max-path-limit: wrong number of arguments"),
        ("maxmemry 1gb", "unknown directive 'maxmemry' (nearest: maxmemory)"),
        ("rename-comand A B", "unknown directive 'rename-comand' (nearest: rename-command)"),
    ],
)
def test_a_wrong_value_is_one_line_with_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    message = refusal(tmp_path, f"port 7000\n\n{line}\n")
    assert message.startswith("valkey.conf:3: ")
    assert reason in message


def test_names_are_told_once_and_under_the_name_of_today(tmp_path: Path) -> None:
    config = read(tmp_path, "slave-priority 5\nmaxmemory 1gb\nuser a on\nreplica-priority 6\nuser b on\nport 7000\n")
    assert config.without_effect == ("replica-priority", "maxmemory", "user")
    assert config.get("slave-priority", "replica-priority") == {"replica-priority": "6", "slave-priority": "6"}
    assert config.text("maxmemory") == str(1 << 30)


def test_a_node_is_one_of_a_cluster_whatever_the_file_says(tmp_path: Path) -> None:
    config = read(tmp_path, "cluster-enabled no\n")
    assert config.cluster_enabled is True
    assert config.without_effect == ("cluster-enabled",)
    assert read(tmp_path, "cluster-enabled yes\n").without_effect == ()


def test_set_takes_what_upstream_lets_change_p38() -> None:
    config = Config()
    config.set_many([("maxmemory", "2mb"), ("slave-priority", "7"), ("notify-keyspace-events", "KEA"), ("save", "")])
    assert config.get("maxmemory", "replica-priority", "notify-keyspace-events") == {
        "maxmemory": "2097152",
        "replica-priority": "7",
        "notify-keyspace-events": "KEA",
    }
    with pytest.raises(ConfigError, match=r"'databases'.* - can't set immutable config"):
        config.set("databases", "3")
    with pytest.raises(ConfigError, match=r"'maxmemory'.* - argument must be a memory value"):
        config.set("maxmemory", "much")
    assert config.text("maxmemory") == "2097152"


@pytest.mark.parametrize("name", [directive.name for directive in WITHOUT_EFFECT if directive.mutable])
def test_each_can_be_set_to_its_own_value_p38(name: str) -> None:
    config = Config()
    config.set(name, config.text(name))
    assert config.text(name) == BY_NAME[name].default_text


def test_rewrite_writes_what_was_set_and_leaves_statements_alone(tmp_path: Path) -> None:
    lines = 'maxmemory 1mb\nrename-command FLUSHALL ""\nuser default on nopass\njson.limit 1\ndir .\n'
    config = read(tmp_path, lines)
    config.set_many([("maxmemory", "2000"), ("hz", "50"), ("oom-score-adj-values", "1 2 3")])
    config.rewrite()
    text = (tmp_path / "valkey.conf").read_text()
    assert text.startswith(lines.replace("1mb", "2000").removesuffix("dir .\n"))
    added = text.partition("# Generated by CONFIG REWRITE\n")[2].splitlines()
    assert sorted(added) == ["hz 50", "oom-score-adj-values 1 2 3"]
    assert Config.from_arguments([str(tmp_path / "valkey.conf")]).get("*") == config.get("*")
