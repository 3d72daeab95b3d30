"""What `help()` and an editor show of everything public: text that a stranger understands."""

from __future__ import annotations

import ast
import inspect
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path

import clusterbus
import pytest
from clusterbus import wire

PACKAGE = Path(clusterbus.__file__).parent
# The codes of docs/rows.md, and how a text refers to one.
ROW = re.compile(r"\b[RSHP]\d{1,3}\b|\b[Rr]ows? [A-Z]\d")
WIRE_NAMES = [name for name in dir(wire) if not name.startswith("_")]


def complaints(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if ROW.search(line)]


def helps(thing: object) -> Iterator[str]:
    """What help() shows of a thing, and the docstrings of its members that it leaves out."""
    if inspect.ismodule(thing) or inspect.isclass(thing) or callable(thing):
        yield pydoc.plain(pydoc.render_doc(thing))
    if inspect.isclass(thing):
        yield from (inspect.getdoc(value) or "" for name, value in vars(thing).items() if not name.startswith("_"))


@pytest.mark.parametrize("name", clusterbus.__all__)
def test_help_shows_no_code_of_a_row(name: str) -> None:
    assert [complaint for text in helps(getattr(clusterbus, name)) for complaint in complaints(text)] == []


@pytest.mark.parametrize("name", WIRE_NAMES)
def test_help_of_the_wire_shows_no_code_of_a_row(name: str) -> None:
    assert [complaint for text in helps(getattr(wire, name)) for complaint in complaints(text)] == []


def docstrings(text: str) -> Iterator[str]:
    """Every string that stands as a statement, as docstrings of modules, classes, functions and names do."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def modules_of_public_names() -> list[Path]:
    """The files in which what is public is written, whose docstrings an editor shows."""
    names = ["clusterbus.wire", "clusterbus", *clusterbus._NAMES_OF]
    paths = [PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py") for name in names]
    return [path if path.exists() else path.with_suffix("") / "__init__.py" for path in paths]


@pytest.mark.parametrize("path", modules_of_public_names(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_editor_shows_no_code_of_a_row(path: Path) -> None:
    assert [complaint for text in docstrings(path.read_text()) for complaint in complaints(text)] == []


@pytest.mark.parametrize(
    ("text", "count"), [("Source: row S7.", 1), ("(H4-H9, R33)", 1), ("as SHA1 and S3 do", 1), ("P and R", 0)]
)
def test_the_check_finds_codes(text: str, count: int) -> None:
    assert len(complaints(text)) == count


@pytest.mark.parametrize("name", [name for name in clusterbus.__all__ if name.startswith("Election")])
def test_the_events_of_an_election_say_who_sees_them(name: str) -> None:
    assert re.search(
        r"Only the (candidate|winner) sees it: `node_id` is always this node\.", getattr(clusterbus, name).__doc__
    )
