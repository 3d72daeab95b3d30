"""Rows H29, H31 and H32 four ways: clocks that jump, peers that take too long, and links of which one end is gone.

Nothing here waits for minutes: time passes for the node (`passing_time`), or its deadlines are set to tenths of a
second.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from clusterbus import wire
from clusterbus.config import Config

from tests.hostile.attacked import GOOD_ID, NODE_TIMEOUT_MS, Attacked, Connection, Way
from tests.hostile.passing_time import later

Attack = Callable[..., Attacked]

DAY_S = 86_400
HANDSHAKE_TIMEOUT_MS, FIRST_PACKET_TIMEOUT_MS = 400, 600
SOON_S = 4.0
"""Sooner than by any deadline that is not set here."""
IDLE_MS = 4 * NODE_TIMEOUT_MS
KEEPALIVE_S, KEEPALIVE_INTERVAL_S = 15, 5
FLAG_PRIMARY = 1


# ---------------------------------------------------------------- H29: clocks


def pong_received_ms(attacked: Attacked, node_id: str) -> int:
    """The time of the last PONG of a node, as CLUSTER NODES gives it."""
    (line,) = [line for line in attacked.nodes_text().splitlines() if line.startswith(node_id)]
    return int(line.split()[5])


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S], ids=["ahead", "back"])
def test_a_jump_of_the_wall_clock_is_no_failure_h29(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch, jump_s: int
) -> None:
    known = attacked.known()
    now_ms = attacked.ask(lambda member: member.clock.now_ms())
    wall_s, wall_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: wall_s() + jump_s)
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + jump_s * 10**9)
    ticks = attacked.ask(lambda member: member.state._core.ticked_ms)
    attacked.wait(lambda: attacked.ask(lambda member: member.state._core.ticked_ms) >= ticks + 200, "two more ticks")
    assert 0 <= attacked.ask(lambda member: member.clock.now_ms()) - now_ms < 60_000
    for peer in (known, attacked.good):
        assert peer.ping() is not None
        assert attacked.is_well(peer.node_id)
    assert "fail" not in attacked.log
    attacked.ask(lambda member: member.driver.save())


@pytest.mark.parametrize(("entries", "is_news"), [(1, False), (1, True), (20, True)], ids=["quiet", "news", "many"])
def test_a_pong_time_of_the_future_is_not_taken_h29(attacked: Attacked, entries: int, is_news: bool) -> None:
    """Else the node that it is about would not be pinged for so long. Where a header is news the main loop looks at the
    entries, but for many, which are compared first.
    """
    known = attacked.known()
    good = attacked.good
    attacked.wait(
        lambda: attacked.ask(lambda member: [node.ping_sent_ms for node in member.state.nodes]) == [0, 0, 0],
        "no PING waits: gossip about a node counts",
    )
    epoch = attacked.counter("cluster_current_epoch")

    def gossip(pong_s: int) -> bytes:
        nonlocal epoch
        epoch += is_news
        about = wire.GossipEntry(
            node_id=GOOD_ID,
            ip="127.0.0.1",
            port=good.port,
            cport=good.cport,
            flags=FLAG_PRIMARY,
            pong_received_s=pong_s,
            ping_sent_s=pong_s,
        )
        return known.heartbeat(gossip=[about] * entries, current_epoch=epoch)

    before = {name for name in attacked.bus.cluster_info() if "refused" in name}
    for pong_s in (2**32 - 1, int(time.time()) + DAY_S, int(time.time()) + 5):
        assert known.ask(gossip(pong_s)) is not None
        assert pong_received_ms(attacked, GOOD_ID) <= time.time() * 1000 + 1_000
    for pong_s in (0, 1):
        received_ms = pong_received_ms(attacked, GOOD_ID)
        assert known.ask(gossip(pong_s)) is not None
        assert pong_received_ms(attacked, GOOD_ID) >= received_ms, "nor does an older one count"
    assert {name for name in attacked.bus.cluster_info() if "refused" in name} == before
    later(attacked, NODE_TIMEOUT_MS)
    pinged = len(good.dialled.received)
    attacked.wait(lambda: len(good.dialled.received) > pinged, "it is pinged when its time has come")


def test_a_jump_of_the_nodes_own_time_costs_nobody_h29(attacked: Attacked) -> None:
    """As after a SIGSTOP, or a machine that slept: who answers is not taken for failed."""
    known = attacked.known()
    for _ in range(3):
        later(attacked, 10 * NODE_TIMEOUT_MS)
        for peer in (known, attacked.good):
            peer.ping()
            assert not attacked.nodes()[peer.node_id].is_failed
    known.dial()
    attacked.wait(lambda: known.ping() is not None and attacked.is_well(known.node_id), "it is well")


# ---------------------------------------------------------------- H31: slow openers


@pytest.fixture
def hurried(attack: Attack, way: Way) -> Attacked:
    """A node that waits for handshakes and first packets for tenths of a second."""
    return attack(
        way,
        cluster_tls_handshake_timeout=HANDSHAKE_TIMEOUT_MS,
        cluster_first_packet_timeout=FIRST_PACKET_TIMEOUT_MS,
    )


def ends_after(connection: Connection, least_ms: int, begun_s: float) -> None:
    connection.wait_closed(SOON_S)
    lasted_ms = (time.monotonic() - begun_s) * 1000
    assert lasted_ms >= least_ms - 50, f"{connection.address} ended after {lasted_ms} ms"


def test_who_connects_and_says_nothing_is_ended_at_a_deadline_h31(hurried: Attacked) -> None:
    known = hurried.known()
    silent = hurried.connect(plain=True)
    begun_s = time.monotonic()
    if hurried.way.tls:
        counter, logged, least_ms = "accepts_refused_handshake_timeout", "handshake-timeout", HANDSHAKE_TIMEOUT_MS
    else:
        counter, logged, least_ms = "links_lost_first_packet_timeout", "first-packet-timeout", FIRST_PACKET_TIMEOUT_MS
    ends_after(silent, least_ms, begun_s)
    hurried.counts(f"cluster_{counter}", 1)
    (line,) = hurried.wait_logged(logged)
    assert "127.0.0.1" in line
    hurried.wait(lambda: hurried.counter("cluster_handshakes") == 0, "nothing of it stays")
    assert not known.is_closed(), "after its first packet a peer may be silent"
    assert not known.dialled.is_closed()


@pytest.mark.parametrize("trickles", [False, True], ids=["a part", "a byte at a time"])
def test_who_never_ends_its_first_packet_is_ended_at_a_deadline_h31(hurried: Attacked, trickles: bool) -> None:
    known = hurried.known()
    slow = hurried.connect()
    begun_s = time.monotonic()
    packet = iter(known.heartbeat())
    slow.send(bytes(next(packet) for _ in range(100)))
    while trickles and not slow.is_closed():
        slow.send(bytes([next(packet)]))
        time.sleep(0.01)
    ends_after(slow, FIRST_PACKET_TIMEOUT_MS, begun_s)
    hurried.counts("cluster_links_lost_first_packet_timeout", 1)
    (line,) = hurried.wait_logged("first-packet-timeout")
    assert slow.address in line
    assert not known.is_closed()


def test_a_dial_that_comes_to_nothing_is_given_up_at_a_deadline_h31(hurried: Attacked) -> None:
    """The other end takes the connection and then says nothing. Without TLS that is a link on which no PONG comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cport = listener.getsockname()[1]
        hurried.bus.meet("127.0.0.1", 7000, bus_port=cport)
        if hurried.way.tls:
            (line, *_) = hurried.wait_logged("dial failed (handshake-timeout)")
            assert f"127.0.0.1:{cport}" in line
            assert hurried.counter("cluster_dials_failed") >= 1
            assert hurried.counter("cluster_links_lost_handshake_timeout") >= 1
        else:
            hurried.wait(lambda: hurried.counter("cluster_links") == 3, "it is dialled")
        later(hurried, NODE_TIMEOUT_MS + 1)
        hurried.counts("cluster_refused_handshake_expired", 1)
        assert len(hurried.nodes()) == 2


