"""valkey.conf's syntax: quoting, comments, includes, the command line (S11)."""

from __future__ import annotations

from pathlib import Path

import pytest
from clusterbus.config.syntax import (
    INCLUDE_DEPTH_MAX,
    parse_command_line,
    quote,
    read_file,
    read_text,
    split_arguments,
)
from clusterbus.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", []),
        (b"  \t ", []),
        (b"port 7000", [b"port", b"7000"]),
        (b"  port\t7000 \r\n", [b"port", b"7000"]),
        (b'save ""', [b"save", b""]),
        (b"a 'b c' \"d e\"", [b"a", b"b c", b"d e"]),
        (rb'"\n\r\t\b\a\x41\q\""', [b'\n\r\t\b\aAq"']),
        (rb"'it\'s \n'", [rb"it's \n"]),
        (rb'"\x4"', [b"x4"]),
        (b'ab"cd ef"', [b"abcd ef"]),
        (b'"ab"cd', [b"abcd"]),
        (b"'a b'\"c d\"e f", [b"a bc de", b"f"]),
        (b"'ab'cd'", None),
        (rb"'x\'", [b"x\\"]),
        (rb'"\"', [b"\\"]),
        (rb"'x\' 'y'", None),
        (b'"a\\', None),
        (b'"ab', None),
        (b"'ab", None),
        (b"a\\ b", [b"a\\", b"b"]),
        (b"\xff\x00", [b"\xff\x00"]),
    ],
)
def test_words_of_a_line(line: bytes, words: list[bytes] | None) -> None:
    assert split_arguments(line) == words


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_what_is_quoted_is_read_back(text: str) -> None:
    assert split_arguments(quote(text).encode()) == [text.encode()]


@given(st.binary(max_size=60))
def test_any_bytes_are_split_or_refused(line: bytes) -> None:
    words = split_arguments(line)
    assert words is None or all(isinstance(word, bytes) for word in words)


def test_lines_know_where_they_stand(tmp_path: Path) -> None:
    lines = list(read_text(b"# comment\n\nPORT 7000\n  bind 127.0.0.1 ::1\n", "x.conf"))
    assert [(line.where, line.name, line.arguments) for line in lines] == [
        ("x.conf:3", "port", ("7000",)),
        ("x.conf:4", "bind", ("127.0.0.1", "::1")),
    ]


def test_unbalanced_quotes_name_file_and_line() -> None:
    with pytest.raises(ConfigError, match=r"^x\.conf:2: unbalanced quotes in configuration line: logfile \"a$"):
        list(read_text(b'port 1\nlogfile "a\n', "x.conf"))


def test_include_is_read_where_it_stands(tmp_path: Path) -> None:
    inner = tmp_path / "inner.conf"
    inner.write_text("port 2\n")
    names = [line.arguments[0] for line in read_text(f"port 1\ninclude {inner}\nport 3\n".encode(), "outer")]
    assert names == ["1", "2", "3"]


def test_include_takes_patterns_and_lets_an_empty_one_pass(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.conf").write_text(f"logfile {name}\n")
    text = f"include {tmp_path}/*.conf\ninclude {tmp_path}/none*.conf\n".encode()
    assert [line.arguments[0] for line in read_text(text, "outer")] == ["a", "b"]


def test_a_missing_include_names_the_line_that_wants_it(tmp_path: Path) -> None:
    missing = tmp_path / "missing.conf"
    with pytest.raises(ConfigError) as caught:
        list(read_text(f"\ninclude {missing}\n".encode(), "outer.conf"))
    assert str(caught.value) == (f"outer.conf:2: can't open config file '{missing}': No such file or directory")


def test_includes_stop_at_their_depth(tmp_path: Path) -> None:
    """H30 for files: a file that includes itself ends with an error."""
    (tmp_path / "1.conf").write_text("port 7\n")
    for depth in range(2, INCLUDE_DEPTH_MAX + 2):
        (tmp_path / f"{depth}.conf").write_text(f"include {tmp_path}/{depth - 1}.conf\n")
    deepest = read_text(f"include {tmp_path}/{INCLUDE_DEPTH_MAX}.conf\n".encode(), "outer")
    assert [line.name for line in deepest] == ["port"]
    with pytest.raises(ConfigError, match=f"more than {INCLUDE_DEPTH_MAX} files deep"):
        list(read_text(f"include {tmp_path}/{INCLUDE_DEPTH_MAX + 1}.conf\n".encode(), "outer"))
    itself = tmp_path / "loop.conf"
    itself.write_text(f"include {itself}\n")
    with pytest.raises(ConfigError, match=f"more than {INCLUDE_DEPTH_MAX} files deep"):
        list(read_text(itself.read_bytes(), str(itself)))


def test_a_file_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterbus.config.syntax.FILE_LEN_MAX_BYTES", 8)
    path = tmp_path / "big.conf"
    path.write_bytes(b"port 123")
    assert read_file(str(path)) == b"port 123"
    path.write_bytes(b"port 1234")
    with pytest.raises(ConfigError, match="is over 8 bytes"):
        read_file(str(path))


@pytest.mark.parametrize(
    ("arguments", "config_file", "reads_stdin", "lines"),
    [
        ([], None, False, []),
        (["a.conf"], "a.conf", False, []),
        (["-"], None, True, []),
        (["a.conf", "-"], "a.conf", True, []),
        (["-", "--port", "1"], None, True, [("port", ["1"])]),
        (["--port", "1", "-"], None, True, [("port", ["1"])]),
        (["--port", "1", "--bind", "a", "b"], None, False, [("port", ["1"]), ("bind", ["a", "b"])]),
        (["--port 1"], None, False, [("port", ["1"])]),
        (["--save", "", "--port", "1"], None, False, [("save", [""]), ("port", ["1"])]),
        (["--save", "--port", "1"], None, False, [("save", [""]), ("port", ["1"])]),
        (["--port", "1", "--save"], None, False, [("port", ["1"]), ("save", [""])]),
        (["--save", "900 1"], None, False, [("save", ["900 1"])]),
        (["--logfile", "--port"], None, False, [("logfile", ["--port"])]),
        (["--PORT", "1"], None, False, [("port", ["1"])]),
        (["--port"], None, False, [("port", [])]),
        (["--tcp-backlog", "-1"], None, False, [("tcp-backlog", ["-1"])]),
        (["--requirepass", 'a b"c'], None, False, [("requirepass", ['a b"c'])]),
    ],
)
def test_the_command_line_is_read_as_valkey_server_reads_it(
    arguments: list[str], config_file: str | None, reads_stdin: bool, lines: list[tuple[str, list[str]]]
) -> None:
    read = parse_command_line(arguments)
    assert (read.config_file, read.reads_stdin) == (config_file, reads_stdin)
    assert [(line.name, list(line.arguments)) for line in read.lines] == lines


def test_a_stray_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="'stray' stands before any --directive"):
        parse_command_line(["a.conf", "stray"])
