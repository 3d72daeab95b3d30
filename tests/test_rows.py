"""The rows: every code in use is defined in docs/rows.md, and every row defined there has a test.

Reads docs/rows.md, and finds codes in texts and in names of tests. Every check is a function from text to complaints,
and a test shows that it finds a bad example. Reads files only, imports nothing of the package. No check looks at this
file, because the codes in it are made up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
ROWS = "docs/rows.md"
FOLDERS = ("python", "rust", "tests", "benches", "examples", "docs")
SUFFIXES = {".py", ".pyi", ".rs", ".md", ".toml", ".c"}

FAMILIES = "RSHP"
TABLE_HEAD = ("| Row | Rule | Built in | Open |", "|---|---|---|---|")
HEADING = re.compile(rf"## ([{FAMILIES}]): \S")
CODE = re.compile(rf"[{FAMILIES}][1-9]\d?")
NAMES = re.compile(r"-|`[\w/]+`(, `[\w/]+`)*")
NAME_OF_MODULE = re.compile(r"[\w/]+")
OPEN = re.compile(r"(?:(not built|no test|in part): \S.*)?")
UNTESTED = ("not built", "no test")

# One code, or a range in one family. It must not touch a letter, digit or underscore: then it is part of a word.
IN_TEXT = re.compile(rf"\b([{FAMILIES}])(\d{{1,3}})(?:-\1(\d{{1,3}}))?\b")
IN_NAME = re.compile(rf"(?:^|(?<=_))([{FAMILIES.lower()}])(\d{{1,3}})(?=_|$)")
TEST_NAME = {".py": re.compile(r"\bdef (test_\w+)"), ".rs": re.compile(r"\bfn (\w+)")}
RUST_TESTS = re.compile(r"^#\[cfg\(test\)\]\s+mod \w+ \{", re.MULTILINE)

SHORT_RANGE_ROWS = 8
"""A range of at most so many rows counts as naming each of them. A longer range speaks of the whole table, and names
only its two ends."""
ATTACKS = "tests/hostile/"
"""Here every row of the family H has a test that is named after it, most of them at a real node, four ways."""
PERCENTILES = {"P50", "P90", "P95", "P99", "P999"}
"""Words of benchmarks, which look like codes."""


class Row(NamedTuple):
    """One line of the tables. `open_as` is one of the words of OPEN, or "" if nothing is open."""

    code: str
    line: int
    open_as: str
    built_in: frozenset[str] = frozenset()


class Use(NamedTuple):
    """One occurrence of a code. `proves`: if it stands in a test, it means that the test proves the row."""

    code: str
    line: int
    proves: bool


# ---------------------------------------------------------------- docs/rows.md


def read_rows(text: str, path: str) -> tuple[list[Row], list[str]]:
    """The rows of the page in their order, and the complaints about its form."""
    rows: list[Row] = []
    complaints: list[str] = []
    family = ""
    table_lines = 0
    for number, line in enumerate(text.splitlines(), 1):
        wrong = ""
        if line.startswith("## "):
            heading = HEADING.match(line)
            family, wrong = (heading[1], "") if heading else ("", "a section is headed by '## ', a letter and a colon")
        table_lines = table_lines + 1 if line.startswith("|") else 0
        if not table_lines:
            wrong = wrong or ("a row begins with |" if re.match(rf"\W*[{FAMILIES}]\d+\W*\|", line) else "")
        elif table_lines <= len(TABLE_HEAD):
            wrong = "" if line == TABLE_HEAD[table_lines - 1] else f"a table begins with {' '.join(TABLE_HEAD)}"
        else:
            row = _read_row(line, number, family)
            if isinstance(row, Row):
                rows.append(row)
            else:
                wrong = row
        if wrong:
            complaints.append(f"{path}:{number}: {wrong}: {line}")
    return rows, complaints


def _read_row(line: str, number: int, family: str) -> Row | str:
    """The row of a line, or the complaint about it."""
    cells = [cell.strip() for cell in line.split("|")]
    if len(cells) != len(TABLE_HEAD[0].split("|")) or cells[0] or cells[-1]:
        return "a row has four cells between |"
    _, code, rule, built_in, is_open, _ = cells
    open_as = OPEN.fullmatch(is_open)
    if not CODE.fullmatch(code) or code[0] != family:
        return f"'{code}' is no row of the section {family or 'above any'}"
    if not rule.endswith("."):
        return "a rule is one or more sentences"
    if not NAMES.fullmatch(built_in):
        return "where it is built is names in backquotes, or -"
    if open_as is None:
        return f"open is empty or begins with {', '.join(UNTESTED)} or in part, and a colon"
    return Row(code, number, open_as[1] or "", frozenset(NAME_OF_MODULE.findall(built_in)))


def order_complaints(rows: list[Row], path: str) -> list[str]:
    """Complaints unless the families are in their order, each with ascending numbers, and no row comes twice."""
    complaints = []
    for before, row in pairwise(rows):
        if place(row.code) <= place(before.code):
            complaints.append(f"{path}:{row.line}: {row.code} stands behind {before.code}")
    return complaints


def place(code: str) -> tuple[int, int]:
    """The place of a code in the order of all codes."""
    return FAMILIES.index(code[0]), int(code[1:])


def places(files: Iterable[str]) -> set[str]:
    """Where a row can be built: modules without their suffix, and folders. Rust's `src` and `mod.rs` add no name."""
    found: set[str] = set()
    for file in files:
        parts = [part for part in Path(file).with_suffix("").parts if part not in ("src", "mod")]
        found.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return found


