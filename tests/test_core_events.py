"""The engine's events made from Python: the simulated engine reports in the same classes as the real one."""

from __future__ import annotations

import pytest
from clusterbus import _core, wire
from clusterbus._core import (
    AcceptRefused,
    LinkAccepted,
    LinkConnected,
    LinkDrained,
    LinkLost,
    PacketsReceived,
    QuietHeartbeats,
)
from clusterbus.errors import ConfigError

SENDER = "a" * 40


def packet(message_type: int) -> wire.Packet:
    header = wire.Header(sender=SENDER)
    message = (
        wire.Heartbeat(message_type, header) if message_type < wire.MessageType.FAIL else wire.Fail(header, SENDER)
    )
    (parsed,) = wire.parse(wire.encode(message))
    return parsed


def test_each_event_says_what_it_was_made_with() -> None:
    accepted = LinkAccepted(link=1, listener=2, ip="10.0.0.1", port=3, local_ip="10.0.0.2")
    assert (accepted.link, accepted.listener, accepted.ip, accepted.port) == (1, 2, "10.0.0.1", 3)
    assert accepted.local_ip == "10.0.0.2"
    connected = LinkConnected(link=1, owner=2, local_ip="10.0.0.2")
    assert (connected.link, connected.owner, connected.local_ip) == (1, 2, "10.0.0.2")
    lost = LinkLost(link=1, owner=2, kind="eof", detail="the peer ended the connection")
    assert (lost.link, lost.owner, lost.kind, lost.detail) == (1, 2, "eof", "the peer ended the connection")
    assert LinkDrained(link=1).link == 1
    refused = AcceptRefused(listener=1, ip="10.0.0.1", port=2, kind="max-links", detail="full")
    assert (refused.listener, refused.ip, refused.port, refused.kind) == (1, "10.0.0.1", 2, "max-links")
    assert refused.detail == "full"


def test_received_packets_are_the_very_objects_given() -> None:
    packets = [packet(wire.MessageType.PING), packet(wire.MessageType.FAIL)]
    received = PacketsReceived(link=7, packets=packets)
    assert received.link == 7
    assert received.dropped == []
    assert all(got is given for got, given in zip(received.packets, packets, strict=True))
    assert PacketsReceived(link=7, packets=(), dropped=("ver: 2, expected 1",)).dropped == ["ver: 2, expected 1"]


def test_quiet_heartbeats_are_numbers_and_the_links_of_pongs() -> None:
    quiet = QuietHeartbeats(answered=9, noted=3, pongs=[(7, 1_000), (8, 2_000)])
    assert (quiet.answered, quiet.noted, quiet.pongs) == (9, 3, [(7, 1_000), (8, 2_000)])


@pytest.mark.parametrize("kind", _core.LOSS_REASONS)
def test_every_loss_reason_makes_a_loss(kind: str) -> None:
    assert LinkLost(link=1, owner=0, kind=kind, detail="").kind == kind  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", _core.REFUSAL_REASONS)
def test_every_refusal_reason_makes_a_refusal(kind: str) -> None:
    assert AcceptRefused(listener=1, ip="", port=0, kind=kind, detail="").kind == kind  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["", "EOF", "lost", "max-links"])
def test_an_unknown_loss_is_named(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"kind: .*: {kind}$"):
        LinkLost(link=1, owner=0, kind=kind, detail="")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["", "connect", "sendbuf-limit"])
def test_an_unknown_refusal_is_named(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"kind: .*: {kind}$"):
        AcceptRefused(listener=1, ip="", port=0, kind=kind, detail="")  # type: ignore[arg-type]


def test_events_take_keywords_only() -> None:
    with pytest.raises(TypeError):
        LinkDrained(1)  # type: ignore[call-arg]
