"""Rows H33, H34 and H39 to H42 four ways: links that break, that are given up, that do not read, and full queues."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from clusterbus import wire
from clusterbus._core import Engine
from clusterbus.cluster.membership import links
from clusterbus.config import Config
from clusterbus.member.driver import ANSWERS_UNSENT_MAX_BYTES, STRANGER_ANSWERS_UNSENT_MAX_BYTES
from clusterbus.member.member import Member
from clusterbus.member.ports import LinkLost
from clusterbus.runtime import live_config, startup
from clusterbus.runtime.live_certificates import LiveCertificates

from tests.hostile.attacked import GOOD_ID, NODE_TIMEOUT_MS, Attacked, Connection, HostilePeer, Way, resident_bytes
from tests.hostile.passing_time import later
from tests.interop.bus_peer import TYPE_PING, packet_type

Attack = Callable[..., Attacked]

TYPE_PUBLISH = 4
MESSAGE_BYTES = 64 << 10
MESSAGES = 160
"""So many messages are more than the kernel's buffers hold, so some are sent in parts."""
LIMIT_BYTES = 1 << 20
ENDED_LINKS, WAITING_BYTES = 6, 8 << 20
EPOCH = 77
TICK_MS = 100
"""The time of the member's last input may be so much older than now."""
ROUNDS, ROUNDS_MAX = 20, 2_000


def reset(connection: Connection) -> None:
    """Ends a connection by a reset, as a machine does whose process has died with bytes unread."""

    async def abort() -> None:
        one = connection._link._writer.transport.get_extra_info("socket")
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection._link._writer.transport.abort()

    connection._loop.run(abort())


def reads(connection: Connection, goes_on: bool) -> None:
    """Stops reading from a connection, or goes on with it."""

    async def switch() -> None:
        transport: Any = connection._link._writer.transport
        if goes_on:
            transport.resume_reading()
        else:
            transport.pause_reading()

    connection._loop.run(switch())


