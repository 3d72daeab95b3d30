"""A node that only watches (`cluster-observer yes`): no slots, no vote, no epoch, and nobody counts on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.claims.letters import Kind, Letter, encode
from clusterbus.cluster.effects import Broadcast, Effect
from clusterbus.cluster.membership.tags import TagMessage
from clusterbus.cluster.operator import persist
from clusterbus.cluster.state import ClusterState
from clusterbus.errors import ConfigError, StateError
from clusterbus.wire import ModuleMessage

from tests.cluster.solo import MYSELF_ID, Solo, node_id

ORDERS: dict[str, Callable[[ClusterState, int], object]] = {
    "owns no slots": lambda state, now_ms: state.add_slots([1], now_ms),
    "owns no slots, by import": lambda state, now_ms: state.import_slot(1, node_id("b"), now_ms),
    "owns no slots, by SETSLOT NODE": lambda state, now_ms: state.assign_slot(1, MYSELF_ID, now_ms),
    "owns no slots, by votes": lambda state, now_ms: state.take_slots(2, 1_000, now_ms),
    "has no config epoch": lambda state, now_ms: state.bump_epoch(now_ms),
    "has no config epoch, set": lambda state, now_ms: state.set_config_epoch(7, now_ms),
    "is no replica": lambda state, now_ms: state.replicate(node_id("b"), now_ms),
    "does not stand for election": lambda state, now_ms: state.failover(now_ms, takeover=True),
    "tells nobody its tags": lambda state, now_ms: state.set_tags({"a": "b"}, now_ms),
}


@pytest.mark.parametrize("what", list(ORDERS))
def test_an_order_that_would_give_it_a_part_is_refused_and_changes_nothing(what: str) -> None:
    solo = Solo(cluster_observer=True)
    solo.puppet("b", slots=[1, 2])
    before = solo.state.nodes_conf_text()
    with pytest.raises(StateError, match=f"This node is an observer .cluster-observer yes.: it {what.split(',')[0]}$"):
        ORDERS[what](solo.state, solo.now_ms)
    assert solo.state.nodes_conf_text() == before
    assert not solo.poll()


@pytest.mark.parametrize("observes", [True, False])
def test_it_takes_no_epoch_when_another_primary_has_the_same(observes: bool) -> None:
    solo = Solo(cluster_observer=observes)
    other = solo.puppet("b", config_epoch=0)  # a greater id than ours, which has to move otherwise
    assert other.node_id > MYSELF_ID
    solo.says(other)
    assert (solo.state.myself.config_epoch == 0) is observes


@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.ASK])
@pytest.mark.parametrize("observes", [True, False])
def test_it_answers_no_letter_about_slots_so_it_counts_as_a_server_of_another_kind(observes: bool, kind: Kind) -> None:
    solo = Solo(cluster_observer=observes)
    other = solo.puppet("b", config_epoch=5)
    solo.says(other)
    letter = encode(Letter(kind, False, epoch=9, count=2))
    effects = solo.receive(
        other.inbound, ModuleMessage(solo.header(other, mflags=0), c.SLOT_CLAIMS_MODULE_ID, kind, letter)
    )
    assert bool(modules(effects)) is not observes


@pytest.mark.parametrize("observes", [True, False])
def test_it_hears_the_tags_of_others_and_says_nothing_that_would_give_it_away(observes: bool) -> None:
    solo = Solo(cluster_observer=observes)
    other = solo.puppet("b", config_epoch=5)
    solo.says(other)
    tags = (1).to_bytes(8, "big") + b"\0\1a\0\1b"
    message = ModuleMessage(solo.header(other, mflags=0), c.TAGS_MODULE_ID, TagMessage.TELL, tags)
    effects = solo.receive(other.inbound, message)
    assert dict(solo.node(other).tags) == {"a": "b"}
    assert bool(modules(effects)) is not observes


def modules(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, Broadcast) and isinstance(effect.message, ModuleMessage)]


@pytest.mark.parametrize("is_replica", [True, False])
def test_a_nodes_conf_that_makes_it_something_else_is_refused(is_replica: bool) -> None:
    solo = Solo()
    other = solo.puppet("b", slots=[9], config_epoch=5)
    if is_replica:
        solo.state.replicate(other.node_id, solo.now_ms)
    else:
        solo.state.add_slots([1], solo.now_ms)
    saved = persist.parse(solo.state.nodes_conf_text())
    what = "a replica" if is_replica else "a primary with slots"
    with pytest.raises(ConfigError, match=f"^cluster-observer yes: this node is {what}, as nodes.conf says$"):
        Solo(saved=saved, cluster_observer=True)
