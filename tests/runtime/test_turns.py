"""`Turns`: first come, first served, given away and taken again; who gives up waiting leaves nothing behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from clusterbus.runtime import turns
from clusterbus.runtime.blocking import Bell
from clusterbus.runtime.turns import Turns

DEADLINE_S = 30.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads whose calls have all ended when the test has."""
    with ThreadPoolExecutor(8) as threads:
        yield threads


def waits(lock: Turns, count: int) -> None:
    """Returns when so many threads wait for their turn."""
    waited = threading.Event()
    while len(lock._waiting) < count:
        assert not waited.wait(0.001)


def take(lock: Turns, note: Callable[[], object]) -> None:
    with lock:
        assert lock.is_mine
        note()


def test_turns_come_in_the_order_in_which_they_were_asked_for(pool: ThreadPoolExecutor) -> None:
    lock, order = Turns(), list[int]()
    with lock:
        futures = []
        for number in range(5):
            futures.append(pool.submit(take, lock, lambda number=number: order.append(number)))  # type: ignore[misc]
            waits(lock, number + 1)
        assert order == []
    with lock:  # behind all of them
        assert order == [0, 1, 2, 3, 4]
    for future in futures:
        future.result(DEADLINE_S)
    assert not lock.is_mine


def test_a_turn_within_a_turn_ends_with_the_outer_one(pool: ThreadPoolExecutor) -> None:
    lock, order = Turns(), list[str]()
    with lock:
        with lock:
            future = pool.submit(take, lock, lambda: order.append("other"))
            waits(lock, 1)
        order.append("mine")
        assert lock.is_mine
    future.result(DEADLINE_S)
    assert order == ["mine", "other"]


def test_a_turn_that_is_given_away_comes_back_as_deep_as_it_was(pool: ThreadPoolExecutor) -> None:
    lock, order = Turns(), list[str]()
    with lock, lock:
        with lock.given_away():
            assert not lock.is_mine
            pool.submit(take, lock, lambda: order.append("other")).result(DEADLINE_S)
        assert lock.is_mine
        order.append("mine")
    assert order == ["other", "mine"]
    pool.submit(take, lock, lambda: order.append("free")).result(DEADLINE_S)


def test_who_is_interrupted_while_waiting_leaves_the_line(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Turns()

    def interrupted() -> None:
        with pytest.raises(KeyboardInterrupt), lock:
            pass
        assert not lock.is_mine

    wait = turns._Gate.wait

    def interrupt(gate: turns._Gate, line: Turns) -> None:
        gate.lock.release()  # so that the wait begins, as in reality
        gate.lock = InterruptedLock()  # type: ignore[assignment]
        wait(gate, line)

    monkeypatch.setattr(turns._Gate, "wait", interrupt)
    with lock:
        pool.submit(interrupted).result(DEADLINE_S)
        assert not lock._waiting
    monkeypatch.undo()
    pool.submit(take, lock, lambda: None).result(DEADLINE_S)


def test_ctrl_c_while_a_turn_comes_back_is_raised_with_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Turns()
    take_once = lock._take
    interruptions = iter([KeyboardInterrupt(), KeyboardInterrupt()])

    def interrupted(depth: int) -> None:
        for error in interruptions:
            raise error
        take_once(depth)

    with lock:
        monkeypatch.setattr(lock, "_take", interrupted)
        with pytest.raises(KeyboardInterrupt), lock.given_away():
            pass
        assert lock.is_mine
    assert not lock.is_mine


class InterruptedLock:
    """A lock at which Ctrl-C comes."""

    def acquire(self) -> None:
        raise KeyboardInterrupt


def test_a_bell_may_be_rung_by_a_signal_that_comes_while_it_is_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    bell, write, rung = Bell(), os.eventfd_write, list[int]()

    def interrupted(fd: int, value: int) -> None:
        rung.append(value)
        if len(rung) == 1:
            bell.ring()  # as a handler of a signal would, in the same thread
        write(fd, value)

    monkeypatch.setattr(os, "eventfd_write", interrupted)
    thread = threading.Thread(target=bell.ring, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert rung == [1, 1]
    bell.close()