def built_in_complaints(rows: list[Row], places: set[str], path: str) -> list[str]:
    """Rows whose modules do not exist, or are not named so that there is only one of that name.

    Modules of the package and of the crates come first. Only a name that none of them has is looked for in the tests.
    """
    own = {place for place in places if place.startswith(("python/", "rust/")) and "/tests" not in place}
    complaints = []
    for row in rows:
        for name in sorted(row.built_in):
            ends = [[place for place in group if f"/{place}".endswith(f"/{name}")] for group in (own, places - own)]
            meant = sorted(ends[0] or ends[1])
            if len(meant) != 1:
                which = f"that may be {', '.join(meant)}" if meant else "there is no such file"
                complaints.append(f"{path}:{row.line}: {row.code} is built in '{name}', and {which}")
    return complaints


# ---------------------------------------------------------------- codes in use


def uses_in(text: str, path: str) -> Iterator[Use]:
    """Every code in a text, and in the names of its tests (in Rust: of all functions)."""
    test_name = TEST_NAME.get(Path(path).suffix)
    for number, line in enumerate(text.splitlines(), 1):
        for match in IN_TEXT.finditer(line):
            yield from _members(match, number)
        for name in test_name.findall(line) if test_name else ():
            for match in IN_NAME.finditer(name):
                yield Use(match[1].upper() + match[2], number, proves=True)


def _members(match: re.Match[str], line: int) -> Iterator[Use]:
    family, first, last = match[1], match[2], match[3]
    if last is None:
        yield Use(family + first, line, proves=True)
    elif int(last) - int(first) in range(1, SHORT_RANGE_ROWS):
        for number in range(int(first), int(last) + 1):
            yield Use(f"{family}{number}", line, proves=True)
    else:
        for end in (first, last):
            yield Use(family + end, line, proves=False)


def undefined_complaints(text: str, path: str, defined: set[str]) -> list[str]:
    """Complaints about codes that no row defines."""
    known = defined | PERCENTILES
    uses = dict.fromkeys((use.line, use.code) for use in uses_in(text, path) if use.code not in known)
    return [f"{path}:{line}: {code} is not defined in {ROWS}" for line, code in uses]


def part_that_tests(text: str, path: str) -> str:
    """The tests in a source: all of a Python file of tests; of a Rust file its module of tests, or all without one."""
    file = Path(path)
    if file.suffix == ".py":
        return text if file.name.startswith("test_") and file.parts[0] == "tests" else ""
    if file.suffix != ".rs" or "#[test]" not in text:
        return ""
    tests_module = RUST_TESTS.search(text)
    return text[tests_module.start() :] if tests_module else text


