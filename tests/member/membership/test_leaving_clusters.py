"""Leaving in simulated clusters of our own kind: an hour of virtual time shows that nobody brings the leaver back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from clusterbus.cluster.events import NodeFailed, NodeLeft, NodeSuspected
from clusterbus.member.membership.leaving import LeaveReport, Leaving
from clusterbus.member.ports import Errand, PeerAnswer, Place

from tests.cluster.harness import Member, Network, all_connected, joined

MINUTES_MS = 5 * 60_000


class NobodyThere:
    """No client port answers."""

    is_done = True

    def resolve(self, host: str) -> Errand[tuple[str, ...]]:
        raise AssertionError(host)

    def command(self, place: Place, *words: str) -> Errand[PeerAnswer]:
        return self

    def commands(self, place: Place, commands: Sequence[Sequence[str]]) -> Errand[PeerAnswer]:
        raise AssertionError(commands)

    def result(self) -> PeerAnswer:
        return PeerAnswer(is_ok=False, reply="", text="refused")


def leave(network: Network, member: Member, timeout_ms: int = 10_000) -> Leaving:
    member.host.member.errands = NobodyThere()
    leaving: Leaving = network.operate(
        member, lambda _state, _now_ms: member.host.member.leave(timeout_ms, with_keys=False)
    )
    return leaving


def failures(member: Member, leaver: str) -> list[object]:
    kinds = (NodeFailed, NodeSuspected)
    return [event for event in member.events if isinstance(event, kinds) and event.node_id == leaver]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("owners", [0, 3])
def test_nobody_brings_the_leaver_back(seed: int, owners: int) -> None:
    network, members = joined(seed, 6, owners=owners)
    *others, leaver = members
    old_id = leaver.id
    leaving = leave(network, leaver)
    network.run_until(lambda: leaving.is_over, 10_000)
    assert leaving.report == LeaveReport({}, ())
    assert leaver.state.known_nodes_count == 1
    network.kill(leaver)
    network.run(MINUTES_MS)
    for member in others:
        assert member.state.find(old_id) is None
        assert member.events_of(NodeLeft) == [NodeLeft(old_id, "left")]
        assert failures(member, old_id) == []
    assert all_connected(others)


def test_a_loss_of_words_only_takes_longer() -> None:
    network, members = joined(3, 4)
    *others, leaver = members
    lost: list[int] = []

    def lose_some(sender: Member, receiver: Member, packet: object) -> bool:
        is_word = getattr(packet, "type", 0) == 9 and leaver in (sender, receiver) and len(lost) < 4
        if is_word:
            lost.append(1)
        return is_word

    network.drop(lose_some)
    leaving = leave(network, leaver)
    network.run_until(lambda: leaving.is_over, 12_000)
    assert len(lost) == 4
    assert leaving.report is not None
    network.run(MINUTES_MS)
    for member in others:
        assert leaver.id not in [node.node_id for node in member.state.nodes]


def test_who_is_cut_off_is_reported_and_the_others_are_told() -> None:
    network, members = joined(4, 5)
    cut_off, *others, leaver = members
    old_id = leaver.id
    network.partition([cut_off], [*others, leaver])
    leaving = leave(network, leaver, 6_000)
    network.run_until(lambda: leaving.is_over, 10_000)
    assert leaving.report is not None
    assert set(leaving.report.untold) == {cut_off.id}
    assert all(member.state.find(old_id) is None for member in others)
    assert cut_off.state.find(old_id) is not None


def test_two_leave_at_once() -> None:
    network, members = joined(5, 5)
    *others, first, second = members
    ids = {first.id, second.id}
    both = [leave(network, first), leave(network, second)]
    network.run_until(lambda: all(leaving.is_over for leaving in both), 25_000)
    network.kill(first)
    network.kill(second)
    network.run(MINUTES_MS)
    for member in others:
        assert {event.node_id for event in member.events if isinstance(event, NodeLeft)} == ids
        assert not ids & {node.node_id for node in member.state.nodes}
