"""The limit of log lines about peers that misbehave (the H rows: one line names the peer)."""

from __future__ import annotations

from clusterbus.member.refusals import RefusalLog


def test_one_line_for_a_peer_and_reason_in_an_interval_and_the_rest_are_counted() -> None:
    log = RefusalLog(interval_ms=1_000)
    assert log.line("10.0.0.1:5", "bad-length", "totlen 9", 5_000) == "10.0.0.1:5: totlen 9"
    assert log.line("10.0.0.1:5", "bad-length", "totlen 9", 5_999) is None
    assert log.line("10.0.0.1:5", "bad-length", "totlen 9", 5_999) is None
    line = log.line("10.0.0.1:5", "bad-length", "totlen 7", 6_000)
    assert line == "10.0.0.1:5: totlen 7 (2 more like it since the last line)"
    assert log.line("10.0.0.1:5", "bad-length", "", 6_001) is None


def test_other_peers_and_other_reasons_have_lines_of_their_own() -> None:
    log = RefusalLog(interval_ms=1_000)
    assert log.line("a", "eof", "", 0) is not None
    assert log.line("b", "eof", "", 0) is not None
    assert log.line("a", "error", "", 0) is not None


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    log = RefusalLog(interval_ms=1_000, remembered_max=3, lines_per_interval_max=100)
    for peer in "abcd":
        assert log.line(peer, "eof", "", 0) is not None
    assert len(log) == 3
    assert log.line("b", "eof", "", 1) is None
    assert log.line("a", "eof", "", 1) is not None


def test_many_peers_together_have_a_limit_of_lines_in_an_interval() -> None:
    log = RefusalLog(interval_ms=1_000, lines_per_interval_max=5)
    lines = [log.line(f"10.0.0.{peer}", "eof", "", 10_000) for peer in range(50)]
    assert sum(line is not None for line in lines) == 5
    assert len(log) == 5
    assert log.line("10.0.0.49", "eof", "", 11_000) is not None
