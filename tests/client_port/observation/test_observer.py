"""What the client port notes of its commands, as an operator sees it: SLOWLOG, LATENCY, INFO, MONITOR (S11)."""

from __future__ import annotations

from typing import Any

import clusterbus
import pytest
from clusterbus.client_port.observation.command_log import ENTRIES_MAX, ENTRY_WORD_LEN_MAX_BYTES, ENTRY_WORDS_MAX
from clusterbus.client_port.observation.command_stats import ERROR_CODES_MAX, OTHER_ERRORS, CommandStats
from clusterbus.client_port.observation.latency import SAMPLES_MAX, LatencyEvent, LatencyMonitor
from clusterbus.client_port.observation.login_log import ENTRIES_MAX as LOGINS_MAX
from clusterbus.client_port.observation.login_log import GROUPED_S, LoginLog
from clusterbus.client_port.reply import error
from clusterbus.sim import Simulation

from tests.client_port.session import Port, Session


def fail() -> Any:
    raise clusterbus.StateError("no")


def echo(word: bytes) -> bytes:
    return word


@pytest.fixture
def port() -> Port:
    simulation = Simulation(seed=1, nodes=1)
    simulation.add_slots(0, 0, 16383)
    simulation.run_until(lambda: simulation.state(0).is_ok)
    commands = (
        clusterbus.Command("FAIL", fail),
        clusterbus.Command("GET", echo),
        clusterbus.Command("SET", lambda key, value: clusterbus.OK),
        clusterbus.Command("MIGRATE", lambda *words: clusterbus.OK),
    )
    return Port(simulation.members[0].member, *(command.spec() for command in commands))


@pytest.fixture
def client(port: Port) -> Session:
    return port.connect()


def info(client: Session, section: str) -> dict[str, str]:
    lines = client(f"INFO {section}").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


# ---------------------------------------------------------------- INFO


def numbers(line: str) -> dict[str, float]:
    return {name: float(value) for name, value in (part.split("=") for part in line.split(","))}


def test_calls_that_ran_failed_and_were_refused_are_counted_apart_s11(client: Session) -> None:
    client.all("GET a", "GET b", "GET", "FAIL", "NOPE", "MGET a b", "CONFIG NOPE", "CONFIG GET")
    table = {name: numbers(line) for name, line in info(client, "commandstats").items()}
    assert {name: (row["calls"], row["failed_calls"], row["rejected_calls"]) for name, row in table.items()} == {
        "cmdstat_get": (2, 0, 1),
        "cmdstat_fail": (1, 1, 0),
        "cmdstat_mget": (0, 0, 1),
        "cmdstat_config": (0, 0, 1),
        "cmdstat_config|get": (0, 0, 1),
    }
    assert info(client, "errorstats") == {"errorstat_CROSSSLOT": "count=1", "errorstat_ERR": "count=5"}
    assert info(client, "stats")["total_error_replies"] == "6"
    assert "cmdstat_get" not in client("INFO"), "only when asked for"
    assert "errorstat_ERR" in client("INFO")


def test_the_calls_of_a_transaction_count_each_s11(client: Session) -> None:
    client.all("MULTI", "GET a", "FAIL", "EXEC")
    table = info(client, "commandstats")
    assert numbers(table["cmdstat_get"])["calls"] == numbers(table["cmdstat_exec"])["calls"] == 1
    assert numbers(table["cmdstat_fail"])["failed_calls"] == 1
    assert info(client, "errorstats") == {"errorstat_ERR": "count=1"}


def test_times_are_shown_by_percentile_and_can_be_turned_off_s11(client: Session) -> None:
    client("GET a")
    assert set(numbers(info(client, "latencystats")["latency_percentiles_usec_get"])) == {"p50", "p99", "p99.9"}
    client("CONFIG SET latency-tracking-info-percentiles", "0 100")
    assert set(numbers(info(client, "latencystats")["latency_percentiles_usec_get"])) == {"p0", "p100"}
    assert client("LATENCY HISTOGRAM get")[0] == "get"
    client("CONFIG SET latency-tracking no")
    client("GET a")
    assert info(client, "latencystats") == {}
    assert client("LATENCY HISTOGRAM get") == []


def test_resetstat_begins_all_of_it_anew_s11(client: Session) -> None:
    client.all("GET a", "NOPE", "CONFIG RESETSTAT")
    assert set(info(client, "commandstats")) == {"cmdstat_config|resetstat"}
    assert info(client, "errorstats") == {}
    assert info(client, "stats")["total_error_replies"] == "0"


