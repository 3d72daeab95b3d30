"""The driver between a real engine and a scripted state: order, saves, refusals, and errors that it survives."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from clusterbus import wire
from clusterbus.cluster.effects import (
    Broadcast,
    CloseLink,
    Dial,
    Effect,
    Log,
    Notify,
    Refuse,
    Save,
    Send,
    SendHeartbeat,
)
from clusterbus.cluster.events import Event, NodeSuspected
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.errors import ClusterBusError
from clusterbus.member import driver as driver_module
from clusterbus.member.counters import refused_messages
from clusterbus.member.driver import FILTER_EVERYTHING, FILTER_NOTHING
from clusterbus.member.ports import Replacement
from clusterbus.member.saving import SAVE_PERIOD_MS

from tests.member.scripted import Loop, Peer, ScriptedState, ping, running
from tests.peers.tls import Certificates

PACKET_LEN_BYTES = 2256
OTHER_ID = "c" * 40


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    with running(tmp_path) as started:
        yield started


def epochs_heard(state: ScriptedState, link: int | None = None) -> list[int]:
    return [packet.current_epoch for at, packet in state.heard("packet") if link in (None, at)]


def block_saving(folder: Path) -> Path:
    """Makes every save of nodes.conf in the folder fail: a folder has the name of the new file."""
    obstacle = folder / "nodes.conf.tmp"
    obstacle.mkdir()
    return obstacle


# ---------------------------------------------------------------- engine -> state


def test_a_link_and_its_packets_reach_the_state_in_order_r5(loop: Loop) -> None:
    peer = loop.connect()
    assert loop.state.heard("accepted") == [(peer.link, "127.0.0.1", "127.0.0.1")]
    peer.send(*(wire.encode(ping(epoch=number)) for number in range(20)))
    loop.until(lambda: len(loop.state.heard("packet")) == 20, "all packets are applied")
    assert epochs_heard(loop.state) == list(range(20))


def test_what_came_before_the_end_is_applied_before_the_link_is_closed_h34_r6(loop: Loop) -> None:
    peer = loop.connect()
    peer.send(wire.encode(ping(epoch=1)), wire.encode(ping(epoch=2)), b"RCmb")
    peer.close()
    loop.until(lambda: loop.state.heard("closed"), "the state hears of the end")
    names = [name for name, *_ in loop.state.inputs]
    assert names == ["accepted", "packet", "packet", "closed"]
    loop.until(lambda: loop.driver.engine.stats()["links"] == 0, "the link is freed (R15)")
    assert loop.driver.links == {}


def test_an_error_while_applying_a_packet_costs_that_link_and_nothing_else(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_at_three(_link: int, packet: wire.Packet) -> list[Effect]:
        if packet.current_epoch == 3:
            raise ZeroDivisionError("a bug in a rule")
        return []

    loop.state.answers["packet"] = fail_at_three
    bad, good = loop.connect(), loop.connect()
    bad.send(*(wire.encode(ping(epoch=number)) for number in (1, 3, 5)))
    loop.until(bad.is_closed, "the link with the bad packet is closed")
    assert epochs_heard(loop.state, bad.link) == [1, 3]
    assert [link for link, _ in loop.state.heard("closed")] == [bad.link]
    assert loop.driver.counters["packet_errors"] == 1
    record = next(record for record in caplog.records if record.exc_info)
    assert "a packet of type 0 could not be applied" in record.getMessage()
    good.send(wire.encode(ping(epoch=9)))
    loop.until(lambda: epochs_heard(loop.state, good.link) == [9], "the other link is served")


@pytest.mark.parametrize("name", ["accepted", "closed"])
def test_an_error_while_applying_another_event_costs_that_link_and_nothing_else(
    loop: Loop, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    good = loop.connect()

    def fail(*_arguments: object) -> list[Effect]:
        raise ZeroDivisionError("a bug in a rule")

    loop.state.answers[name] = fail
    bad = loop.connect()
    if name == "closed":
        bad.close()
    loop.until(lambda: loop.driver.counters["event_errors"], "the error is counted")
    loop.until(lambda: loop.driver.engine.stats()["links"] == 1, "the link goes")
    assert set(loop.driver.links) == {good.link}
    assert any(record.exc_info for record in caplog.records)
    good.send(wire.encode(ping(epoch=9)))
    loop.until(lambda: epochs_heard(loop.state, good.link) == [9], "the other link is served")


def test_an_effect_that_fails_does_not_keep_back_those_after_it(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    peer = loop.connect()
    impossible = cast(wire.Message, "no message")
    loop.state.answers["tick"] = lambda: [Send(peer.link, impossible), Send(peer.link, ping(epoch=4))]
    loop.driver.tick()
    loop.until(peer.has_received(PACKET_LEN_BYTES), "the next one goes out")
    assert loop.driver.counters["effect_errors"] == 1
    assert any(record.exc_info for record in caplog.records)


def test_effects_that_cannot_be_had_leave_the_loop_alive(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = loop.connect()
    poll_effects = loop.state.poll_effects
    faults = iter([ZeroDivisionError("a bug in a rule")])

    def fail_once() -> list[Effect]:
        for fault in faults:
            raise fault
        return poll_effects()

    monkeypatch.setattr(loop.state, "poll_effects", fail_once)
    peer.send(wire.encode(ping(epoch=1)), wire.encode(ping(epoch=2)))
    loop.until(lambda: epochs_heard(loop.state) == [1, 2], "both packets are applied")
    assert loop.driver.counters["effect_errors"] == 1


def test_an_error_in_the_tick_is_logged_and_the_loop_lives(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> list[Effect]:
        raise ZeroDivisionError("a bug in a rule")

    loop.state.answers["tick"] = fail
    for _ in range(3):
        loop.driver.tick()
    assert loop.driver.counters["tick_errors"] == 3
    assert len([record for record in caplog.records if record.exc_info]) == 1, "rate-limited"
    del loop.state.answers["tick"]
    loop.driver.tick()
    assert len(loop.state.heard("tick")) == 4


def test_refused_packets_are_counted_and_several_close_the_link_h4(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    good = wire.encode(ping(epoch=1))
    lying = good[:14] + b"\0\5" + good[16:]  # announces five gossip entries, but has none
    peer = loop.connect()
    allowed = 7  # one less than the engine's DROPPED_CLOSES
    peer.send(*[lying] * allowed, good)
    loop.until(lambda: epochs_heard(loop.state) == [1], "a good packet after them is applied")
    assert loop.driver.counters["packets_refused"] == allowed
    assert not peer.is_closed()
    peer.send(lying)
    loop.until(peer.is_closed, "one too many closes the link")
    assert loop.driver.engine.stats()["links_lost_bad_packets"] == 1
    lines = [record.getMessage() for record in caplog.records if "packet refused" in record.getMessage()]
    assert len(lines) == 1
    assert "127.0.0.1" in lines[0]


def test_refused_connections_have_one_line_naming_the_peer_h35(
    tmp_path: Path, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    directives: dict[str, Any] = {name.replace("-", "_"): value for name, value in certificates.directives().items()}
    with running(tmp_path, tls_port=7001, **directives) as loop:
        for attempt in (1, 2, 3):
            with socket.create_connection(("127.0.0.1", loop.port)) as plain:
                plain.sendall(wire.encode(ping()))
                loop.until(
                    lambda least=attempt: refused(loop) >= least,  # type: ignore[misc]
                    "the plain connection is refused",
                )
        lines = [record.getMessage() for record in caplog.records]
        assert len([line for line in lines if "127.0.0.1" in line and "refused" in line]) == 1
        assert loop.state.inputs == []


def refused(loop: Loop) -> int:
    stats = loop.driver.engine.stats()
    return sum(count for name, count in stats.items() if name.startswith("accepts_refused_"))


def test_what_was_refused_or_filtered_was_received_all_the_same_p35(loop: Loop) -> None:
    good = wire.encode(ping(1, epoch=1))
    refused_pong, refused_fail = (good[:12] + type_bytes + b"\0\5" + good[16:] for type_bytes in (b"\0\1", b"\0\3"))
    peer = loop.connect()
    loop.driver.packet_filter = 1
    peer.send(refused_pong, refused_fail, good, wire.encode(ping(0, epoch=2)))
    loop.until(lambda: epochs_heard(loop.state) == [2], "the last one is applied")
    engine_only = refused_messages(loop.driver.engine.stats())
    assert {name: number for name, number in engine_only.items() if number} == {
        "messages_pong_received": 1,
        "messages_fail_received": 1,
    }
    assert loop.state.counters == {"messages_pong_received": 1}, "the filtered one; the state counts what it is handed"
    loop.driver.reset_stats()
    assert not any(refused_messages(loop.driver.engine.stats()).values())


def test_a_peer_of_another_protocol_has_one_line_however_often_it_comes_p32(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 6):
        loop.connect().send(b"HELLO 3\r\n")
        loop.until(lambda least=number: len(loop.state.heard("closed")) >= least, "closed")  # type: ignore[misc]
    lines = [record.getMessage() for record in caplog.records if "does not speak this cluster bus" in record.message]
    assert len(lines) == 1
    assert lines[0].startswith("127.0.0.1: link lost (bad-signature), because it does not speak this cluster bus: sig")
    assert loop.driver.engine.stats()["links_lost_bad_signature"] == 5


def test_the_packet_filter_drops_one_type_or_all(loop: Loop) -> None:
    peer = loop.connect()
    loop.driver.packet_filter = 1
    peer.send(wire.encode(ping(1, epoch=1)), wire.encode(ping(0, epoch=2)))
    loop.until(lambda: epochs_heard(loop.state) == [2], "only the other type is applied")
    loop.driver.packet_filter = FILTER_EVERYTHING
    peer.send(wire.encode(ping(0, epoch=3)))
    loop.until(lambda: loop.driver.counters["packets_filtered"] == 2, "everything is dropped")
    loop.driver.packet_filter = FILTER_NOTHING
    peer.send(wire.encode(ping(1, epoch=4)))
    loop.until(lambda: epochs_heard(loop.state) == [2, 4], "nothing is dropped")


def test_a_filtered_packet_can_end_its_link_p38(loop: Loop) -> None:
    peer, other = loop.connect(), loop.connect()
    loop.driver.packet_filter, loop.driver.closes_filtered = 1, True
    other.send(wire.encode(ping(0, epoch=2)))
    peer.send(wire.encode(ping(1, epoch=1)))
    loop.until(lambda: bool(loop.state.heard("closed")), "the link is closed")
    loop.until(lambda: epochs_heard(loop.state) == [2], "the other type is applied")
    ((_link, reason),) = loop.state.heard("closed")
    assert "PACKET-DROP" in reason
    loop.driver.packet_filter = FILTER_NOTHING
    other.send(wire.encode(ping(1, epoch=3)))
    loop.until(lambda: epochs_heard(loop.state) == [2, 3], "without a filter no link is closed")


# ---------------------------------------------------------------- state -> engine


def test_a_dial_that_comes_up_names_the_node_it_was_for(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        loop.state.answers["tick"] = lambda: [Dial(OTHER_ID, "127.0.0.1", port)]
        loop.state.answers["opened"] = lambda _node, link, _ip: [Send(link, ping(epoch=7))]
        loop.driver.tick()
        loop.until(lambda: loop.state.heard("opened"), "the dial comes up")
        node_id, link, local_ip = loop.state.heard("opened")[0]
        assert (node_id, local_ip) == (OTHER_ID, "127.0.0.1")
        assert loop.driver.links[link] == f"127.0.0.1:{port}"
        raw, _ = server.accept()
        with raw:
            peer = Peer(raw)
            loop.until(peer.has_received(PACKET_LEN_BYTES), "the message goes out")
            assert wire.decode(peer.read(PACKET_LEN_BYTES)).header.current_epoch == 7  # type: ignore[union-attr]


@pytest.mark.parametrize("address", ["127.0.0.1", "no address"])
def test_a_dial_that_fails_is_told_with_the_node_it_was_for(loop: Loop, address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    redial = Dial(OTHER_ID, address, port)
    loop.state.answers["tick"] = lambda: [redial]
    loop.driver.tick()
    loop.until(lambda: loop.state.heard("dial failed"), "the failure is reported")
    assert [node_id for node_id, _ in loop.state.heard("dial failed")] == [OTHER_ID]
    assert loop.driver.counters["dials_failed"] == 1
    loop.until(lambda: loop.driver.engine.stats()["links"] == 0, "nothing of it stays")


def test_a_state_that_dials_again_at_once_does_not_wedge_the_loop(loop: Loop) -> None:
    loop.state.answers["tick"] = lambda: [Dial(OTHER_ID, "no address", 1)]
    loop.state.answers["dial failed"] = lambda _node, _error: [Dial(OTHER_ID, "no address", 1)]
    loop.driver.tick()
    for _ in range(5):
        loop.driver.step(0)
    assert 1 <= len(loop.state.heard("dial failed")) <= 7


def test_a_broadcast_is_encoded_once_for_all_links_r11(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = [loop.connect() for _ in range(3)]
    encoded: list[object] = []

    def counting(message: wire.Message) -> bytes:
        encoded.append(message)
        return wire.encode(message)

    monkeypatch.setattr(driver_module, "encode", counting)
    links = tuple(peer.link for peer in peers)
    loop.state.answers["tick"] = lambda: [Broadcast(links, ping(epoch=5))]
    loop.driver.tick()
    for peer in peers:
        loop.until(peer.has_received(PACKET_LEN_BYTES), "every link gets it")
    assert len(encoded) == 1


def test_a_link_the_state_closes_is_closed_and_nothing_more_of_it_is_applied(loop: Loop) -> None:
    loop.state.answers["packet"] = lambda link, _packet: [CloseLink(link, "enough")]
    peer = loop.connect()
    peer.send(*(wire.encode(ping(epoch=number)) for number in (1, 2, 3)))
    loop.until(peer.is_closed, "the link is closed")
    assert epochs_heard(loop.state) == [1]
    assert loop.state.heard("closed") == [], "the state knows already"
    loop.until(lambda: loop.driver.engine.stats()["links"] == 0, "the link is freed")


def test_a_killed_link_is_closed_and_told_once(loop: Loop) -> None:
    peer = loop.connect()
    loop.driver.kill_link(peer.link, "killed")
    loop.driver.kill_link(peer.link, "killed")
    assert loop.state.heard("closed") == [(peer.link, "killed")]
    loop.until(peer.is_closed, "the peer sees the end")


def test_log_and_events_of_the_state_reach_their_readers(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []
    loop.driver.event_listeners.append(seen.append)
    event = NodeSuspected(OTHER_ID)
    loop.state.answers["tick"] = lambda: [Log("warning", "100% of it"), Notify(event)]
    loop.driver.tick()
    assert seen == [event]
    assert ("clusterbus", logging.WARNING, "100% of it") in caplog.record_tuples


# ---------------------------------------------------------------- nodes.conf


def test_many_changes_of_one_step_are_one_save(loop: Loop, tmp_path: Path) -> None:
    loop.state.answers["packet"] = lambda _link, _packet: [Save(durable=False)]
    peer = loop.connect()
    peer.send(*[wire.encode(ping())] * 10)
    loop.until(lambda: len(loop.state.heard("packet")) == 10, "the packets are applied")
    assert 1 <= loop.driver.saver.status.saves <= 3
    assert (tmp_path / "nodes.conf").read_text() == loop.state.text


def test_a_vote_is_on_disk_before_it_is_sent_h47(loop: Loop, tmp_path: Path) -> None:
    peer = loop.connect()
    on_disk: list[str] = []
    send = loop.driver._carriers[Send]

    def look_first(effect: Send) -> None:
        on_disk.append((tmp_path / "nodes.conf").read_text())
        send(effect)

    loop.driver._carriers[Send] = look_first
    loop.state.answers["tick"] = lambda: [Save(durable=True), Send(peer.link, ping(epoch=1))]
    loop.driver.tick()
    assert on_disk == [loop.state.text]


def test_a_failed_durable_save_withholds_what_depends_on_it_and_nothing_else_h47(
    loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    obstacle = block_saving(tmp_path)
    peer = loop.connect()

    def answer(link: int, packet: wire.Packet) -> list[Effect]:
        reply = ping(1, epoch=packet.current_epoch)
        if packet.current_epoch == 2:  # like a vote
            return [Save(durable=True), Send(link, reply), Broadcast((link,), reply)]
        return [Send(link, reply)]

    loop.state.answers["packet"] = answer
    peer.send(*(wire.encode(ping(epoch=number)) for number in (1, 2, 3)))
    loop.until(peer.has_received(2 * PACKET_LEN_BYTES), "the other answers go out")
    replies = wire.parse(peer.read(2 * PACKET_LEN_BYTES))
    assert [packet.current_epoch for packet in replies] == [1, 3]
    assert loop.driver.counters["messages_withheld"] == 2
    assert "nodes.conf" in loop.driver.saver.status.last_error
    assert (loop.driver.saver.status.saves, loop.driver.saver.status.failures) == (0, 1)
    assert any("could not be saved" in record.getMessage() for record in caplog.records)

    loop.driver.tick()
    assert loop.driver.saver.status.failures == 2, "tried again at the tick"
    obstacle.rmdir()
    loop.driver.tick()
    assert loop.driver.saver.status.last_error == ""
    assert (tmp_path / "nodes.conf").read_text() == loop.state.text
    peer.send(wire.encode(ping(epoch=2)))
    loop.until(peer.has_received(2 * PACKET_LEN_BYTES), "a vote is sent again")


def test_heartbeats_leave_after_a_durable_save_of_the_same_input_h27_h47(loop: Loop, tmp_path: Path) -> None:
    """A heartbeat says what the state is when it is encoded: also what a later effect of the input was to keep."""
    obstacle = block_saving(tmp_path)
    peer = loop.connect()

    def bump(link: int, _packet: wire.Packet) -> list[Effect]:
        loop.state.epoch += 1
        return [SendHeartbeat(link, 1), Save(durable=True)]

    loop.state.answers["packet"] = bump
    loop.state.answers["tick"] = lambda: [SendHeartbeat(peer.link, 0)]
    peer.send(wire.encode(ping()))
    loop.until(lambda: loop.driver.counters["messages_withheld"] == 1, "the epoch is not on disk")
    loop.driver.tick()
    loop.until(peer.has_received(PACKET_LEN_BYTES), "heartbeats of other inputs still go")
    assert wire.parse(peer.read(PACKET_LEN_BYTES))[0].type == 0

    obstacle.rmdir()
    peer.send(wire.encode(ping()))
    loop.until(peer.has_received(PACKET_LEN_BYTES), "saved, and then sent")
    (pong,) = wire.parse(peer.read(PACKET_LEN_BYTES))
    assert (pong.type, pong.current_epoch) == (1, 2)
    assert loop.driver.saver.status.saves == 1


def test_a_durable_save_that_failed_is_made_good_by_a_durable_one_h47(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, asked = loop.driver.saver._nodes_file.begin, []

    def note(text: str, durable: bool) -> Replacement:
        asked.append(durable)
        return begin(text, durable)

    monkeypatch.setattr(loop.driver.saver._nodes_file, "begin", note)
    obstacle = block_saving(tmp_path)
    loop.state.answers["tick"] = lambda: [Save(durable=True)]
    loop.driver.tick()
    loop.state.answers["tick"] = list
    loop.driver.tick()
    obstacle.rmdir()
    loop.driver.tick()
    loop.driver.tick()
    assert asked == [True, True, True]
    loop.driver.saver.status.last_saved_ms -= SAVE_PERIOD_MS
    loop.state.answers["tick"] = lambda: [Save(durable=False)]
    loop.driver.tick()
    assert asked[3:] == [False]


def test_a_save_on_demand_says_why_it_failed_h47(loop: Loop, tmp_path: Path) -> None:
    loop.driver.save()
    block_saving(tmp_path)
    with pytest.raises(ClusterBusError, match=r"nodes\.conf"):
        loop.driver.save()


def test_closing_saves_and_may_be_repeated(tmp_path: Path) -> None:
    with running(tmp_path) as loop:
        peer = loop.connect()
        loop.driver.close()
        assert (tmp_path / "nodes.conf").read_text() == loop.state.text
        loop.driver.close()
        assert peer.raw.recv(1) == b""


def test_reset_sets_the_counters_back_r24(loop: Loop) -> None:
    peer = loop.connect()
    loop.driver.packet_filter = FILTER_EVERYTHING
    peer.send(wire.encode(ping()))
    loop.until(lambda: loop.driver.counters["packets_filtered"], "something is counted")
    loop.state.counters["messages_ping_received"] += 1
    assert loop.driver.engine.stats()["packets_received"] == 1
    loop.driver.reset_stats()
    assert not loop.driver.counters
    assert not loop.state.counters
    assert loop.driver.engine.stats()["packets_received"] == 0
    assert loop.driver.busy_ns == 0


def test_a_refusal_of_the_state_is_told_once_per_peer_and_reason_in_an_interval_h12(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    peers = ("10.0.0.1", "10.0.0.2")
    loop.state.answers["tick"] = lambda: [
        Refuse(peer, Refusal.FIELDS, "refused hostname of a packet") for peer in peers
    ]
    for _ in range(5):
        loop.driver.tick()
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [f"{peer}: refused hostname of a packet" for peer in peers]
