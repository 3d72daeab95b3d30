"""Row H30 four ways: a flood of nodes, handshakes and links meets caps, each asserted at its edge.

Most of the caps are directives and are set low here; SECURITY.md and the documentation name their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clusterbus import wire
from clusterbus.cluster import constants as c

from tests.hostile.attacked import NODE_TIMEOUT_MS, Attacked, HostilePeer, Way
from tests.hostile.passing_time import later
from tests.interop.bus_peer import TYPE_MEET

Attack = Callable[..., Attacked]

CAP, MORE = 6, 4
FLAG_PRIMARY = 1
FORGOTTEN_AT_ONCE = 1_024


def ids(numbers: range) -> list[str]:
    return [f"{number:040x}" for number in numbers]


def mentions(cport: int, node_ids: Sequence[str]) -> list[wire.GossipEntry]:
    """Gossip about nodes at an address where nobody is."""
    return [
        wire.GossipEntry(node_id=key, ip="127.0.0.1", port=7000, cport=cport, flags=FLAG_PRIMARY) for key in node_ids
    ]


FORGOTTEN_S = 600
STEP_S = 12
"""Less than an inbound link may be silent."""


def forgets(node_ids: Sequence[str]) -> list[wire.Extension]:
    return [wire.Extension.forgotten_node_of(key, FORGOTTEN_S) for key in node_ids]


def one_line(attacked: Attacked, part: str, *names: str) -> None:
    """One line of the log has `part`, and it names the peer."""
    (line,) = attacked.wait_logged(part)
    assert any(name in line for name in names), line


def test_nodes_are_capped_h30(attack: Attack, way: Way) -> None:
    attacked = attack(way, cluster_max_nodes=CAP)
    known = attacked.known()
    nobody = known.port  # a client port on which nobody listens
    room = CAP - len(attacked.nodes())
    for number in range(room + MORE):
        assert known.ping(gossip=mentions(nobody, ids(range(number, number + 1)))) is not None
        assert len(attacked.nodes()) == min(CAP, 3 + number + 1)
    attacked.counts("cluster_refused_node_cap", MORE)
    one_line(attacked, "for which there is no room", known.node_id)
    stranger = attacked.stranger()
    assert stranger.ask(stranger.heartbeat(TYPE_MEET)) is not None
    attacked.counts("cluster_refused_handshake_cap", 1)
    one_line(attacked, "too many handshakes under way", "127.0.0.1: ")
    assert len(attacked.nodes()) == CAP


def test_handshakes_are_capped_and_expire_h30(attack: Attack, way: Way) -> None:
    attacked = attack(way, cluster_max_handshakes=CAP)
    known = attacked.known()

    def under_way() -> int:
        return sum("handshake" in line.flags for line in attacked.nodes().values())

    def meet(number: int) -> HostilePeer:
        stranger = attacked.stranger(ids(range(number, number + 1))[0])
        assert stranger.ask(stranger.heartbeat(TYPE_MEET)) is not None, "it is answered, met or not"
        return stranger

    for number in range(CAP + MORE):
        meet(number)
        assert under_way() == min(CAP, number + 1)
    attacked.counts("cluster_refused_handshake_cap", MORE)
    one_line(attacked, "too many handshakes under way", "127.0.0.1: ")
    later(attacked, NODE_TIMEOUT_MS + 1)
    attacked.counts("cluster_refused_handshake_expired", CAP)
    assert set(attacked.nodes()) == {attacked.bus.node_id, attacked.good.node_id, known.node_id}
    meet(CAP)
    assert under_way() == 1, "there is room again"


def test_nodes_on_trial_are_capped_and_expire_h30(attack: Attack, way: Way) -> None:
    """Those that a stranger's MEET mentions."""
    attacked = attack(way, cluster_max_trial_nodes=CAP)
    known, stranger = attacked.known(), attacked.stranger()
    gossip = mentions(known.port, ids(range(CAP + MORE)))
    assert stranger.ask(stranger.heartbeat(TYPE_MEET, gossip=gossip)) is not None
    attacked.counts("cluster_refused_node_cap", MORE)
    one_line(attacked, "for which there is no room", stranger.node_id)
    members = {attacked.bus.node_id, attacked.good.node_id, known.node_id}
    assert len(attacked.nodes()) == len(members) + 1 + CAP
    attacked.ask(lambda member: member.driver.save())
    saved = (attacked.folder / "nodes.conf").read_text()
    assert not any(key in saved for key in ids(range(CAP + MORE))), "they are not kept over a restart"
    later(attacked, NODE_TIMEOUT_MS + 1)
    attacked.counts("cluster_refused_handshake_expired", CAP + 1)
    assert set(attacked.nodes()) == members


def test_links_of_nobody_known_are_capped_h30(attack: Attack, way: Way) -> None:
    attacked = attack(way, cluster_max_anonymous_links=CAP)
    known = attacked.known()
    strangers = []
    for number in range(CAP):
        strangers.append(attacked.stranger(ids(range(number, number + 1))[0]))
        assert strangers[-1].ping() is not None
    for number in range(MORE):
        attacked.connect().wait_closed()
        attacked.counts("cluster_refused_link_cap", number + 1)
    one_line(attacked, "too many inbound links of unknown peers", "127.0.0.1: ")
    assert not any(stranger.is_closed() for stranger in strangers)
    assert known.ping() is not None
    strangers[0].connection.close()
    attacked.wait(lambda: attacked.ask(lambda member: member.state._core.anonymous_links) < CAP, "its link has ended")
    assert attacked.stranger().ping() is not None, "there is room again"


