"""How far a change came and when, from views that are written down; and asking again and again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace

import pytest
from clusterbus.member.ports import Place
from clusterbus.survey import spread as module
from clusterbus.survey.asking import Answer, Asker
from clusterbus.survey.polling import Polling
from clusterbus.survey.spread import Aspect, Change, Spread, SpreadWatch

from tests.loops import Run
from tests.peers.ports import free_port
from tests.survey.test_asking import line, replies
from tests.survey.written import Line, Written, sound

INTERVAL_S = 0.01

A, B, C, D = "a" * 40, "b" * 40, "c" * 40, "d" * 40


class Film:
    """A cluster over time: `look` is the answer of one node at a time in seconds."""

    def __init__(self) -> None:
        self.cluster = sound()
        self.watch = SpreadWatch()
        for letter in "abcd":
            assert self.look(letter, 0.0) == []

    def look(self, letter: str, at_s: float) -> list[Spread]:
        return self.watch.feed(answer_of(self.cluster, letter, at_s))


def answer_of(cluster: Written, letter: str, at_s: float) -> Answer:
    return replace(cluster.survey().members[letter * 40], at_s=at_s)


@pytest.fixture
def film() -> Film:
    return Film()


def test_nothing_is_said_of_what_does_not_change(film: Film) -> None:
    assert [film.look(letter, 0.1) for letter in "abcd"] == [[]] * 4
    assert film.watch.close() == []


def test_a_failure_is_followed_from_the_first_node_to_the_last(film: Film) -> None:
    film.cluster.change("b", "acd", flags="master,fail")
    assert film.look("c", 1.0) == []
    assert film.look("a", 1.2) == []
    assert film.look("b", 1.3) == []  # holds itself well, and is not waited for
    (spread,) = film.look("d", 1.5)
    assert spread.change == Change(Aspect.FAIL, B)
    assert spread.is_whole
    assert (spread.first, spread.last, spread.of) == (C, D, 3)
    assert spread.delays_ms == pytest.approx([200.0, 500.0])
    assert spread.min_median_max_ms == pytest.approx((200.0, 350.0, 500.0))
    assert spread.resolution_s == pytest.approx(1.5)
    assert spread.change.text(film.watch.addresses) == "10.0.0.1:7002 (bbbbbbbb) is FAIL"


def test_a_failover_is_slots_and_two_roles(film: Film) -> None:
    film.cluster.change("d", flags="master", primary="-", epoch=4, slots="0-5460")
    film.cluster.change("a", flags="slave", primary="d", epoch=4, slots="")
    ended = [spread for at, letter in enumerate("dabc") for spread in film.look(letter, 1.0 + at / 10)]
    texts = {spread.change.text(film.watch.addresses) for spread in ended}
    assert texts == {
        "slots 0-5460: 10.0.0.1:7004 (dddddddd)",
        "10.0.0.1:7004 (dddddddd) is a primary",
        "10.0.0.1:7001 (aaaaaaaa) is a replica of 10.0.0.1:7004 (dddddddd)",
    }
    assert {spread.first for spread in ended} == {D}
    assert {spread.last for spread in ended} == {C}
    assert film.watch.open == []


def test_slots_that_nobody_has_any_more(film: Film) -> None:
    film.cluster.change("c", slots="10923-16382")
    ended = [spread for letter in "abcd" for spread in film.look(letter, 1.0)]
    assert [spread.change.text({}) for spread in ended] == ["slot 16383: no owner"]


def test_what_is_undone_on_its_way_is_said_to_be_so(film: Film) -> None:
    film.cluster.change("b", "a", flags="master,fail")
    assert film.look("a", 1.0) == []
    film.cluster.change("b", "a", flags="master")
    (spread,) = film.look("a", 2.0)
    assert (spread.change.aspect, spread.is_whole, len(spread.shown_at_s), spread.of) == (Aspect.FAIL, False, 1, 3)


def test_a_new_node_and_a_gone_one(film: Film) -> None:
    film.cluster.tables["e"] = {"e": Line("e", 7005)}
    assert film.look("e", 0.9) == []  # its first view is no change
    for viewer in "abcd":
        film.cluster.tables[viewer]["e"] = Line("e", 7005)
        film.cluster.tables["e"][viewer] = film.cluster.tables["a"][viewer]
    ended = [spread for at, letter in enumerate("abcd") for spread in film.look(letter, 1.0 + at / 10)]
    assert [(spread.change, spread.of) for spread in ended] == [(Change(Aspect.NEW, "e" * 40), 4)]
    assert film.look("e", 1.5) == []  # it learns what all others knew
    film.cluster.forget("e", "abcd")
    ended = [spread for at, letter in enumerate("dcba") for spread in film.look(letter, 2.0 + at / 10)]
    assert [(spread.change.aspect, spread.first, spread.last) for spread in ended] == [(Aspect.GONE, D, A)]


def test_a_node_that_answers_no_more_is_not_waited_for(film: Film) -> None:
    film.cluster.change("b", "acd", flags="master,fail")
    film.look("a", 1.0)
    film.look("c", 1.1)
    (spread,) = film.watch.lose(D)
    assert (spread.is_whole, spread.of) == (True, 2)


def test_what_had_not_ended_is_told_at_the_end_and_there_is_a_limit_to_it(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN_MAX", 2)
    for letter, at_s in (("b", 1.0), ("c", 2.0)):
        film.cluster.change(letter, "a", flags="master,fail")
        assert film.look("a", at_s) == []
    film.cluster.change("d", "a", flags="slave,fail")
    (oldest,) = film.look("a", 3.0)
    assert oldest.change == Change(Aspect.FAIL, B)
    assert [spread.change.node_id for spread in film.watch.close()] == [C, D]


def test_a_node_that_hangs_does_not_hold_up_the_others(run: Run) -> None:
    async def watch() -> tuple[list[Answer], float]:
        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        silent = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        text = line(A, 1, "myself,master") + line(B, port, "master") + line(C, free_port(), "master")
        server = await asyncio.start_server(replies(text), "127.0.0.1", 0)
        asker, seen = Asker(timeout_s=60.0), list[Answer]()
        begun_s = time.monotonic()
        async with silent, server:
            polling = Polling(asker, [Place("127.0.0.1", server.sockets[0].getsockname()[1])], INTERVAL_S)
            async with contextlib.aclosing(polling.answers()) as answers:
                async for answer in answers:
                    seen.append(answer)
                    if sum(not answer.error for answer in seen) == 5:
                        break
            took_s = time.monotonic() - begun_s
            await asker.close()
        return seen, took_s

    seen, took_s = run(watch())
    heard = [answer for answer in seen if not answer.error]
    assert {answer.node_id for answer in heard} == {A}
    assert took_s >= 4 * INTERVAL_S, "the fifth is asked four intervals after the first, however late one of them comes"
    assert {answer.error for answer in seen if answer.error} == {"Connection refused"}
