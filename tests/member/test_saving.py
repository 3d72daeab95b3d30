"""`Saver`: when nodes.conf is written, and what a failed write leaves owed (S10, H47)."""

from __future__ import annotations

import pytest
from clusterbus.errors import ConfigError
from clusterbus.member.saving import SAVE_PERIOD_MS, Outcome, Saver

from tests.member.scripted import Writing

NOW_MS = 1_700_000_000_000


class File:
    """A `NodesFile` that notes (text, durable) of every write that works, and fails while `error` is set."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.written: list[tuple[str, bool]] = []
        self.is_slow = False
        """What is begun ends only by `writing.end()`."""
        self.writing: Writing | None = None

    def save(self, text: str, durable: bool) -> None:
        if self.error is not None:
            raise self.error
        self.written.append((text, durable))

    def begin(self, text: str, durable: bool) -> Writing:
        assert self.writing is None or self.writing.is_done
        self.writing = Writing(lambda: self.save(text, durable))
        if not self.is_slow:
            self.writing.end()
        return self.writing

    def close(self) -> None:
        self.written.append(("closed", False))


class Clock:
    monotonic_ns = staticmethod(lambda: 0)

    def __init__(self) -> None:
        self.passed_ms = 0

    def now_ms(self) -> int:
        return NOW_MS + self.passed_ms

    def now_us(self) -> int:
        return self.now_ms() * 1000


@pytest.fixture
def file() -> File:
    return File()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def saver(file: File, clock: Clock) -> Saver:
    texts = iter(f"text {number}" for number in range(1, 100))
    return Saver(file, lambda: next(texts), clock)


def test_a_write_takes_the_text_of_its_moment_and_settles_the_wish(saver: Saver, file: File) -> None:
    saver.want()
    saver.want()
    assert saver.is_wanted
    assert saver.write(durable=False).outcome is Outcome.SAVED
    assert not saver.is_wanted
    assert file.written == [("text 1", False)]
    assert (saver.status.saves, saver.status.failures, saver.status.last_saved_ms) == (1, 0, NOW_MS)


def test_the_first_change_is_due_at_once_and_those_that_follow_soon_are_written_together(
    saver: Saver, clock: Clock
) -> None:
    assert not saver.is_due, "nothing is wanted"
    saver.want()
    assert saver.is_due
    saver.write(durable=False)
    for passed_ms, is_due in ((0, False), (SAVE_PERIOD_MS - 1, False), (SAVE_PERIOD_MS, True)):
        clock.passed_ms = passed_ms
        saver.want()
        assert saver.is_due is is_due, passed_ms


def test_another_try_is_due_at_once_s10_h47(saver: Saver, file: File) -> None:
    saver.write(durable=False)
    file.error = OSError("full")
    saver.write(durable=False)
    saver.want_again()
    assert saver.is_due


@pytest.mark.parametrize("error", [OSError("no space left on device"), ConfigError("nodes.conf: read-only")])
def test_a_write_that_fails_says_why_and_is_wanted_again_r42_h47(saver: Saver, file: File, error: Exception) -> None:
    saver.want_again()
    assert not saver.is_wanted, "nothing has failed"
    file.error = error
    assert saver.write(durable=False).outcome is Outcome.FAILED
    assert (saver.status.last_error, saver.status.failures) == (str(error), 1)
    assert not saver.is_wanted, "not in the same step: a disk that fails would be asked for ever"
    saver.want_again()
    assert saver.is_wanted
    file.error = None
    assert saver.write(durable=False).outcome is Outcome.SAVED
    assert saver.status.last_error == ""
    saver.want_again()
    assert not saver.is_wanted


def test_a_durable_write_that_failed_is_owed_until_one_is_durable_h47(saver: Saver, file: File) -> None:
    file.error = OSError("full")
    saver.write(durable=True)
    saver.write(durable=False)
    assert saver.owes_durable
    file.error = None
    saver.write(durable=False)
    assert file.written == [("text 3", True)]
    assert not saver.owes_durable
    saver.write(durable=False)
    assert file.written[-1] == ("text 4", False)


def test_a_write_under_way_holds_up_nobody_and_the_next_begins_when_it_has_ended_h47(saver: Saver, file: File) -> None:
    file.is_slow = True
    first = saver.write(durable=True)
    second, third = saver.write(durable=False), saver.write(durable=True)
    assert second is third, "one write for all that is asked for meanwhile"
    assert {attempt.outcome for attempt in (first, second)} == {Outcome.UNDER_WAY}
    assert (saver.is_under_way, saver.owes_durable, saver.is_due) == (True, True, False)
    assert saver.look() is None
    assert file.writing is not None
    file.writing.end()
    assert saver.look() is first
    assert (first.outcome, second.outcome) == (Outcome.SAVED, Outcome.UNDER_WAY)
    assert (saver.is_due, saver.owes_durable) == (True, True), "what was asked for meanwhile is not on disk"
    file.is_slow = False
    assert saver.write(durable=False) is second
    assert second.outcome is Outcome.SAVED
    assert file.written == [("text 1", True), ("text 2", True)]
    assert (saver.is_due, saver.owes_durable) == (False, False)


def test_a_write_under_way_that_fails_fails_those_who_waited_for_it_alone_h47(saver: Saver, file: File) -> None:
    file.is_slow = True
    first, second = saver.write(durable=True), saver.write(durable=True)
    assert file.writing is not None
    file.error = OSError("full")
    file.writing.end()
    assert saver.look() is first
    assert (first.outcome, second.outcome) == (Outcome.FAILED, Outcome.UNDER_WAY)
    assert saver.status.last_error == "full"
    file.error = None
    assert saver.write_now() is second
    assert second.outcome is Outcome.SAVED
    assert not saver.owes_durable


def test_a_write_that_fails_unseen_just_before_the_next_is_still_told_h47(saver: Saver, file: File) -> None:
    file.is_slow = True
    first = saver.write(durable=True)
    file.error = OSError(28, "No space left on device")
    assert file.writing is not None
    file.writing.end()
    second = saver.write(durable=True)
    assert saver.look() is first
    assert (first.outcome, second.outcome) == (Outcome.FAILED, Outcome.UNDER_WAY)
    assert saver.is_due, "the second is still to begin"


def test_a_write_that_is_waited_for_settles_the_one_under_way_h47(saver: Saver, file: File) -> None:
    file.is_slow = True
    first = saver.write(durable=False)
    assert saver.write_now().outcome is Outcome.SAVED
    assert first.outcome is Outcome.SAVED
    assert not saver.is_under_way


def test_an_error_that_is_no_failed_write_is_a_fault_of_ours_and_raised(saver: Saver, file: File) -> None:
    file.error = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        saver.write(durable=False)


def test_closing_gives_the_file_back(saver: Saver, file: File) -> None:
    saver.close()
    assert file.written == [("closed", False)]
