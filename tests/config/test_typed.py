"""`Directives`: made from the table, caught and let through by mypy as a program would meet it."""

from __future__ import annotations

import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from clusterbus.config import BY_NAME, WITH_EFFECT, Config
from clusterbus.config.typed import Directives

ROOT = Path(__file__).parent.parent.parent
DEADLINE_S = 300.0

WRONG = """
import clusterbus

clusterbus.Bus(prt=7000)  # error: Unexpected keyword argument "prt" for "Bus"; did you mean "port"?
clusterbus.Bus(port=object())  # error: Argument "port" to "Bus" has incompatible type "object"
clusterbus.BlockingBus(prt=7000)  # error: Unexpected keyword argument "prt" for "BlockingBus"; did you mean "port"?
clusterbus.BlockingBus(port="7000")  # error: Argument "port" to "BlockingBus" has incompatible type "str"
clusterbus.Bus(tls_cluster="maybe")  # error: Argument "tls_cluster" to "Bus" has incompatible type
clusterbus.Bus(loglevel="loud")  # error: Argument "loglevel" to "Bus" has incompatible type
clusterbus.Bus(bind=5)  # error: Argument "bind" to "Bus" has incompatible type "int"
clusterbus.Bus(shutdown_on_sigterm=["now", "soon"])  # error: List item 1 has incompatible type
clusterbus.Bus(cluster_link_sendbuf_limit=1.5)  # error: Argument "cluster_link_sendbuf_limit" to "Bus" has
clusterbus.Bus(maxmemory="1gb")  # error: Unexpected keyword argument "maxmemory" for "Bus"
kept: clusterbus.Directives = {"prt": 7000}  # error: Extra key "prt" for TypedDict "Directives"
"""

RIGHT = """
import os
from pathlib import Path

import clusterbus

CALLS: tuple[clusterbus.Directives, ...] = (
    {"port": 7000, "bind": "127.0.0.1"},
    {"bind": ["127.0.0.1", "-::1"], "dir": Path("."), "logfile": "", "requirepass": os.environ.get("NO_SUCH_NAME")},
    {"tls_cluster": False, "cluster_require_full_coverage": "no", "enable_debug_command": True, "loglevel": "debug"},
    {"cluster_link_sendbuf_limit": "64mb", "shutdown_on_sigterm": ("save", "now"), "shutdown_on_sigint": "default"},
    {"client_output_buffer_limit": ["pubsub", "32mb", 0, 60], "latency_tracking_info_percentiles": [50, 99.9]},
    {"cluster_node_timeout": 2000, "io_threads": None},
)
for directives in CALLS:
    clusterbus.Bus(resp=False, **directives)


def build(port: int) -> tuple[clusterbus.Bus, clusterbus.Bus]:
    return clusterbus.Bus(port=port, io_threads=3), clusterbus.Bus(config_file=Path("node.conf"), **CALLS[0])
"""


def mypy(folder: Path, source: str) -> list[str]:
    """The errors that mypy finds in a program, each without the place of its file."""
    file = folder / "program.py"
    file.write_text(source)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(folder / "cache")]
    done = subprocess.run([*command, str(file)], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.stderr == ""
    return [line.partition("program.py:")[2] for line in done.stdout.splitlines() if ": note: " not in line]


@pytest.mark.processes
def test_mypy_catches_wrong_names_and_values_and_nothing_else(tmp_path: Path) -> None:
    found = mypy(tmp_path, WRONG)
    expected = {number: text for number, line in enumerate(WRONG.splitlines(), 1) if (text := line.partition("# ")[2])}
    assert len(expected) == 11
    for error in found:
        number, _, text = error.partition(": ")
        assert text.startswith(expected.pop(int(number), "nothing")), error
    assert expected == {}
    assert mypy(tmp_path, RIGHT) == []


def test_what_the_types_let_through_is_taken() -> None:
    exec(compile(RIGHT, "right", "exec"), {})


def test_the_types_are_those_of_every_directive_that_has_an_effect() -> None:
    hints = typing.get_type_hints(Directives)
    assert list(hints) == [directive.attribute for directive in WITH_EFFECT]
    assert Directives.__total__ is False
    for name, hint in hints.items():
        # The default, in the type of a program, is a value that mypy lets through.
        value = getattr(Config(), name)
        kinds = {typing.get_origin(part) or part for part in typing.get_args(hint)}
        assert type(None) in kinds
        literals = [word for part in typing.get_args(hint) for word in typing.get_args(part)]
        assert type(value) in kinds or value in literals or BY_NAME[name.replace("_", "-")].kind.several, name


def test_each_key_has_its_help_below_it() -> None:
    text = (ROOT / "python" / "clusterbus" / "config" / "typed.py").read_text()
    helps = re.findall(r'^    """(.*?)"""$', text, re.MULTILINE | re.DOTALL)[1:]
    assert len(helps) == len(WITH_EFFECT)
    for directive, shown in zip(WITH_EFFECT, helps, strict=True):
        assert " ".join(shown.split()).startswith(directive.doc)


@pytest.mark.processes
def test_the_file_is_what_the_script_makes_and_lint_checks_it() -> None:
    command = [sys.executable, "scripts/typed_directives.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    recipes = dict(re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert "scripts/typed_directives.py --check" in recipes["lint-python"]
    assert "mypy --strict examples" in recipes["lint-python"]
    assert "scripts/typed_directives.py\n" in recipes["format"]
