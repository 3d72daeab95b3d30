"""`SimEngine`: what it promises as an engine's port, between two simulated processes (R33, R34, R38, R42)."""

from __future__ import annotations

import pytest
from clusterbus.cluster.constants import PING, PONG
from clusterbus.member.ports import (
    LinkAccepted,
    LinkConnected,
    LinkDrained,
    LinkLost,
    PacketsReceived,
    QuietHeartbeats,
)
from clusterbus.sim import Simulation
from clusterbus.sim.engine import SimEngine
from clusterbus.sim.host import Host
from clusterbus.wire import Header, Heartbeat, Packet, encode

LONG_MS = 60_000
"""A lease for longer than any of these tests."""


class Pair:
    """Two joined members that no longer step by themselves: a test moves their engines by hand."""

    def __init__(self, seed: int = 3) -> None:
        self.simulation = Simulation(seed=seed, nodes=2)
        self.simulation.form()
        self.simulation.run_for(3_000)
        for node in (0, 1):
            self.simulation.hang(node, reads=True)
        self.here, self.there = self.simulation.members
        self.link = self.link_to(self.here, self.there)
        for host in (self.here, self.there):
            host.engine.poll()

    @staticmethod
    def link_to(one: Host, other: Host) -> int:
        """The link that `one` dialled to `other`."""
        node = one.state.find(other.node_id)
        assert node is not None
        assert node.link is not None
        return node.link.link_id

    def pass_time(self) -> None:
        self.simulation.run_for(50)

    @staticmethod
    def packets(engine: SimEngine) -> list[Packet]:
        """The packets that come to the main loop, in order."""
        packets: list[Packet] = []
        more = True
        while more:
            packets += [packet for event in engine.poll() for packet in packets_of(event)]
            more = engine.flush()
        return packets


@pytest.fixture
def pair() -> Pair:
    return Pair()


def ping(sender: str = "b" * 40) -> bytes:
    return encode(Heartbeat(PING, Header(sender=sender, flags=1)))


def test_what_is_sent_leaves_at_flush_and_in_order_r42(pair: Pair) -> None:
    engine = pair.here.engine
    pair.there.engine.set_lease_ms(0)
    assert engine.send(pair.link, ping("b" * 40))
    assert engine.send_heartbeat(pair.link, PING)
    assert engine.send(pair.link, ping("c" * 40))
    pair.pass_time()
    assert pair.there.engine.poll() == []
    assert engine.flush() is False
    pair.pass_time()
    packets = pair.packets(pair.there.engine)
    assert [packet.sender[0] for packet in packets] == ["b", pair.here.node_id[0], "c"]


def packets_of(event: object) -> list[Packet]:
    assert isinstance(event, PacketsReceived)
    return list(event.packets)


def test_a_heartbeat_says_what_the_view_says_when_it_leaves_r34(pair: Pair) -> None:
    engine, state = pair.here.engine, pair.here.state
    assert engine.send_heartbeat(pair.link, PING)
    epoch = state.current_epoch + 5
    state._core.current_epoch = epoch
    view = state.view()
    assert view is not None
    engine.publish(view)
    engine.flush()
    pair.pass_time()
    (packet,) = pair.packets(pair.there.engine)
    assert packet.current_epoch == epoch


def test_a_heartbeat_needs_a_name_and_a_view_that_knows_it_r34(pair: Pair) -> None:
    engine = pair.here.engine
    engine.bind(pair.link, "f" * 40)
    assert not engine.send_heartbeat(pair.link, PING), "the view has no such node"
    engine.bind(pair.link, pair.there.node_id)
    assert engine.send_heartbeat(pair.link, PING)
    engine.close(pair.link)
    assert not engine.send_heartbeat(pair.link, PING)
    assert not engine.send(pair.link, ping())
    assert engine.broadcast((pair.link,), ping(), unsent_max_bytes=0) == 0


def test_a_heartbeat_that_says_nothing_new_is_answered_without_the_main_loop_r33(pair: Pair) -> None:
    for host in (pair.here, pair.there):
        host.engine.set_lease_ms(LONG_MS)
    pair.here.state._core.repl_offset = 77
    view = pair.here.state.view()
    assert view is not None
    pair.here.engine.publish(view)
    pair.here.engine.send_heartbeat(pair.link, PING)
    pair.here.engine.flush()
    pair.pass_time()
    sender = pair.there.state.find(pair.here.node_id)
    assert sender is not None
    assert sender.repl_offset == 77
    assert not pair.there.engine.has_events, "it wakes nobody"
    (answered,) = pair.there.engine.poll()
    assert isinstance(answered, QuietHeartbeats)
    assert (answered.answered, answered.noted, answered.pongs) == (1, 0, [])
    pair.pass_time()
    (noted,) = pair.here.engine.poll()
    assert isinstance(noted, QuietHeartbeats)
    assert (noted.answered, noted.noted, [link for link, _ in noted.pongs]) == (0, 1, [pair.link])


