"""The shape of the project: import directions, sizes, headers, dead modules, unsafe code.

Every check is a function from source text to complaints. One test runs it over the whole tree, and another shows that
it finds a bad example. Reads files only, imports nothing of the package.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "clusterbus"

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
HEADER_LINES_MAX = 12
# A crate, a package and a folder open with their theory of operation, so these files may have a longer opening.
THEORY_LINES_MAX = 60
THEORY_FILES = {"lib.rs", "mod.rs", "__init__.py"}
# A folder's opening is in one of these. Beside it so many modules may stand; one with more says why in its opening,
# with these words.
OPENINGS = ("__init__.py", "lib.rs", "mod.rs", "main.rs")
FOLDER_MODULES_MAX = 12
REASON_FOR_MANY = "more than a dozen"

# A module may import from its own row and from the rows above it.
LAYERS = (
    ("errors",),
    ("arguments", "_core"),
    ("config", "data_plane", "version", "view", "wire"),
    ("cluster",),
    ("member",),
    ("streams",),
    ("client_port", "metrics"),
    ("web",),
    ("runtime", "sim"),
    ("command",),
    ("bus",),
    ("survey", "topology"),
    ("testing",),
    ("", "cli", "__main__"),
)
# The simulated world and the real one do not import each other; only `cli` imports both.
APART = tuple({"sim", other} for other in ("runtime", "client_port", "streams", "command", "bus", ""))
# Only these import the core. The rest of the package gets its types from `wire`, `view` and the ports, its numbers from
# `wire`, `directives` and `constants`; only the runtime creates an engine.
CORE_USERS = {
    *("version", "view", "wire", "config.directives", "cluster.constants"),
    *("member.ports", "runtime.live_config", "runtime.node", "runtime.startup"),
    *("runtime.live_certificates", "runtime.tls_material"),
}

# The protocol layer gets time, randomness and input as arguments (R38), so it must not import these modules.
WORLDLY_MODULES = {
    "asyncio", "concurrent", "datetime", "io", "multiprocessing", "os", "pathlib", "secrets", "select",
    "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "time", "uuid",
}  # fmt: skip
WORLDLY_CALLS = {"open", "input", "print"}

# Modules that no other module needs to import, because users do.
ENTRY_MODULES = {"clusterbus", "clusterbus.__main__", "clusterbus.cli", "clusterbus.testing.plugin", "clusterbus.wire"}
ENTRY_CRATE_FILES = {"lib.rs", "main.rs", "build.rs"}

UNFINISHED_WORDS = re.compile("TO" + "DO|FIX" + "ME")


# ---------------------------------------------------------------- the files


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def rust_files() -> list[Path]:
    return sorted(path for folder in ("rust", "benches") for path in (ROOT / folder).rglob("*.rs"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ---------------------------------------------------------------- the checks


def imported_modules(text: str, module: str) -> Iterator[str]:
    """Every module or name that `text` imports, also for type checking and inside functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports inside the package are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def area(module: str) -> str:
    return module.removeprefix("clusterbus").lstrip(".").split(".")[0]


def layer(module: str) -> int:
    part = area(module)
    return next((row for row, members in enumerate(LAYERS) if part in members), len(LAYERS))


def import_complaints(text: str, module: str, known: set[str]) -> list[str]:
    """Imports against the direction of the layers, and imports of the core by modules that must not know it."""
    complaints = []
    for target in internal_imports(text, module, known):
        if layer(target) > layer(module):
            complaints.append(f"{module} imports {target}, a layer above it")
        if {area(module), area(target)} in APART:
            complaints.append(f"{module} imports {target}, and the two stand apart")
        if target == "clusterbus._core" and module.removeprefix("clusterbus.") not in CORE_USERS:
            complaints.append(f"{module} imports the core, and is not one of those that may")
    return complaints


def internal_imports(text: str, module: str, known: set[str]) -> Iterator[str]:
    """The modules of the package that `text` imports; a name out of a module stands for the module."""
    for target in imported_modules(text, module):
        if target not in known:
            target = target.rpartition(".")[0]
        if target in known:
            yield target


