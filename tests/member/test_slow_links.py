"""Messages of users on a link whose peer does not read: above a limit they are dropped and counted. Heartbeats are not.

cluster-link-sendbuf-limit is off here, as it is by default (S7, H40).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusterbus import wire
from clusterbus.cluster.effects import Broadcast, Effect, Send
from clusterbus.member import driver as driver_module

from tests.member.scripted import Loop, Peer, ping, running

LIMIT_BYTES = 4 * 1024 * 1024
MESSAGE_LEN_BYTES = 64 * 1024
MESSAGES = 600  # 37.5 MiB: far more than the limit and the kernel's buffers together
MESSAGES_HEARD_MAX = (LIMIT_BYTES + 16 * 1024 * 1024) // MESSAGE_LEN_BYTES


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    monkeypatch.setattr(driver_module, "MESSAGES_QUEUED_MAX_BYTES", LIMIT_BYTES)
    with running(tmp_path) as started:
        yield started


def publish(loop: Loop, links: list[int], message: wire.Message) -> None:
    """One broadcast, which the state asks for at its next tick."""
    effects: list[Effect] = [Broadcast(tuple(links), message)]
    loop.state.answers["tick"] = lambda: effects
    loop.driver.tick()
    loop.state.answers.clear()
    loop.driver.step(0)


class Reader(threading.Thread):
    """Reads all that arrives at a peer, and counts it."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(daemon=True)
        self._peer = peer
        self.received_bytes = 0
        self.start()

    def run(self) -> None:
        try:
            while data := self._peer.raw.recv(1 << 20):
                self.received_bytes += len(data)
        except OSError:
            pass


@pytest.mark.parametrize(
    "message",
    [
        wire.Publish(None, b"c", bytes(MESSAGE_LEN_BYTES)),
        wire.ModuleMessage(None, 1, 1, bytes(MESSAGE_LEN_BYTES)),
    ],
    ids=["publish", "module"],
)
def test_a_peer_that_does_not_read_misses_messages_and_the_others_do_not_s7_h40(
    loop: Loop, message: wire.Message
) -> None:
    slow, quick = loop.connect(), loop.connect()
    reader = Reader(quick)
    packet_len_bytes = len(wire.encode(message))
    for number in range(MESSAGES):
        publish(loop, [slow.link, quick.link], message)
        if number % 16 == 15:
            loop.until(lambda n=number: reader.received_bytes == (n + 1) * packet_len_bytes, "the quick one reads on")  # type: ignore[misc]
    assert LIMIT_BYTES <= loop.driver.engine.send_queue(slow.link)[1] < LIMIT_BYTES + 2 * packet_len_bytes
    dropped = loop.driver.counters["messages_dropped_slow_link"]
    assert dropped >= MESSAGES - MESSAGES_HEARD_MAX

    # A heartbeat is still queued. When the peer reads on, it gets all that was not dropped, and then new messages.
    loop.state.answers["tick"] = lambda: [Send(slow.link, ping())]
    loop.driver.tick()
    loop.state.answers.clear()
    late = Reader(slow)
    expected = (MESSAGES - dropped) * packet_len_bytes + len(wire.encode(ping()))
    loop.until(lambda: late.received_bytes == expected, "everything queued arrives")
    publish(loop, [slow.link, quick.link], message)
    loop.until(lambda: late.received_bytes == expected + packet_len_bytes, "it hears again")
    assert loop.driver.counters["messages_dropped_slow_link"] == dropped


def test_other_broadcasts_are_never_dropped(loop: Loop) -> None:
    """A FAIL reaches a peer that reads at last, however much is queued before it."""
    slow = loop.connect()
    message = wire.Publish(None, b"c", bytes(MESSAGE_LEN_BYTES))
    while not loop.driver.counters["messages_dropped_slow_link"]:
        publish(loop, [slow.link], message)
    before = loop.driver.engine.send_queue(slow.link)[0]
    publish(loop, [slow.link], wire.Fail(wire.Header(sender="a" * 40), "b" * 40))
    assert loop.driver.engine.send_queue(slow.link)[0] == before + 1


def test_a_link_that_has_ended_is_no_slow_one_s7(loop: Loop) -> None:
    """The engine may know of an end before the main loop does: what is published in between counts as no drop."""
    ended = loop.connect()
    loop.driver.engine.close(ended.link)
    publish(loop, [ended.link], wire.Publish(None, b"c", b"text"))
    assert loop.driver.counters["messages_dropped_slow_link"] == 0
