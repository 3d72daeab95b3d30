"""Seeds as text: what is one, and the error for what is none."""

from __future__ import annotations

import pytest
from clusterbus.errors import ConfigError
from clusterbus.member.membership.seeds import SEEDS_MAX, Seed, parse, parse_all


@pytest.mark.parametrize(
    ("text", "host", "port", "cport"),
    [
        ("10.0.0.1:7000", "10.0.0.1", 7000, None),
        ("db-1.example:6379", "db-1.example", 6379, None),
        ("10.0.0.1:7000@7100", "10.0.0.1", 7000, 7100),
        ("[::1]:7000", "::1", 7000, None),
        ("[fe80::1]:65535@1", "fe80::1", 65535, 1),
    ],
)
def test_a_seed_in_each_form(text: str, host: str, port: int, cport: int | None) -> None:
    assert parse(text) == Seed(text, host, port, cport)


@pytest.mark.parametrize(
    "text",
    [
        *("", "10.0.0.1", "10.0.0.1:", ":7000", "::1:7000", "[::1]", "10.0.0.1:7000@", "a b:7000", "10.0.0.1:x"),
        *("10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:60000", "10.0.0.1:7000@65536", "10.0.0.1:7000@0", "a:7000\n"),
        *("[a]:7000", "[10.0.0.1]:7000", "[::1 ]:7000", "[::1%\n]:7000"),
    ],
)
def test_what_is_no_seed_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="seed ") as refused:
        parse(text)
    assert repr(text) in str(refused.value)


def test_the_argument_is_checked_as_a_whole() -> None:
    assert [seed.text for seed in parse_all("seeds", ["a:1", "b:2", "a:1"])] == ["a:1", "b:2"]
    with pytest.raises(TypeError, match="seeds must be a sequence of str"):
        parse_all("seeds", "a:1")
    with pytest.raises(TypeError, match="an item of seeds"):
        parse_all("seeds", [("a", 1)])
    most = [f"h:{port}" for port in range(1, SEEDS_MAX + 1)]
    assert len(parse_all("seeds", most)) == SEEDS_MAX
    with pytest.raises(ConfigError, match="seeds: more than"):
        parse_all("seeds", [*most, "h:9999"])
