"""Slots and agreement: a slot of two owners is found, and so is any difference between what nodes say."""

from __future__ import annotations

import pytest
from soak.checks.ownership import (
    DOUBLE_OWNER_MAX_S,
    DoubleOwners,
    Table,
    claimed_twice,
    disagreement,
    listed_twice,
    parse,
)

A, B = "a" * 40, "b" * 40


def table(
    myself: str, slots_a: str = "0-100", slots_b: str = "101-16383", epoch: int = 1, link: str = "connected"
) -> Table:
    lines = {A: (7000, slots_a), B: (7001, slots_b)}
    return parse(
        "\n".join(
            f"{node_id} 127.0.0.1:{port}@{port + 10_000},,shard-id={node_id} "
            f"{'myself,' if node_id == myself else ''}master - 0 0 {epoch} {link} {slots}"
            for node_id, (port, slots) in lines.items()
        )
    )


def test_nodes_of_one_mind_agree() -> None:
    tables = {"one": table(A), "other": table(B)}
    assert disagreement(tables, 2) == ""
    assert claimed_twice(tables) == {}


def test_open_slots_and_single_ones_are_read() -> None:
    assert table(A, "5 7-8 [9->-" + B + "]")[A].slots == {5, 7, 8}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (table(B, epoch=2), "says something else"),
        (table(B, slots_b="101-16382"), "says something else"),
        (table(B, link="disconnected"), "to be away"),
        ({A: table(A)[A]}, "knows 1 nodes"),
    ],
)
def test_any_difference_is_told(other: Table, reason: str) -> None:
    assert reason in disagreement({"one": table(A), "other": other}, 2)


def test_a_slot_that_one_node_lists_twice_is_found() -> None:
    assert listed_twice(table(A, slots_b="100-200")) == {100}
    owners = DoubleOwners()
    owners.see({"one": table(A, slots_b="100-200")}, 1.0)
    assert owners.findings == ["one lists 1 slots twice at 1.0 s"]


def test_a_slot_that_two_nodes_claim_for_long_is_found_once_and_a_takeover_is_not() -> None:
    doubled = {"one": table(A), "other": table(B, slots_a="", slots_b="50-16383")}
    calm = {"one": table(A, slots_a="0-49"), "other": table(B, slots_a="0-49", slots_b="50-16383")}
    owners = DoubleOwners()
    for at_s, tables in ((0.0, doubled), (DOUBLE_OWNER_MAX_S - 1, doubled), (DOUBLE_OWNER_MAX_S, calm)):
        owners.see(tables, at_s)
    assert owners.findings == []
    for at_s in (100.0, 101.0 + DOUBLE_OWNER_MAX_S, 102.0 + DOUBLE_OWNER_MAX_S):
        owners.see(doubled, at_s)
    assert owners.findings == ["51 slots are claimed by one and other since 100.0 s"]
    assert "claimed by both" in disagreement(
        {"one": table(A), "other": {**table(A), B: doubled["other"][B], A: table(A)[A]}}, 2
    ) or "something else" in disagreement(doubled, 2)


def test_a_node_that_is_listed_twice_is_not_well_formed() -> None:
    line = f"{A} 127.0.0.1:7000@17000 myself,master - 0 0 1 connected"
    with pytest.raises(ValueError, match="listed twice"):
        parse(f"{line}\n{line}")
