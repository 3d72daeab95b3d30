"""The encoding of replies in RESP2 and RESP3 (S11)."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from clusterbus.client_port.reply import (
    OK,
    ErrorReply,
    NullArray,
    Push,
    Reply,
    SetOf,
    Status,
    Verbatim,
    double_text,
    encode,
    error,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("reply", "resp2", "resp3"),
    [
        (OK, b"+OK\r\n", b"+OK\r\n"),
        (error("no"), b"-ERR no\r\n", b"-ERR no\r\n"),
        (error("a\r\nb", "MOVED"), b"-MOVED a  b\r\n", b"-MOVED a  b\r\n"),
        (Status("a\nb"), b"+a b\r\n", b"+a b\r\n"),
        (b"\r\n\x00", b"$3\r\n\r\n\x00\r\n", b"$3\r\n\r\n\x00\r\n"),
        ("é", b"$2\r\n\xc3\xa9\r\n", b"$2\r\n\xc3\xa9\r\n"),
        (7, b":7\r\n", b":7\r\n"),
        (-(2**63), b":-9223372036854775808\r\n", b":-9223372036854775808\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (False, b":0\r\n", b"#f\r\n"),
        (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
        (None, b"$-1\r\n", b"_\r\n"),
        (NullArray(), b"*-1\r\n", b"_\r\n"),
        ([], b"*0\r\n", b"*0\r\n"),
        ((1, [b"a"]), b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n", b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n"),
        ({"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        (SetOf([1]), b"*1\r\n:1\r\n", b"~1\r\n:1\r\n"),
        (Push([b"x"]), b"*1\r\n$1\r\nx\r\n", b">1\r\n$1\r\nx\r\n"),
        (Verbatim("hé"), b"$3\r\nh\xc3\xa9\r\n", b"=7\r\ntxt:h\xc3\xa9\r\n"),
        (["x", ErrorReply("E y")], b"*2\r\n$1\r\nx\r\n-E y\r\n", b"*2\r\n$1\r\nx\r\n-E y\r\n"),
    ],
)
def test_a_reply_has_its_bytes_in_both_protocols(reply: Reply, resp2: bytes, resp3: bytes) -> None:
    assert encode(reply, 2) == resp2
    assert encode(reply, 3) == resp3


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (3.0, "3"), (0.1, "0.1"), (1e300, "1e+300"), (float("inf"), "inf"), (float("-inf"), "-inf")],
)
def test_doubles_are_written_as_valkey_does(value: float, text: str) -> None:
    assert double_text(value) == text
    assert double_text(float("nan")) == "nan"


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(leaves, max_size=4), st.dictionaries(st.text(max_size=3), leaves, max_size=3))


replies = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=9)),
    nested,
    max_leaves=12,
)


def as_hiredis_reads_it(reply: Any) -> Any:
    if isinstance(reply, list):
        return [as_hiredis_reads_it(item) for item in reply]
    if isinstance(reply, dict):
        return {key.encode(): as_hiredis_reads_it(value) for key, value in reply.items()}
    return reply


@given(replies)
def test_what_is_encoded_is_read_back_by_hiredis(reply: Any) -> None:
    reader = hiredis.Reader()
    reader.feed(encode(reply, 3))
    assert reader.gets() == as_hiredis_reads_it(reply)
    assert not reader.has_data()