def message(number: int) -> bytes:
    return number.to_bytes(4, "big") * (MESSAGE_BYTES // 4)


def published(connection: Connection) -> list[bytes]:
    """The messages that came on a connection, whole and in their order."""
    messages = [wire.decode(packet) for packet in connection.received if packet_type(packet) & 0x7FFF == TYPE_PUBLISH]
    return [one.message for one in messages if isinstance(one, wire.Publish)]


def unsent_bytes(attacked: Attacked, node_id: str | None = None) -> int:
    """What waits in the send queues of all links, or of those of a node."""

    def unsent(member: Member) -> int:
        links = [link for link in member.state.links if node_id is None or (link.node and link.node.node_id == node_id)]
        return sum(member.engine.send_queue(link.link_id)[1] for link in links)

    return attacked.ask(unsent)


def publish_unhurried(attacked: Attacked, number: int) -> None:
    """Publishes a message, and waits until it has left for the good peer, which reads."""
    attacked.bus.publish("channel", message(number))
    attacked.wait(lambda: unsent_bytes(attacked, GOOD_ID) == 0, "the good peer reads")


def ends(attacked: Attacked) -> int:
    """Links that a peer ended. The kernel tells of a reset once: if a write meets it first, a read finds the end."""
    return attacked.counter("cluster_links_lost_error") + attacked.counter("cluster_links_lost_eof")


# ---------------------------------------------------------------- H33, H34: resets and ends


@pytest.mark.parametrize("part", [1, 40, 2_255], ids=["a byte", "a header", "all but a byte"])
def test_a_reset_inside_a_message_ends_the_link_once_h33(attacked: Attacked, part: int) -> None:
    known = attacked.known()
    links = attacked.counter("cluster_links")
    broken = known.connection
    broken.send(known.heartbeat(current_epoch=EPOCH + 1)[:part])
    reset(broken)
    attacked.wait(lambda: attacked.counter("cluster_links") == links - 1, "the link has ended")
    attacked.wait(lambda: ends(attacked) == 1, lambda: f"{ends(attacked)} links have ended")
    (line,) = attacked.wait_line("link lost (e")
    assert broken.address in line
    assert attacked.counter("cluster_current_epoch") <= EPOCH, "nothing of the part counts"
    assert known.dial().ping() is not None
    assert attacked.counter("cluster_links") == links


def test_a_message_that_is_sent_in_parts_arrives_whole_h33(attacked: Attacked) -> None:
    known = attacked.known()
    reads(known.dialled, goes_on=False)
    sent = [message(number) for number in range(MESSAGES)]
    for one in sent:
        attacked.bus.publish("channel", one)
    attacked.wait(lambda: unsent_bytes(attacked) > MESSAGE_BYTES, "a part of them waits")
    reads(known.dialled, goes_on=True)
    attacked.wait(lambda: len(published(known.dialled)) == MESSAGES, lambda: f"{len(published(known.dialled))} came")
    assert published(known.dialled) == sent
    assert unsent_bytes(attacked) == 0


def test_what_waits_on_a_link_that_ends_is_dropped_h33(attacked: Attacked) -> None:
    """The next link begins with a whole message."""
    known = attacked.known()
    deaf = known.dialled
    reads(deaf, goes_on=False)
    for number in range(MESSAGES):
        attacked.bus.publish("channel", message(number))
    attacked.wait(lambda: unsent_bytes(attacked) > MESSAGE_BYTES, "a part of them waits")
    reset(deaf)
    attacked.wait(lambda: known.dialled is not deaf, "it is dialled anew")
    attacked.wait(lambda: attacked.is_well(known.node_id) and unsent_bytes(attacked) == 0, "nothing waits")
    attacked.wait(lambda: ends(attacked) == 1, lambda: f"{ends(attacked)} links have ended")
    attacked.bus.publish("channel", message(MESSAGES))
    attacked.wait(lambda: message(MESSAGES) in published(known.dialled), "it arrives")
    assert packet_type(known.dialled.received[0]) == TYPE_PING


def test_what_waits_on_links_that_end_takes_no_room_afterwards_h33(attacked: Attacked) -> None:
    known = attacked.known()
    begun_bytes = 0
    for round in range(ENDED_LINKS):
        deaf = known.dialled
        reads(deaf, goes_on=False)
        for number in range(2 * MESSAGES):
            attacked.bus.publish("channel", message(number))
        attacked.wait(lambda: unsent_bytes(attacked, known.node_id) > WAITING_BYTES, "most of them wait")
        reset(deaf)
        attacked.wait(lambda deaf=deaf: known.dialled is not deaf, "it is dialled anew")  # type: ignore[misc]
        attacked.wait(lambda: attacked.is_well(known.node_id) and unsent_bytes(attacked) == 0, "nothing waits")
        attacked.good.dialled.received.clear()
        if round == 0:
            begun_bytes = resident_bytes()  # from now on the allocator has the room that one round needs
    grown_bytes = resident_bytes() - begun_bytes
    assert grown_bytes < WAITING_BYTES * (ENDED_LINKS - 1) * 0.6, f"grew by {grown_bytes >> 20} MiB"


@pytest.mark.parametrize("parts", [2, 3], ids=["two packets", "three packets"])
def test_the_place_in_a_packet_that_comes_in_parts_is_kept_h33(attacked: Attacked, parts: int) -> None:
    """Each part but the last ends inside a packet, after the end of another one."""
    known = attacked.known()
    packets = b"".join(known.heartbeat(current_epoch=EPOCH + number) for number in range(parts))
    step = len(packets) // parts + 100
    for start in range(0, len(packets) - step, step):
        before = attacked.counter("cluster_stats_bytes_received")
        known.send(packets[start : start + step])
        attacked.wait(lambda: attacked.counter("cluster_stats_bytes_received") > before, "it is read")  # noqa: B023
        known.connection.received.clear()
    assert known.ask(packets[start + step :]) is not None
    attacked.wait(lambda: attacked.counter("cluster_current_epoch") == EPOCH + parts - 1, "all of them count")
    assert attacked.counter("cluster_packets_dropped") == 0


@pytest.mark.parametrize("rest", [0, 100], ids=["whole", "with a part"])
def test_what_came_before_the_end_counts_h34(attacked: Attacked, rest: int) -> None:
    known = attacked.known()
    ended = known.connection
    packets = [known.heartbeat(current_epoch=EPOCH), wire.encode(wire.Fail(known.header(), GOOD_ID))]
    ended.send(b"".join(packets) + known.heartbeat(current_epoch=EPOCH + 1)[:rest])
    ended.close()
    attacked.wait(lambda: ends(attacked) == 1, lambda: f"{ends(attacked)} links have ended")
    (line,) = attacked.wait_line("link lost (e")
    assert ended.address in line
    assert attacked.counter("cluster_current_epoch") == EPOCH
    assert attacked.nodes()[GOOD_ID].is_failed, "the last whole packet counts too"
    assert known.dial().ping() is not None


# ---------------------------------------------------------------- H40: who does not read


def test_a_link_with_too_much_unsent_is_given_up_h40(attack: Attack, way: Way) -> None:
    attacked = attack(way, cluster_link_sendbuf_limit=LIMIT_BYTES)
    known = attacked.known()
    deaf = known.dialled
    reads(deaf, goes_on=False)
    sent = 0
    while attacked.counter("cluster_links_lost_sendbuf_limit") == 0:
        publish_unhurried(attacked, sent)
        sent += 1
        assert unsent_bytes(attacked) <= 2 * LIMIT_BYTES
        assert sent < 10 * MESSAGES
    assert attacked.counter("total_cluster_links_buffer_limit_exceeded") == 1
    (line,) = attacked.wait_line("link lost (sendbuf-limit)")
    assert f"127.0.0.1:{known.cport}" in line
    attacked.wait(lambda: known.dialled is not deaf, "it is dialled anew")
    attacked.wait(lambda: message(sent - 1) in published(attacked.good.dialled), "who reads misses nothing")
    assert known.ping() is not None, "its own link is no worse for it"


def test_without_that_limit_a_link_gets_no_more_messages_and_stays_h40(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterbus.member.driver.MESSAGES_QUEUED_MAX_BYTES", LIMIT_BYTES)
    known = attacked.known()
    deaf = known.dialled
    reads(deaf, goes_on=False)
    sent = 0
    while attacked.counter("cluster_messages_dropped_slow_link") < 10:
        publish_unhurried(attacked, sent)
        sent += 1
        assert unsent_bytes(attacked) <= 2 * LIMIT_BYTES
        assert sent < 10 * MESSAGES
    attacked.wait(lambda: message(sent - 1) in published(attacked.good.dialled), "who reads misses nothing")
    assert not deaf.is_closed()
    reads(deaf, goes_on=True)
    attacked.wait(lambda: unsent_bytes(attacked) == 0, "it catches up")
    attacked.bus.publish("channel", message(sent))
    attacked.wait(lambda: message(sent) in published(deaf), "it gets what is published now")
    attacked.counts("cluster_messages_dropped_slow_link", 10)


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "stranger"])
def test_who_pings_and_does_not_read_is_not_answered_for_ever_h40(attacked: Attacked, is_known: bool) -> None:
    """Each PING would leave a PONG in memory."""
    peer = attacked.known() if is_known else attacked.stranger()
    deaf = peer.connection
    reads(deaf, goes_on=False)
    pings = peer.heartbeat() * (200 if is_known else 20)  # what comes together is answered before any of it is sent
    most_bytes = 0
    while attacked.counter("cluster_answers_dropped_slow_link") < 500:
        deaf.send(pings)
        most_bytes = max(most_bytes, unsent_bytes(attacked))
    bound_bytes = ANSWERS_UNSENT_MAX_BYTES if is_known else STRANGER_ANSWERS_UNSENT_MAX_BYTES
    assert bound_bytes / 4 < most_bytes < 2 * bound_bytes
    (line,) = attacked.wait_line("does not read the answers to its PINGs")
    assert deaf.address in line
    reads(deaf, goes_on=True)
    attacked.wait(lambda: unsent_bytes(attacked) == 0, "it catches up")
    assert peer.ping() is not None


