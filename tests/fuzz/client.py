"""Targets of the client port: the parser of requests, every command with any words, the glob patterns."""

from __future__ import annotations

import functools
import logging
import time

from clusterbus.client_port.requests import REQUEST_LEN_MAX_BYTES, RequestParser
from clusterbus.errors import PeerError
from clusterbus.member.glob import PATTERN_LEN_MAX_BYTES, STARS_MAX, compile_pattern
from clusterbus.sim import Simulation

from tests.client_port.session import Port, parse

MATCH_MAX_S = 2.0
"""No input of a fuzzer needs so long; the shortest pattern that is matched in exponential time does."""
REQUESTS_MAX = 40


def requests(data: bytes) -> None:
    """A stream says the same however it is cut, and no more is held than came in."""
    if len(data) < 2:
        return
    size, authenticated, stream = data[0] + 1, bool(data[1] & 1), data[2:]
    whole = _taken([stream], authenticated)
    assert _taken([stream[at : at + size] for at in range(0, len(stream), size)], authenticated) == whole


def _taken(pieces: list[bytes], authenticated: bool) -> tuple[list[list[bytes]], str]:
    """The requests in a stream, and how it ends."""
    parser = RequestParser()
    parser.authenticated = authenticated
    taken: list[list[bytes]] = []
    fed = 0
    try:
        for piece in pieces:
            parser.feed(piece)
            fed += len(piece)
            while (request := parser.take()) is not None:
                taken.append(request)
            assert parser.held_len_bytes() <= min(fed, REQUEST_LEN_MAX_BYTES)
    except PeerError as error:
        assert str(error).startswith("Protocol error: ")
        return taken, str(error)
    return taken, ""


# ---------------------------------------------------------------- glob


def glob(data: bytes) -> None:
    """A pattern matches what the rules say, found byte by byte, and in no more time than the two lengths allow."""
    if not data:
        return
    pattern, text = data[1 : 1 + data[0]], data[1 + data[0] :]
    begun_s = time.process_time()
    found = compile_pattern(pattern)(text)
    assert time.process_time() - begun_s < MATCH_MAX_S
    assert len(pattern) <= PATTERN_LEN_MAX_BYTES
    if len(pattern) * len(text) <= 1 << 16:
        assert found == _matches(pattern, text), (pattern, text)


def _matches(pattern: bytes, text: bytes) -> bool:
    """The rules of Valkey's patterns, by all positions that a match can have reached."""
    if not text:
        return not pattern
    parts = _parts(pattern)
    if sum(part is None for part in parts) - (bool(parts) and parts[-1] is None) > STARS_MAX:
        return False
    reached = {0}
    for part in parts:
        if part is None:
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(text) and text[at] in part}
    return len(text) in reached


def _parts(pattern: bytes) -> list[frozenset[int] | None]:
    """The bytes that each part stands for; None for a run of stars."""
    parts: list[frozenset[int] | None] = []
    rest = pattern
    while rest:
        first, rest = rest[:1], rest[1:]
        if first == b"*":
            if not parts or parts[-1] is not None:
                parts.append(None)
        elif first == b"?":
            parts.append(frozenset(range(256)))
        elif first == b"[":
            members, rest = _class(rest)
            parts.append(members)
        else:
            if first == b"\\" and rest:
                first, rest = rest[:1], rest[1:]
            parts.append(frozenset(first))
    return parts


def _class(rest: bytes) -> tuple[frozenset[int], bytes]:
    negated = rest.startswith(b"^")
    rest = rest[negated:]
    members: set[int] = set()
    while rest:
        if rest.startswith(b"\\") and len(rest) >= 2:
            members.add(rest[1])
            rest = rest[2:]
        elif rest.startswith(b"]"):
            rest = rest[1:]
            break
        elif len(rest) >= 3 and rest[1:2] == b"-":
            ends = sorted((rest[0] ^ 0x80, rest[2] ^ 0x80))  # in the order of signed numbers
            members |= {number ^ 0x80 for number in range(ends[0], ends[1] + 1)}
            rest = rest[3:]
        else:
            members.add(rest[0])
            rest = rest[1:]
    return frozenset(set(range(256)) - members if negated else members), rest


# ---------------------------------------------------------------- commands

_NEVER = frozenset({b"shutdown", b"debug"})
"""They stop the process or make it wait, which is what they are for."""


class _Faults(logging.Handler):
    """Keeps what our own code failed with, which the client port survives and logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.texts.append(self.format(record))


@functools.cache
def _faults() -> _Faults:
    faults = _Faults()
    logging.getLogger("clusterbus").addHandler(faults)
    return faults


def commands(data: bytes) -> None:
    """Any words to any command: no handler fails, each request gets one whole reply, and the node still answers.

    A line is a request, its words are apart by blanks; `\\xff` in a word stands for a blank.
    """
    faults = _faults()
    faults.texts.clear()
    simulation = Simulation(seed=1, nodes=1)
    session = Port(simulation.members[0].member).connect()
    for line in data.split(b"\n")[:REQUESTS_MAX]:
        request = [word.replace(b"\xff", b" ") for word in line.split(b" ")]
        if not request[0] or request[0].lower() in _NEVER or not session.transport.is_open:
            continue
        session.send(*request)
        while session.transport.written:
            _, session.transport.written = parse(session.transport.written)
        assert not faults.texts, faults.texts[0]
    again = Port(simulation.members[0].member).connect()
    assert again("PING") == "PONG"