def import_cycle(sources: dict[str, str]) -> list[str]:
    """Modules that import each other in a circle, the first one named again at the end; none for no circle."""
    known = {*sources, "clusterbus._core"}
    graph = {module: set(internal_imports(text, module, known)) - {module} for module, text in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def folder_complaints(modules: dict[str, list[str]], openings: dict[str, str]) -> list[str]:
    """Folders with many modules whose opening gives no reason."""
    return [
        f"{folder} holds {len(names)} modules, over {FOLDER_MODULES_MAX}, and its opening does not say why"
        for folder, names in modules.items()
        if len(names) > FOLDER_MODULES_MAX and REASON_FOR_MANY not in " ".join(openings[folder].lower().split())
    ]


def effects_taken(text: str) -> int:
    """How often the code takes the effects a state asks for."""
    return sum(isinstance(node, ast.Attribute) and node.attr == "poll_effects" for node in ast.walk(ast.parse(text)))


def worldly_complaints(text: str, module: str) -> list[str]:
    """Uses of clocks, sockets, files and randomness in the protocol layer."""
    complaints = [
        f"{module} imports {target}"
        for target in imported_modules(text, module)
        if target.split(".")[0] in WORLDLY_MODULES
    ]
    tree = ast.parse(text)
    # Without an import of the module, the name `random` is an argument: a source of randomness that was passed in.
    has_module = "random" in set(imported_modules(text, module))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            names = [alias.name for alias in node.names if alias.name != "Random"]
            complaints += [f"{module} imports random.{taken}" for taken in names]
        if has_module and isinstance(node, ast.Attribute) and ast.unparse(node).startswith("random."):
            complaints += [f"{module}:{node.lineno} uses random.{node.attr}"] * (node.attr != "Random")
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in WORLDLY_CALLS:
                complaints.append(f"{module}:{node.lineno} calls {called.id}()")
            if (called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")) == "Random":
                complaints.append(f"{module}:{node.lineno} makes a random source of its own")
    return complaints


def size_complaints(text: str, path: str) -> list[str]:
    lines = text.count("\n")
    return [f"{path} has {lines} lines, over {FILE_LINES_MAX}"] if lines > FILE_LINES_MAX else []


def function_complaints(text: str, path: str) -> list[str]:
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [
        f"{path}: {function.name} has {lines} lines, over {FUNCTION_LINES_MAX}"
        for function in functions
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]


def header_complaints(text: str, path: str) -> list[str]:
    """A file opens with what it owns: a docstring in Python, `//!` or `//` lines in Rust. An empty file needs none."""
    if not text.strip():
        return []
    if path.endswith(".py"):
        lines = (ast.get_docstring(ast.parse(text)) or "").splitlines()
        header = [line for line in lines if line.strip()]
    else:
        header = []
        for line in text.splitlines():
            if not line.startswith("//"):
                break
            header.append(line)
    if not header:
        return [f"{path} does not open with what it owns"]
    limit = THEORY_LINES_MAX if Path(path).name in THEORY_FILES else HEADER_LINES_MAX
    return [f"{path} opens with {len(header)} lines, over {limit}"] if len(header) > limit else []


def dead_python_modules(sources: dict[str, str]) -> list[str]:
    """Modules that no other module imports or names in a string, and that are not in ENTRY_MODULES."""
    imported = {
        target
        for module, text in sources.items()
        for target in (*imported_modules(text, module), *named_modules(text))
        if target != module
    }
    # A module is in use if one of its names is imported, and a package is in use if one of its modules is.
    alive = {parent for target in imported for parent in _prefixes(target)} | ENTRY_MODULES
    return sorted(set(sources) - alive)


def named_modules(text: str) -> Iterator[str]:
    """Strings that look like the name of a module of the package, because `importlib` takes such strings."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^clusterbus(?:\.\w+)+$", node.value)


def _prefixes(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def dead_rust_files(sources: dict[str, str]) -> list[str]:
    """Files in the src of a crate that no `mod` declares, so that rustc never compiles them."""
    modules = re.compile(r"\bmod\s+(\w+)\s*;")
    declared = {module for text in sources.values() for module in modules.findall(strip_rust(text))}
    dead = []
    for path in sources:
        file = Path(path)
        module = file.parent.name if file.name == "mod.rs" else file.stem
        if file.name not in ENTRY_CRATE_FILES and module not in declared:
            dead.append(path)
    return sorted(dead)


RUST_NOISE = re.compile(r"""//[^\n]*|/\*.*?\*/|r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\\n])'""", re.DOTALL)


def strip_rust(text: str) -> str:
    """The source without comments, strings and character literals; line numbers stay the same."""
    return RUST_NOISE.sub(lambda match: "\n" * match.group().count("\n"), text)


def unsafe_complaints(text: str, path: str) -> list[str]:
    """`unsafe` is allowed only in the binding crate, and each use needs a SAFETY comment above it (R37)."""
    complaints = []
    lines = text.splitlines()
    for number, code in enumerate(strip_rust(text).splitlines()):
        if not re.search(r"\bunsafe\b", code):
            continue
        if not path.startswith("rust/py/"):
            complaints.append(f"{path}:{number + 1}: unsafe outside the binding crate")
            continue
        above = number - 1
        while above >= 0 and not lines[above].rstrip().endswith((";", "{", "}")) and "//" not in lines[above]:
            above -= 1  # the statement begins on an earlier line
        first = above
        while first >= 0 and re.match(r"\s*(//|#\[)", lines[first]):
            first -= 1
        word = "# Safety" if re.search(r"\bunsafe\s+fn\b", code) else "SAFETY:"
        if not any(word in line for line in lines[first + 1 : above + 1]):
            complaints.append(f"{path}:{number + 1}: unsafe without a SAFETY comment")
    return complaints


def forbid_complaints(text: str, path: str) -> list[str]:
    if "#![forbid(unsafe_code)]" in strip_rust(text):
        return []
    return [f"{path} does not forbid unsafe code"]


def unfinished_complaints(text: str, path: str) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if UNFINISHED_WORDS.search(line)
    ]


def fixtures_of(text: str) -> set[str]:
    """The names of the fixtures a module of tests defines."""
    return {
        function.name
        for function in ast.walk(ast.parse(text))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(re.match(r"pytest\.fixture\b", ast.unparse(mark)) for mark in function.decorator_list)
    }


def fixture_complaints(sources: dict[str, str]) -> list[str]:
    """Fixtures of others come by their name from a conftest.py: pytest runs an imported one a second time, and
    linters take its name for unused. `sources` are the modules of the tests by dotted name."""
    complaints = []
    fixtures = {module: fixtures_of(text) for module, text in sources.items()}
    for module, text in sources.items():
        last = module.rpartition(".")[2]
        if last != "conftest" and not last.startswith("test_"):
            complaints += [f"{module} defines the fixture {own}, and is no conftest.py" for own in fixtures[module]]
        for target in imported_modules(text, module):
            home, _, imported = target.rpartition(".")
            if imported in fixtures.get(home, ()):
                complaints.append(f"{module} imports the fixture {imported} of {home}")
        if re.search(r"^pytest_plugins\b", text, re.MULTILINE):
            complaints.append(f"{module} loads fixtures with pytest_plugins")
    return complaints


# ---------------------------------------------------------------- the tree


def package_sources() -> dict[str, str]:
    return {module_name(path): path.read_text() for path in python_files("python/clusterbus")}


def opening(folder: Path) -> str:
    """What a folder opens with: the docstring of its package, the head of its crate or module, else its README."""
    for file in OPENINGS:
        if (folder / file).exists():
            text = (folder / file).read_text()
            if file.endswith(".py"):
                return ast.get_docstring(ast.parse(text)) or ""
            return "\n".join(line.lstrip("/! ") for line in text.splitlines() if line.startswith("//!"))
    readme = folder / "README.md"
    return readme.read_text() if readme.exists() else ""


def gather(found: Iterator[list[str]]) -> None:
    complaints = [complaint for group in found for complaint in group]
    assert not complaints, "\n" + "\n".join(complaints)


def test_layers_import_downwards_only() -> None:
    sources = package_sources()
    known = {*sources, "clusterbus._core"}
    gather(import_complaints(text, module, known) for module, text in sources.items())


def test_the_protocol_layer_has_no_clock_socket_file_or_randomness_of_its_own_r38() -> None:
    cluster = {module: text for module, text in package_sources().items() if area(module) == "cluster"}
    assert cluster
    gather(worldly_complaints(text, module) for module, text in cluster.items())


def test_no_modules_import_each_other_in_a_circle() -> None:
    circle = import_cycle(package_sources())
    assert not circle, " imports ".join(reversed(circle))


def test_a_folder_of_many_modules_says_why() -> None:
    modules: dict[str, list[str]] = {}
    for path in python_files("python", "tests", "benches", "examples") + rust_files():
        if path.name not in OPENINGS:
            modules.setdefault(name(path.parent), []).append(path.name)
    openings = {folder: opening(ROOT / folder) for folder in modules}
    gather(iter([folder_complaints(modules, openings)]))


def test_one_place_carries_out_effects_r42() -> None:
    """What ships is what is simulated. Tests that take effects only look at them."""
    takers = Counter({name(path): effects_taken(path.read_text()) for path in python_files("python", "examples")})
    assert +takers == {"python/clusterbus/member/driver.py": 1}
    tests = {name(path) for path in python_files("tests") if effects_taken(path.read_text())}
    assert tests == {"tests/cluster/solo.py", "tests/cluster/test_replay.py", "tests/member/test_driver.py"}


def test_files_are_small_and_say_what_they_own() -> None:
    files = python_files("python", "tests", "examples") + rust_files()
    gather(size_complaints(path.read_text(), name(path)) for path in files)
    gather(header_complaints(path.read_text(), name(path)) for path in files)


def test_python_functions_are_short() -> None:
    files = python_files("python", "tests", "examples")
    gather(function_complaints(path.read_text(), name(path)) for path in files)


def test_no_module_is_dead() -> None:
    assert dead_python_modules(package_sources()) == []
    for crate in sorted({path.parts[len(ROOT.parts) + 1] for path in rust_files() if "src" in path.parts}):
        sources = {name(path): path.read_text() for path in (ROOT / "rust" / crate / "src").rglob("*.rs")}
        assert dead_rust_files(sources) == []


def test_unsafe_code_stands_only_in_the_binding_crate_and_is_explained_r37() -> None:
    """R19 too: without unsafe code the compiler refuses to share data between threads that is not made for it."""
    gather(unsafe_complaints(path.read_text(), name(path)) for path in rust_files())
    for crate in ("wire", "engine"):
        library = ROOT / "rust" / crate / "src" / "lib.rs"
        gather(iter([forbid_complaints(library.read_text(), name(library))]))


def test_fixtures_come_from_conftest_or_stay_with_the_tests_that_use_them() -> None:
    sources = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text() for path in python_files("tests")
    }
    gather(iter([fixture_complaints(sources)]))


