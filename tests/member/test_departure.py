"""How a node goes: at once, after a hand-over, or not at all (P29). On a state that only notes what is asked of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from clusterbus.cluster.events import HandoverEnded
from clusterbus.config import Config
from clusterbus.member.departure import Departure


class Node:
    """A departure, and what it asks of the node around it."""

    def __init__(self, *, slots: int = 3, has_heir: bool = True, **directives: Any) -> None:
        self.myself = SimpleNamespace(is_voting=slots > 0, slot_bits=(1 << slots) - 1)
        self.has_heir = has_heir
        self.asked_ms: list[int] = []
        self.kept = 0
        self.gone: list[bool] = []
        self.log: list[str] = []
        self.answers: list[str] = []
        state: Any = self
        clock: Any = SimpleNamespace(now_ms=lambda: 1_000)
        self.departure = Departure(
            state=state,
            config=Config.from_keywords(**directives),
            clock=clock,
            log=lambda _level, text, _error=None: self.log.append(text),
            go=self.gone.append,
            settle=lambda: None,
        )

    def hand_over(self, timeout_ms: int, _now_ms: int) -> bool:
        self.asked_ms.append(timeout_ms)
        return self.has_heir

    def keep_slots(self, _now_ms: int) -> None:
        self.kept += 1

    def begin(self, *words: str) -> None:
        self.departure.begin(words, self.answers.append)

    def hands_over(self, *, done: bool) -> None:
        if done:
            self.myself = SimpleNamespace(is_voting=False, slot_bits=0)
        self.departure.handle_event(HandoverEnded(done))


@pytest.mark.parametrize(("words", "saves"), [((), True), (("save",), True), (("nosave",), False), (("now",), True)])
def test_without_failover_it_goes_at_once_p29(words: tuple[str, ...], saves: bool) -> None:
    node = Node()
    node.begin(*words)
    assert (node.gone, node.answers, node.asked_ms) == ([saves], [""], [])


@pytest.mark.parametrize("done", [True, False])
def test_with_failover_it_goes_when_the_hand_over_has_ended_p29(done: bool) -> None:
    node = Node(shutdown_timeout=7)
    node.begin("failover", "nosave")
    assert (node.gone, node.answers, node.asked_ms) == ([], [], [7_000])
    node.hands_over(done=done)
    assert (node.gone, node.answers) == ([False], [""])
    node.hands_over(done=True)
    assert node.gone == [False], "it goes once"


def test_auto_failover_on_shutdown_hands_over_without_being_told_p29() -> None:
    node = Node(auto_failover_on_shutdown=True)
    node.begin()
    assert node.asked_ms == [10_000]
    assert not node.gone


@pytest.mark.parametrize(
    ("words", "directives"),
    [(("failover", "now"), {}), (("failover",), {"shutdown_timeout": 0}), (("failover",), {"has_heir": False})],
)
def test_it_does_not_wait_when_told_so_or_for_nobody_p29(words: tuple[str, ...], directives: dict[str, Any]) -> None:
    node = Node(**directives)
    node.begin(*words)
    assert node.gone == [True]


def test_safe_keeps_a_primary_that_serves_slots_p29() -> None:
    node = Node()
    node.begin("safe")
    assert not node.gone
    assert "3 slots" in node.answers[0]
    assert "3 slots" in node.log[0]
    node.begin("safe", "force")
    assert node.gone == [True]


@pytest.mark.parametrize("done", [True, False])
def test_safe_and_failover_goes_only_when_a_replica_has_taken_over_p29(done: bool) -> None:
    node = Node()
    node.begin("safe", "failover")
    node.hands_over(done=done)
    assert node.gone == ([True] if done else [])
    assert bool(node.answers[0]) is not done


def test_who_asks_twice_does_not_wait_p29() -> None:
    node = Node()
    node.begin("failover")
    node.begin("failover")
    assert node.gone == [True]
    assert node.answers == ["somebody else stops the node now", ""]
    assert node.kept == 1


def test_abort_keeps_the_node_and_tells_who_waits_p29() -> None:
    node = Node()
    assert not node.departure.abort()
    node.begin("failover")
    assert node.departure.abort()
    assert (node.answers, node.kept) == (["SHUTDOWN ABORT"], 1)
    node.hands_over(done=True)
    assert not node.gone
