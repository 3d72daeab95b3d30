"""No import cycle among the Rust files of a crate, so that each file can be understood from the files below it.

A file imports another if a path in it leads into that file: a `use`, or `crate::`, `super::`, `self::` and the name of
a child module anywhere. Names that `lib.rs` or a `mod.rs` re-exports count as names of that file. Tests inside a file
may import anything. Reads files only, imports nothing of the package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_architecture import ROOT, strip_rust

CRATES = ("wire", "engine", "py")

Module = tuple[str, ...]
Sources = dict[str, str]
Graph = dict[str, set[str]]

USE = re.compile(r"\buse\s+([^;]+);")
DECLARED = re.compile(r"\bmod\s+(\w+)\s*;")
INLINE = re.compile(r"\bmod\s+(\w+)\s*\{")
TEST_MODULE = re.compile(r"#\[cfg\((?:test|all\(test\b[^]]*)\)\]\s*mod\s+\w+\s*\{")
ROOTED = re.compile(r"(?<![\w:])((?:crate|super|self)(?:\s*::\s*\w+)+)")


# ---------------------------------------------------------------- reading one file


def block_end(text: str, opened: int) -> int:
    """The position after the brace that closes the block; `opened` is the position after its opening brace."""
    depth = 1
    while depth:
        brace = re.compile(r"[{}]").search(text, opened)
        assert brace is not None, "braces that do not match"
        depth += 1 if brace.group() == "{" else -1
        opened = brace.end()
    return opened


def without_tests(text: str) -> str:
    """The code with the bodies of its test modules removed."""
    while (test := TEST_MODULE.search(text)) is not None:
        text = text[: test.start()] + text[block_end(text, test.end()) :]
    return text


def scopes(text: str, module: Module) -> Iterator[tuple[Module, str]]:
    """The code of a file by module: the file's own code, and the code of each `mod name { .. }` inside it."""
    own = ""
    while (inline := INLINE.search(text)) is not None:
        end = block_end(text, inline.end())
        own += text[: inline.start()]
        yield from scopes(text[inline.end() : end - 1], (*module, inline.group(1)))
        text = text[end:]
    yield module, own + text


def use_paths(tree: str) -> Iterator[list[str]]:
    """The single paths of a `use`: `a::{b, c::{d as e, self}}` gives a::b, a::c::d and a::c."""
    tree = tree.strip()
    head, brace, rest = tree.partition("{")
    prefix = [part.strip() for part in head.split("::") if part.strip()]
    if not brace:
        path = [part.split(" as ")[0].strip() for part in tree.split("::") if part.strip()]
        yield path[:-1] if path[-1] in ("self", "*") else path
        return
    inner, depth, start = rest.rpartition("}")[0], 0, 0
    for index, character in enumerate(inner + ","):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            if inner[start:index].strip():
                yield from ([*prefix, *path] for path in use_paths(inner[start:index]))
            start = index + 1


def absolute(path: list[str], module: Module, children: set[str]) -> Module | None:
    """The path from the crate's root; None for a path that leads out of the crate."""
    if path and path[0] == "crate":
        return tuple(path[1:])
    if path and path[0] == "self":
        return (*module, *path[1:])
    if path and path[0] == "super":
        while path and path[0] == "super":
            path, module = path[1:], module[:-1]
        return (*module, *path)
    return (*module, *path) if path and path[0] in children else None


def imported(text: str, module: Module) -> Iterator[Module]:
    """Every path in the file that stays inside the crate."""
    for scope, code in scopes(without_tests(strip_rust(text)), module):
        children = set(DECLARED.findall(code))
        paths = [path for tree in USE.findall(code) for path in use_paths(re.sub(r"\s+", " ", tree))]
        rest = re.sub(r"\bpub\s*\(in [^)]*\)", "", USE.sub("", code))
        paths += [re.split(r"\s*::\s*", path) for path in ROOTED.findall(rest)]
        for child in children:
            paths += [[child]] * bool(re.search(rf"(?<![\w:]){child}\s*::", rest))
        yield from (found for path in paths if (found := absolute(path, scope, children)) is not None)


# ---------------------------------------------------------------- the graph


def module_of(path: str) -> Module:
    parts = Path(path).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("lib", "main", "mod") else parts


def graph_of(sources: Sources) -> Graph:
    """The imports of each file. A path leads to the file of its longest prefix that is a module."""
    files = {module_of(path): path for path in sources}
    graph: Graph = {}
    for path, text in sources.items():
        graph[path] = set()
        for target in imported(text, module_of(path)):
            length = next(length for length in range(len(target), -1, -1) if target[:length] in files)
            graph[path].add(files[target[:length]])
        graph[path].discard(path)
    return graph


def reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        for target in graph[ahead.pop()] - seen:
            seen.add(target)
            ahead.append(target)
    return seen


def cycles(sources: Sources) -> list[list[str]]:
    """Groups of files that import each other, directly or not (the strongly connected components)."""
    graph = graph_of(sources)
    reach = {path: reachable(graph, path) for path in graph}
    groups = {frozenset(other for other in reach[path] if path in reach[other]) for path in graph}
    return sorted(sorted(group) for group in groups if group)


def crate_sources(crate: str) -> Sources:
    folder = ROOT / "rust" / crate / "src"
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.rs"))}


@pytest.mark.parametrize("crate", CRATES)
def test_no_files_import_each_other_in_a_circle(crate: str) -> None:
    sources = crate_sources(crate)
    graph = graph_of(sources)
    assert any(graph.values()), "nothing was found, so nothing was checked"
    complaints = []
    for group in cycles(sources):
        complaints += [f"{path} imports {', '.join(sorted(graph[path] & set(group)))}" for path in group]
    assert not complaints, "\n" + "\n".join(complaints)


# ---------------------------------------------------------------- bad examples


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"lib.rs": "mod a; mod b;", "a.rs": "use crate::b::B;", "b.rs": "use crate::a::A;"}, ["a.rs", "b.rs"]),
        ({"lib.rs": "mod a; pub use a::A;", "a.rs": "use crate::B;"}, ["a.rs", "lib.rs"]),
        ({"lib.rs": "mod a; fn f() { a::run() }", "a.rs": "fn g() { crate::f() }"}, ["a.rs", "lib.rs"]),
        (
            {"lib.rs": "mod p;", "p/mod.rs": "mod w; use w::W; struct S;", "p/w.rs": "use super::S;"},
            ["p/mod.rs", "p/w.rs"],
        ),
        (
            {"lib.rs": "mod p; mod q;", "p/mod.rs": "mod a; pub use a::A;", "p/a.rs": "use crate::q::Q;",
             "q.rs": "use crate::{p::{A, self}};"},
            ["p/a.rs", "p/mod.rs", "q.rs"],
        ),
        (
            {"lib.rs": "mod a; mod b;", "a.rs": "use crate::{\n    b::{self, c::D},\n};", "b.rs": "use super::a;"},
            ["a.rs", "b.rs"],
        ),
        ({"lib.rs": "mod a; mod b;", "a.rs": "use super::b::*;", "b.rs": "type T = super::a::A;"}, ["a.rs", "b.rs"]),
        (
            {"lib.rs": "mod a; mod b;", "a.rs": "mod inner { use super::super::b::B; }", "b.rs": "use crate::a::A;"},
            ["a.rs", "b.rs"],
        ),
        (
            {"lib.rs": "mod a;", "a.rs": "mod b; fn f() { self::b::g() }", "a/b.rs": "fn g() { super::f() }"},
            ["a.rs", "a/b.rs"],
        ),
    ],
)  # fmt: skip
def test_a_circle_is_seen(sources: Sources, found: list[str]) -> None:
    assert cycles(sources) == [found]


@pytest.mark.parametrize(
    "sources",
    [
        {"lib.rs": "mod a; mod b; pub use a::A;", "a.rs": "use crate::b::B;", "b.rs": "use std::fmt;"},
        {"lib.rs": "mod a; mod b;", "a.rs": "// use crate::b::B;\nf(\"crate::b\")", "b.rs": "use crate::a::A;"},
        {"lib.rs": "mod a; use a::A;", "a.rs": "#[cfg(test)]\nmod tests { use crate::X; fn f() { if x { } } }"},
        {"lib.rs": "mod p;", "p/mod.rs": "mod a; mod b; pub use a::A;", "p/a.rs": "use super::b::B;", "p/b.rs": ""},
        {"lib.rs": "mod p;", "p/mod.rs": "#[cfg(test)]\nmod tests;\nstruct A;", "p/tests.rs": "use super::A;"},
        {"lib.rs": "mod a; mod b; pub use a::A;", "a.rs": "pub(in crate::b) fn f() {}", "b.rs": "use crate::a::f;"},
        {"lib.rs": "mod a; mod m { use super::*; #[x] use crate::a::A; }", "a.rs": "use other::lib::a;"},
    ],
)  # fmt: skip
def test_what_is_no_circle_is_no_complaint(sources: Sources) -> None:
    assert cycles(sources) == []


def test_a_use_is_taken_apart() -> None:
    tree = "crate::{a, b::{c as d, self, e::*}, f::{g::{h}}}"
    paths = ["::".join(path) for path in use_paths(tree)]
    assert paths == ["crate::a", "crate::b::c", "crate::b", "crate::b::e", "crate::f::g::h"]