def test_nothing_is_left_for_later() -> None:
    prose = [path for suffix in ("*.md", "*.toml", "*.pyi", "Makefile") for path in ROOT.glob(suffix)]
    files = python_files("python", "tests", "examples") + rust_files() + prose
    files += list(PACKAGE.rglob("*.pyi"))
    gather(unfinished_complaints(path.read_text(), name(path)) for path in files)


# ---------------------------------------------------------------- bad examples


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("clusterbus.cluster.state", "from clusterbus.runtime import node"),
        ("clusterbus.config.kinds", "import clusterbus.cluster.state"),
        ("clusterbus.runtime.node", "from clusterbus.cli import main"),
        ("clusterbus.errors", "from clusterbus import wire"),
        ("clusterbus.cluster.state", "from clusterbus import _core"),
        ("clusterbus.member.driver", "from clusterbus import _core"),
        ("clusterbus.cluster.state", "def f():\n    import clusterbus.bus"),
        ("clusterbus.sim.member", "from clusterbus.runtime import node"),
        ("clusterbus.runtime.node", "from clusterbus.sim import member"),
        ("clusterbus", "from clusterbus.sim import member"),
    ],
)
def test_an_import_against_the_layers_is_seen(module: str, line: str) -> None:
    known = {
        *("clusterbus.runtime", "clusterbus.runtime.node", "clusterbus.cluster.state", "clusterbus.bus"),
        *("clusterbus.sim", "clusterbus.sim.member", "clusterbus.cli", "clusterbus.wire", "clusterbus._core"),
    }
    assert import_complaints(line, module, known)


