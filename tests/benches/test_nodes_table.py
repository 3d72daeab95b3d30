"""What a server knows at the end of a workload that changes the cluster, compared with what it was told."""

from __future__ import annotations

import pytest
from runner import nodes_table
from runner.errors import MeasurementError
from runner.nodes_table import parse_nodes, wait_until_known

PRIMARY, REPLICA, MYSELF = "a" * 40, "b" * 40, "c" * 40
TOLD = f"""\
{PRIMARY} 127.1.0.1:7000@17000 master - 0 0 9 connected 1 2 3 7
{REPLICA} 127.1.0.2:7001@17001 slave {PRIMARY} 0 0 9 connected
"""
ANSWER = f"""\
{MYSELF} 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 9-12 [9->-{PRIMARY}]
{PRIMARY} 127.1.0.1:7000@17000,a.example master - 5 6 9 connected 1-3 7
{REPLICA} 127.1.0.2:7001@17001 slave,nofailover {PRIMARY} 5 6 9 disconnected
"""


def test_an_answer_and_what_was_told_are_the_same_but_for_links_times_and_hostnames() -> None:
    assert parse_nodes(ANSWER) == parse_nodes(TOLD)
    assert parse_nodes(ANSWER)[PRIMARY] == ("127.1.0.1:7000@17000", "master", "-", "9", frozenset({1, 2, 3, 7}))


@pytest.mark.parametrize(
    ("old", "new"),
    [("1-3 7", "1-3"), (f"slave,nofailover {PRIMARY}", "master -"), ("7001@17001", "7000@17001"), (" 6 9 ", " 6 8 ")],
)
def test_a_slot_a_role_an_address_or_an_epoch_that_was_not_taken_in_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    monkeypatch.setattr(nodes_table, "DEADLINE_S", 0.0)
    answers = [ANSWER]
    monkeypatch.setattr(nodes_table, "_cluster_nodes", lambda _port: answers[0])
    wait_until_known(7000, TOLD)
    assert old in ANSWER
    answers[0] = ANSWER.replace(old, new)
    with pytest.raises(MeasurementError, match="not known as they are"):
        wait_until_known(7000, TOLD)


def test_a_server_that_takes_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [ANSWER, ANSWER.replace("1-3 7", "1-3")]
    monkeypatch.setattr(nodes_table, "_cluster_nodes", lambda _port: answers.pop())
    wait_until_known(7000, TOLD)
    assert answers == []
