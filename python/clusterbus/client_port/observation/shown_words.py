"""A request as SLOWLOG and MONITOR show it: its words, without passwords.

Owns which words of which commands are secrets. A user's command may take a password too; only MIGRATE's is known. Any
thread. Source: the places upstream that call `redactClientCommandArgument`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from clusterbus.client_port.registry import Call
from clusterbus.config.directives import BY_NAME

REDACTED: Final = b"(redacted)"
_AUTH_WORDS: Final = {b"auth": 1, b"auth2": 2}
"""Options that passwords follow -> how many words of MIGRATE are secret behind them."""
_ESCAPES: Final = {ord("\\"): "\\\\", ord('"'): '\\"', 10: "\\n", 13: "\\r", 9: "\\t", 7: "\\a", 8: "\\b"}


def shown_words(call: Call) -> list[bytes]:
    """The words of a request; secrets are replaced."""
    secrets = set(_secret_positions(call))
    if not secrets:
        return call.words
    return [REDACTED if position in secrets else word for position, word in enumerate(call.words)]


def _secret_positions(call: Call) -> Iterable[int]:
    words = call.words
    match call.name:
        case "auth":
            return range(1, len(words))
        case "acl|setuser":
            return range(2, len(words))
        case "config|set":
            directives = (BY_NAME.get(word.decode("utf-8", "replace").lower()) for word in words[2::2])
            return [3 + 2 * index for index, directive in enumerate(directives) if directive and directive.secret]
        case "hello":
            return _behind(words, 1, {b"auth": 2})
        case "migrate":
            return _behind(words, 6, _AUTH_WORDS)
        case _:
            return ()


def _behind(words: list[bytes], first: int, options: dict[bytes, int]) -> list[int]:
    """The positions of as many words as an option hides, behind each such option from word `first` on."""
    found: list[int] = []
    for position in range(first, len(words)):
        if position not in found:
            found += range(position + 1, position + 1 + options.get(words[position].lower(), 0))
    return found


def quoted(word: bytes) -> str:
    """A word in quotes; bytes that are not printable ASCII are escaped."""
    text = "".join(_ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in word)
    return f'"{text}"'
