"""Rows H21 to H27 four ways: who a peer says it is, and what it says of others.

That a node takes no wild epoch (H28), and the pin of an id to a certificate (H21), have tests of their own.
"""

from __future__ import annotations

from clusterbus import wire
from clusterbus.cluster.model.slots import bits_to_wire

from tests.hostile.attacked import GOOD_ID, NODE_TIMEOUT_MS, Attacked, Connection, HostilePeer
from tests.hostile.passing_time import later
from tests.interop.bus_peer import TYPE_MEET, TYPE_PONG
from tests.peers.cluster import NodeLine

THIRD_ID, FOURTH_ID = "c" * 40, "d" * 40
FLAG_PRIMARY, FLAG_MYSELF, FLAG_HANDSHAKE = 1, 16, 32
ALL_SLOTS = bits_to_wire((1 << 16384) - 1)
MEETS = 20


def mention(peer: HostilePeer, node_id: str, flags: int = FLAG_PRIMARY) -> wire.GossipEntry:
    """Gossip about a node at the address of `peer`."""
    return wire.GossipEntry(node_id=node_id, ip="127.0.0.1", port=peer.port, cport=peer.cport, flags=flags)


def fail(sender: HostilePeer, node_id: str) -> bytes:
    return wire.encode(wire.Fail(sender.header(), node_id))


def update(sender: HostilePeer, node_id: str) -> bytes:
    return wire.encode(wire.Update(sender.header(), 1_000, node_id, ALL_SLOTS))


def refusals(attacked: Attacked) -> dict[str, int]:
    """All counters of what is refused."""
    return {name: int(count) for name, count in attacked.bus.cluster_info().items() if "refused" in name}


def current_epoch(attacked: Attacked) -> int:
    return attacked.counter("cluster_current_epoch")


def own_line(attacked: Attacked) -> NodeLine:
    return attacked.nodes()[attacked.bus.node_id]


def inbound_link(attacked: Attacked, node_id: str) -> int | None:
    """The id of the link by which a node reaches the attacked one."""

    def ask(member: object) -> int | None:
        node = member.state.find(node_id)  # type: ignore[attr-defined]
        return None if node is None or node.inbound_link is None else node.inbound_link.link_id

    return attacked.ask(ask)


def told(packet: bytes | None) -> wire.Header:
    """The header of an answer."""
    assert packet is not None
    message = wire.decode(packet)
    assert isinstance(message, wire.Heartbeat)
    return message.header


# ---------------------------------------------------------------- H21, H22: one id, two peers


def test_a_stranger_with_a_known_id_changes_nothing_and_takes_no_link_h21(attacked: Attacked) -> None:
    known = attacked.known()
    link, line = inbound_link(attacked, known.node_id), attacked.nodes()[known.node_id]
    epoch = current_epoch(attacked)
    impostor = attacked.stranger(known.node_id)
    claims = impostor.heartbeat(config_epoch=500, current_epoch=500, myslots=ALL_SLOTS, state=1)
    repeated = known.heartbeat()
    before = attacked.counter("cluster_refused_duplicate_id")
    for packet in (claims, repeated, impostor.heartbeat(TYPE_MEET)):
        assert impostor.ask(packet) is not None, "it is answered as any stranger is"
    impostor.send(impostor.heartbeat(TYPE_PONG))
    impostor.send(fail(impostor, GOOD_ID))
    attacked.counts("cluster_refused_duplicate_id", before + 5)
    attacked.counts("cluster_refused_stranger", 1)
    assert inbound_link(attacked, known.node_id) == link
    assert attacked.nodes()[known.node_id] == line
    assert current_epoch(attacked) == epoch
    assert not attacked.nodes()[GOOD_ID].is_failed

    later(attacked, NODE_TIMEOUT_MS + 1)
    assert known.ping() is not None
    attacked.refuses(
        impostor, [claims] * 3, counter="cluster_refused_duplicate_id", logged="is claimed by a second link"
    )
    assert inbound_link(attacked, known.node_id) == link
    assert known.ping() is not None


def test_a_node_takes_its_id_back_from_a_link_that_is_silent_h21(attacked: Attacked) -> None:
    """No impostor: the node came back, and the end of its old link was lost."""
    known = attacked.known()
    old = known.connection
    later(attacked, NODE_TIMEOUT_MS + 1)
    assert known.dial().ping() is not None
    old.wait_closed()
    assert attacked.counter("cluster_refused_duplicate_id") == 0