def test_an_import_along_the_layers_is_no_complaint() -> None:
    known = {"clusterbus.wire", "clusterbus.cluster.state", "clusterbus._core"}
    assert not import_complaints("from clusterbus.wire import Message", "clusterbus.cluster.state", known)
    assert not import_complaints("from clusterbus.cluster import state", "clusterbus.runtime.node", known)
    assert not import_complaints("from clusterbus import _core", "clusterbus.runtime.startup", known)


@pytest.mark.parametrize(
    "sources",
    [
        {"clusterbus.a": "from clusterbus.b import f", "clusterbus.b": "import clusterbus.a"},
        {"clusterbus.a": "from clusterbus import b", "clusterbus.b": "def f():\n    from clusterbus.a import g"},
        {"clusterbus.a": "import clusterbus.b", "clusterbus.b": "if TYPE_CHECKING:\n    from clusterbus.a import A"},
        {"clusterbus.p": "from clusterbus.p.a import A", "clusterbus.p.a": "from clusterbus.p import B"},
    ],
)
def test_modules_in_a_circle_are_seen(sources: dict[str, str]) -> None:
    circle = import_cycle(sources)
    assert set(circle) == set(sources)
    assert circle[0] == circle[-1]


def test_modules_in_a_line_are_no_complaint() -> None:
    sources = {"clusterbus.p": "from clusterbus.p.a import A", "clusterbus.p.a": "import clusterbus.b, os"}
    assert import_cycle(sources | {"clusterbus.b": ""}) == []