def proof_complaints(rows: Iterable[Row], tests: dict[str, str], path: str) -> list[str]:
    """Complaints about rows that have no test and do not say so, and rows that say so but have one. `tests` maps a
    file to its text.
    """
    named: dict[str, str] = {}
    for file, text in tests.items():
        for use in uses_in(text, file):
            if use.proves:
                named.setdefault(use.code, file)
    complaints = []
    for row in rows:
        if row.code not in named and row.open_as not in UNTESTED:
            complaints.append(f"{path}:{row.line}: no test names {row.code}, and it is not open for want of one")
        if row.code in named and row.open_as == "no test":
            complaints.append(
                f"{path}:{row.line}: {row.code} is open as without a test, and {named[row.code]} names it"
            )
    return complaints


def attack_complaints(rows: Iterable[Row], tests: dict[str, str], path: str) -> list[str]:
    """Complaints about rows of the family H that no test in ATTACKS is named after."""
    names = (
        name for file, text in tests.items() if file.startswith(ATTACKS) for name in TEST_NAME[".py"].findall(text)
    )
    attacked = {match[1].upper() + match[2] for name in names for match in IN_NAME.finditer(name)}
    return [
        f"{path}:{row.line}: no test in {ATTACKS} is named after {row.code}"
        for row in rows
        if row.code[0] == "H" and row.code not in attacked
    ]


# ---------------------------------------------------------------- the whole tree


def sources() -> dict[str, str]:
    """Every file that may name a row, by its path from the root; not this file, because its codes are made up."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    files += [path for path in ROOT.iterdir() if path.suffix in SUFFIXES]
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(files) if path != Path(__file__)}


def defined_rows() -> list[Row]:
    rows, complaints = read_rows((ROOT / ROWS).read_text(), ROWS)
    assert not complaints, "\n" + "\n".join(complaints)
    return rows


def test_rows_are_well_formed_and_in_order() -> None:
    rows = defined_rows()
    assert rows
    complaints = order_complaints(rows, ROWS)
    assert not complaints, "\n" + "\n".join(complaints)


def test_rows_are_built_in_modules_that_there_are() -> None:
    complaints = built_in_complaints(defined_rows(), places(sources()), ROWS)
    assert not complaints, "\n" + "\n".join(complaints)


def test_every_code_in_use_is_defined() -> None:
    defined = {row.code for row in defined_rows()}
    complaints = [
        complaint for path, text in sources().items() for complaint in undefined_complaints(text, path, defined)
    ]
    assert not complaints, "\n" + "\n".join(complaints)


def test_every_row_has_a_test_or_says_why_not() -> None:
    tests = {path: part_that_tests(text, path) for path, text in sources().items()}
    assert sum(map(bool, tests.values())) > 1
    complaints = proof_complaints(defined_rows(), tests, ROWS)
    assert not complaints, "\n" + "\n".join(complaints)


def test_every_row_of_hostile_peers_has_a_test_at_a_real_node() -> None:
    tests = {path: part_that_tests(text, path) for path, text in sources().items()}
    complaints = attack_complaints(defined_rows(), tests, ROWS)
    assert not complaints, "\n" + "\n".join(complaints)


# ---------------------------------------------------------------- bad examples

HEAD = "\n".join(TABLE_HEAD)
SOUND = f"""# Rows

Words, also with R1 in them.

## R: threads

{HEAD}
| R1 | One. Two. | `pool`, `tls/mod` | |
| R3 | Three. | - | not built: a reason |

## H: peers

{HEAD}
| H1 | Close. | `frame` | in part: not over TLS |

## P: parity

