"""Quiet heartbeats leave the state just as applying the whole packets does (R33, R34)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_type_hints

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.heartbeats.gossip_out import entry_about
from clusterbus.cluster.heartbeats.quiet import whole_view
from clusterbus.cluster.model.node import Node, Succession
from clusterbus.cluster.model.slots import bits_of, bits_to_wire
from clusterbus.view import Verdict, View
from clusterbus.wire import HEADER_LEN_BYTES, Extension, GossipEntry, encode, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster.heartbeats.worlds import World, entry_of
from tests.cluster.solo import ABILITIES, Solo

NEWS_MAX = 32
"""The limit of the same name in the engine."""
LETTERS = "abce"
"""The puppets that send."""
SICK = c.FLAG_PRIMARY | c.FLAG_PFAIL


# ---------------------------------------------------------------- the property

letters = st.sampled_from(LETTERS)
entries = st.tuples(
    st.sampled_from("aabbccddmz"),  # m: the one that receives; z: an unknown node
    st.sampled_from([c.FLAG_PRIMARY, SICK, c.FLAG_PRIMARY | c.FLAG_FAIL, c.FLAG_REPLICA, c.FLAG_MYSELF]),
    st.sampled_from([-5, 0, 0, 0, 1]),  # seconds from now
    st.booleans(),  # another address
)
headers = st.sampled_from(
    [
        *[{}] * 12,
        {"current_epoch": 2**20},
        {"config_epoch": 2**20},
        *({"config_epoch": epoch} for epoch in (1, 2, 3)),
        {"offset": 7},
        {"flags": c.FLAG_PRIMARY | c.FLAG_NOFAILOVER},
        {"flags": c.FLAG_PRIMARY | ABILITIES | c.FLAG_MY_PRIMARY_FAIL},
        {"myip": "10.7.7.7"},
        {"port": 9999},
        {"mflags": 0},
        {"mflags": c.MFLAG_EXTENSIONS | c.MFLAG_PAUSED},
        {"replicaof": "d" * 40},
        {"replicaof": None},
        {"replicaof": "a" * 40, "flags": c.FLAG_REPLICA},
        {"state": 1},
        {"myslots": b"\xff" + bytes(2047)},
        {"myslots": bytes(2048)},
        {"myslots": b"\x08" + bytes(2047)},
        {"myslots": b"\x11" + bytes(2047)},
    ]
)
extension_lists = st.sampled_from(
    [
        *[None] * 8,
        [],
        [Extension.hostname_of("somewhere")],
        [Extension.forgotten_node_of("d" * 40, 30)],
        [Extension(999, b"12345678")],
    ]
)
packets = st.tuples(
    st.just("packet"),
    letters,
    st.sampled_from([c.PING, c.PING, c.PONG, c.MEET]),
    st.lists(entries, max_size=4),
    headers,
    extension_lists,
)
steps_of_peers = st.one_of(packets, packets, packets, st.tuples(st.just("tick"), st.sampled_from([100, 700, 3000])))


orders = st.tuples(st.just("order"), st.sampled_from(["", "force", "bump"]))
roles = st.sampled_from(["", "a", "d"])


@settings(max_examples=150, deadline=None)
@given(script=st.lists(st.one_of(steps_of_peers, steps_of_peers, steps_of_peers, orders)), primary=roles)
def test_a_quiet_packet_leaves_the_state_that_the_whole_packet_leaves_r33(
    script: list[tuple[Any, ...]], primary: str
) -> None:
    world = World(primary)
    for step in script:
        if step[0] == "tick":
            world.tick(step[1])
            continue
        if step[0] == "order":
            world.orders_bump() if step[1] == "bump" else world.orders_failover(step[1])
            continue
        _, letter, kind, mentions, header, extensions = step
        puppet = world.puppets[letter]
        gossip = []
        for about, flags, seconds, elsewhere in mentions:
            changes: dict[str, Any] = {"flags": flags, "pong_received_s": world.whole.now_ms // 1000 + seconds}
            if elsewhere:
                changes |= {"ip": "10.8.8.8", "cport": 18888}
            if about in "mz":
                changes["node_id"] = "f" * 40 if about == "z" else world.whole.state.myself.node_id
            gossip.append(entry_of(world, "d" if about in "mz" else about, **changes))
        heartbeat = world.whole.heartbeat(puppet, kind, gossip, extensions, **header)
        world.sends(puppet, heartbeat)
        assert_view_is_whole(world.compared)


def test_a_first_pong_with_a_new_epoch_has_its_effects_in_one_order_r33() -> None:
    """The first PONG on a link has our tags told there, after what its header says."""
    world = World()
    world.tick(700)
    puppet = world.puppets["a"]
    world.sends(puppet, world.whole.heartbeat(puppet, c.PONG, config_epoch=500))


def test_a_replica_whose_primary_was_forgotten_is_looked_at_again_r33() -> None:
    """What it says of its shard was refused for its primary's sake, and counts once the primary is gone (P18)."""
    world = World()
    for letter, extensions, replicaof in (
        ("b", None, "d"),
        ("a", [Extension.forgotten_node_of("d" * 40, 30)], ""),
        ("b", None, "d"),
    ):
        header = {"replicaof": replicaof * 40} if replicaof else {}
        world.sends(
            world.puppets[letter], world.whole.heartbeat(world.puppets[letter], c.PING, [], extensions, **header)
        )
    node = world.compared.state.find("b" * 40)
    assert node is not None
    assert (node.shard_id, node.refused_shard_id) == ("b" * 40, "")