def test_links_are_capped_h30(attack: Attack, way: Way) -> None:
    attacked = attack(way, cluster_max_links=CAP)
    known = attacked.known()
    links = attacked.counter("cluster_links")
    assert links == 4, "two with each of the two peers"
    strangers = []
    for number in range(CAP - links):
        strangers.append(attacked.stranger(ids(range(number, number + 1))[0]))
        assert strangers[-1].ping() is not None
    for number in range(MORE):
        attacked.connect(plain=True).wait_closed()
        attacked.counts("cluster_accepts_refused_max_links", number + 1)
    assert attacked.counter("cluster_links") == CAP
    one_line(attacked, "connection refused (max-links)", "127.0.0.1: ")
    assert known.ping() is not None
    assert not any(stranger.is_closed() for stranger in strangers)


def test_forgotten_ids_are_capped_h30(attacked: Attacked) -> None:
    """A member brings in nodes and has them forgotten: the ids that may not come back take bounded room, also in our
    heartbeats.
    """
    known = attacked.known()

    def forgotten() -> int:
        return attacked.ask(lambda member: len(member.state._core.forgotten))

    asked = 0
    while asked < c.FORGOTTEN_MAX + FORGOTTEN_AT_ONCE:
        some = ids(range(asked, asked + FORGOTTEN_AT_ONCE))
        asked += FORGOTTEN_AT_ONCE
        assert known.ping(gossip=mentions(known.port, some)) is not None
        assert known.ping(extensions=forgets(some)) is not None
        assert forgotten() == min(asked, c.FORGOTTEN_MAX)
    assert len(attacked.nodes()) == 3
    answer = known.ping(mflags=c.MFLAG_EXTENSIONS)
    assert answer is not None
    told = wire.decode(answer)
    assert isinstance(told, wire.Heartbeat)
    mentioned = [one.forgotten_node for one in told.extensions if one.type == c.EXTENSION_FORGOTTEN_NODE]
    assert len(mentioned) <= c.FORGOTTEN_PER_HEARTBEAT_MAX
    for _ in range(FORGOTTEN_S // STEP_S + 1):  # in steps, or the links of silent peers are ended as idle
        later(attacked, STEP_S * 1_000)
        for peer in (known, attacked.good):
            assert peer.ping() is not None
    attacked.wait(lambda: forgotten() == 0, "their time is over")


BUDGET_BYTES = 1 << 20
FREE_BYTES = 64 << 10
PART_BYTES = 700_000
"""Of a packet: with it, the room for one more read fits into the budget, and no second part does."""
LONG_BYTES = 750_000


def publish(peer: HostilePeer, len_bytes: int) -> bytes:
    return wire.encode(wire.Publish(peer.header(), b"channel", bytes(len_bytes)))


def test_what_strangers_leave_unfinished_takes_bounded_room_h30(attack: Attack, way: Way) -> None:
    """Each sends a whole packet, which ends the wait for the first one, and most of a long one."""
    attacked = attack(way, cluster_max_anonymous_bytes=BUDGET_BYTES)
    number = 0

    def leave_unfinished() -> HostilePeer:
        nonlocal number
        stranger = attacked.stranger(f"{(number := number + 1):040x}")
        assert stranger.ping() is not None
        stranger.send(publish(stranger, LONG_BYTES)[:PART_BYTES])
        return stranger

    def held_bytes() -> int:
        return attacked.counter("cluster_anonymous_bytes")

    first = leave_unfinished()
    attacked.wait(lambda: held_bytes() >= PART_BYTES - FREE_BYTES, lambda: f"{held_bytes()} held")
    for lost in range(1, MORE + 1):
        stranger = leave_unfinished()
        stranger.wait_closed()
        attacked.counts("cluster_links_lost_anonymous_bytes", lost)
        one_line(attacked, f"{stranger.address}: link lost (anonymous-bytes)", stranger.address)
        assert PART_BYTES - FREE_BYTES <= held_bytes() <= BUDGET_BYTES

    honest = attacked.stranger("9" * 40)
    assert honest.ping(gossip=mentions(honest.port, ids(range(600)))) is not None, "as long as heartbeats get"
    known = attacked.known()  # MEET, and its handshake
    known.send(publish(known, 2 * BUDGET_BYTES))
    attacked.counts("cluster_stats_messages_publish_received", 1)
    assert not first.is_closed(), "it has as much room as it had"

    first.send(publish(first, LONG_BYTES)[PART_BYTES:])
    assert first.ping() is not None, "the packet is whole, nobody's, and no reason to end the link"
    assert held_bytes() == 0
    stranger = leave_unfinished()
    attacked.wait(lambda: held_bytes() >= PART_BYTES - FREE_BYTES, "there is room again")
    stranger.connection.close()
    attacked.wait(lambda: held_bytes() == 0, "a link that ends holds nothing")
    assert not honest.is_closed()
    attacked.counts("cluster_links_lost_anonymous_bytes", MORE)


def test_without_a_limit_what_is_unfinished_is_counted_alone_h30(attack: Attack, way: Way) -> None:
    attacked = attack(way, cluster_max_anonymous_bytes=0)
    strangers = [attacked.stranger(f"{number:040x}") for number in range(3)]
    for stranger in strangers:
        stranger.send(publish(stranger, LONG_BYTES)[:PART_BYTES])
    least_bytes = len(strangers) * (PART_BYTES - FREE_BYTES)
    attacked.wait(lambda: attacked.counter("cluster_anonymous_bytes") >= least_bytes, "all of it is held")
    assert not any(stranger.is_closed() for stranger in strangers)
