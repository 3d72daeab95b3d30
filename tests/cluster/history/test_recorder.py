"""The history of one state: each kind of change with its cause and its source, and the bounds of the ring."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial, Effect
from clusterbus.cluster.history.change import (
    SLOT_RANGES_MAX,
    TEXT_LEN_MAX,
    Cause,
    Change,
    ChangeKind,
)
from clusterbus.cluster.model import node as model
from clusterbus.cluster.state import ClusterState
from clusterbus.errors import StateError
from clusterbus.wire import Extension

from tests.cluster.failover.test_election import Shard
from tests.cluster.failover.test_vote import Shards
from tests.cluster.shards import make_replica, promoted, replicate
from tests.cluster.solo import MYSELF_ID, Puppet, Solo, entry, node_id


def news(solo: Solo, act: Callable[[], object]) -> list[Change]:
    """What the history has told by the end of an act."""
    before = solo.state.history.last_number
    act()
    solo.poll()
    return solo.state.history.newer_than(before)


def told(changes: list[Change], kind: ChangeKind) -> Change:
    (change,) = [change for change in changes if change.kind is kind]
    return change


def of(changes: list[Change], kind: ChangeKind) -> list[Change]:
    return [change for change in changes if change.kind is kind]


def origin(change: Change) -> tuple[Cause, str, str, str]:
    return change.cause, change.source, change.packet, change.link


def speaks(puppet: Puppet, packet: str = "PING", link: str = "from") -> tuple[Cause, str, str, str]:
    return Cause.HEADER, puppet.node_id, packet, link


# ---------------------------------------------------------------- who is in the cluster


def test_a_node_joins_by_its_handshake_and_says_what_it_has() -> None:
    solo = Solo()
    changes = news(solo, lambda: solo.puppet("a", slots=[1, 2, 3, 9]))
    joined = told(changes, ChangeKind.JOINED)
    assert (joined.node_id, joined.old, joined.new) == (node_id("a"), "", "10.0.1.1:7001@17001 primary")
    assert origin(joined) == (Cause.HEADER, node_id("a"), "PONG", "to")
    slots = told(changes, ChangeKind.SLOTS)
    assert (slots.old, slots.new, slots.slots) == ("", node_id("a"), ((1, 3), (9, 9)))
    assert (told(changes, ChangeKind.CONFIG_EPOCH).old, told(changes, ChangeKind.CONFIG_EPOCH).new) == ("0", "97")
    assert told(changes, ChangeKind.CURRENT_EPOCH).new == "97"
    addresses = [change for change in of(changes, ChangeKind.ADDRESS) if change.node_id == node_id("a")]
    assert addresses == [], "what it is from the first is no change"


def test_a_node_joins_by_gossip_with_the_teller_as_source() -> None:
    solo = Solo()
    teller = solo.puppet("a")
    changes = news(solo, lambda: solo.gossips(teller, entry(node_id("b"))))
    (joined,) = changes
    assert joined.new == "10.0.2.2:7200@17200 primary"
    assert origin(joined) == (Cause.GOSSIP, teller.node_id, "PING", "from")


def test_a_node_that_is_forgotten_by_order_goes_with_its_slots() -> None:
    solo = Solo()
    puppet = solo.puppet("a", slots=[5])
    order, slots, gone = news(solo, lambda: solo.state.forget(puppet.node_id, solo.now_ms))
    assert (order.kind, order.new, order.source) == (ChangeKind.ORDER, f"CLUSTER FORGET {puppet.node_id}", "program")
    assert (slots.old, slots.new, slots.slots) == (puppet.node_id, "", ((5, 5),))
    assert (gone.kind, gone.old, gone.cause) == (ChangeKind.FORGOTTEN, "10.0.1.1:7001@17001", Cause.ORDER)


def test_a_node_that_a_peer_asks_to_forget_goes_by_the_peers_word() -> None:
    solo = Solo()
    asker, puppet = solo.puppet("a"), solo.puppet("b")
    extensions = [Extension.shard_id_of(asker.node_id[::-1]), Extension.forgotten_node_of(puppet.node_id, 60)]
    gone = told(news(solo, lambda: solo.says(asker, extensions=extensions)), ChangeKind.FORGOTTEN)
    assert gone.node_id == puppet.node_id
    assert origin(gone) == (Cause.EXTENSION, asker.node_id, "PING", "from")


def test_a_handshake_that_comes_to_nothing_is_no_change() -> None:
    solo = Solo()
    changes = news(solo, lambda: (solo.state.meet("10.0.9.9", 7000, None, solo.now_ms), solo.ticks(20_000)))
    assert {change.kind for change in changes} <= {ChangeKind.ORDER, ChangeKind.STATE}


def test_a_hard_reset_gives_this_node_another_id() -> None:
    solo = Solo()
    solo.puppet("a", slots=[5])
    changes = news(solo, lambda: solo.state.reset(solo.now_ms, hard=True))
    assert changes[0].new == "CLUSTER RESET HARD"
    renamed = told(changes, ChangeKind.RENAMED)
    assert (renamed.old, renamed.new) == (MYSELF_ID, solo.state.myself.node_id)
    assert (told(changes, ChangeKind.LEFT).node_id, told(changes, ChangeKind.LEFT).detail) == (node_id("a"), "reset")
    assert (told(changes, ChangeKind.CURRENT_EPOCH).old, told(changes, ChangeKind.CURRENT_EPOCH).new) == ("97", "0")


# ---------------------------------------------------------------- addresses and names


def test_an_address_is_moved_by_the_nodes_own_header() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    (moved,) = news(solo, lambda: solo.says(puppet, port=7999, cport=17999))
    assert (moved.kind, moved.old, moved.new) == (ChangeKind.ADDRESS, "10.0.1.1:7001@17001", "10.0.1.1:7999@17999")
    assert origin(moved) == speaks(puppet)


def test_an_address_is_lost_to_whom_answers_there() -> None:
    """A node came back under another id: the old one is FAIL and has no address, by the word of the new one."""
    solo = Solo()
    puppet = solo.puppet("a")
    stranger = replace(puppet, node_id=node_id("f"))
    changes = news(solo, lambda: solo.says(stranger, c.PONG))
    for kind, old, new in (
        (ChangeKind.ADDRESS, "10.0.1.1:7001@17001", ""),
        (ChangeKind.FAILURE, "ok", "fail"),
    ):
        change = told(changes, kind)
        assert (change.node_id, change.old, change.new) == (puppet.node_id, old, new)
        assert origin(change) == (Cause.ADDRESS_TAKEN, stranger.node_id, "PONG", "to")


def test_names_come_by_extensions() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    extensions = [
        Extension.shard_id_of("b" * 40),
        Extension.hostname_of("node.example.com"),
        Extension(c.EXTENSION_AVAILABILITY_ZONE, b"zone-1\0\0"),
        Extension.client_port_of(6000),
    ]
    changes = news(solo, lambda: solo.says(puppet, extensions=extensions))
    values = {change.kind: (change.old, change.new) for change in changes}
    assert values == {
        ChangeKind.HOSTNAME: ("", "node.example.com"),
        ChangeKind.ZONE: ("", "zone-1"),
        ChangeKind.CLIENT_ADDRESS: ("", "6000"),
        ChangeKind.SHARD: (puppet.node_id[::-1], "b" * 40),
    }
    assert {origin(change) for change in changes} == {(Cause.EXTENSION, puppet.node_id, "PING", "from")}


def test_what_this_node_announces_changes_by_its_configuration() -> None:
    solo = Solo()
    solo.config.update(cluster_announce_hostname="me.example.com")
    (change,) = news(solo, lambda: solo.state.handle_config_changed(solo.now_ms))
    assert (change.kind, change.new, change.cause) == (ChangeKind.HOSTNAME, "me.example.com", Cause.CONFIGURATION)
    assert change.node_id == change.source == MYSELF_ID


# ---------------------------------------------------------------- roles, slots, epochs


def test_slots_move_to_who_claims_them_under_a_greater_epoch() -> None:
    solo = Solo()
    old, new = solo.puppet("a", slots=range(100)), solo.puppet("b")
    new.slots, new.config_epoch = frozenset(range(10, 20)), 200
    changes = news(solo, lambda: solo.says(new))
    slots = told(changes, ChangeKind.SLOTS)
    assert (slots.node_id, slots.old, slots.new, slots.slots) == (new.node_id, old.node_id, new.node_id, ((10, 19),))
    assert origin(slots) == speaks(new)
    epoch = told(changes, ChangeKind.CONFIG_EPOCH)
    assert (epoch.node_id, epoch.old, epoch.new) == (new.node_id, "98", "200")


def test_an_update_is_the_word_of_its_sender() -> None:
    solo = Solo()
    teller, old, new = solo.puppet("a"), solo.puppet("b", slots=[5]), solo.puppet("c")
    changes = news(solo, lambda: solo.updates(teller, new.node_id, 300, [5]))
    slots = told(changes, ChangeKind.SLOTS)
    assert (slots.old, slots.new) == (old.node_id, new.node_id)
    assert origin(slots) == (Cause.UPDATE, teller.node_id, "UPDATE", "from")


def test_a_failover_that_is_announced_is_role_primary_slots_and_epoch() -> None:
    solo = Solo()
    old = solo.puppet("a", slots=[1, 2])
    replica = make_replica(solo, "b", old.node_id)
    changes = news(solo, lambda: promoted(solo, replica, 200, [1, 2]))
    role, primary = told(changes, ChangeKind.ROLE), told(changes, ChangeKind.PRIMARY)
    assert (role.node_id, role.old, role.new) == (replica.node_id, "replica", "primary")
    assert (primary.node_id, primary.old, primary.new) == (replica.node_id, old.node_id, "")
    slots = told(changes, ChangeKind.SLOTS)
    assert (slots.old, slots.new, slots.slots) == (old.node_id, replica.node_id, ((1, 2),))
    assert {origin(change) for change in (role, primary, slots)} == {speaks(replica)}


def test_own_orders_are_told_with_what_they_changed() -> None:
    solo = Solo()
    primary = solo.puppet("a")
    order, slots = news(solo, lambda: solo.state.add_slots([3, 4], solo.now_ms))[:2]
    assert (order.kind, order.new, order.source) == (ChangeKind.ORDER, "CLUSTER ADDSLOTS", "program")
    assert (slots.new, slots.cause, slots.source, slots.detail) == (MYSELF_ID, Cause.ORDER, "program", order.new)
    news(solo, lambda: solo.state.del_slots([3, 4], solo.now_ms))
    solo.state.history.client = "10.0.0.1:555"
    changes = news(solo, lambda: replicate(solo, primary))
    assert changes[0].new == f"CLUSTER REPLICATE {primary.node_id}"
    assert (changes[0].source, changes[0].detail) == ("client", "10.0.0.1:555")
    role = told(changes, ChangeKind.ROLE)
    assert (role.node_id, role.new, role.source) == (MYSELF_ID, "replica", "client")
    assert {change.new for change in of(changes, ChangeKind.PRIMARY)} == {primary.node_id}


def test_an_order_that_is_refused_is_not_told() -> None:
    solo = Solo()

    def refused() -> None:
        with pytest.raises(StateError):
            solo.state.forget(node_id("f"), solo.now_ms)

    assert news(solo, refused) == []


def test_a_collision_of_epochs_is_told_as_one() -> None:
    solo = Solo()
    changes = news(solo, lambda: solo.puppet("a", slots=[1], config_epoch=0))
    own = [change for change in of(changes, ChangeKind.CONFIG_EPOCH) if change.node_id == MYSELF_ID]
    assert [(change.cause, change.new) for change in own] == [(Cause.EPOCH_COLLISION, "1")]


# ---------------------------------------------------------------- failures


def test_a_silent_node_is_suspected_by_this_node_and_then_answers() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    effects: list[Effect] = []
    changes = news(solo, lambda: effects.extend(solo.tick_until(lambda: solo.node(puppet).is_pfail)))
    suspected = told(changes, ChangeKind.FAILURE)
    assert (suspected.node_id, suspected.old, suspected.new) == (puppet.node_id, "ok", "pfail")
    assert origin(suspected) == (Cause.NODE_TIMEOUT, MYSELF_ID, "", "")
    puppet.dialled = solo.open(solo.of(Dial, effects)[-1])
    answered = told(news(solo, lambda: solo.says(puppet, c.PONG)), ChangeKind.FAILURE)
    assert (answered.old, answered.new) == ("pfail", "ok")
    assert origin(answered) == (Cause.ANSWER, puppet.node_id, "PONG", "to")


def test_fail_by_reports_names_the_last_reporter_and_all_others() -> None:
    solo = Solo()
    puppet = solo.puppet("d", slots=[4])
    reporters = [solo.puppet(letter, slots=[number]) for number, letter in enumerate("abc")]
    solo.tick_until(lambda: solo.node(puppet).is_pfail)
    first, second, third = reporters
    failing = entry(puppet, flags=c.FLAG_PRIMARY | c.FLAG_PFAIL)
    assert news(solo, lambda: [solo.gossips(reporter, failing) for reporter in (first, second)]) == []
    failed = told(news(solo, lambda: solo.gossips(third, failing)), ChangeKind.FAILURE)
    assert (failed.old, failed.new) == ("pfail", "fail")
    assert origin(failed) == (Cause.GOSSIP, third.node_id, "PING", "from")
    assert failed.detail == f"reported by {' '.join(reporter.node_id for reporter in reporters)}"


def test_a_fail_message_is_the_word_of_its_sender() -> None:
    solo = Solo()
    teller, puppet = solo.puppet("a"), solo.puppet("b")
    failed = told(news(solo, lambda: solo.fails(teller, puppet.node_id)), ChangeKind.FAILURE)
    assert (failed.node_id, failed.new) == (puppet.node_id, "fail")
    assert origin(failed) == (Cause.FAIL_MESSAGE, teller.node_id, "FAIL", "from")


def test_the_state_is_told_with_its_reason() -> None:
    solo = Solo(cluster_require_full_coverage=False)
    changes = news(solo, lambda: (solo.state.add_slots([1], solo.now_ms), solo.ticks(5_000)))
    state = told(changes, ChangeKind.STATE)
    assert (state.old, state.new) == ("fail (just-started)", "ok")
    changes = news(solo, lambda: solo.state.flush_slots(solo.now_ms))
    state = told(changes, ChangeKind.STATE)
    assert (state.old, state.new, state.cause) == ("ok", "fail (slots-not-served)", Cause.ORDER)


# ---------------------------------------------------------------- elections


def test_a_vote_that_is_given_and_one_that_is_refused() -> None:
    shards = Shards()
    epoch = shards.solo.state.current_epoch + 1
    given = told(news(shards.solo, shards.asks), ChangeKind.VOTE_GIVEN)
    assert (given.node_id, given.new) == (shards.replica.node_id, str(epoch))
    assert origin(given)[1:] == (shards.replica.node_id, "AUTH-REQ", "from")
    again = news(shards.solo, lambda: shards.asks(current_epoch=epoch))
    refused = told(again, ChangeKind.VOTE_REFUSED)
    assert (refused.new, refused.detail) == (str(epoch), f"already voted for epoch {epoch}")


def test_who_asks_for_a_vote_again_and_again_fills_no_ring() -> None:
    shards = Shards()
    shards.asks()
    epoch = shards.solo.state.current_epoch
    changes = news(shards.solo, lambda: [shards.asks(current_epoch=epoch) for _ in range(100)])
    assert [change.kind for change in changes] == [ChangeKind.VOTE_REFUSED]


def test_an_election_is_asked_for_voted_on_and_won() -> None:
    shard = Shard()
    asked = told(news(shard.solo, shard.until_asked), ChangeKind.ELECTION_ASKED)
    epoch = shard.solo.state.current_epoch
    assert (asked.node_id, asked.new, asked.cause) == (MYSELF_ID, str(epoch), Cause.ELECTION)
    changes = news(shard.solo, lambda: shard.vote(*shard.voters))
    votes = of(changes, ChangeKind.VOTE_RECEIVED)
    assert [vote.node_id for vote in votes] == [voter.node_id for voter in shard.voters]
    assert {vote.new for vote in votes} == {str(epoch)}
    won = told(changes, ChangeKind.ELECTION_WON)
    assert (won.new, won.cause) == (str(epoch), Cause.ELECTION)
    slots = told(changes, ChangeKind.SLOTS)
    assert (slots.old, slots.new, slots.cause, slots.source) == (
        shard.primary.node_id, MYSELF_ID, Cause.ELECTION, MYSELF_ID,
    )  # fmt: skip


def test_an_election_that_is_lost_says_why() -> None:
    shard = Shard()
    shard.until_asked()
    lost = told(news(shard.solo, lambda: shard.live(6_000)), ChangeKind.ELECTION_LOST)
    assert lost.detail == "no majority in time"


# ---------------------------------------------------------------- nothing of what is no change


def test_heartbeats_that_repeat_what_is_known_are_no_change() -> None:
    solo = Solo()
    puppet = solo.puppet("a", slots=[1])
    assert news(solo, lambda: [solo.says(puppet) for _ in range(5)]) == []


def test_what_is_set_and_set_back_within_an_input_is_no_change() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    node = solo.node(puppet)

    def there_and_back() -> None:
        node.hostname = "other"
        node.hostname = ""

    assert news(solo, there_and_back) == []


def test_each_field_that_is_viewed_is_told_or_named_as_not_told() -> None:
    declared = model._declared(model._VIEWED)
    assert declared == model.TOLD | model.NOT_TOLD
    assert not model.TOLD & model.NOT_TOLD


NO_ORDERS = {
    *("tick", "ping", "is_mutual", "count_failure_reports", "say_leave", "say_hello", "call_off", "keep_leases"),
    *("held_slots", "publish", "send_module", "set_tags", "give_up_import"),
}
"""What a client or a program may ask for that changes nothing of which the history tells, but for the tick."""


def test_each_input_of_the_state_is_told_as_an_order_or_named_as_none() -> None:
    inputs = {
        name: method
        for name, method in vars(ClusterState).items()
        if inspect.isfunction(method) and "now_ms" in inspect.signature(method).parameters and name[0] != "_"
    }
    orders = {name for name, method in inputs.items() if hasattr(method, "__wrapped__")}
    rest = {name for name in inputs if name not in orders and not name.startswith("handle_")}
    assert rest == NO_ORDERS


# ---------------------------------------------------------------- the ring


def test_the_ring_holds_the_newest_and_numbers_go_on() -> None:
    solo = Solo(cluster_log_max_len=3)
    history = solo.state.history
    for _ in range(5):
        solo.state.add_slots([7], solo.now_ms)
        solo.poll()
        solo.state.del_slots([7], solo.now_ms)
        solo.poll()
    assert len(history) == 3
    newest = history.last_number
    assert [change.number for change in history.newer_than(0)] == [newest - 2, newest - 1, newest]
    assert [change.number for change in history.newer_than(newest - 1)] == [newest]
    assert history.newer_than(newest) == []
    history.clear()
    assert (len(history), history.newer_than(0), history.last_number) == (0, [], newest)


def test_a_ring_of_no_length_is_off_and_comes_back() -> None:
    solo = Solo(cluster_log_max_len=0)
    puppet = solo.puppet("a", slots=[1])
    assert (len(solo.state.history), solo.state.history.last_number) == (0, 0)
    solo.config.update(cluster_log_max_len=10)
    solo.state.handle_config_changed(solo.now_ms)
    assert [change.kind for change in news(solo, lambda: solo.says(puppet, port=7999))] == [ChangeKind.ADDRESS]
    solo.config.update(cluster_log_max_len=0)
    solo.state.handle_config_changed(solo.now_ms)
    assert len(solo.state.history) == 0


def test_an_entry_is_bounded_whatever_a_peer_claims() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    puppet.slots, puppet.config_epoch = frozenset(range(0, c.SLOTS, 2)), 200
    changes = of(news(solo, lambda: solo.says(puppet)), ChangeKind.SLOTS)
    assert len(changes) == c.SLOTS // 2 // SLOT_RANGES_MAX
    assert [first for change in changes for first, _last in change.slots] == list(range(0, c.SLOTS, 2))
    for change in solo.state.history.newer_than(0):
        assert max(map(len, (change.old, change.new, change.detail))) <= TEXT_LEN_MAX
        assert len(change.slots) <= SLOT_RANGES_MAX


def test_a_listener_hears_of_each_change_once() -> None:
    solo = Solo(cluster_log_max_len=1)
    heard: list[Change] = []
    solo.state.history.listeners.append(heard.append)
    solo.puppet("a", slots=[1])
    assert [change.number for change in heard] == list(range(1, solo.state.history.last_number + 1))


def test_a_change_is_one_readable_line() -> None:
    change = Change(
        17, 1_700_000_000_123, ChangeKind.SLOTS, node_id("b"), node_id("a"), node_id("b"), Cause.HEADER, node_id("b"),
        "PING", "from", ((0, 99), (101, 101)), "a detail",
    )  # fmt: skip
    told_by = "(header in PING on its link, by bbbbbbbb): a detail"
    assert str(change) == f"22:13:20.123 #17 bbbbbbbb slots 0-99 101 aaaaaaaa -> bbbbbbbb {told_by}"
    assert str(replace(change, old="", packet="", detail="")).endswith("slots 0-99 101 bbbbbbbb (header by bbbbbbbb)")
    assert "aaaaaaaa -> none" in str(replace(change, new=""))
