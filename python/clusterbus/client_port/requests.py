"""The parser of requests: multibulk and inline commands, whose lengths are checked before their bodies are buffered.

It replaces hiredis, because a request may come from an attacker. hiredis allocates whatever a header announces: the 14
bytes of `*2000000000` block it for seconds and ask for 16 GB. It also cannot limit a bulk string before it has all of
it, and it knows no inline commands. Error texts are Valkey's (src/networking.c). Holds no socket. Main thread.
"""

from __future__ import annotations

from typing import Final

from clusterbus.client_port.arguments import integer_or_none
from clusterbus.config.syntax import split_arguments
from clusterbus.errors import PeerError

INLINE_LEN_MAX_BYTES: Final = 64 * 1024
ARGUMENTS_MAX: Final = 1024 * 1024
BULK_LEN_MAX_BYTES: Final = 16 * 1024 * 1024
"""What proto-max-bulk-len is unless it is set."""
REQUEST_LEN_MAX_BYTES: Final = 32 * 1024 * 1024
"""What client-query-buffer-limit is unless it is set: the most bytes of all arguments of one request together, and of
all requests that one transaction queues.
"""
UNAUTHENTICATED_ARGUMENTS_MAX: Final = 10
UNAUTHENTICATED_BULK_LEN_MAX_BYTES: Final = 16 * 1024


ARGUMENT_COST_BYTES: Final = 56
"""What an argument takes beside its bytes: a Python object, and a place in a list."""


class RequestTooBigError(PeerError):
    """A request is longer than client-query-buffer-limit."""


class RequestParser:
    """Takes bytes in (`feed`) and gives requests out (`take`).

    While `authenticated` is False the limits are tighter, as in Valkey before AUTH. The owner sets how long one
    argument and one request may be.
    """

    def __init__(self) -> None:
        self.authenticated = True
        self.bulk_len_max_bytes = BULK_LEN_MAX_BYTES
        self.request_len_max_bytes = REQUEST_LEN_MAX_BYTES
        self.request_len_bytes = 0
        """How many bytes the request had that was taken last, marks and lengths included."""
        self._buffer = bytearray()
        self._position = 0
        self._deleted_bytes = 0
        """Bytes of the stream before the buffer."""
        self._request_begin = 0
        """Where in the stream the next request begins."""
        self._arguments: list[bytes] = []
        self._arguments_len_bytes = 0
        self._missing = 0
        self._bulk_len_bytes = -1

    def held_len_bytes(self) -> int:
        """The number of bytes held: those not parsed yet, and the arguments of the unfinished request."""
        return len(self._buffer) - self._position + self._arguments_len_bytes

    def memory_bytes(self) -> int:
        """What is kept for requests that are not whole: more than their bytes, if they have many small arguments."""
        return len(self._buffer) + self._arguments_len_bytes + ARGUMENT_COST_BYTES * len(self._arguments)

    def feed(self, data: bytes) -> None:
        """Adds received bytes. The caller limits how many: it stops reading while `take` still has requests."""
        self._drop_parsed()
        self._buffer += data

    def _drop_parsed(self) -> None:
        if self._position:
            del self._buffer[: self._position]
            self._deleted_bytes += self._position
            self._position = 0

    def take(self) -> list[bytes] | None:
        """The next whole request, or None until more bytes come. An empty list is a request without words (`*0`, an
        empty line): it gets no answer, but to look at it takes time.

        Raises PeerError with the error text for the client. The stream cannot be parsed any further then.
        """
        request = self._take()
        if request is not None:
            end = self._deleted_bytes + self._position
            self.request_len_bytes, self._request_begin = end - self._request_begin, end
        return request

    def _take(self) -> list[bytes] | None:
        if not self._missing:
            if self._position >= len(self._buffer):
                self._drop_parsed()  # a client at rest holds nothing of its last request
                return None
            if self._buffer[self._position] != 0x2A:  # '*'
                return self._take_inline()
            if not self._start_multibulk():
                return None
            if not self._missing:
                return []
        if not self._continue_multibulk():
            return None
        request, self._arguments, self._arguments_len_bytes = self._arguments, [], 0
        return request

    def _take_line(self, limit_bytes: int, reason: str) -> bytes | None:
        end = self._buffer.find(b"\r", self._position)
        if end < 0 or end + 1 >= len(self._buffer):
            if len(self._buffer) - self._position > limit_bytes:
                raise PeerError(f"Protocol error: {reason}")
            return None
        line = bytes(self._buffer[self._position : end])
        self._position = end + 2
        return line

    def _take_inline(self) -> list[bytes] | None:
        end = self._buffer.find(b"\n", self._position)
        if end < 0 or end - self._position > INLINE_LEN_MAX_BYTES:
            if len(self._buffer) - self._position > INLINE_LEN_MAX_BYTES:
                raise PeerError("Protocol error: too big inline request")
            return None
        line = bytes(self._buffer[self._position : end])
        self._position = end + 1
        words = split_arguments(line.removesuffix(b"\r"))
        if words is None:
            raise PeerError("Protocol error: unbalanced quotes in request")
        return words

    def _start_multibulk(self) -> bool:
        line = self._take_line(INLINE_LEN_MAX_BYTES, "too big mbulk count string")
        if line is None:
            return False
        count = integer_or_none(line[1:])
        if count is None or count > ARGUMENTS_MAX:
            raise PeerError("Protocol error: invalid multibulk length")
        if count > UNAUTHENTICATED_ARGUMENTS_MAX and not self.authenticated:
            raise PeerError("Protocol error: unauthenticated multibulk length")
        self._missing = max(count, 0)
        return True

    def _continue_multibulk(self) -> bool:
        """Parses arguments; True if the last one is complete."""
        buffer = self._buffer
        while self._missing:
            if self._bulk_len_bytes < 0 and not self._start_bulk():
                return False
            end = self._position + self._bulk_len_bytes
            if len(buffer) < end + 2:
                return False
            if buffer[end : end + 2] != b"\r\n":
                raise PeerError("Protocol error: invalid CRLF in request")
            self._arguments.append(bytes(buffer[self._position : end]))
            self._arguments_len_bytes += self._bulk_len_bytes
            self._position = end + 2
            self._bulk_len_bytes = -1
            self._missing -= 1
        return True

    def _start_bulk(self) -> bool:
        if self._position < len(self._buffer) and self._buffer[self._position] != 0x24:  # '$'
            # Valkey waits for the whole line before it complains, so this does too.
            mark = chr(self._buffer[self._position])
            if self._take_line(INLINE_LEN_MAX_BYTES, "too big bulk count string") is None:
                return False
            raise PeerError(f"Protocol error: expected '$', got '{mark}'")
        line = self._take_line(INLINE_LEN_MAX_BYTES, "too big bulk count string")
        if line is None:
            return False
        length = integer_or_none(line[1:])
        if length is None or length < 0 or length > self.bulk_len_max_bytes:
            raise PeerError("Protocol error: invalid bulk length")
        if length > UNAUTHENTICATED_BULK_LEN_MAX_BYTES and not self.authenticated:
            raise PeerError("Protocol error: unauthenticated bulk length")
        if self._arguments_len_bytes + length > self.request_len_max_bytes:
            raise RequestTooBigError("Protocol error: too big request")
        self._bulk_len_bytes = length
        return True
