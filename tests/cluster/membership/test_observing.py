"""A node that only watches (`cluster-observer yes`): no slots, no vote, no epoch, and nobody counts on it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.claims.letters import Kind, Letter, encode
from clusterbus.cluster.effects import Broadcast, Effect
from clusterbus.cluster.membership.observing import OBSERVES
from clusterbus.cluster.membership.tags import TagMessage
from clusterbus.cluster.model.node import Kin
from clusterbus.cluster.operator import persist
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.errors import ConfigError, StateError
from clusterbus.wire import Fail, ModuleMessage

from tests.cluster.solo import MYSELF_ID, Puppet, Solo, entry, node_id

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


def message_of(solo: Solo, sender: Puppet, module_id: int, kind: int, data: bytes = b"") -> list[Effect]:
    """A puppet sends a MODULE message; what we do about it."""
    return solo.receive(sender.inbound, ModuleMessage(solo.header(sender, mflags=0), module_id, kind, data))


@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.ASK, Kind.RENEW])
@pytest.mark.parametrize("observes", [True, False])
def test_it_answers_a_letter_about_slots_by_the_word_that_it_observes(observes: bool, kind: Kind) -> None:
    solo = Solo(cluster_observer=observes)
    other = solo.puppet("b", config_epoch=5)
    solo.says(other)
    before = solo.state.nodes_conf_text()
    letter = encode(Letter(kind, False, epoch=9, count=2))
    told = modules(message_of(solo, other, c.SLOT_CLAIMS_MODULE_ID, kind, letter))
    ids = {message.module_id for message in told}
    assert ids == {c.OBSERVER_MODULE_ID if observes else c.SLOT_CLAIMS_MODULE_ID}
    if observes:
        assert solo.state.nodes_conf_text() == before


def observes(solo: Solo, puppet: Puppet) -> None:
    message_of(solo, puppet, c.OBSERVER_MODULE_ID, OBSERVES)


@pytest.mark.parametrize("says_so", [True, False])
def test_who_observes_does_not_enlarge_the_majority_that_takes_slots(says_so: bool) -> None:
    """Three members and one more: two of three agree, of four it takes three."""
    solo = Solo()
    voter, _silent, watcher = (solo.puppet(letter) for letter in "abc")
    if says_so:
        observes(solo, watcher)
    solo.state.take_slots(2, 5_000, solo.now_ms)
    solo.poll()
    epoch = solo.state.current_epoch
    message_of(solo, voter, c.SLOT_CLAIMS_MODULE_ID, Kind.VOTE, encode(Letter(Kind.VOTE, False, epoch=epoch)))
    assert bool(solo.state.myself.slot_bits) is says_so


@pytest.mark.parametrize("says_so", [True, False])
def test_a_word_of_who_observes_makes_nobody_unreachable(says_so: bool) -> None:
    solo = Solo()
    victim, teller, watcher = (solo.puppet(letter) for letter in "abc")
    if says_so:
        observes(solo, watcher)
    assert solo.state.census == ((3, 3) if says_so else (4, 4))
    sick = c.FLAG_PRIMARY | c.FLAG_PFAIL
    solo.gossips(watcher, entry(victim, flags=sick))
    solo.gossips(teller, entry(victim, flags=sick))
    solo.tick()
    assert solo.node(victim).is_unreachable is not says_so, "one of two, else two of three"


def test_a_fail_message_of_who_observes_is_not_believed_and_it_sends_none() -> None:
    solo = Solo()
    victim, watcher = solo.puppet("a"), solo.puppet("b")
    observes(solo, watcher)
    solo.fails(watcher, victim.node_id)
    assert not solo.node(victim).is_failed
    watching = Solo(cluster_observer=True)
    victim, *owners = (watching.puppet(letter, slots=[number]) for number, letter in enumerate("abc"))
    watching.state._core.set_failure_flags(watching.node(victim), c.FLAG_PFAIL)
    for owner in owners:
        watching.gossips(owner, entry(victim, flags=c.FLAG_PRIMARY | c.FLAG_PFAIL))
    assert watching.node(victim).is_failed, "it sees what is so"
    assert not [effect for effect in watching.broadcasts() if isinstance(effect.message, Fail)]


def test_who_was_an_observer_and_speaks_as_a_member_counts_again() -> None:
    solo = Solo()
    other = solo.puppet("b")
    observes(solo, other)
    assert solo.node(other).is_observer
    assert solo.node(other).kin is Kin.OTHER
    message_of(solo, other, c.SLOT_CLAIMS_MODULE_ID, Kind.HELLO, encode(Letter(Kind.HELLO, False)))
    assert not solo.node(other).is_observer
    assert solo.node(other).kin is Kin.OURS


@pytest.mark.parametrize(("kind", "data"), [(1, b""), (0, b"x")])
def test_a_word_about_observing_that_makes_no_sense_is_refused(kind: int, data: bytes) -> None:
    solo = Solo()
    other = solo.puppet("b")
    message_of(solo, other, c.OBSERVER_MODULE_ID, kind, data)
    assert not solo.node(other).is_observer
    assert solo.counter("refused_observer") == 1


def test_its_id_is_smaller_than_any_other_so_that_no_valkey_takes_an_epoch_because_of_it() -> None:
    config = Config.from_keywords(cluster_observer=True)
    states = [
        ClusterState(config=config, random=Random(seed), now_ms=1, read_age_ms=lambda _link: None) for seed in (1, 2)
    ]
    ids = [state.myself.node_id for state in states]
    assert ids[0] != ids[1]
    states[0].reset(2, hard=True)
    ids.append(states[0].myself.node_id)
    assert ids[2] not in ids[:2]
    assert all(len(node_id) == 40 and node_id.startswith("00000000") for node_id in ids)


@pytest.mark.parametrize("is_smaller", [True, False])
def test_we_take_no_epoch_because_of_a_primary_whose_id_begins_as_that_of_an_observer(is_smaller: bool) -> None:
    """The rule of Valkey, as a clusterbus node follows it: the one with the smaller id takes an epoch."""
    solo = Solo()
    watcher = solo.puppet("0" if is_smaller else "f", config_epoch=0)
    solo.says(watcher)
    assert (solo.state.myself.config_epoch == 0) is is_smaller


@pytest.mark.parametrize("observes", [True, False])
def test_it_hears_the_tags_of_others_and_says_nothing_that_would_give_it_away(observes: bool) -> None:
    solo = Solo(cluster_observer=observes)
    other = solo.puppet("b", config_epoch=5)
    solo.says(other)
    tags = (1).to_bytes(8, "big") + b"\0\1a\0\1b"
    effects = message_of(solo, other, c.TAGS_MODULE_ID, TagMessage.TELL, tags)
    assert dict(solo.node(other).tags) == {"a": "b"}
    told = [(message.module_id, message.module_type) for message in modules(effects)]
    have = (c.TAGS_MODULE_ID, TagMessage.HAVE)
    assert told == ([(c.OBSERVER_MODULE_ID, OBSERVES), have] if observes else [have]), "what it is comes first"


def lives_on(solo: Solo, puppet: Puppet, duration_ms: int) -> list[Effect]:
    """Time passes, and the puppet answers every PING; what we did."""
    effects: list[Effect] = []
    for _ in range(duration_ms // 100):
        effects += solo.tick()
        effects += solo.says(puppet, c.PONG)
    return effects


def test_who_observes_is_told_new_tags_until_it_has_them_and_stays_an_observer() -> None:
    solo = Solo()
    watcher = solo.puppet("b")
    observes(solo, watcher)
    solo.node(watcher).link.takes_light = True  # type: ignore[union-attr]
    solo.state.set_tags({"a": "b"}, solo.now_ms)
    version = solo.state.myself.tags_version
    assert [message.module_type for message in modules(solo.poll())] == [TagMessage.TELL]
    told = lives_on(solo, watcher, 3_000)
    assert [message.module_type for message in modules(told)] == [TagMessage.TELL], "it has not answered"
    old = message_of(solo, watcher, c.TAGS_MODULE_ID, TagMessage.HAVE, (version - 1).to_bytes(8, "big"))
    assert [message.module_type for message in modules(old)] == [TagMessage.TELL]
    message_of(solo, watcher, c.TAGS_MODULE_ID, TagMessage.HAVE, version.to_bytes(8, "big"))
    assert not modules(lives_on(solo, watcher, 3_000))
    assert solo.node(watcher).is_observer
    assert not solo.node(watcher).is_clusterbus


def modules(effects: list[Effect]) -> list[ModuleMessage]:
    messages = [effect.message for effect in effects if isinstance(effect, Broadcast)]
    return [message for message in messages if isinstance(message, ModuleMessage)]


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
