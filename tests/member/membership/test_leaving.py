"""Leaving, step by step: whom is told in which way, what counts as told, and what is reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Broadcast
from clusterbus.cluster.membership.leaving import Word
from clusterbus.data_plane import DataPlane
from clusterbus.member.membership.leaving import ASK_MS, EXTENSION_MS, LINKS_END_MS, LeaveReport, Leaving
from clusterbus.member.ports import Errand, PeerAnswer, Place
from clusterbus.wire import ModuleMessage

from tests.cluster.solo import MYSELF_ID, Puppet, Solo

OK = PeerAnswer(is_ok=True, reply="OK", text="OK")
TIMEOUT_MS = 10_000


class Answered:
    """A command that the test answers."""

    def __init__(self, place: Place, words: tuple[str, ...]) -> None:
        self.place = place
        self.words = words
        self.answer: PeerAnswer | None = None

    @property
    def is_done(self) -> bool:
        return self.answer is not None

    def result(self) -> PeerAnswer:
        assert self.answer is not None
        return self.answer


class World:
    """Ours leaves; "a" is of our kind, "b" and "d" are not."""

    def __init__(self, *letters: str, with_keys: bool = False, **directives: Any) -> None:
        self.solo = Solo(cluster_node_timeout=60_000, **directives)
        self.puppets = {letter: self.solo.puppet(letter) for letter in letters}
        for puppet in self.puppets.values():
            self.solo.says(puppet)
        self.given: list[Answered] = []
        self.logged: list[str] = []
        self.seeds_are_forgotten = False
        self.leaving = Leaving(
            state=self.solo.state,
            data_plane=DataPlane(),
            clock=self,
            errands=self,
            log=lambda _level, text, _error=None: self.logged.append(text),
            tls_cluster=self.solo.config.tls_cluster,
            forget_seeds=self._forget_seeds,
            timeout_ms=TIMEOUT_MS,
            with_keys=with_keys,
        )

    def _forget_seeds(self) -> None:
        self.seeds_are_forgotten = True

    def now_ms(self) -> int:
        return self.solo.now_ms

    def monotonic_ns(self) -> int:
        return self.solo.now_ms * 1_000_000

    def now_us(self) -> int:
        return self.solo.now_ms * 1_000

    def resolve(self, host: str) -> Errand[tuple[str, ...]]:
        raise AssertionError(f"no name is to be resolved: {host}")

    def command(self, place: Place, *words: str) -> Answered:
        self.given.append(Answered(place, words))
        return self.given[-1]

    def commands(self, place: Place, commands: Sequence[Sequence[str]]) -> Errand[PeerAnswer]:
        raise AssertionError(f"one command is enough: {place} {commands}")

    def run(self, duration_ms: int) -> list[tuple[int, bytes]]:
        """Lets time pass; returns the words that were said."""
        said = []
        for _ in range(max(1, duration_ms // 100)):
            effects = self.solo.tick()
            self.leaving.tick()
            for effect in [*effects, *self.solo.poll()]:
                message = effect.message if isinstance(effect, Broadcast) else None
                if isinstance(message, ModuleMessage) and message.module_id == c.LEAVE_MODULE_ID:
                    said.append((message.module_type, bytes(message.data)))
        return said

    def says(self, letter: str, word: Word) -> None:
        puppet = self.puppets[letter]
        message = ModuleMessage(self.solo.header(puppet, mflags=0), c.LEAVE_MODULE_ID, word, b"")
        self.solo.receive(puppet.inbound, message)

    def forgets_us(self, letter: str) -> None:
        """It closes both links."""
        for link in (self.puppets[letter].inbound, self.puppets[letter].dialled):
            self.solo.state.handle_link_closed(link, "eof", self.solo.now_ms)

    def place_of(self, letter: str) -> Place:
        puppet: Puppet = self.puppets[letter]
        return Place(puppet.ip, puppet.port)


def test_one_of_our_kind_is_told_by_a_word_and_the_others_hear_it_from_it() -> None:
    world = World("a", "b")
    world.says("a", Word.READY)
    world.run(ASK_MS - 100)
    assert not world.seeds_are_forgotten
    said = world.run(200)
    assert said[0] == (Word.LEAVE, world.puppets["b"].node_id.encode())
    assert world.seeds_are_forgotten
    assert world.given == []
    world.says("a", Word.DONE)
    world.forgets_us("b")
    world.run(200)
    assert not world.leaving.is_over, "the link of the one that is done is still there"
    world.forgets_us("a")
    world.run(200)
    assert world.leaving.report == LeaveReport({}, ())
    assert world.solo.state.known_nodes_count == 1
    assert world.solo.state.myself.node_id != MYSELF_ID


def test_a_word_that_is_not_answered_is_said_again() -> None:
    world = World("a")
    world.says("a", Word.READY)
    words = [word for word, _data in world.run(3_000)]
    assert 4 <= words.count(Word.LEAVE) <= 7


def test_another_kind_gets_the_command_and_counts_when_its_link_is_gone() -> None:
    world = World("b")
    world.run(ASK_MS + 200)
    (command,) = world.given
    assert (command.place, command.words) == (world.place_of("b"), ("CLUSTER", "FORGET", MYSELF_ID))
    command.answer = OK
    world.run(LINKS_END_MS)
    assert not world.leaving.is_over
    world.run(1_000)
    assert len(world.given) == 2, "it came to know us again: it is told again"
    world.given[-1].answer = PeerAnswer(is_ok=False, reply=f"ERR Unknown node {MYSELF_ID}", text="unknown")
    world.run(200)
    world.forgets_us("b")
    world.run(200)
    assert world.leaving.report == LeaveReport({}, ())


def test_a_command_waits_for_the_extension_and_comes_if_that_does_not_help() -> None:
    world = World("a", "b")
    world.says("a", Word.READY)
    world.run(ASK_MS + EXTENSION_MS - 200)
    assert world.given == []
    world.run(600)
    assert [command.place for command in world.given] == [world.place_of("b")]


def test_who_refuses_and_who_is_silent_is_reported() -> None:
    world = World("b", "d")
    world.run(ASK_MS + 200)
    refused = PeerAnswer(is_ok=False, reply="NOAUTH", text="10.0.0.1:1: CLUSTER FORGET: NOAUTH")
    first = next(command for command in world.given if command.place == world.place_of("b"))
    first.answer = refused
    world.run(TIMEOUT_MS)
    report = world.leaving.report
    assert report is not None
    assert report.untold == {
        world.puppets["b"].node_id: refused.text,
        world.puppets["d"].node_id: "not told",
    }
    assert any(refused.text in line for line in world.logged)


def test_a_failing_member_is_not_waited_for() -> None:
    world = World("b")
    world.forgets_us("b")
    world.solo.node(world.puppets["b"]).flags |= c.FLAG_FAIL
    world.run(ASK_MS + 200)
    world.given[0].answer = PeerAnswer(is_ok=False, reply="", text="refused")
    world.run(200)
    assert world.leaving.report == LeaveReport({world.puppets["b"].node_id: "refused"}, ())


@pytest.mark.parametrize("is_told", [False, True])
def test_given_up_it_stays_unless_others_are_told(is_told: bool) -> None:
    world = World("a")
    world.says("a", Word.READY)
    if is_told:
        world.run(200)
    world.leaving.give_up()
    assert (world.leaving.report is not None) is is_told
    assert (world.leaving.error is None) is is_told
    assert (world.solo.state.known_nodes_count == 1) is is_told
    world.leaving.give_up()  # once is enough
    assert world.seeds_are_forgotten is is_told


def test_nobody_to_tell_is_soon_told() -> None:
    world = World()
    world.run(100)
    assert world.leaving.report == LeaveReport({}, ())