# ---------------------------------------------------------------- H39: who comes and goes


class Flapping(HostilePeer):
    """A peer that ends every link as soon as it has been dialled, from `flaps` on."""

    flaps = False

    def __init__(self, attacked: Attacked, node_id: str) -> None:
        super().__init__(attacked, node_id)
        self.flapped = 0

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.flaps:
            self.flapped += 1
            writer.close()
        else:
            super()._accept(reader, writer)


def test_a_peer_that_comes_and_goes_is_dialled_more_and_more_rarely_h39(attacked: Attacked) -> None:
    peer = Flapping(attacked, "e" * 40)
    attacked._peers.append(peer)
    peer.meet()
    attacked.wait(lambda: attacked.is_well(peer.node_id), "it is well")
    peer.flaps = True
    peer.dialled.close()

    def pause_ms(failures: int) -> int | None:
        """How long the node waits for the next dial; None if it has not seen so many fail."""

        def ask(member: Member) -> int | None:
            node = member.state.find(peer.node_id)
            assert node is not None
            return node.next_dial_ms - member.state._core.now_ms if node.dial_failures == failures else None

        return attacked.ask(ask)

    for flapped in range(5):
        attacked.wait(lambda n=flapped: peer.flapped == n and pause_ms(n + 1) is not None, "it is dialled again")  # type: ignore[misc]
        waits_ms = pause_ms(flapped + 1)
        assert waits_ms is not None
        assert 50 << flapped <= waits_ms + TICK_MS <= (100 << flapped) + TICK_MS
        later(attacked, waits_ms)
    attacked.counts("cluster_refused_unanswered", 1)
    (line,) = attacked.wait_line("without an answer")
    assert f"127.0.0.1:{peer.cport}" in line
    peer.flaps = False
    peer.answers = True
    attacked.wait(lambda: attacked.is_well(peer.node_id) and pause_ms(0) is not None, "it is well")