def test_codes_of_errors_are_bounded() -> None:
    stats = CommandStats()
    for number in range(ERROR_CODES_MAX + 5):
        stats.count_error(error("x", f"CODE{number}"))
    stats.count_error(error("x", "CODE1"))
    lines = dict(stats.error_lines())
    assert len(lines) == ERROR_CODES_MAX + 1
    assert (lines[f"errorstat_{OTHER_ERRORS}"], lines["errorstat_CODE1"]) == ("count=5", "count=2")


# ---------------------------------------------------------------- SLOWLOG


def test_slowlog_keeps_the_newest_and_follows_its_directives_s11(client: Session) -> None:
    assert client("SLOWLOG LEN") == 0, "nothing is so slow"
    client("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 3")
    client.all("GET a", "GET b", "CLIENT SETNAME me", "GET c")
    assert client("SLOWLOG LEN") == 3
    newest, *_ = client("SLOWLOG GET 1")
    assert newest[3:] == [["SLOWLOG", "LEN"], "127.0.0.1:50001", "me"]
    assert [entry[3][-1] for entry in client("SLOWLOG GET -1")] == ["1", "LEN", "c"]
    client("CONFIG SET slowlog-max-len 0")
    assert client("SLOWLOG LEN") == 0
    client("CONFIG SET slowlog-max-len 128 slowlog-log-slower-than -1")
    client("GET a")
    assert client("SLOWLOG LEN") == 0
    assert client("CONFIG GET slowlog-max-len") == ["slowlog-max-len", "128"]
    client("CONFIG SET slowlog-max-len", ENTRIES_MAX * 10)
    assert client("GET a") == "a", "no limit is too high to be set, but none goes further than ours"


def test_an_entry_is_bounded_and_names_no_password_s11(client: Session) -> None:
    client("CONFIG SET slowlog-log-slower-than 0")
    client.send("EXISTS", *["{a}"] * ENTRY_WORDS_MAX)
    client.read()
    words = client("SLOWLOG GET 1")[0][3]
    assert (len(words), words[-1]) == (ENTRY_WORDS_MAX, "... (2 more arguments)")
    client.all("GET " + "x" * (ENTRY_WORD_LEN_MAX_BYTES + 1))
    assert client("SLOWLOG GET 1")[0][3][1] == "x" * ENTRY_WORD_LEN_MAX_BYTES + "... (1 more bytes)"
    for line in (
        "AUTH secret",
        "HELLO 2 AUTH secret secret SETNAME me",
        "CONFIG SET requirepass secret maxclients 100",
        "MIGRATE h 1 a 0 5 AUTH2 secret secret",
        "ACL SETUSER secret >secret",
        "AUTH secret secret",
    ):
        client(line)
        shown = " ".join(client("SLOWLOG GET 1")[0][3])
        assert "secret" not in shown, line
        assert shown.replace("(redacted)", "X") == line.replace(">secret", "secret").replace("secret", "X")


