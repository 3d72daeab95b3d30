"""The code on the pages of the site and in README runs, and what pages point at is there.

A block of Python with imports is a program: it runs in a process of its own until it ends, or has said something and
then nothing for a while. Any other block is a fragment: it runs in a coroutine where `bus` is a node of a cluster.
Ports of the 7000s stand for free ones; one that a page dials without opening it is that of a Valkey.
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import clusterbus
import pytest

from tests.peers.ports import free_port
from tests.peers.server import Server

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in ("rows.md", "peers.md")),
    ROOT / "README.md",
]
BLOCK = re.compile(r"^(?P<fence>```+|:::+)(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"\b7\d{3}\b")
OPENED = re.compile(r"\b(?:tls_)?port=(7\d{3})\b")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PYTHON = ("python", "{code-block} python")

DEADLINE_S = 60.0
SILENCE_S = 1.5
"""A program that has said something and is silent for so long has nothing more to say."""
FRAGMENT_S = 1.5
"""A fragment that still runs then waits for something that happens to nobody here."""


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    code: str

    @property
    def is_program(self) -> bool:
        return re.search(r"^(import|from) ", self.code, re.MULTILINE) is not None


def blocks(text: str, page: str) -> list[Block]:
    """The blocks of Python on a page."""
    return [
        Block(page, text.count("\n", 0, match.start("code")) + 1, match["code"])
        for match in BLOCK.finditer(text)
        if match["info"].strip() in PYTHON
    ]


def targets(text: str) -> list[str]:
    """The files that a page includes."""
    return re.findall(r"\{(?:literalinclude|include)\} (\S+)", text)


ALL = [block for page in PAGES for block in blocks(page.read_text(), str(page.relative_to(ROOT)))]
PROGRAMS = [block for block in ALL if block.is_program]
FRAGMENTS = [block for block in ALL if not block.is_program]


def name(block: Block) -> str:
    return f"{block.page}:{block.line}"


# ---------------------------------------------------------------- programs


def runnable(code: str, dialled: Callable[[], int]) -> str:
    """The program with free ports, on loopback alone. `dialled` starts a server and returns its port."""
    opened = {*OPENED.findall(code)}
    numbers = {port: str(free_port() if port in opened else dialled()) for port in sorted({*PORT.findall(code)})}
    code = PORT.sub(lambda match: numbers[match.group()], code)
    return code if "bind=" in code else re.sub(r"\bBus\((?!\))", 'Bus(bind="127.0.0.1", ', code)


def run_program(path: Path) -> tuple[int, str, str]:
    """Runs a program until it ends or is silent, then as if by Ctrl-C; its status, output and errors."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, path],
        cwd=path.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said: list[str] = []
        errors: list[str] = []
        readers = [
            threading.Thread(target=gathered.extend, args=(pipe,))
            for gathered, pipe in ((said, process.stdout), (errors, process.stderr))
        ]
        for reader in readers:
            reader.start()
        begun_s = news_s = time.monotonic()
        count = 0
        while process.poll() is None and time.monotonic() - begun_s < DEADLINE_S:
            if len(said) != count:
                count, news_s = len(said), time.monotonic()
            if count and time.monotonic() - news_s > SILENCE_S:
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.05)
        else:
            process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_S)
        for reader in readers:
            reader.join()
    return process.returncode, "".join(said), "".join(errors)