# ---------------------------------------------------------------- the view follows the state


def said_by(view: View, receiver: str) -> dict[str, GossipEntry]:
    """What the view's heartbeats say about each node."""
    seeds = range(30)
    packets = [packet for seed in seeds for packet in parse(view.encode(c.PING, receiver, seed))]
    return {entry.node_id: entry for packet in packets for entry in packet.gossip}


def assert_view_is_whole(solo: Solo) -> None:
    """A view that was made from the one before it is as one that is made from nothing."""
    core = solo.state._core
    view, whole = solo.state.view(), whole_view(core)
    assert view is not None
    assert view.version == whole.version == solo.state.version
    assert [view.knows(node.node_id) for node in core.table] == [whole.knows(node.node_id) for node in core.table]
    assert said_by(view, core.myself.node_id) == said_by(whole, core.myself.node_id)
    assert not core.version.outdated
    assert not core.version.gone


def test_a_view_follows_nodes_that_come_go_and_change_r33(world: World) -> None:
    solo = world.compared
    core = solo.state._core
    assert_view_is_whole(solo)
    core.remove_node(solo.node("b" * 40), "forgotten")
    assert_view_is_whole(solo)
    core.remove_node(solo.node("c" * 40), "forgotten")
    b_again = solo.puppet("b", slots=[7])
    assert_view_is_whole(solo)
    core.table.rename(solo.node(b_again), "f" * 40)
    view = solo.state.view()
    assert view is not None
    assert (view.knows("f" * 40), view.knows("b" * 40)) == (True, False)
    assert_view_is_whole(solo)
    for node in core.table:
        node.cport += 1
    assert_view_is_whole(solo)
    solo.config.update(cluster_announce_ip="10.0.0.9", cluster_message_gossip_perc=50)
    solo.state.handle_config_changed(solo.now_ms)
    assert_view_is_whole(solo)