None.
"""


def page(*rows: str) -> str:
    lines = "\n".join(rows)
    return f"# Rows\n\n## R: threads\n\n{HEAD}\n{lines}\n"


def test_a_sound_page_is_read() -> None:
    rows, complaints = read_rows(SOUND, "x.md")
    assert [row[:3] for row in rows] == [("R1", 9, ""), ("R3", 10, "not built"), ("H1", 16, "in part")]
    assert complaints == []


def test_a_row_built_nowhere_is_seen() -> None:
    rows, _ = read_rows(page("| R1 | One. | `pool`, `tls` | |"), "x.md")
    files = {"rust/engine/src/pool/mod.rs", "rust/engine/src/tls.rs", "tests/peers/tls.py"}
    assert built_in_complaints(rows, places(files), "x.md") == []
    (complaint,) = built_in_complaints(rows, places(files - {"rust/engine/src/tls.rs", "tests/peers/tls.py"}), "x.md")
    assert complaint == "x.md:7: R1 is built in 'tls', and there is no such file"


def test_a_row_built_in_one_of_two_modules_of_a_name_is_seen() -> None:
    files = {"python/clusterbus/cluster/pubsub.py", "python/clusterbus/member/pubsub.py"}
    rows, _ = read_rows(page("| R1 | One. | `cluster/pubsub` | |", "| R2 | Two. | `pubsub` | |"), "x.md")
    (complaint,) = built_in_complaints(rows, places(files), "x.md")
    assert complaint.startswith("x.md:8: R2 is built in 'pubsub', and that may be python/clusterbus/cluster/pubsub, ")


@pytest.mark.parametrize(
    "row",
    [
        "| R1 | One. | `pool` |",
        "| R1 | One. | `pool` | | |",
        "| R1 | One. | `pool` | ",
        "R1 | One. | `pool` | |",
        "| R1 | One | two. | `pool` | |",
        "| R01 | One. | `pool` | |",
        "| r1 | One. | `pool` | |",
        "| R1, R2 | One. | `pool` | |",
        "| S1 | One. | `pool` | |",
        "| R1 | | `pool` | |",
        "| R1 | One | `pool` | |",
        "| R1 | One. | pool | |",
        "| R1 | One. | | |",
        "| R1 | One. | `pool` `tls` | |",
        "| R1 | One. | `pool` | later |",
        "| R1 | One. | `pool` | not built: |",
        "| R1 | One. | `pool` | someday: a reason |",
        "\n| R1 | One. | `pool` | |",
        "## Threads",
        "## X: a family nobody knows",
    ],
)
def test_a_malformed_line_is_named_by_file_and_line(row: str) -> None:
    line = len(page("").splitlines()) + row.count("\n")
    (complaint,) = read_rows(page(row), "x.md")[1]
    assert complaint.startswith(f"x.md:{line}: ")


def test_a_table_without_its_head_or_its_section_is_seen() -> None:
    row = "| R1 | One. | `pool` | |"
    assert read_rows(f"## R: threads\n\n{row}\n", "x.md")[1]
    assert read_rows(f"## R: threads\n\n{TABLE_HEAD[0]}\n{row}\n", "x.md")[1]
    assert read_rows(f"# Rows\n\n{HEAD}\n{row}\n", "x.md")[1]


@pytest.mark.parametrize(("codes", "wrong"), [("R1 R3 S1 H1 P1", 0), ("R1 R1", 1), ("R2 R1", 1), ("R10 R9 S1 R11", 2)])
def test_a_row_twice_or_out_of_order_is_seen(codes: str, wrong: int) -> None:
    rows = [Row(code, line, "") for line, code in enumerate(codes.split(), 1)]
    complaints = order_complaints(rows, "x.md")
    assert len(complaints) == wrong
    assert all(re.match(r"x\.md:\d+: [A-Z]\d+ stands behind", complaint) for complaint in complaints)


@pytest.mark.parametrize(
    ("path", "line", "codes"),
    [
        ("a.py", "# Why (R7, H31) and S4's rule; H2-full, R3/R4.", "R7 H31 S4 H2 R3 R4"),
        ("a.py", "def test_it_bites_r7_h12() -> None:", "R7 H12"),
        ("a.py", "async def test_s5_h47_a_vote() -> None:", "S5 H47"),
        ("a.rs", "    fn h31_h38_stalled_handshakes() {", "H31 H38"),
        ("a.rs", "fn it_bites_r7() {", "R7"),
        ("a.py", '"""nodes.conf (S10, H44-H47)."""', "S10 H44 H45 H46 H47"),
        ("a.md", "Rows R1-R42.", "R1 R42"),
        ("a.md", "From H9-H4, and H1-S3.", "H9 H4 H1 S3"),
        ("a.py", "R99 = R330 + 'R07'", "R99 R330 R07"),
        ("a.py", "XS10 S10x _H3 H3_ 0xH1 SHA1 R S10000 UTF8 aes256 utf-8", ""),
        ("a.py", "key = 'c0ffeeH1deadbeef'; h3 = r7; def helper_r7(): pass", ""),
        ("a.md", "def test_named_r7 is code in prose", ""),
    ],
)
def test_codes_are_found_and_other_words_are_not(path: str, line: str, codes: str) -> None:
    assert [use.code for use in uses_in(line, path)] == codes.split()


def test_an_undefined_code_is_named_by_file_and_line() -> None:
    text = "# R1 and R2, R2\ndef test_it_s3(): ...\n# p99, P99\n"
    assert undefined_complaints(text, "a.py", {"R1"}) == [
        f"a.py:1: R2 is not defined in {ROWS}",
        f"a.py:2: S3 is not defined in {ROWS}",
    ]
    assert undefined_complaints("H1-H48", "a.md", {"H1"}) == [f"a.md:1: H48 is not defined in {ROWS}"]
    assert undefined_complaints("H1-H3", "a.md", {"H1", "H3"}) == [f"a.md:1: H2 is not defined in {ROWS}"]


def test_a_row_without_a_test_is_seen_unless_it_is_open_for_that() -> None:
    untold, in_part = Row("R1", 4, ""), Row("R2", 5, "in part")
    excused = [Row("R3", 6, "no test"), Row("R4", 7, "not built")]
    complaints = proof_complaints([untold, in_part, *excused], {}, "x.md")
    assert [complaint.split(" ")[0] for complaint in complaints] == ["x.md:4:", "x.md:5:"]
    named = {"a.py": "def test_it_r1(): ...\n# R2\n"}
    assert proof_complaints([untold, in_part, *excused], named, "x.md") == []


def test_a_row_that_has_a_test_and_says_it_has_none_is_seen() -> None:
    rows = [Row("R1", 4, "no test"), Row("R2", 5, "not built")]
    (complaint,) = proof_complaints(rows, {"a.py": "# R1, R2"}, "x.md")
    assert complaint.startswith("x.md:4: R1")
    assert "a.py" in complaint


def test_a_row_of_hostile_peers_without_a_test_at_a_real_node_is_seen() -> None:
    rows = [Row("R1", 3, ""), Row("H21", 4, ""), Row("H22", 5, ""), Row("H23", 6, "")]
    named = "def test_both_h21_h22() -> None: ...\n# H23\ndef helper_h23() -> None: ..."
    (complaint,) = attack_complaints(rows, {"tests/hostile/test_a.py": named}, "x.md")
    assert complaint == "x.md:6: no test in tests/hostile/ is named after H23"
    assert len(attack_complaints(rows, {"tests/cluster/test_a.py": named}, "x.md")) == 3


def test_a_long_range_proves_nothing() -> None:
    assert proof_complaints([Row("H1", 4, "")], {"a.py": "# H1-H48"}, "x.md")
    assert not proof_complaints([Row("H45", 4, "")], {"a.py": "# H44-H47"}, "x.md")


@pytest.mark.parametrize(
    ("path", "text", "part"),
    [
        ("tests/a/test_x.py", "# R1", "# R1"),
        ("tests/a/harness.py", "# R1", ""),
        ("python/clusterbus/test_x.py", "# R1", ""),
        ("rust/a/tests/x.rs", "//! R1\n#[test]\nfn x() {}", "//! R1\n#[test]\nfn x() {}"),
        ("rust/a/tests/support.rs", "//! R1\nfn x() {}", ""),
        ("rust/a/src/x.rs", "//! R1\nfn x() {}", ""),
        (
            "rust/a/src/x.rs",
            "// R1\n#[cfg(test)]\nfn y() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn x() {}\n}",
            "#[cfg(test)]\nmod tests {\n    #[test]\n    fn x() {}\n}",
        ),
        ("docs/x.md", "R1", ""),
    ],
)
def test_only_tests_prove(path: str, text: str, part: str) -> None:
    assert part_that_tests(text, path) == part