def test_a_dial_that_nobody_takes_is_given_up_at_a_deadline_h31(hurried: Attacked) -> None:
    """The other end's system says nothing at all, as when a packet filter swallows the dial: its backlog is full."""
    known = hurried.known()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        cport = deaf.getsockname()[1]
        with socket.create_connection(("127.0.0.1", cport)):  # Linux takes a backlog of 0 as 1
            begun_s = time.monotonic()
            hurried.bus.meet("127.0.0.1", 7000, bus_port=cport)
            (line, *_) = hurried.wait_line(f"not up within {HANDSHAKE_TIMEOUT_MS} ms")
            assert time.monotonic() - begun_s >= HANDSHAKE_TIMEOUT_MS / 1000
            assert f"127.0.0.1:{cport}: dial failed (connect)" in line
            assert hurried.counter("cluster_dials_failed") >= 1
            assert hurried.counter("cluster_links_lost_connect") >= 1
            later(hurried, NODE_TIMEOUT_MS + 1)
            hurried.counts("cluster_refused_handshake_expired", 1)
    known.dial()
    assert known.ping() is not None


def test_openers_have_5_and_15_seconds_h31() -> None:
    config = Config.from_keywords()
    assert (config.cluster_tls_handshake_timeout, config.cluster_first_packet_timeout) == (5_000, 15_000)


