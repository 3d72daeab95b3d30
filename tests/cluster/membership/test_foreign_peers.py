"""Addresses at which something answers that does not speak this bus: told, counted, dialled ever more rarely (P32)."""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial

from tests.cluster.solo import Puppet, Solo

GARBAGE = "bad-signature: sig: byte 0 is 0x2b, expected 0x52"


def dials_ms(solo: Solo, puppet: Puppet, reason: str, duration_ms: int) -> list[int]:
    """When the node is dialled, in ms from now. Each link comes up, and ends for `reason` before a PONG."""
    begun_ms, times = solo.now_ms, []
    for _ in range(duration_ms // 100):
        for dial in solo.of(Dial, solo.tick()):
            times.append(solo.now_ms - begun_ms)
            puppet.dialled = solo.open(dial)
            solo.state.handle_link_closed(puppet.dialled, reason, solo.now_ms)
    return times


@pytest.mark.parametrize("word", sorted(c.FOREIGN_LOSSES))
def test_p32_what_does_not_speak_this_bus_is_dialled_ever_more_rarely(word: str) -> None:
    solo = Solo(cluster_node_timeout=500)
    puppet = solo.puppet("a")
    solo.state.handle_link_closed(puppet.dialled, f"{word}: some detail", solo.now_ms)
    times = dials_ms(solo, puppet, word, 600_000)
    assert len([when for when in times if when < 60_000]) <= 12
    late = [when for when in times if when >= 300_000]
    assert 4 <= len(late) <= 11, "once in half a minute to a minute"
    assert solo.counter("refused_protocol") == len(times) + 1


def test_p32_an_operator_reads_what_is_wrong() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.state.handle_link_closed(puppet.dialled, GARBAGE, solo.now_ms)
    solo.poll()
    assert solo.warnings() == [
        f"node {solo.node(puppet).name} does not speak this cluster bus ({GARBAGE}): dialled more rarely"
    ]


def test_p32_when_the_node_is_back_it_need_not_wait_for_long() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.state.handle_link_closed(puppet.inbound, "eof", solo.now_ms)
    solo.state.handle_link_closed(puppet.dialled, GARBAGE, solo.now_ms)
    dials_ms(solo, puppet, GARBAGE, 120_000)
    puppet.inbound = solo.accept(puppet.ip)
    solo.says(puppet)
    puppet.dialled = solo.open(solo.only(Dial, solo.tick()))
    solo.says(puppet, c.PONG)
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    assert solo.of(Dial, solo.ticks(200)), "a node that has answered is dialled as soon as any other"


def test_p32_links_that_end_without_an_answer_are_told_and_paced_as_before() -> None:
    """A peer that closes without a word may speak another bus, and may as well be on its way up."""
    solo = Solo()
    puppet = solo.puppet("a")
    solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
    assert solo.counter("refused_unanswered") == 0
    times = dials_ms(solo, puppet, "eof", 10_000)
    assert len(times) >= 10
    assert solo.counter("refused_unanswered") == len(times) // c.UNANSWERED_LINKS_TOLD
    assert solo.counter("refused_protocol") == 0


def test_p32_a_restart_of_a_node_is_not_told() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    for _ in range(2 * c.UNANSWERED_LINKS_TOLD):
        for _ in ("the node ends", "its port is up before the node is"):
            solo.state.handle_link_closed(puppet.dialled, "eof", solo.now_ms)
            puppet.dialled = solo.open(solo.only(Dial, solo.ticks(300)))
        solo.says(puppet, c.PONG)
    assert solo.counter("refused_unanswered") == 0