def test_dials_that_fail_are_counted_and_rare_h39(attacked: Attacked) -> None:
    """The longest pause is an eighth of the node timeout."""
    known = attacked.known()
    attacked.loop.run(known.stop())
    known.dialled.close()
    attacked.wait(lambda: attacked.counter("cluster_dials_failed") >= 4, "four dials have failed")
    (line,) = attacked.wait_line("dial failed (connect)")
    assert f"127.0.0.1:{known.cport}" in line

    def pause_ms(failures: int) -> int:
        """How long the node waits after so many failures."""

        def ask(member: Member) -> int:
            node = member.state.find(known.node_id)
            assert node is not None
            node.dial_failures = failures
            links._back_off(member.state._core, node)
            return node.next_dial_ms - member.state._core.now_ms

        return attacked.ask(ask)

    longest_ms = NODE_TIMEOUT_MS // 8
    assert {pause_ms(40) > longest_ms for _ in range(50)} == {False}
    pauses_ms = {pause_ms(40) for _ in range(50)}
    assert min(pauses_ms) >= longest_ms // 2
    assert len(pauses_ms) > 5, "by chance"
    attacked.loop.run(known.listen())
    attacked.ask(lambda member: setattr(member.state.find(known.node_id), "next_dial_ms", 0))
    attacked.wait(lambda: attacked.is_well(known.node_id), "it is well")


# ---------------------------------------------------------------- H41, H42: full queues, and jobs in flight


