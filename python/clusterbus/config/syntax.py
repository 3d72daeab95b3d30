"""valkey.conf's syntax: lines, quoting, comments, includes, and the command line turned into the same lines.

Reads configuration files, and knows only the directives `include` and `save`. The client port uses the splitter too,
because inline commands have the same quoting (sdssplitargs in src/sds.c). Any thread.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from clusterbus.errors import ConfigError

INCLUDE_DEPTH_MAX: Final = 16
FILE_LEN_MAX_BYTES: Final = 4 * 1024 * 1024
_BLANK: Final = b" \t\n\r\v\f"
_ESCAPES: Final = {ord("n"): 10, ord("r"): 13, ord("t"): 9, ord("b"): 8, ord("a"): 7}
_HEX: Final = b"0123456789abcdefABCDEF"
_QUOTE, _APOSTROPHE, _BACKSLASH, _X = b"\"'\\x"


@dataclass(frozen=True, slots=True)
class Line:
    """One directive as written: its place (`file:line` or `command line`), its name in lower case, its arguments."""

    where: str
    name: str
    arguments: tuple[str, ...]


def split_arguments(line: bytes) -> list[bytes] | None:
    """The words of one line, with quotes and escapes resolved; None if a quote is not closed.

    Inside "..." the escapes \\n \\r \\t \\b \\a \\xHH are read, inside '...' only \\'. Quoted and bare parts without a
    space between them are one word. A quote at the end of the line always closes, even after a backslash.
    """
    words: list[bytes] = []
    position, end = 0, len(line)
    while True:
        while position < end and line[position] in _BLANK:
            position += 1
        if position == end:
            return words
        word = bytearray()
        while position < end and line[position] not in b" \t\n\r":
            byte = line[position]
            if byte not in (_QUOTE, _APOSTROPHE):
                word.append(byte)
                position += 1
                continue
            closed = _read_quoted(line, position + 1, byte, word)
            if closed is None:
                return None
            position = closed
        words.append(bytes(word))


def _read_quoted(line: bytes, position: int, quote: int, word: bytearray) -> int | None:
    """Appends the text up to the closing quote; returns the position after it, or None if there is none."""
    end = len(line)
    while position < end:
        byte = line[position]
        if byte == quote:
            return position + 1
        following = line[position + 1] if position + 1 < end else None
        if byte == _BACKSLASH and following == quote and position + 2 == end:
            following = None
        if byte == _BACKSLASH and quote == _APOSTROPHE and following == _APOSTROPHE:
            word.append(_APOSTROPHE)
            position += 2
        elif byte == _BACKSLASH and quote == _QUOTE and following is not None:
            digits = line[position + 2 : position + 4]
            if following == _X and len(digits) == 2 and all(digit in _HEX for digit in digits):
                word.append(int(digits, 16))
                position += 4
            else:
                word.append(_ESCAPES.get(following, following))
                position += 2
        else:
            word.append(byte)
            position += 1
    return None


def quote(text: str) -> str:
    """The text in double quotes, so that `split_arguments` returns it unchanged."""
    out = []
    for byte in text.encode("utf-8", "surrogateescape"):
        if byte in (_QUOTE, _BACKSLASH):
            out.append("\\" + chr(byte))
        elif 0x20 <= byte < 0x7F:
            out.append(chr(byte))
        else:
            out.append(f"\\x{byte:02x}")
    return '"' + "".join(out) + '"'


def _decode(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def parse_line(where: str, raw: bytes) -> Line | None:
    """One line of a file; None for a comment or a blank line. Raises ConfigError on unbalanced quotes."""
    stripped = raw.strip(b" \t\r\n")
    if not stripped or stripped.startswith(b"#"):
        return None
    words = split_arguments(stripped)
    if words is None:
        raise ConfigError(f"{where}: unbalanced quotes in configuration line: {_decode(stripped)}")
    return Line(where, _decode(words[0]).lower(), tuple(map(_decode, words[1:]))) if words else None


def read_text(raw: bytes, source: str, depth: int = 0) -> Iterator[Line]:
    """The directives of a file's bytes, in order; an `include` is replaced by the lines of its file. Raises
    ConfigError.
    """
    for number, raw_line in enumerate(raw.split(b"\n"), 1):
        line = parse_line(f"{source}:{number}", raw_line)
        if line is None:
            continue
        if line.name != "include":
            yield line
            continue
        if len(line.arguments) != 1:
            raise ConfigError(f"{line.where}: include: wrong number of arguments")
        if depth == INCLUDE_DEPTH_MAX:
            raise ConfigError(f"{line.where}: include {line.arguments[0]}: more than {INCLUDE_DEPTH_MAX} files deep")
        yield from read_files(line.arguments[0], depth + 1, line.where)


def read_files(pattern: str, depth: int = 0, where: str = "") -> Iterator[Line]:
    """The directives of a file, or of all files that a pattern with `*`, `?` or `[` matches. It may match none."""
    paths = sorted(glob.glob(pattern)) if any(mark in pattern for mark in "*?[") else [pattern]
    for path in paths:
        yield from read_text(read_file(path, where), path, depth)


def read_file(path: str, where: str = "") -> bytes:
    """The bytes of a configuration file. Raises ConfigError, which names the file and the line that includes it."""
    prefix = f"{where}: " if where else ""
    try:
        with open(path, "rb") as file:
            raw = file.read(FILE_LEN_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{prefix}can't open config file {path!r}: {error.strerror}") from error
    if len(raw) > FILE_LEN_MAX_BYTES:
        raise ConfigError(f"{prefix}config file {path!r} is over {FILE_LEN_MAX_BYTES} bytes")
    return raw


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The parsed arguments of the program: a file, whether standard input is read, and lines that come last."""

    config_file: str | None
    reads_stdin: bool
    lines: tuple[Line, ...]


def parse_command_line(arguments: Sequence[str]) -> CommandLine:
    """`[CONFIG_FILE] [-] [--directive value ...]` as valkey-server reads it (main() in src/server.c).

    A `--word` right after a `--directive` is its value, except after `--save`, which may have none. One argument may
    hold both (`"--port 7000"`). A `-` as first or last argument means standard input.
    """
    rest = list(arguments)
    config_file = rest.pop(0) if rest and not rest[0].startswith("-") else None
    reads_stdin = False
    groups: list[tuple[str, list[str]]] = []
    complete = True
    for index, argument in enumerate(rest):
        last = index == len(rest) - 1
        if argument == "-" and (last or index == 0):
            reads_stdin = True
        elif complete and argument.startswith("--"):
            words = split_arguments(os.fsencode(argument[2:]))
            if words is None:
                raise ConfigError(f"command line: unbalanced quotes in {argument!r}")
            name = _decode(words[0]) if words else ""
            values = [_decode(word) for word in words[1:]]
            complete = bool(values)
            if name.lower() == "save" and not values and (last or rest[index + 1].startswith("--")):
                values, complete = [""], True
            groups.append((name, values))
        elif groups:
            groups[-1][1].append(argument)
            complete = True
        else:
            raise ConfigError(f"command line: {argument!r} stands before any --directive")
    lines = tuple(Line("command line", name.lower(), tuple(values)) for name, values in groups)
    return CommandLine(config_file, reads_stdin, lines)


def read_stdin() -> bytes:
    """All of standard input; the size limit of a file holds."""
    raw = sys.stdin.buffer.read(FILE_LEN_MAX_BYTES + 1)
    if len(raw) > FILE_LEN_MAX_BYTES:
        raise ConfigError(f"standard input is over {FILE_LEN_MAX_BYTES} bytes")
    return raw
