"""Valkey's glob rules and their limits; and no match takes longer than pattern length times text length (S7).

`test_pubsub_parity.py` checks against a real server that these rules are Valkey's.
"""

from __future__ import annotations

import time

import pytest
from clusterbus.member.glob import PATTERN_LEN_MAX_BYTES, STARS_MAX, TEXT_LEN_MAX_BYTES, compile_pattern

CASES: tuple[tuple[bytes, list[bytes], list[bytes]], ...] = (
    # pattern, texts that it matches, texts that it does not match
    (b"news", [b"news"], [b"new", b"newss", b"News", b""]),
    (b"n?ws", [b"news", b"n\nws", b"n\xffws"], [b"nws", b"neews"]),
    (b"news.*", [b"news.", b"news.art"], [b"news", b"xnews."]),
    (b"*.art", [b".art", b"news.art"], [b"art", b"news.arts"]),
    (b"n*s*t", [b"nst", b"news.art", b"nssstt"], [b"nt", b"news"]),
    (b"*a*", [b"a", b"bab"], [b"b", b""]),
    (b"**", [b"a"], [b""]),
    (b"", [b""], [b"a"]),
    (b"h[ae]llo", [b"hello", b"hallo"], [b"hillo", b"hllo"]),
    (b"h[^e]llo", [b"hallo"], [b"hello"]),
    (b"[a-c]", [b"a", b"b", b"c"], [b"d", b"-"]),
    (b"[c-a]", [b"a", b"b", b"c"], [b"d"]),
    (b"[a\\-c]", [b"a", b"-", b"c"], [b"b"]),
    (b"[\\]]", [b"]"], [b"\\"]),
    (b"[]", [], [b"", b"]", b"a"]),
    (b"[^]", [b"a", b"]"], [b""]),
    (b"[a", [b"a"], [b"b", b"[a"]),
    (b"[a-]", [b"]", b"^", b"_", b"`", b"a"], [b"-", b"b"]),
    (b"[\xff-a]", [b"\xff", b"\x00", b"a"], [b"\x80", b"b"]),
    (b"[a-\x80]", [b"\x80", b"\xff", b"\x00", b"a"], [b"b"]),
    (b"\\*", [b"*"], [b"a", b"\\*"]),
    (b"a\\", [b"a\\"], [b"a"]),
    (b"a.b|c(d)+$", [b"a.b|c(d)+$"], [b"axb|c(d)+$", b"a.b"]),
)


@pytest.mark.parametrize(("pattern", "inside", "outside"), CASES, ids=[repr(case[0]) for case in CASES])
def test_a_pattern_matches_whole_texts(pattern: bytes, inside: list[bytes], outside: list[bytes]) -> None:
    matches = compile_pattern(pattern)
    assert [text for text in inside if not matches(text)] == []
    assert [text for text in outside if matches(text)] == []


def test_a_pattern_at_the_limit_is_taken_and_one_over_it_is_not() -> None:
    assert compile_pattern(b"?" * PATTERN_LEN_MAX_BYTES)(b"a" * PATTERN_LEN_MAX_BYTES)
    with pytest.raises(ValueError, match="at most"):
        compile_pattern(b"?" * (PATTERN_LEN_MAX_BYTES + 1))


def test_a_text_at_the_limit_is_matched_and_one_over_it_is_not() -> None:
    matches = compile_pattern(b"a*")
    assert matches(b"a" * TEXT_LEN_MAX_BYTES)
    assert not matches(b"a" * (TEXT_LEN_MAX_BYTES + 1))
    assert not compile_pattern(b"")(b"a" * (TEXT_LEN_MAX_BYTES + 1))


def test_more_stars_than_the_limit_match_nothing_as_in_valkey() -> None:
    """A star at the end is not counted."""
    text = b"a" * (2 * STARS_MAX)
    assert compile_pattern(b"*a" * STARS_MAX + b"*")(text)
    assert compile_pattern(b"*a" * STARS_MAX)(text)
    assert not compile_pattern(b"*a" * (STARS_MAX + 1))(text)
    assert not compile_pattern(b"*a" * (STARS_MAX + 1) + b"*")(text)


@pytest.mark.parametrize(
    "pattern",
    [b"*a" * 20 + b"b", b"*a?" * 30 + b"b", b"*" + b"a" * 2000 + b"b", b"*[ab]" * 500 + b"c", b"*?*?*?*?*?*?*?*?b"],
    ids=["stars", "stars and marks", "long run", "classes", "marks"],
)
def test_no_pattern_makes_the_main_loop_wait(pattern: bytes) -> None:
    """With backtracking over the stars, each of these matches would take longer than the age of the universe."""
    matches = compile_pattern(pattern)
    begun_s = time.perf_counter()
    assert not matches(b"a" * TEXT_LEN_MAX_BYTES)
    assert time.perf_counter() - begun_s < 5
