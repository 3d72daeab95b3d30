"""The view of an observer on the bus among the answers at client ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.streams.snapshots import NodeView
from clusterbus.survey.asking import Survey
from clusterbus.survey.evidence import Evidence
from clusterbus.survey.findings import findings
from clusterbus.survey.node_rows import NodeRow
from clusterbus.survey.observed import with_observer

from tests.survey.written import Line, Written, sound

B, D, E = "b" * 40, "d" * 40, "e" * 40


@pytest.fixture
def cluster() -> Written:
    """Each node knows the observer still."""
    cluster = sound()
    for viewer in "abcd":
        cluster.tables[viewer]["e"] = Line("e", 7009)
    cluster.errors["10.0.0.1:7009"] = "Connection refused"
    return cluster


def node_view(row: NodeRow, *words: str) -> NodeView:
    return NodeView(
        node_id=row.node_id, ip=row.ip, port=row.port, tls_port=0, bus_port=row.cport, hostname="", human_nodename="",
        availability_zone="", flags=frozenset({"master" if row.is_primary else "slave", *words}),
        primary_id=row.primary_id, shard_id="", config_epoch=row.config_epoch, slots=ranges_of(row.slot_bits),
        connected=True, is_unreachable=False, ping_sent_ms=0, pong_received_ms=0, is_clusterbus=False, rtt_us=None,
        rtt_max_us=None, tags={},
    )  # fmt: skip


def views(cluster: Written) -> dict[str, NodeView]:
    """What an observer sees that sees what all do."""
    rows = cluster.survey().answers[0].nodes
    return {row.node_id: node_view(row, *(["myself"] if row.node_id == E else [])) for row in rows}


def observed(cluster: Written, nodes: Mapping[str, NodeView], unreached: Mapping[str, str] | None = None) -> Survey:
    return with_observer(cluster.survey(), E, nodes, unreached or {}, is_tls=False)


def test_an_observer_that_sees_what_all_see_adds_nothing(cluster: Written) -> None:
    survey = observed(cluster, views(cluster))
    assert findings(survey) == []
    (group,) = Evidence(survey).views
    assert group.addresses[-1] == "observer"
    assert len(survey.answers) == 5


def test_what_an_observer_sees_otherwise_is_a_view_of_its_own(cluster: Written) -> None:
    nodes = views(cluster)
    nodes[D] = replace(nodes[D], flags=frozenset({"master"}), primary_id=None)
    nodes[B] = replace(nodes[B], flags=frozenset({"master", "fail"}))
    found = {finding.kind.value: finding for finding in findings(observed(cluster, nodes))}
    assert {*found} == {"views-differ", "phantom-primary", "failed-but-answers"}
    assert {finding.said_by for finding in found.values()} == {("observer",)}


def test_whom_an_observer_does_not_reach_is_off_the_bus_unless_others_hold_it_failed(cluster: Written) -> None:
    reasons = {B: "the observer cannot dial it", "f" * 40: "there is no link to it"}
    (finding,) = findings(observed(cluster, views(cluster), reasons))
    assert finding.kind.value == "off-the-bus"
    assert finding.what == "10.0.0.1:7002 (bbbbbbbb) answers here, and not on the bus: the observer cannot dial it"
    cluster.change("b", "a", flags="master,fail?")
    assert [finding.kind.value for finding in findings(observed(cluster, views(sound()), reasons))] == [
        "failed-but-answers"
    ]


def test_addresses_of_tls_are_those_that_were_asked(cluster: Written) -> None:
    nodes = {node_id: replace(node, tls_port=node.port, port=1) for node_id, node in views(cluster).items()}
    survey = with_observer(cluster.survey(), E, nodes, {}, is_tls=True)
    assert findings(survey) == []