def test_of_two_peers_with_one_id_the_one_that_is_well_keeps_its_address_h22(attacked: Attacked) -> None:
    known = attacked.known()
    twin = attacked.stranger(known.node_id)
    attacked.loop.run(twin.listen())
    port = attacked.nodes()[known.node_id].cport
    assert port == known.cport
    for _ in range(3):
        assert twin.ping() is not None
        assert known.ping() is not None
    attacked.counts("cluster_refused_duplicate_id", 3)
    attacked.bus.meet("127.0.0.1", twin.port, bus_port=twin.cport)
    lines = attacked.wait_logged("while it is well at")
    assert len(lines) == 1
    assert known.node_id in lines[0]
    assert attacked.nodes()[known.node_id].cport == known.cport
    assert attacked.counter("cluster_refused_duplicate_id") == 4


def test_peers_that_use_one_id_by_turns_move_it_once_h22(attacked: Attacked) -> None:
    """Each ends its link before the other begins one, so neither claims a link that is live."""
    known = attacked.known()
    twin = attacked.stranger(known.node_id)
    attacked.loop.run(twin.listen())
    peers = {1: twin, 0: known}
    addresses = []
    known.connection.close()
    for turn in range(1, 6):
        attacked.wait(lambda: inbound_link(attacked, known.node_id) is None, "its link has ended")
        peer = peers[turn % 2].dial()
        assert peer.ping() is not None
        addresses.append(attacked.nodes()[known.node_id].cport)
        peer.connection.close()
    assert addresses == [twin.cport] * 5
    assert attacked.counter("cluster_refused_address_flapping") == 2
    lines = attacked.wait_logged("it has only just changed")
    assert len(lines) == 1
    assert known.node_id in lines[0]


# ---------------------------------------------------------------- H23, H24: MEET, and another id


def test_meet_again_and_again_is_one_handshake_h23(attacked: Attacked) -> None:
    attacked.wait(lambda: attacked.is_well(GOOD_ID), "no other handshake is under way")
    before = refusals(attacked)
    stranger = attacked.stranger()
    others = [attacked.connect() for _ in range(3)]
    for sender in (stranger.connection, *others):
        for _ in range(MEETS):
            assert sender.ask(stranger.heartbeat(TYPE_MEET)) is not None
    assert sum("handshake" in line.flags for line in attacked.nodes().values()) == 1
    assert refusals(attacked) == before
    attacked.loop.run(stranger.listen())
    attacked.wait(lambda: attacked.is_well(stranger.node_id), "it has joined once")
    assert len(attacked.nodes()) == 3


def test_meet_of_a_known_node_is_a_ping_h23(attacked: Attacked) -> None:
    known = attacked.known()
    before, table = refusals(attacked), set(attacked.nodes())
    dialled = known.dialled
    for _ in range(MEETS):
        assert known.ask(known.heartbeat(TYPE_MEET)) is not None
    assert refusals(attacked) == before
    assert set(attacked.nodes()) == table
    assert not dialled.is_closed()


def test_meet_on_a_link_that_the_node_dialled_closes_it_h23(attacked: Attacked) -> None:
    known = attacked.known()
    dialled = known.dialled
    attacked.refuses(
        dialled,
        [known.heartbeat(TYPE_MEET)],
        counter="cluster_refused_meet_on_our_link",
        logged="127.0.0.1: MEET on a link we dialled",
        closes=True,
    )
    attacked.wait(lambda: known.dialled is not dialled, "it is dialled anew")
    attacked.wait(lambda: attacked.is_well(known.node_id), "it is well")


def test_another_id_on_the_link_to_a_node_means_that_it_is_not_there_h24(attacked: Attacked) -> None:
    known = attacked.known()
    dialled = known.dialled
    attacked.refuses(
        _Named(dialled, known.node_id),
        [known.heartbeat(TYPE_PONG, sender=THIRD_ID)],
        counter="cluster_refused_sender_changed",
        logged=f"a packet of {THIRD_ID} came on its link",
        closes=True,
    )
    line = attacked.nodes()[known.node_id]
    assert {"noaddr", "fail"} <= line.flags
    assert (line.ip, line.port, line.cport) == ("", 0, 0)
    assert not attacked.knows(THIRD_ID)
    assert known.ping() is not None, "its own link is its own still, and shows where it is"
    attacked.wait(lambda: attacked.nodes()[known.node_id].connected, "it is dialled again")
    assert "noaddr" not in attacked.nodes()[known.node_id].flags


def test_another_id_on_the_link_of_a_node_closes_it_h24(attacked: Attacked) -> None:
    known = attacked.known()
    line = attacked.nodes()[known.node_id]
    attacked.refuses(
        known,
        [known.heartbeat(sender=THIRD_ID)],
        counter="cluster_refused_sender_changed",
        logged=f"a packet of {THIRD_ID} came on its link",
        closes=True,
    )
    assert attacked.nodes()[known.node_id] == line
    assert not attacked.knows(THIRD_ID)