def prepare(page: str, folder: Path) -> None:
    """What the page says that the reader has done before: its first block of shell commands, on the page about TLS."""
    if page == "docs/guide/tls.md":
        if shutil.which("openssl") is None:
            pytest.skip("needs the package openssl")
        text = (ROOT / page).read_text()
        commands = next(match["code"] for match in BLOCK.finditer(text) if match["info"] == "sh")
        subprocess.run(["sh", "-e", "-c", commands], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("block", PROGRAMS, ids=name)
def test_a_program_on_a_page_runs(block: Block, peers: Callable[..., Server], tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    prepare(block.page, folder)
    path = folder / "program.py"
    path.write_text(runnable(block.code, lambda: peers("valkey").port))
    status, said, errors = run_program(path)
    interrupted = status in (-signal.SIGINT, 130) or errors.rstrip().endswith("KeyboardInterrupt")
    assert status == 0 or (said and interrupted), f"status {status}\n{said}\n{errors}"
    assert "Traceback" not in errors or errors.rstrip().endswith("KeyboardInterrupt"), errors


# ---------------------------------------------------------------- fragments


@pytest.mark.parametrize("block", FRAGMENTS, ids=name)
def test_a_fragment_on_a_page_runs_beside_an_open_bus(block: Block, tmp_path: Path) -> None:
    async def scene() -> None:
        async with (
            clusterbus.Bus(port=0, bind="127.0.0.1", dir=tmp_path, cluster_config_file="bus.conf") as bus,
            clusterbus.Bus(port=0, bind="127.0.0.1", dir=tmp_path, cluster_config_file="other.conf") as other,
        ):
            await bus.join([f"127.0.0.1:{other.port}"])
            known = {public: getattr(clusterbus, public) for public in clusterbus.__all__}
            scope = known | {"clusterbus": clusterbus, "asyncio": asyncio, "bus": bus, "other": other}
            source = "async def fragment():\n" + textwrap.indent(block.code, "    ")
            exec(compile(source, name(block), "exec"), scope)
            fragment = scope["fragment"]
            try:
                await asyncio.wait_for(fragment(), FRAGMENT_S)
            except TimeoutError:
                assert "async for" in block.code or "await" in block.code

    asyncio.run(scene())


# ---------------------------------------------------------------- the pages themselves


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_includes_is_there_and_tested(page: Path) -> None:
    for target in targets(page.read_text()):
        path = (page.parent / target).resolve()
        assert path.is_file()
        if path.parent == ROOT / "examples":
            tests = ROOT / "tests" / "examples"
            assert (tests / f"test_{path.name}").is_file(), f"{path.name} has no test of its own"


def test_each_example_of_the_guide_has_a_page() -> None:
    included = {(page.parent / target).resolve() for page in PAGES for target in targets(page.read_text())}
    tested = {path.name.removeprefix("test_") for path in (ROOT / "tests" / "examples").glob("test_*.py")}
    examples = {path for path in (ROOT / "examples").glob("*.py") if path.name in tested}
    assert examples <= included


GUIDE = ("fan_out", "health", "key_value", "leader", "observer", "sharding", "test_app", "threads", "twenty_nodes")
CODE_LINES_MAX = 34
"""An example of the guide fits on a screen: so many lines without blank ones, comments and docstrings."""


def lines_of_code(text: str) -> int:
    tree = ast.parse(text)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, DOCUMENTED)]
    first = [body[0] for body in bodies if body]
    docstrings = [node for node in first if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    described = {line for node in docstrings for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) for at, line in lines if at not in described and not line.lstrip().startswith("#"))


@pytest.mark.parametrize("name", GUIDE)
def test_an_example_of_the_guide_is_short(name: str) -> None:
    assert lines_of_code((ROOT / "examples" / f"{name}.py").read_text()) <= CODE_LINES_MAX


def test_lines_of_code_are_counted() -> None:
    assert lines_of_code('"""A\nB"""\n\n# C\ndef f():\n    """D"""\n    return 1  # E\n') == 2


def test_each_public_name_is_in_the_reference() -> None:
    reference = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    named = {module for words in re.findall(r"\{public-names\}(.*)", reference) for module in words.split()}
    below = {owner for owner in clusterbus._NAMES_OF for module in named if f"{owner}.".startswith(f"{module}.")}
    assert {*clusterbus._NAMES_OF} - below == {"clusterbus.version", "clusterbus.config.typed"}
    assert named >= {"clusterbus.wire", "clusterbus.testing"}


PAGE = """\
A page.

```python
import clusterbus
Bus(port=7000, seeds=["127.0.0.1:7001"])
```

```text
not Python
```

```{code-block} python
await bus.wait_ok()
```

```{literalinclude} ../../examples/leader.py
```
"""


def test_blocks_and_targets_are_found() -> None:
    program, fragment = blocks(PAGE, "page.md")
    assert (program.line, program.is_program) == (4, True)
    assert (fragment.line, fragment.is_program, fragment.code) == (13, False, "await bus.wait_ok()\n")
    assert targets(PAGE) == ["../../examples/leader.py"]
    code = runnable(program.code, lambda: 1234)
    assert re.search(r'Bus\(bind="127.0.0.1", port=\d{5}, seeds=\["127.0.0.1:1234"\]\)', code)
