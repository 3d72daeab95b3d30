"""The runner of `make fuzz`: it knows every target, reads what libFuzzer says, and names what a machine lacks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.fuzz.table import TARGETS

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz.py"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_runner", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_it_knows_every_target(runner: ModuleType) -> None:
    assert set(runner.PYTHON) == set(TARGETS)
    assert {"framing", "check", "decode", "encode", "view", "news", "tls-server", "tls-client"} == set(runner.RUST)


def test_the_lines_of_libfuzzer_are_read_and_shown_also_after_a_crash(runner: ModuleType) -> None:
    course = runner.Course("check")
    for line in (
        "INFO: Seed: 1",
        "#2\tINITED cov: 14 ft: 15 corp: 1/1b exec/s: 0 rss: 61Mb",
        "#16384\tpulse  cov: 454 ft: 1,000 corp: 5/2Kb",
        "#20000\tREDUCE cov: 455 ft: 806 corp: 236/67Kb lim: 92 exec/s: 3276 rss: 61Mb L: 3/9 MS: 1 EraseBytes-",
        "stat::number_of_executed_units: 20123",
    ):
        course.read(line)
    assert course.row() == ("check", "20,123", "455", "806", "236 / 67Kb", "0")
    course.runs_before = course.runs
    course.crashes.append(Path("crash-1"))
    course.read("#1000\tDONE   cov: 460 ft: 810 corp: 240/68Kb lim: 92 exec/s: 3276 rss: 61Mb")
    assert course.row() == ("check", "21,123", "460", "810", "240 / 68Kb", "1")
    lines = runner.table([course]).splitlines()
    assert lines[0].split() == ["target", "runs", "coverage", "features", "corpus", "crashes"]
    assert lines[1].split() == ["check", "21,123", "460", "810", "240", "/", "68Kb", "1"]


def test_what_a_machine_lacks_is_named(runner: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (rust, compiler) = runner.what_is_missing(["check"])
    assert "cargo" in rust
    assert "apt-get install g++" in compiler


def test_an_unknown_target_is_refused_with_all_names(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "chekc"])
    with pytest.raises(SystemExit):
        runner.main()
    assert "no such target: chekc" in capsys.readouterr().err