class _Named(Connection):
    """A connection of which the log names the node, not the address."""

    def __init__(self, connection: Connection, node_id: str) -> None:
        self.__dict__ = connection.__dict__
        self.node_id = node_id

    @property
    def address(self) -> str:
        return self.node_id


# ---------------------------------------------------------------- H25 to H27: what it says of others, and epochs


def test_private_flags_in_gossip_count_for_nothing_h25(attacked: Attacked) -> None:
    known = attacked.known()
    third = attacked.stranger(THIRD_ID)
    attacked.loop.run(third.listen())
    flags = FLAG_PRIMARY | FLAG_MYSELF | FLAG_HANDSHAKE
    lie = known.heartbeat(gossip=[mention(attacked.good, GOOD_ID, flags), mention(third, THIRD_ID, flags)])
    attacked.refuses(known, [lie] * 3, counter="cluster_refused_gossip_flags", logged="private flags", count=6)
    attacked.wait(lambda: attacked.is_well(THIRD_ID), "the rest of the entry counts: it has joined")
    table = attacked.nodes()
    assert {table[key].flags for key in (GOOD_ID, known.node_id, THIRD_ID)} == {frozenset({"master"})}
    for packet in (*known.connection.received, *known.dialled.received, *third.dialled.received):
        heartbeat = wire.decode(packet)
        assert isinstance(heartbeat, wire.Heartbeat)
        assert not any(entry.flags & (FLAG_MYSELF | FLAG_HANDSHAKE) for entry in heartbeat.gossip), "we tell none"


def test_private_flags_in_the_gossip_of_a_stranger_count_for_nothing_h25(attacked: Attacked) -> None:
    """Of the gossip in its MEET entries about nobody known are looked at."""
    third = attacked.stranger(THIRD_ID)
    attacked.loop.run(third.listen())
    stranger = attacked.stranger()
    lie = mention(third, THIRD_ID, FLAG_PRIMARY | FLAG_MYSELF | FLAG_HANDSHAKE)
    meet = stranger.heartbeat(TYPE_MEET, gossip=[lie])
    attacked.refuses(stranger, [meet], counter="cluster_refused_gossip_flags", logged="private flags")
    attacked.wait(lambda: attacked.is_well(THIRD_ID), "the rest of the entry counts: it has joined")
    assert attacked.nodes()[THIRD_ID].flags == frozenset({"master"})


def test_fail_and_update_about_the_node_itself_or_nobody_known_are_ignored_h26(attacked: Attacked) -> None:
    known = attacked.known()
    attacked.stranger(THIRD_ID).send(attacked.stranger(THIRD_ID).heartbeat(TYPE_MEET))
    attacked.wait(lambda: len(attacked.nodes()) == 4, "a handshake is under way")
    before = attacked.nodes()
    in_handshake = next(key for key, line in before.items() if "handshake" in line.flags)
    subjects = (attacked.bus.node_id, FOURTH_ID, in_handshake)
    for packet, counter in ((fail, "cluster_refused_fail_subject"), (update, "cluster_refused_update_subject")):
        logged = len(attacked.log.warnings())
        for subject in subjects:
            known.send(packet(known, subject))
        assert known.ping() is not None
        assert attacked.counter(counter) == len(subjects)
        assert len(attacked.log.warnings()) == logged, "no line"
    after = attacked.nodes()
    assert after.keys() == before.keys()
    assert {key: (line.flags, line.slots, line.config_epoch) for key, line in after.items()} == {
        key: (line.flags, line.slots, line.config_epoch) for key, line in before.items()
    }


def test_of_two_primaries_with_one_config_epoch_the_smaller_id_takes_a_new_one_once_h27(attacked: Attacked) -> None:
    greater, smaller = attacked.known("f" * 40), attacked.known("0" * 40)
    before = refusals(attacked)
    assert not attacked.log.lines("configEpoch collision")
    assert attacked.ask(lambda member: member.state.bump_epoch(member.clock.now_ms()))
    epoch = own_line(attacked).config_epoch
    told_epoch = told(greater.ping(config_epoch=epoch, current_epoch=epoch)).config_epoch
    saved = (attacked.folder / "nodes.conf").read_text()
    taken = own_line(attacked).config_epoch
    assert taken > epoch
    assert f"vars currentEpoch {taken} " in saved, "on disk before anybody is told"
    assert told_epoch in (epoch, taken)
    for _ in range(3):
        assert told(greater.ping(config_epoch=epoch, current_epoch=taken)).config_epoch == taken
    (line,) = attacked.log.lines("configEpoch collision")
    assert greater.node_id in line

    assert told(smaller.ping(config_epoch=taken, current_epoch=taken)).config_epoch == taken, "the other one is to"
    assert own_line(attacked).config_epoch == taken
    assert refusals(attacked) == before