def test_a_provisional_node_is_in_the_view_once_it_is_confirmed_r33(world: World) -> None:
    solo = world.compared
    table = solo.state._core.table
    node = Node("f" * 40, c.FLAG_PRIMARY, "f" * 40, solo.now_ms)
    node.ip, node.cport, node.provisional = "10.0.0.77", 17000, True
    table.add(node)
    assert_view_is_whole(solo)
    table.confirm(node)
    view = solo.state.view()
    assert view is not None
    assert view.knows("f" * 40)
    assert_view_is_whole(solo)
    node.flags |= c.FLAG_HANDSHAKE
    view = solo.state.view()
    assert view is not None
    assert not view.knows("f" * 40)


def test_what_a_view_says_of_forgotten_nodes_is_of_its_time_s9_r34(world: World) -> None:
    """Found by simulation: a node was let in again, and then a view still told others to forget it."""
    solo = world.compared
    core, receiver = solo.state._core, world.puppets["a"].node_id

    def told() -> list[tuple[str, int] | None]:
        core.version.move()
        view = solo.state.view()
        assert view is not None
        (packet,) = parse(view.encode(c.PING, receiver, seed=1))
        forgotten = (e for e in packet.extensions if e.type == c.EXTENSION_FORGOTTEN_NODE)
        return [extension.forgotten_node for extension in forgotten]

    assert told() == []
    core.forgotten.add("f" * 40, solo.now_ms + 30_000)
    core.version.move_own_header()
    assert told() == [("f" * 40, 30)]
    core.set_now(solo.now_ms + 5000)
    assert told() == [("f" * 40, 25)]
    core.forgotten.remove("f" * 40)
    assert told() == []


def test_a_state_without_a_new_version_has_the_same_view_r33(world: World) -> None:
    state = world.compared.state
    view = state.view()
    world.tick(100)
    assert is_quiet(world, "a")
    assert state.view() is view


# ---------------------------------------------------------------- each rule by itself


def is_quiet(world: World, letter: str, kind: int = c.PING, **parts: Any) -> bool:
    before = world.quiet
    puppet = world.puppets[letter]
    world.sends(puppet, world.whole.heartbeat(puppet, kind, **parts))
    return world.quiet > before


@pytest.fixture
def world() -> World:
    return settled_world(World())


def settled_world(world: World) -> World:
    for letter in "abcde":  # the first packet after a change is applied in full
        for kind in (c.PING, c.PONG):
            is_quiet(world, letter, kind)
    return world


@pytest.mark.parametrize("kind", [c.PING, c.PONG])
def test_a_heartbeat_that_says_what_is_known_is_quiet_r33(world: World, kind: int) -> None:
    assert is_quiet(world, "a", kind, gossip=[entry_of(world, "b"), entry_of(world, "c")])


def test_a_heartbeat_of_a_replica_is_quiet_whatever_it_claims_for_its_primary_r33(world: World) -> None:
    assert is_quiet(world, "e")
    assert is_quiet(world, "e", config_epoch=2**20, myslots=b"\xff" + bytes(2047))


@pytest.mark.parametrize(
    "change",
    [{"replicaof": None}, {"replicaof": "d" * 40}, {"flags": c.FLAG_REPLICA | c.FLAG_NOFAILOVER}],
    ids=lambda change: next(iter(change)),
)
def test_changes_that_matter_to_elections_are_not_quiet_r33(world: World, change: dict[str, Any]) -> None:
    assert not is_quiet(world, "e", **change)


def test_a_primary_that_paused_writes_is_not_quiet_r33() -> None:
    world = settled_world(World("a"))
    world.orders_failover("")
    is_quiet(world, "a")
    assert is_quiet(world, "a")
    assert not is_quiet(world, "a", mflags=c.MFLAG_EXTENSIONS | c.MFLAG_PAUSED)
    assert world.compared.state._core.manual.can_start


