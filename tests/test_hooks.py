"""The hooks of `conftest.py`, in a project of their own: what fails prints the one command that repeats it, with
workers and from a subfolder too; a shared fixture is made once; a process is started by marked tests alone.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BROKEN = """
import os
import pytest
from hypothesis import given, strategies

@pytest.mark.parametrize("word", ["two words", "it's", "[a::b]", "\\r\\n$1"])
def test_word(word):
    assert not word

@given(strategies.integers(0, 2**64))
def test_drawn(number):
    with open(os.environ["DRAWN"], "a") as file:
        print(number, file=file)
    assert number < 1000

def test_with_a_command_of_its_own(record_property):
    record_property("repeat command", "clusterbus simulate --replay 7")
    raise AssertionError

@pytest.fixture
def broken():
    yield
    raise AssertionError

def test_whose_fixture_fails_too(broken):
    raise AssertionError

def test_that_passes():
    pass
"""

SHARED = """
import os
import pytest

@pytest.fixture(scope="module")
def maker():
    return os.getpid()

@pytest.mark.parametrize("number", range(8))
def test_share(maker, number):
    print(f"made by {maker}")
"""

STARTING = """
import subprocess
import pytest

def test_unmarked():
    subprocess.run(["true"])

@pytest.mark.processes
def test_marked():
    subprocess.run(["true"])
"""

CARGO = """\
     Running unittests src/lib.rs (target/debug/deps/clusterbus_engine-0630ce7cc75bc493)
test links::tests::seeded ... FAILED
test pool::tests::plain ... FAILED
test pool::tests::good ... ok
---- links::tests::seeded stdout ----
repeat: SEED=17 cargo test --package clusterbus-engine --lib links::tests::seeded
---- pool::tests::plain stdout ----
assertion failed
     Running tests/engine/main.rs (target/debug/deps/engine-56e9608ec82248be)
test scripts::links ... FAILED
---- scripts::links stdout ----
   Doc-tests clusterbus_wire
"""

pytestmark = pytest.mark.processes


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with a subfolder, whose tests run with our hooks."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = processes\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p tests.conftest -p no:cacheprovider")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def run(command: str, folder: Path, drawn: Path, status: int = 1) -> str:
    """What a command prints that is to end so."""
    done = subprocess.run(
        shlex.split(command),
        cwd=folder,
        env=os.environ | {"DRAWN": str(drawn)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def repeats(output: str) -> list[str]:
    return [line.removeprefix("repeat: ") for line in output.splitlines() if line.startswith("repeat: ")]


@pytest.mark.parametrize(
    ("options", "folder", "repeated"),
    [("", ".", ["two words", "a::b", "drawn"]), ("-n 2", "sub", [r"r\n$1", "drawn", "fixture"])],
    ids=["one process", "two workers"],
)
def test_every_failed_test_prints_the_command_that_repeats_it(
    project: Path, options: str, folder: str, repeated: list[str]
) -> None:
    (project / "sub" / "test_broken.py").write_text(BROKEN)
    here = project / folder
    output = run(f"{sys.executable} -m pytest {options}", here, project / "first")
    assert "1 passed" in output
    commands = repeats(output)
    assert len(set(commands)) == len(commands) == 7
    assert f"{Path(sys.executable).with_name('clusterbus')} simulate --replay 7" in commands
    for name in repeated:
        (command,) = [command for command in commands if name in command]
        assert "1 failed" in (again := run(command, here, project / "again"))
        assert repeats(again) == [command]
    assert (project / "first").read_text() == (project / "again").read_text(), "the same examples are drawn"


def test_tests_that_share_a_fixture_stay_on_one_worker(project: Path) -> None:
    (project / "test_shared.py").write_text(SHARED)
    output = run(f"{sys.executable} -m pytest -n 3 -rP", project, project / "nothing", status=0)
    assert "8 passed" in output
    assert len(set(re.findall(r"made by \d+", output))) == 1


def test_only_a_marked_test_may_start_a_process(project: Path) -> None:
    (project / "test_starting.py").write_text(STARTING)
    output = run(f"{sys.executable} -m pytest", project, project / "nothing")
    assert "1 failed, 1 passed" in output
    assert "test_unmarked starts a process, so it needs the mark processes" in output


def test_every_failed_rust_test_has_one_command() -> None:
    command = ["awk", "-v", "prefix=cargo test", "-f", str(ROOT / ".ci" / "repeat.awk")]
    told = subprocess.run(command, input=CARGO, capture_output=True, text=True, check=True).stdout
    assert repeats(CARGO + told) == [
        "SEED=17 cargo test --package clusterbus-engine --lib links::tests::seeded",
        "cargo test --package clusterbus-engine --lib pool::tests::plain",
        "cargo test --test engine scripts::links",
    ]