def test_a_crowded_folder_is_seen() -> None:
    modules = {"x": [f"{number}.py" for number in range(FOLDER_MODULES_MAX + 1)]}
    assert folder_complaints(modules, {"x": "Rooms."})
    assert not folder_complaints(modules, {"x": "Holds more than a\ndozen modules because each is one command."})
    assert not folder_complaints({"x": modules["x"][1:]}, {"x": ""})


def test_whoever_takes_effects_is_seen() -> None:
    assert effects_taken("for effect in self.state.poll_effects(): pass")
    assert effects_taken("take = state.poll_effects\ntake()")
    assert not effects_taken("def poll_effects(self): return []")


@pytest.mark.parametrize(
    "text",
    [
        "import time",
        "from os import path",
        "import asyncio.events",
        "import random\nx = random.random()",
        "from random import randrange",
        "import random\nx = random.Random(1)",
        "f = open('nodes.conf')",
    ],
)
def test_a_worldly_protocol_layer_is_seen(text: str) -> None:
    assert worldly_complaints(text, "clusterbus.cluster.state")


def test_a_given_random_source_is_no_complaint() -> None:
    text = "from random import Random\nimport random\ndef f(a: Random, b: random.Random): return a.random()"
    assert not worldly_complaints(text, "clusterbus.cluster.state")
    text = "from random import Random\ndef f(random: Random): return random.random()"
    assert not worldly_complaints(text, "clusterbus.cluster.state")


def test_a_file_over_the_limit_is_seen() -> None:
    assert size_complaints("\n" * (FILE_LINES_MAX + 1), "x.py")
    assert not size_complaints("\n" * FILE_LINES_MAX, "x.py")


