"""The one table of refusals: what is counted is in it, and what is in it is counted."""

from __future__ import annotations

import inspect
import pkgutil
from collections import Counter

import clusterbus.cluster
import pytest
from clusterbus import _core, wire
from clusterbus.cluster.model.refusal import FIELD_PREFIX, REFUSED_FIELDS, Refusal
from clusterbus.member import counters

ENDED_BY_STATE = {"links_lost_no_pong", "links_lost_silent", "links_lost_idle"}


def names(prefix: str) -> set[str]:
    return {row.name for row in counters.REFUSALS if row.name.startswith(prefix)}


def counter_names(prefix: str, words: tuple[str, ...]) -> set[str]:
    return {f"{prefix}{word.replace('-', '_')}" for word in words}


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("dropped_", _core.PACKET_ERRORS),
        ("accepts_refused_", _core.REFUSAL_REASONS),
        ("links_lost_", _core.LOSS_REASONS),
    ],
)
def test_the_table_has_each_reason_of_the_engine_and_no_other(prefix: str, words: tuple[str, ...]) -> None:
    assert names(prefix) - ENDED_BY_STATE == counter_names(prefix, words)


def test_the_table_has_each_field_that_the_wire_layer_refuses() -> None:
    extensions = {f"extensions.{kind.name.lower()}" for kind in wire.ExtensionType}
    assert set(REFUSED_FIELDS) == extensions | {"myip", "gossip.node_id", "gossip.ip", "extensions"}
    assert names(FIELD_PREFIX) == {FIELD_PREFIX + name for name in REFUSED_FIELDS}


def test_no_two_refusals_are_shown_under_one_name() -> None:
    assert [name for name, count in Counter(row.shown for row in counters.REFUSALS).items() if count > 1] == []
    assert all(row.doc for row in counters.REFUSALS)


def test_each_refusal_of_the_state_occurs_in_its_code() -> None:
    modules = pkgutil.walk_packages(clusterbus.cluster.__path__, "clusterbus.cluster.")
    sources = [
        inspect.getsource(__import__(module.name, fromlist=["_"]))
        for module in modules
        if not module.name.endswith(".refusal")
    ]
    assert [refusal.name for refusal in Refusal if not any(f"Refusal.{refusal.name}" in text for text in sources)] == []