@pytest.fixture
def narrow(attack: Attack, way: Way, monkeypatch: pytest.MonkeyPatch) -> Attacked:
    """A node whose queues between the main thread and its workers hold one entry each."""

    def build(config: Config, certificates: LiveCertificates) -> Engine:
        return Engine(
            io_threads=config.io_threads,
            inbox_jobs=1,
            outbox_completions=1,
            unacknowledged_timeout_ms=live_config.unacknowledged_timeout_ms(config),
            tls=certificates.bus,
        )

    monkeypatch.setattr(startup, "build_engine", build)
    return attack(way)


def test_full_queues_cost_nothing_but_time_h41(narrow: Attacked) -> None:
    """A full inbox means the main thread; a full outbox means that results wait, in their order."""
    peers = [narrow.known(f"{number:x}" * 40) for number in range(1, 7)]
    before = narrow.counter("cluster_io_main_thread_fallbacks")
    sent: list[bytes] = []
    while len(sent) < ROUNDS_MAX:
        sent.append(message(len(sent))[:1_000])
        narrow.bus.publish("channel", sent[-1])
        for peer in peers:
            peer.send(peer.heartbeat(current_epoch=EPOCH + len(sent)) * 5)
        falls_back = narrow.counter("cluster_io_main_thread_fallbacks") > before
        if len(sent) >= ROUNDS and (falls_back or narrow.way.io_threads == 1):
            break
    for peer in peers:
        assert peer.ping() is not None
        narrow.wait(lambda peer=peer: len(published(peer.dialled)) == len(sent), "all that was published came")  # type: ignore[misc]
        assert published(peer.dialled) == sent
    assert narrow.counter("cluster_current_epoch") == EPOCH + len(sent)
    if narrow.way.io_threads == 1:
        assert narrow.counter("cluster_io_main_thread_fallbacks") == before == 0, "it never falls back on itself"
    else:
        assert narrow.counter("cluster_io_main_thread_fallbacks") > before, f"no full inbox in {len(sent)} rounds"


def test_a_panic_costs_one_link_h41(attacked: Attacked) -> None:
    """The engine's own tests have a worker panic in each of the four ways; here the node is told of it."""
    known = attacked.known()
    dialled = known.dialled
    link = attacked.ask(lambda member: member.state.find(known.node_id).link.link_id)  # type: ignore[union-attr]
    lost = LinkLost(link=link, owner=0, kind="panic", detail="out of order")
    attacked.ask(lambda member: member.driver._apply([lost]))
    dialled.wait_closed()
    (line,) = attacked.wait_line("link lost (panic)")
    assert f"127.0.0.1:{known.cport}: " in line
    assert "out of order" in line
    attacked.wait(lambda: known.dialled is not dialled and attacked.is_well(known.node_id), "it is dialled anew")
    assert known.ping() is not None


def test_links_are_freed_when_their_last_job_is_home_h42(attacked: Attacked) -> None:
    """Links end from our side while much comes in and goes out on them."""
    known = attacked.known()
    links_before, descriptors = attacked.counter("cluster_links"), len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        strangers = [attacked.stranger(f"{number:x}" * 40) for number in range(1, 9)]
        for stranger in strangers:
            stranger.send(stranger.heartbeat() * 40)

        def kill(member: Member) -> int:
            found = [link.link_id for link in member.state.links if link.node is None]
            for link in found:
                member.driver.kill_link(link, "by the test")
            return len(found)

        killed = 0
        while killed < len(strangers):
            for stranger in strangers:
                stranger.send(stranger.heartbeat())
            killed += attacked.ask(kill)
        for stranger in strangers:
            stranger.wait_closed()
            stranger.connection.close()
        assert known.ping() is not None
    attacked.wait(lambda: attacked.counter("cluster_links") == links_before, "all links are freed")
    attacked.wait(lambda: len(os.listdir("/proc/self/fd")) <= descriptors, "and their descriptors")