# ---------------------------------------------------------------- H32: one end is gone


def test_an_inbound_link_that_stays_silent_is_closed_h32(attacked: Attacked) -> None:
    """Its other end is gone, or is of nobody who speaks the protocol."""
    known, stranger = attacked.known(), attacked.stranger()
    assert stranger.ping() is not None
    for part_ms in (IDLE_MS - NODE_TIMEOUT_MS // 2, NODE_TIMEOUT_MS):
        assert not stranger.is_closed()
        later(attacked, part_ms)
        for peer in (known, attacked.good):
            peer.ping()
    stranger.wait_closed()
    attacked.counts("cluster_links_lost_idle", 1)
    (line,) = attacked.wait_line("link closed: idle")
    assert stranger.address in line
    assert not known.is_closed()


def test_a_link_without_a_sign_of_life_is_dialled_anew_h32(attacked: Attacked) -> None:
    """The other end is gone without a word: no answer, and no data on either link."""
    known = attacked.known()
    half_open = known.dialled
    known.answers = False
    pinged = len(half_open.received)
    later(attacked, NODE_TIMEOUT_MS)
    attacked.wait(lambda: len(half_open.received) > pinged, "it is pinged")
    later(attacked, NODE_TIMEOUT_MS // 2 + 1)
    half_open.wait_closed()
    assert attacked.counter("cluster_links_lost_silent") == 1
    (line,) = attacked.wait_line("link closed: no answer and no data")
    assert f"127.0.0.1:{known.cport}" in line
    known.answers = True
    attacked.wait(lambda: known.dialled is not half_open, "it is dialled anew")
    attacked.wait(lambda: attacked.is_well(known.node_id), "it is well")


def test_a_link_that_works_one_way_is_dialled_anew_h32(attacked: Attacked) -> None:
    """Our PINGs are lost, though the peer's own arrive."""
    known = attacked.known()
    one_way = known.dialled
    known.answers = False
    pinged = len(one_way.received)
    later(attacked, NODE_TIMEOUT_MS // 2 + 1)
    attacked.wait(lambda: len(one_way.received) > pinged, "it is pinged")
    for _ in range(5):
        later(attacked, NODE_TIMEOUT_MS // 4)
        assert known.ping() is not None
    one_way.wait_closed()
    assert attacked.counter("cluster_links_lost_no_pong") == 1
    (line,) = attacked.wait_line("link closed: no PONG for a node timeout")
    assert f"127.0.0.1:{known.cport}" in line
    assert not known.is_closed()
    known.answers = True
    attacked.wait(lambda: known.dialled is not one_way, "it is dialled anew")
    attacked.wait(lambda: attacked.is_well(known.node_id), "it is well")


def sockets_of(attacked: Attacked, known_cport: int) -> Iterator[tuple[bool, socket.socket]]:
    """The node's sockets with its peers, which are in this process: each with whether the node dialled it."""
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            one = socket.socket(fileno=os.dup(int(descriptor)))
        except OSError:
            continue
        with one:
            try:
                ours, theirs = one.getsockname(), one.getpeername()
            except OSError:
                continue
            if one.family == socket.AF_INET and attacked.bus.bus_port == ours[1]:
                yield False, one
            elif one.family == socket.AF_INET and known_cport == theirs[1]:
                yield True, one


def test_the_kernel_looks_after_links_that_are_silent_h32(attacked: Attacked) -> None:
    known = attacked.known()
    seen = set()
    for is_dialled, one in sockets_of(attacked, known.cport):
        seen.add(is_dialled)
        options = [one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)] + [
            one.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT)
        ]
        assert options == [1, KEEPALIVE_S, KEEPALIVE_INTERVAL_S, NODE_TIMEOUT_MS]
    assert seen == {False, True}
