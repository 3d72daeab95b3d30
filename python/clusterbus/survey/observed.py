"""What an observer on the bus sees, as one answer more of a survey.

Owns how the snapshots of a bus become rows of CLUSTER NODES. Joins nothing itself. Plain data, any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.model.records import FLAG_OF_NAME
from clusterbus.cluster.model.slots import bits_of_ranges
from clusterbus.streams.snapshots import NodeView
from clusterbus.survey.asking import Answer, Survey
from clusterbus.survey.node_rows import NodeRow

OBSERVER: Final = "observer"
"""What stands where other answers have an address."""


def with_observer(
    survey: Survey, node_id: str, nodes: Mapping[str, NodeView], unreached: Mapping[str, str], *, is_tls: bool
) -> Survey:
    """The survey with the view of the observer `node_id`, who has no line of its own in it; nor have the others, to
    whom it is no member. `unreached` has for each node that it does not reach on the bus the reason.
    """
    rows = tuple(_row(node, is_tls=is_tls) for node in nodes.values() if not node.is_myself)
    at_others = {row.address for answer in survey.answers for row in answer.nodes if row.node_id == node_id}
    answers = tuple(
        replace(answer, nodes=tuple(row for row in answer.nodes if row.node_id != node_id))
        for answer in survey.answers
        if not (answer.error and answer.address in at_others)
    )
    return replace(survey, answers=(*answers, Answer(OBSERVER, node_id, rows, unreached=unreached)))


def _row(node: NodeView, *, is_tls: bool) -> NodeRow:
    known = sum({FLAG_OF_NAME.get(word, 0) for word in node.flags})
    return NodeRow(
        node_id=node.node_id,
        ip=node.ip,
        port=node.tls_port if is_tls and node.tls_port else node.port,
        cport=node.bus_port,
        hostname=node.hostname,
        flags=known & ~c.FLAG_MYSELF,
        primary_id=node.primary_id,
        config_epoch=node.config_epoch,
        is_connected=node.connected,
        slot_bits=bits_of_ranges(node.slots),
    )
