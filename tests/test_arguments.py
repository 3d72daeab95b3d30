"""The checks of arguments: what they let through, and errors that name the argument."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from clusterbus import arguments
from clusterbus.errors import StateError


class Whole:
    """Not an int, but usable as one, as the integers of numpy are."""

    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("check", "given", "taken"),
    [
        (arguments.integer, 7, 7),
        (arguments.integer, Whole(), 7),
        (arguments.number, 0.5, 0.5),
        (arguments.number, 3, 3),
        (arguments.flag, True, True),
        (arguments.text, "a", "a"),
        (arguments.payload, "é", b"\xc3\xa9"),
        (arguments.payload, bytearray(b"a"), b"a"),
        (arguments.payload, memoryview(b"a"), b"a"),
        (arguments.payloads, ("a", b"b"), [b"a", b"b"]),
        (arguments.function, print, print),
        (arguments.path, "/a", "/a"),
        (arguments.path, Path("/a"), "/a"),
    ],
)
def test_what_is_right_is_taken(check: Callable[[str, object], object], given: object, taken: object) -> None:
    found = check("it", given)
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("check", "given", "text"),
    [
        (arguments.integer, "7", "it must be an int, not str: '7'"),
        (arguments.integer, 7.0, "it must be an int, not float: 7.0"),
        (arguments.integer, True, "it must be an int, not bool: True"),
        (arguments.integer, None, "it must be an int, not NoneType: None"),
        (arguments.number, "7", "it must be a number, not str: '7'"),
        (arguments.number, False, "it must be a number, not bool: False"),
        (arguments.flag, 1, "it must be True or False, not int: 1"),
        (arguments.text, b"a", "it must be a str, not bytes: b'a'"),
        (arguments.payload, 5, "it must be bytes or a str, not int: 5"),
        (arguments.payloads, "abc", "it must be a sequence of bytes or str, not str: 'abc'"),
        (arguments.payloads, 5, "it must be a sequence of bytes or str, not int: 5"),
        (arguments.payloads, [5], "an item of it must be bytes or a str, not int: 5"),
        (arguments.function, "print", "it must be a function, not str: 'print'"),
        (arguments.path, b"/a", "it must be a path (str or os.PathLike), not bytes: b'/a'"),
    ],
)
def test_a_wrong_type_is_a_type_error_that_names_the_argument(
    check: Callable[[str, object], object], given: object, text: str
) -> None:
    with pytest.raises(TypeError) as caught:
        check("it", given)
    assert str(caught.value) == text


def test_a_wrong_value_is_a_state_error_that_names_the_argument() -> None:
    assert [arguments.integer("it", value, 1, 3) for value in (1, 3)] == [1, 3]
    with pytest.raises(StateError, match=r"^it must be at least 1, not 0$"):
        arguments.integer("it", 0, 1, 3)
    with pytest.raises(StateError, match=r"^it must be at most 3, not 4$"):
        arguments.integer("it", 4, 1, 3)
    with pytest.raises(StateError, match=r"^it must be at least 0, not -0\.5$"):
        arguments.number("it", -0.5, 0)
    for value in ("nan", "inf"):
        with pytest.raises(StateError, match=rf"^it must be a finite number, not {value}$"):
            arguments.number("it", float(value))
    with pytest.raises(StateError, match=r"^it cannot be sent as UTF-8"):
        arguments.payload("it", "\ud800")


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(TypeError) as caught:
        arguments.integer("it", "x" * 10_000)
    assert len(str(caught.value)) < 100