def test_a_function_over_the_limit_is_seen() -> None:
    body = "    pass\n" * FUNCTION_LINES_MAX
    assert function_complaints(f"class A:\n  def f():\n{body}", "x.py")
    assert not function_complaints(f"def f():\n{body[9:]}", "x.py")


def test_a_file_without_a_header_is_seen() -> None:
    assert header_complaints("import ast\n", "x.py")
    assert header_complaints("use std::fmt;\n", "x.rs")
    assert header_complaints("//! a\n" * (HEADER_LINES_MAX + 1), "x.rs")
    for path, line, quote in (
        ("x/lib.rs", "//! a\n", ""),
        ("x/mod.rs", "//! a\n", ""),
        ("x/__init__.py", "a\n", '"""'),
    ):
        assert not header_complaints(quote + line * THEORY_LINES_MAX + quote, path)
        assert header_complaints(quote + line * (THEORY_LINES_MAX + 1) + quote, path)
    assert not header_complaints("//! Owns x.\nuse std::fmt;\n", "x.rs")


def test_a_dead_module_is_seen() -> None:
    sources = {"clusterbus": "", "clusterbus.cli": "from clusterbus.a import f", "clusterbus.a": ""}
    assert dead_python_modules(sources) == []
    assert dead_python_modules(sources | {"clusterbus.b": "import clusterbus.b"}) == ["clusterbus.b"]
    assert dead_python_modules({"clusterbus.cli": "load('clusterbus.a')", "clusterbus.a": ""}) == []
    crate = {"rust/x/src/lib.rs": "mod a;\n// mod b;\n", "rust/x/src/a.rs": ""}
    assert dead_rust_files(crate) == []
    assert dead_rust_files(crate | {"rust/x/src/b.rs": ""}) == ["rust/x/src/b.rs"]


def test_unexplained_or_misplaced_unsafe_code_is_seen() -> None:
    assert unsafe_complaints("let a = unsafe { b() };", "rust/engine/src/a.rs")
    assert unsafe_complaints("let a = unsafe { b() };", "rust/py/src/a.rs")
    assert not unsafe_complaints("// SAFETY: b is pure.\nlet a = unsafe { b() };", "rust/py/src/a.rs")
    assert not unsafe_complaints("// SAFETY: b is pure.\nlet a =\n  unsafe { b() };", "rust/py/src/a.rs")
    assert unsafe_complaints("// SAFETY: c.\nlet c = 1;\nlet a =\n  unsafe { b() };", "rust/py/src/a.rs")
    assert unsafe_complaints("/// b\nunsafe fn b() {}", "rust/py/src/a.rs")
    assert not unsafe_complaints("/// # Safety\n/// Alone.\nunsafe fn b() {}", "rust/py/src/a.rs")
    assert not unsafe_complaints('// unsafe\nlet a = "unsafe";', "rust/engine/src/a.rs")
    assert forbid_complaints("// #![forbid(unsafe_code)]\n", "rust/wire/src/lib.rs")
    assert not forbid_complaints("#![forbid(unsafe_code)]\n", "rust/wire/src/lib.rs")


def test_an_imported_fixture_is_seen() -> None:
    fixture = "import pytest\n@pytest.fixture(scope='module')\ndef pair(): ...\ndef other(): ...\n"
    well = {"tests.a.conftest": fixture, "tests.a.test_b": fixture, "tests.a.test_c": "def test_c(pair): ...\n"}
    assert fixture_complaints(well) == []
    assert fixture_complaints(well | {"tests.a.test_d": "from tests.a.test_b import other\n"}) == []
    assert fixture_complaints(well | {"tests.a.test_d": "from tests.a.test_b import other, pair\n"})
    assert fixture_complaints(well | {"tests.a.test_d": "from tests.a.conftest import pair\n"})
    assert fixture_complaints({"tests.a.harness": fixture})
    assert fixture_complaints({"tests.conftest": "pytest_plugins = ['tests.a.fixtures']\n"})


def test_a_note_for_later_is_seen() -> None:
    assert unfinished_complaints("# TO" + "DO: more\n", "x.py")
    assert not unfinished_complaints("# done\n", "x.py")