def test_large_requests_and_replies_have_logs_of_their_own_s11(client: Session) -> None:
    client("CONFIG SET commandlog-request-larger-than 500 commandlog-reply-larger-than 1000")
    client("SET a " + "x" * 500)
    client("GET " + "y" * 1000)
    assert [entry[3][0] for entry in client("COMMANDLOG GET -1 large-request")] == ["GET", "SET"]
    request_len_bytes = client("COMMANDLOG GET -1 large-request")[1][2]
    assert request_len_bytes == len(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$500\r\n\r\n") + 500
    assert [entry[2] for entry in client("COMMANDLOG GET -1 large-reply")] == [1009]
    client.all("COMMANDLOG RESET large-request", "COMMANDLOG RESET large-reply")
    assert client.all("COMMANDLOG LEN large-request", "COMMANDLOG LEN large-reply") == [0, 0]


# ---------------------------------------------------------------- LATENCY


def test_only_what_reaches_the_threshold_is_a_spike_s11() -> None:
    monitor = LatencyMonitor()
    monitor.add(LatencyEvent.COMMAND, 10_000, 1)
    assert not monitor.spikes, "off by default"
    monitor.threshold_ms = 100
    for time_ms, now_s in ((99, 1), (100, 1), (300, 1), (200, 3)):
        monitor.add(LatencyEvent.COMMAND, time_ms, now_s)
    spikes = monitor.find("COMMAND")
    assert spikes is not None
    assert list(spikes.samples) == [(1, 300), (3, 200)], "the worst of each second"
    assert (spikes.worst_ms, spikes.sum_ms, spikes.count) == (300, 600, 3)
    assert (spikes.average_ms(), spikes.deviation_ms(), spikes.period_s(5)) == (250, 50, 2.0)
    for second in range(SAMPLES_MAX * 2):
        monitor.add(LatencyEvent.COMMAND, 100, 10 + second)
    assert len(spikes.samples) == SAMPLES_MAX
    assert monitor.reset(["nope"]) == 0
    assert monitor.reset([]) == 1
    assert not monitor.spikes


def test_the_doctor_says_what_to_do_s11(client: Session, port: Port) -> None:
    assert "latency-monitor-threshold" in client("LATENCY DOCTOR")
    client("CONFIG SET latency-monitor-threshold 100")
    assert "No command has taken 100" in client("LATENCY DOCTOR")
    port.server.observer.latency.add(LatencyEvent.COMMAND, 250, 1)
    port.server.observer.latency.add(LatencyEvent.FAST_COMMAND, 150, 1)
    client("CONFIG SET slowlog-log-slower-than 200000")
    text = client("LATENCY DOCTOR")
    for part in ("1. command: 1 samples (average 250 ms", "2. fast-command:", "slowlog-log-slower-than to 100000"):
        assert part in text
    assert client("LATENCY GRAPH command") == "ERR no graphs are drawn here: LATENCY HISTORY has the samples"


# ---------------------------------------------------------------- MONITOR


def test_a_monitor_sees_every_request_as_valkey_shows_it_s11(port: Port, client: Session) -> None:
    monitor = port.connect()
    assert monitor("MONITOR") == "OK"
    assert " flags=O " in client("CLIENT LIST")
    client.send("GeT", b'a"\n\xff\x01')
    client.read()
    client.all("AUTH default secret", "CONFIG GET x", "NOPE", "GET", "MULTI", "GET a", "EXEC")
    seen = [line.split("] ", 1)[1] for line in monitor.transport.written.decode().splitlines()]
    assert seen == [
        '"GeT" "a\\"\\n\\xff\\x01"',
        '"AUTH" "(redacted)" "(redacted)"',
        '"MULTI"',
        '"GET" "a"',
        '"EXEC"',
    ]
    first = monitor.transport.written.decode().splitlines()[0]
    assert first[0] == "+"
    assert first.split(" ")[1:3] == ["[0", "127.0.0.1:50001]"]
    monitor.transport.written = b""
    assert monitor("GET a") == "ERR Replica can't interact with the keyspace"
    assert monitor("RESET") == "RESET"
    client("GET a")
    assert monitor.transport.written == b""


def test_a_monitor_that_is_gone_is_sent_nothing_s11(port: Port, client: Session) -> None:
    monitor = port.connect()
    monitor("MONITOR")
    monitor.connection.connection_lost(None)
    client("GET a")
    assert monitor.transport.written == b""
    assert not port.server.observer.monitors


# ---------------------------------------------------------------- ACL LOG


def test_logins_that_failed_are_logged_s11(client: Session) -> None:
    client("CONFIG SET requirepass right")
    client.all("AUTH wrong", "AUTH nobody wrong", "AUTH wrong", "HELLO 3 AUTH nobody x", "AUTH right")
    entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in client("ACL LOG")]
    assert [(entry["username"], entry["count"], entry["reason"]) for entry in entries] == [
        ("nobody", 2, "auth"),
        ("default", 2, "auth"),
    ]
    assert entries[0]["client-info"].startswith("id=1 addr=127.0.0.1:50001 ")
    assert len(client("ACL LOG 1")) == 1
    assert info(client, "stats")["acl_access_denied_auth"] == "4"
    assert client.all("ACL LOG RESET", "ACL LOG") == ["OK", []]


def test_the_log_of_logins_is_bounded_s11() -> None:
    log = LoginLog()
    for number in range(LOGINS_MAX + 5):
        log.add(f"user{number}" + "x" * 500, "", 0)
    assert len(log.newest(10 * LOGINS_MAX)) == LOGINS_MAX
    assert len(log.newest(1)[0].user) < 200
    log.add("late", "", 0)
    log.add("late", "", GROUPED_S * 1000 + 1)
    assert [entry.count for entry in log.newest(2)] == [1, 1], "a minute later it is a new entry"