@pytest.mark.parametrize(
    "change",
    [
        {"current_epoch": 2**20},
        {"config_epoch": 2**20},
        {"flags": c.FLAG_PRIMARY},
        {"myip": "10.7.7.7"},
        {"port": 9999},
        {"cport": 9999},
        {"mflags": c.MFLAG_EXTENSIONS | 1},
        {"replicaof": "d" * 40},
        {"myslots": b"\xff" + bytes(2047)},
        {"extensions": []},
        {"extensions": [Extension.hostname_of("somewhere")]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_news_in_header_or_extensions_is_not_quiet_r33(world: World, change: dict[str, Any]) -> None:
    assert not is_quiet(world, "a", **change)


@pytest.mark.parametrize(
    "make",
    [
        lambda world: entry_of(world, "d", node_id="f" * 40),
        lambda world: entry_of(world, "d", flags=SICK),
        lambda world: entry_of(world, "d", flags=c.FLAG_PRIMARY | c.FLAG_FAIL),
        lambda world: entry_of(world, "d", flags=c.FLAG_PRIMARY | c.FLAG_HANDSHAKE),
    ],
    ids=["unknown node", "PFAIL", "FAIL", "private flags"],
)
def test_news_in_gossip_is_not_quiet_r33(world: World, make: Callable[[World], GossipEntry]) -> None:
    assert not is_quiet(world, "a", gossip=[entry_of(world, "b"), make(world)])


def verdict_of(world: World, letter: str, **parts: Any) -> Verdict | None:
    """What is news in a PING of a puppet."""
    puppet = world.puppets[letter]
    world.sends(puppet, world.whole.heartbeat(puppet, **parts))
    return world.verdict


def test_only_the_entries_that_say_something_new_are_news_r33(world: World) -> None:
    gossip = [entry_of(world, "b"), entry_of(world, "d", flags=SICK), entry_of(world, "c")]
    verdict = verdict_of(world, "a", gossip=gossip)
    assert verdict is not None
    assert (verdict.header_is_known, verdict.news) == (True, (1,))
    assert world.compared.node("a" * 40) in world.compared.node("d" * 40).fail_reports


def test_claims_that_nobody_believes_leave_the_gossip_quiet_r33(world: World) -> None:
    """The sender owns slot 0; slots 0 and 3 is more than it may have, as the other owner has a greater epoch."""
    for state in (world.whole.state, world.compared.state):
        owner = state.find("d" * 40)
        assert owner is not None
        state._core.set_config_epoch(owner, 2**10)
    claims: dict[str, Any] = {"myslots": bits_to_wire(bits_of([0, 3]))}
    for _ in range(2):
        verdict = verdict_of(world, "a", gossip=[entry_of(world, "b")], **claims)
        assert verdict is not None
        assert (verdict.header_is_known, verdict.claims_are_known, verdict.news) == (True, False, ())
    assert world.compared.counter("messages_update_sent") == world.whole.counter("messages_update_sent") > 0


def test_reports_repeated_beside_a_new_header_are_renewed_as_if_it_were_quiet_r33(world: World) -> None:
    sick = [entry_of(world, "d", flags=SICK), entry_of(world, "b", flags=SICK)]
    assert not is_quiet(world, "a", gossip=sick)
    is_quiet(world, "a", gossip=sick)
    for solo in (world.whole, world.compared):
        solo.now_ms += 1000
    verdict = verdict_of(world, "a", gossip=sick, config_epoch=0)
    assert verdict is not None
    assert (verdict.claims_are_known, verdict.news) == (False, ())
    assert world.compared.node("a" * 40).times.reports_repeated_ms == world.compared.now_ms


def test_the_order_of_entries_about_one_node_is_kept_r33(world: World) -> None:
    sick, well = entry_of(world, "d", flags=SICK), entry_of(world, "d")
    for gossip in ([well, sick], [sick, well], [well, sick], [sick, well, well]):
        assert verdict_of(world, "a", gossip=gossip) is None


def test_a_packet_with_very_much_news_is_applied_in_full_r33(world: World) -> None:
    def strangers(number: int) -> list[GossipEntry]:
        return [entry_of(world, "d", node_id=f"{n + 1:040x}") for n in range(number)]

    view = world.compared.state.view()
    assert view is not None
    for number in (NEWS_MAX, NEWS_MAX + 1):
        heartbeat = world.whole.heartbeat(world.puppets["a"], gossip=strangers(number))
        verdict = view.compare(parse(encode(heartbeat))[0], "10.0.0.9", world.compared.now_ms)
        assert (verdict is None) == (number > NEWS_MAX)


@pytest.mark.parametrize("first_byte", [b"x", b"\0"], ids=["not an address", "no address"])
def test_a_packet_with_a_refused_part_is_applied_in_full_h13_r33(world: World, first_byte: bytes) -> None:
    solo = world.compared
    heartbeat = world.whole.heartbeat(world.puppets["a"], gossip=[entry_of(world, "b"), entry_of(world, "c")])
    data = bytearray(encode(heartbeat))
    assert data[HEADER_LEN_BYTES : HEADER_LEN_BYTES + 40] == b"b" * 40
    ip_at = HEADER_LEN_BYTES + 40 + 8
    data[ip_at : ip_at + 1] = first_byte
    (packet,) = parse(bytes(data))
    assert packet.refused
    view = solo.state.view()
    assert view is not None
    assert view.compare(packet, "10.0.0.9", solo.now_ms) is None


def test_a_verdict_of_an_older_version_counts_for_nothing_r33(world: World) -> None:
    solo, puppet = world.compared, world.puppets["a"]
    (packet,) = parse(encode(solo.heartbeat(puppet, gossip=[entry_of(world, "b", flags=SICK)])))
    solo.state.handle_packet(puppet.inbound, packet, solo.now_ms)
    view = solo.state.view()
    assert view is not None
    verdict = view.compare(packet, puppet.ip, solo.now_ms)
    assert verdict is not None
    assert verdict.is_quiet
    solo.state._core.remove_node(solo.node("b" * 40), "forgotten")
    solo.state._core.take_slots(bits_of([0]))
    solo.state.handle_packet(puppet.inbound, packet, solo.now_ms, verdict)
    assert solo.state.find("b" * 40) is not None, "the entry about it is news by now"
    assert solo.state.owner_of(0) is solo.node(puppet), "so is what it claims"


def test_a_report_repeated_is_quiet_and_keeps_standing_r33(world: World) -> None:
    sick = [entry_of(world, "d", flags=SICK), entry_of(world, "b", flags=SICK)]
    assert not is_quiet(world, "a", gossip=sick)
    world.tick(1000)
    assert is_quiet(world, "a", gossip=sick)
    assert not is_quiet(world, "a", gossip=sick[:1]), "one of two reports: the state must note which one was renewed"
    assert not is_quiet(world, "a", gossip=[sick[0], sick[0]]), "twice the same is not both"
    assert not is_quiet(world, "a", gossip=[entry_of(world, "d")]), "a report withdrawn"


def test_a_replication_offset_is_noted_from_a_quiet_heartbeat_too_r33(world: World) -> None:
    assert is_quiet(world, "a", offset=77)
    node = world.compared.state.find(world.puppets["a"].node_id)
    assert node is not None
    assert node.repl_offset == 77


def test_a_quiet_heartbeat_takes_effect_after_those_that_were_read_before_it_r33(world: World) -> None:
    solo, puppet = world.compared, world.puppets["a"]
    older, newer = (parse(encode(solo.heartbeat(puppet, offset=offset)))[0] for offset in (100, 110))
    view = solo.state.view()
    assert view is not None
    verdict = view.compare(newer, puppet.ip, solo.now_ms)
    assert verdict is not None
    assert verdict.is_quiet, "a worker has looked at both"
    solo.state.handle_packet(puppet.inbound, older, solo.now_ms)
    assert solo.node(puppet).repl_offset == 100
    view.note_offset(newer)
    assert solo.node(puppet).repl_offset == 110


def test_quiet_heartbeats_are_counted_as_those_applied_in_full_r33(world: World) -> None:
    solo = world.compared
    before = solo.counter("messages_pong_sent"), solo.counter("messages_pong_received")
    solo.state.handle_quiet(3, 2, [], solo.now_ms)
    assert (solo.counter("messages_pong_sent"), solo.counter("messages_pong_received")) == (
        before[0] + 3,
        before[1] + 2,
    )


def test_a_quiet_pong_counts_from_the_time_at_which_it_came_r33(world: World) -> None:
    solo, puppet = world.compared, world.puppets["a"]
    world.tick(100)
    solo.state.handle_quiet(0, 1, [(puppet.dialled, solo.now_ms - 60)], solo.now_ms)
    assert solo.node(puppet).pong_received_ms == solo.now_ms - 60


NO_NEWS = {"viewed_as", "judged_claims", "times", "version", "fail_reports", "replicas", "table_index", "slot_bits"}
"""Fields that change together with the view (`touch`) or with a declared field (`replicaof`, `slots`)."""
NEWS_OF_NO_HEARTBEAT = {
    *("data_received_ms", "fail_time_ms", "dial_failures", "inbound_lost_ms", "created_ms", "answered_ping_ms")
}
"""Times that every heartbeat moves, or that only matter for FAIL and for a lost link."""


@contextmanager
def fields_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The fields of nodes that are read within the block."""
    names: set[str] = set()

    def note(node: Node, name: str) -> Any:
        names.add(name)
        return object.__getattribute__(node, name)

    with monkeypatch.context() as patch:
        patch.setattr(Node, "__getattribute__", note)
        yield names
    names &= {field.name for field in dataclasses.fields(Node)}


def declared() -> set[str]:
    hints = get_type_hints(Node, include_extras=True)
    return {name for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def test_fields_read_for_a_view_are_declared_to_move_its_version_r33(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    solo = world.compared
    solo.state._core.own_heartbeat = (0, b"")
    with fields_read(monkeypatch) as names:
        assert whole_view(solo.state._core) is not None
    assert "hostname" in names
    assert names <= declared() | NO_NEWS


@pytest.mark.parametrize("extensions", [None, []], ids=["", "no extensions"])
@pytest.mark.parametrize("kind", [c.PING, c.PONG])
def test_fields_read_to_apply_a_quiet_heartbeat_are_declared_to_move_the_version_r33(
    world: World, kind: int, extensions: list[Extension] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet = world.puppets["a"]
    gossip = [entry_of(world, "b"), entry_of(world, "c")]
    is_quiet(world, "a", kind, extensions=extensions)  # not quiet if the extensions differ from those before
    assert is_quiet(world, "a", kind, gossip=gossip, extensions=extensions)
    heartbeat = world.whole.heartbeat(puppet, kind, gossip, extensions)
    with fields_read(monkeypatch) as names:
        world.whole.receive(puppet.dialled if kind == c.PONG else puppet.inbound, heartbeat)
    assert "config_epoch" in names
    assert names <= declared() | NO_NEWS | NEWS_OF_NO_HEARTBEAT


def test_a_replica_of_a_node_we_do_not_know_is_never_quiet_r33(world: World) -> None:
    """To us it has no primary, as a primary has none. When it is promoted, that must be seen."""
    as_replica: dict[str, Any] = {"replicaof": "f" * 40, "flags": c.FLAG_REPLICA | ABILITIES}
    for _ in range(2):
        assert not is_quiet(world, "b", **as_replica)
    assert world.compared.node("b" * 40).is_replica
    assert not is_quiet(world, "b")
    assert world.compared.node("b" * 40).is_primary


def test_a_peer_whose_config_epoch_becomes_ours_is_not_quiet_r33_h27(world: World) -> None:
    """An election may give us the epoch that another primary took meanwhile. Nothing about that primary changes."""
    assert is_quiet(world, "b")
    epoch = world.compared.state.myself.config_epoch
    for solo in (world.whole, world.compared):
        solo.state._core.set_config_epoch(solo.state.myself, world.puppets["b"].config_epoch)
        solo.poll()
    assert not is_quiet(world, "b")
    assert world.compared.state.myself.config_epoch > epoch, "the smaller id, ours, takes a new one"
    is_quiet(world, "b")
    assert is_quiet(world, "b"), "the collision is over"


def test_a_replica_that_begins_to_hold_its_primary_fail_is_not_quiet_r33_p13(world: World) -> None:
    flags = c.FLAG_REPLICA | ABILITIES
    assert is_quiet(world, "e")
    assert not is_quiet(world, "e", flags=flags | c.FLAG_MY_PRIMARY_FAIL)
    assert world.compared.node("e" * 40).flags & c.FLAG_MY_PRIMARY_FAIL
    assert is_quiet(world, "e", flags=flags | c.FLAG_MY_PRIMARY_FAIL)
    assert not is_quiet(world, "e", flags=flags)
    assert not world.compared.node("e" * 40).flags & c.FLAG_MY_PRIMARY_FAIL


def test_a_colliding_primary_whose_place_we_took_is_not_quiet_whatever_its_id_r33_p16(world: World) -> None:
    states = [solo.state for solo in (world.whole, world.compared)]
    for state in states:  # its id is the smaller one now
        state._core.table.rename(state.myself, "f" * 40)
        state._core.set_config_epoch(state.myself, world.puppets["b"].config_epoch)
    assert is_quiet(world, "b"), "the collision is its to settle"
    for state in states:
        node = state.find("b" * 40)
        assert node is not None
        node.succession, state.myself.shard_id = Succession.PREDECESSOR, node.shard_id
    epoch = world.compared.state.current_epoch
    assert not is_quiet(world, "b")
    assert world.compared.state.myself.config_epoch == epoch + 2


def test_the_reports_of_members_without_a_vote_are_kept_in_the_same_way_r33(world: World) -> None:
    assert not world.compared.node("b" * 40).is_voting
    sick = [entry_of(world, "d", flags=SICK)]
    assert not is_quiet(world, "b", gossip=sick)
    assert world.compared.node("b" * 40) in world.compared.node("d" * 40).fail_reports
    world.tick(1000)
    assert is_quiet(world, "b", gossip=sick), "a report repeated"
    assert world.compared.node("b" * 40).times.reports_repeated_ms == world.compared.now_ms
    assert not is_quiet(world, "b", gossip=[entry_of(world, "d")]), "a report withdrawn"
    assert not world.compared.node("d" * 40).fail_reports


def test_any_change_of_the_state_outdates_older_views_r33(world: World) -> None:
    state = world.compared.state
    version = state.version
    world.sends(world.puppets["b"], world.whole.heartbeat(world.puppets["b"], config_epoch=2**20))
    assert state.version > version
    version = state.version
    assert is_quiet(world, "a")
    assert state.version == version, "what is quiet changes nothing"


@pytest.mark.parametrize(
    "changes",
    [{"cluster_message_gossip_perc": 20}, {"cluster_announce_ip": "10.0.0.5"}, {"cluster_announce_client_port": 7100}],
)
def test_a_directive_that_heartbeats_follow_is_part_of_our_own_header_p30_p34_r34(changes: dict[str, Any]) -> None:
    solo = Solo(bind="127.0.0.1")
    solo.puppet("a")
    before, number = solo.state.own_header_version, solo.state.version
    solo.config.update(timeout=7)
    solo.state.handle_config_changed(solo.now_ms)
    assert (solo.state.own_header_version, solo.state.version) == (before, number)
    solo.config.update(**changes)
    solo.state.handle_config_changed(solo.now_ms)
    assert solo.state.own_header_version > before
    assert solo.state.version > number


def test_what_our_primary_announces_is_part_of_our_own_header_r34() -> None:
    world = World("a")
    state = world.compared.state
    for letter, is_ours in (("d", False), ("a", True)):
        version = state.own_header_version
        state._core.set_config_epoch(world.compared.node(letter * 40), 2**20)
        assert (state.own_header_version > version) == is_ours


def test_the_row_of_a_reported_node_goes_with_its_reporter_r33(world: World) -> None:
    is_quiet(world, "a", gossip=[entry_of(world, "d", flags=SICK)])
    core = world.compared.state._core
    reporter, reported = (world.compared.node(letter * 40) for letter in "ad")
    assert reporter in reported.fail_reports
    assert world.compared.state.view() is not None
    core.remove_node(reporter, "forgotten")
    assert reported in core.version.outdated, "its row says that there are reports"


def test_a_link_that_ends_leaves_the_time_of_its_last_read_r23(world: World) -> None:
    """A quiet PING is noted nowhere else."""
    solo = world.compared
    link = world.puppets["b"].inbound
    node = solo.node("b" * 40)
    solo.now_ms += 700
    solo.last_read_ms[link] = solo.now_ms
    assert node.data_received_ms < solo.now_ms
    solo.state.handle_link_closed(link, "eof", solo.now_ms)
    assert node.data_received_ms == solo.now_ms


def test_a_heartbeat_encoded_from_the_view_is_like_one_from_the_state_r34(world: World) -> None:
    solo = world.compared
    view = solo.state.view()
    assert view is not None
    puppet = world.puppets["a"]
    ours = solo.state.heartbeat(puppet.inbound, c.PONG)
    (theirs,) = parse(view.encode(c.PONG, puppet.node_id, seed=1))
    (expected,) = parse(encode(ours)) if ours is not None else [None]
    assert expected is not None
    for field in ("type", "sender", "port", "cport", "current_epoch", "config_epoch", "myslots", "flags", "state"):
        assert getattr(theirs, field) == getattr(expected, field), field
    assert theirs.mflags == expected.mflags
    assert theirs.raw_extensions == expected.raw_extensions
    assert not theirs.refused
    assert theirs.gossip
    for entry in theirs.gossip:
        node = solo.node(entry.node_id)
        assert entry == entry_about(solo.state._core, node)
        assert entry.node_id not in (puppet.node_id, solo.state.myself.node_id)


@pytest.mark.parametrize("slots", [(), (9,)], ids=["slotless", "with slots"])
def test_heartbeats_from_the_view_mention_a_pfail_node_even_without_link_and_slots_s2_r34(
    slots: tuple[int, ...],
) -> None:
    solo = Solo()
    receiver, dead = solo.puppet("a", slots=[1]), solo.puppet("b", slots=slots)
    for voter in "cd":  # so that our suspicion alone is not a quorum
        solo.puppet(voter, slots=[ord(voter)])
    solo.state.handle_link_closed(dead.dialled, "eof", solo.now_ms)
    while not solo.node(dead).is_pfail:
        solo.tick()
    assert solo.node(dead).link is None
    view = solo.state.view()
    assert view is not None
    for seed in range(20):
        (packet,) = parse(view.encode(c.PING, receiver.node_id, seed))
        assert [entry.flags & c.FLAG_PFAIL for entry in packet.gossip if entry.node_id == dead.node_id] == [
            c.FLAG_PFAIL
        ]


def test_a_claim_taken_up_again_is_not_quiet_r33_p19(world: World) -> None:
    """Meanwhile any node could have taken the slot, under whatever epoch."""
    slots = world.compared.state._core.slots
    assert not is_quiet(world, "a", myslots=bytes(2048))
    assert slots.not_claimed == bits_of([0])
    assert not is_quiet(world, "a", myslots=bits_to_wire(bits_of([0])))
    assert not slots.not_claimed
    is_quiet(world, "a")
    assert is_quiet(world, "a"), "nothing new any more"
