"""The parser of requests: bytes cut anywhere, every limit, lengths that are announced but never sent (S11)."""

from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise
from random import Random

import pytest
from clusterbus.client_port.requests import (
    ARGUMENTS_MAX,
    BULK_LEN_MAX_BYTES,
    INLINE_LEN_MAX_BYTES,
    REQUEST_LEN_MAX_BYTES,
    UNAUTHENTICATED_ARGUMENTS_MAX,
    UNAUTHENTICATED_BULK_LEN_MAX_BYTES,
    RequestParser,
)
from clusterbus.errors import PeerError
from hypothesis import given
from hypothesis import strategies as st

from tests.client_port.harness import multibulk


def requests_of(*chunks: bytes, parser: RequestParser | None = None) -> list[list[bytes]]:
    parser = parser or RequestParser()
    found: list[list[bytes]] = []
    for chunk in chunks:
        parser.feed(chunk)
        while (request := parser.take()) is not None:
            if request:
                found.append(request)
    return found


STREAM = (
    multibulk(b"PING")
    + b"ECHO 'a b'\r\n\r\n"
    + multibulk(b"SET", b"k", b"\r\n*1\r\n$1\r\n")
    + b"*0\r\n*-1\r\n"
    + b"PING\n"
    + multibulk(b"", b"")
)
REQUESTS = [[b"PING"], [b"ECHO", b"a b"], [b"SET", b"k", b"\r\n*1\r\n$1\r\n"], [b"PING"], [b"", b""]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
def test_requests_are_the_same_however_the_stream_is_cut(size: int) -> None:
    assert requests_of(*(STREAM[i : i + size] for i in range(0, len(STREAM), size))) == REQUESTS


@given(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=5), max_size=6), st.randoms())
def test_any_request_comes_back(requests: list[list[bytes]], random: Random) -> None:
    stream = b"".join(multibulk(*words) for words in requests)
    cuts = sorted({0, len(stream), *(random.randint(0, len(stream)) for _ in range(5))})
    assert requests_of(*(stream[a:b] for a, b in pairwise(cuts))) == requests


@given(st.binary(max_size=200))
def test_any_bytes_end_in_requests_or_a_peer_error(stream: bytes) -> None:
    complaints: list[str] = []
    requests: list[list[bytes]] = []
    try:
        requests = requests_of(stream)
    except PeerError as fault:
        complaints.append(str(fault))
    assert all(requests)
    assert all(text.startswith("Protocol error: ") for text in complaints)


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*%d\r\n" % (ARGUMENTS_MAX + 1), "invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$%d\r\n" % (BULK_LEN_MAX_BYTES + 1), "invalid bulk length"),
        (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
        (b"*1\r\n$4\r\nPINGxx", "invalid CRLF in request"),
        (b'PING "a\r\n', "unbalanced quotes in request"),
        (b"A" * (INLINE_LEN_MAX_BYTES + 1), "too big inline request"),
        (b"*" + b"1" * (INLINE_LEN_MAX_BYTES + 1), "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * (INLINE_LEN_MAX_BYTES + 1), "too big bulk count string"),
    ],
)
def test_a_broken_stream_has_valkeys_complaint(stream: bytes, text: str) -> None:
    with pytest.raises(PeerError) as caught:
        requests_of(stream)
    assert str(caught.value) == f"Protocol error: {text}"


def test_limits_hold_at_their_edge() -> None:
    inline = b"A" * INLINE_LEN_MAX_BYTES
    assert requests_of(inline + b"\n") == [[inline]]
    with pytest.raises(PeerError, match="too big inline request"):
        requests_of(inline + b"A\n")
    assert requests_of(b"*%d\r\n" % ARGUMENTS_MAX) == []
    assert requests_of(b"*1\r\n$%d\r\n" % BULK_LEN_MAX_BYTES) == []
    bulk = b"$%d\r\n%b\r\n" % (BULK_LEN_MAX_BYTES, bytes(BULK_LEN_MAX_BYTES))
    full = REQUEST_LEN_MAX_BYTES // BULK_LEN_MAX_BYTES
    assert [len(words) for words in requests_of(b"*%d\r\n" % full, *[bulk] * full)] == [full]
    with pytest.raises(PeerError, match="too big request"):
        requests_of(b"*%d\r\n" % (full + 1), *[bulk] * full, b"$1\r\n")


def test_before_the_password_little_is_taken() -> None:
    def parse(stream: bytes) -> list[list[bytes]]:
        parser = RequestParser()
        parser.authenticated = False
        return requests_of(stream, parser=parser)

    words = [b"a"] * UNAUTHENTICATED_ARGUMENTS_MAX
    assert parse(multibulk(*words)) == [words]
    with pytest.raises(PeerError, match="unauthenticated multibulk length"):
        parse(multibulk(*words, b"a"))
    word = b"a" * UNAUTHENTICATED_BULK_LEN_MAX_BYTES
    assert parse(multibulk(word)) == [[word]]
    with pytest.raises(PeerError, match="unauthenticated bulk length"):
        parse(multibulk(word + b"a"))


def test_an_announced_length_takes_no_memory_and_no_time() -> None:
    """H3 for the client port: an announced length must cost neither memory nor time."""
    parser = RequestParser()
    tracemalloc.start()
    begin = time.perf_counter()
    try:
        parser.feed(b"*%d\r\n$%d\r\nx" % (ARGUMENTS_MAX, BULK_LEN_MAX_BYTES))
        assert parser.take() is None
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - begin < 0.5


def test_what_is_held_is_counted() -> None:
    parser = RequestParser()
    parser.feed(b"*2\r\n$3\r\nabc\r\n$5\r\nde")
    assert parser.take() is None
    assert parser.held_len_bytes() == 3 + 2
    parser.feed(b"fgh\r\n")
    assert parser.take() == [b"abc", b"defgh"]
    assert parser.held_len_bytes() == 0


def test_sixteen_thousand_arguments_in_small_pieces() -> None:
    """CLUSTER ADDSLOTS with every slot; redis-cli may send it."""
    words = [b"CLUSTER", b"ADDSLOTS", *(b"%d" % slot for slot in range(16_384))]
    stream = multibulk(*words)
    chunks = [stream[i : i + 1000] for i in range(0, len(stream), 1000)]
    assert requests_of(*chunks) == [words]
