"""What a client knows: changes in order, nothing goes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clusterbus.topology.picture import GapError, Picture


def node(name: str, epoch: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "id": name,
        "ip": "10.0.0.1",
        "port": 7000 + ord(name[0]),
        "tls_port": 9000,
        "hostname": "",
        "zone": "",
        "role": "primary",
        "primary": None,
        "shard": name,
        "epoch": epoch,
        "failing": "",
    } | fields


def told(version: int, previous: int | None, run_id: str = "r", **parts: Any) -> str:
    text = {"run_id": run_id, "version": version, "previous": previous, "state": "ok", "nodes": [], "gone": []}
    return json.dumps(text | {"slots": []} | parts)


def begun() -> Picture:
    picture = Picture()
    nodes = [node("a"), node("b", 2), node("c", 1, role="replica", primary="a")]
    assert picture.take(told(1, None, nodes=nodes, slots=[[0, 99, "a"], [100, 16_383, "b"]]))
    return picture


def owners(picture: Picture) -> list[tuple[int, int, str]]:
    return [(first, last, primary[2]) for first, last, primary, *_replicas in picture.rows()]


def test_a_picture_is_as_cluster_slots() -> None:
    a, b, c = (["10.0.0.1", 7000 + ord(name), name] for name in "abc")
    assert begun().rows() == [[0, 99, a, c], [100, 16_383, b]]
    assert begun().rows(tls=True)[0] == [0, 99, ["10.0.0.1", 9000, "a"], ["10.0.0.1", 9000, "c"]]


def test_a_change_follows_its_picture() -> None:
    picture = begun()
    promoted = node("c", 3)
    demoted = node("a", 3, role="replica", primary="c", failing="fail")
    assert picture.take(told(2, 1, nodes=[promoted, demoted], slots=[[0, 99, "c"]]))
    assert owners(picture) == [(0, 99, "c"), (100, 16_383, "b")]
    assert len(picture.rows()[0]) == 3, "a replica that fails is no replica to a client"
    assert picture.take(told(3, 2, slots=[[50, 60, None]]))
    assert owners(picture) == [(0, 49, "c"), (61, 99, "c"), (100, 16_383, "b")]
    assert not picture.take(told(4, 3, nodes=[node("b", 2, failing="pfail")])), "a client need not know that"


@pytest.mark.parametrize("text", [told(3, 2), told(2, 1, run_id="another")])
def test_a_change_to_another_picture_is_a_gap(text: str) -> None:
    picture = begun()
    with pytest.raises(GapError):
        picture.take(text)
    assert owners(picture) == owners(begun())


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"run_id": "r"}'])
def test_what_is_no_topology_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"topology|JSON|Expecting"):
        begun().take(text)


def test_the_picture_of_a_node_that_is_behind_takes_nothing_back() -> None:
    picture = begun()
    picture.take(told(2, 1, nodes=[node("c", 3), node("a", 3, role="replica", primary="c")], slots=[[0, 99, "c"]]))
    behind = [node("a", 1), node("b", 2), node("c", 1, role="replica", primary="a")]
    picture.take(told(7, None, "another", nodes=behind, slots=[[0, 99, "a"], [100, 16_383, "b"]]))
    assert owners(picture) == [(0, 99, "c"), (100, 16_383, "b")]
    ahead = [node("a", 4), node("b", 2), node("c", 4, role="replica", primary="a")]
    picture.take(told(9, None, "third", nodes=ahead, slots=[[0, 99, "a"], [100, 16_383, "b"]]))
    assert owners(picture) == [(0, 99, "a"), (100, 16_383, "b")]


def test_a_change_told_by_a_node_that_is_behind_takes_nothing_back() -> None:
    picture = begun()
    picture.take(told(2, 1, nodes=[node("c", 3), node("a", 3, role="replica", primary="c")], slots=[[0, 99, "c"]]))
    behind = [node("a", 1), node("b", 2), node("c", 1, role="replica", primary="a")]
    picture.take(told(7, None, "another", nodes=behind, slots=[[0, 99, "a"], [100, 16_383, "b"]]))
    older = node("c", 1, role="replica", primary="a", failing="fail")
    picture.take(told(8, 7, "another", nodes=[older], slots=[[0, 49, "a"]]))
    assert owners(picture) == [(0, 99, "c"), (100, 16_383, "b")]
    assert picture.nodes["c"]["failing"] == "fail", "that has no epoch"
    picture.take(told(9, 8, "another", slots=[[0, 9, None]]))
    assert owners(picture)[0] == (10, 99, "c"), "a slot that its owner gave up has none"


def test_an_owner_that_is_no_member_any_more_keeps_nothing() -> None:
    picture = begun()
    picture.take(told(7, None, "another", nodes=[node("d", 1)], slots=[[0, 16_383, "d"]]))
    assert owners(picture) == [(0, 16_383, "d")]