def test_without_a_lease_or_at_another_version_the_main_loop_must_answer_r33(pair: Pair) -> None:
    engine = pair.there.engine
    for moves, lease_ms in ((False, 0), (True, LONG_MS)):
        engine.set_lease_ms(lease_ms)
        if moves:
            pair.there.state._core.version.move()
        pair.here.engine.send_heartbeat(pair.link, PING)
        pair.here.engine.flush()
        pair.pass_time()
        assert [packet.type for packet in pair.packets(engine)] == [PING]


def test_what_follows_news_on_a_link_waits_until_that_is_applied_r33(pair: Pair) -> None:
    engine = pair.there.engine
    engine.set_lease_ms(LONG_MS)
    pair.here.engine.send(pair.link, ping("b" * 40))
    pair.here.engine.send_heartbeat(pair.link, PING)
    pair.here.engine.flush()
    pair.pass_time()
    assert [type(event) for event in engine.poll()] == [PacketsReceived]
    assert engine.poll() == [], "the heartbeat says nothing new, but it came second"
    assert not engine.flush()
    assert [type(event) for event in engine.poll()] == [QuietHeartbeats]


def test_only_the_named_node_on_its_own_side_of_a_link_is_quiet_r33_h21(pair: Pair) -> None:
    accepted = next(end.link for end in pair.there.engine.ends() if end.is_inbound)
    sent_by_us = pair.link_to(pair.there, pair.here)
    pair.there.engine.send_heartbeat(sent_by_us, PONG)  # a PONG on a link that its sender dialled
    pair.there.engine.flush()
    pair.pass_time()
    assert [type(event) for event in pair.here.engine.poll()] == [PacketsReceived]
    pair.there.engine.bind(accepted, "f" * 40)
    pair.here.engine.send_heartbeat(pair.link, PING)
    pair.here.engine.flush()
    pair.pass_time()
    assert [type(event) for event in pair.there.engine.poll()] == [PacketsReceived]


def test_a_link_closed_drains_here_and_is_lost_there_r15(pair: Pair) -> None:
    read_ms = pair.here.engine.last_read_ms(pair.link)
    assert read_ms is not None
    pair.here.engine.close(pair.link)
    assert [type(event) for event in pair.here.engine.poll()] == [LinkDrained]
    assert pair.here.engine.last_read_ms(pair.link) == read_ms, "as a real engine, until the link is freed (R23)"
    pair.here.engine.free(pair.link)
    assert pair.here.engine.last_read_ms(pair.link) is None
    assert pair.here.engine.name_of(pair.link) is None
    pair.pass_time()
    (lost,) = pair.there.engine.poll()
    assert isinstance(lost, LinkLost)
    assert lost.kind == "eof"
    pair.here.engine.close(pair.link)
    assert pair.here.engine.poll() == [], "closed once"


def test_a_dial_is_answered_or_lost_under_its_owner_r42(pair: Pair) -> None:
    engine = pair.here.engine
    dialled = engine.connect(pair.there.ip, pair.there.cport, owner=77)
    nowhere = engine.connect("10.99.0.1", 17000, owner=78)
    pair.pass_time()
    (connected,) = engine.poll()
    assert isinstance(connected, LinkConnected)
    assert (connected.link, connected.owner) == (dialled, 77)
    assert [type(event) for event in pair.there.engine.poll()] == [LinkAccepted]
    pair.simulation.run_for(10_000)
    lost = [event for event in engine.poll() if isinstance(event, LinkLost) and event.owner == 78]
    assert [(event.link, event.kind) for event in lost] == [(nowhere, "connect")]


def test_a_dial_given_up_leaves_no_link_behind(pair: Pair) -> None:
    engine = pair.here.engine
    links = engine.stats()["links"]
    engine.close(engine.connect(pair.there.ip, pair.there.cport, owner=77))
    pair.pass_time()
    assert [type(event) for event in engine.poll()] == [LinkDrained]
    assert engine.stats()["links"] == links


def test_without_reading_everything_waits_and_comes_in_order(pair: Pair) -> None:
    pair.there.engine.stop_reading()
    for sender in "bcd":
        pair.here.engine.send(pair.link, ping(sender * 40))
    pair.here.engine.flush()
    pair.pass_time()
    assert not pair.there.engine.has_events
    pair.there.engine.read_on()
    assert [packet.sender[0] for packet in pair.packets(pair.there.engine)] == ["b", "c", "d"]


def test_whom_a_heartbeat_mentions_follows_from_the_seed_r38() -> None:
    def bytes_sent(seed: int) -> list[bytes]:
        simulation = Simulation(seed=seed, nodes=6)
        sent: list[bytes] = []
        simulation.on_message(lambda _sender, _receivers, packet: sent.append(bytes(packet)))
        simulation.form()
        return sent

    assert bytes_sent(1) == bytes_sent(1)
    assert bytes_sent(1) != bytes_sent(2)
