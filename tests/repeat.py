"""The one command that repeats a failed test: its name, and the seed if Hypothesis drew its examples. A test that
knows a shorter one gives it with `record_property(COMMAND_PROPERTY, ...)`.

Owns how that command is written; `conftest.py` asks for it. Runs in the process that prints the summary, so what
only the process of the test knows comes as a property of its report.
"""

from __future__ import annotations

import os
import random
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import hypothesis
import pytest

REPEATS_SHOWN_MAX = 20
OPTION_PROPERTY = "repeat option"
COMMAND_PROPERTY = "repeat command"
"""Its value is a command of the environment that runs the tests: "clusterbus simulate --replay 7"."""


def draw_seed(config: pytest.Config) -> None:
    """One seed for all Hypothesis tests of the session, and of its workers, unless the command line has one."""
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.SystemRandom().getrandbits(32))


def keep_seed(item: pytest.Item, report: pytest.TestReport) -> None:
    """Notes in the report of a failed test with which seed its examples were drawn."""
    if hypothesis.is_hypothesis_test(getattr(item, "obj", None)):
        option = f"--hypothesis-seed={item.config.option.hypothesis_seed}"
        report.user_properties.append((OPTION_PROPERTY, option))


def command(config: pytest.Config, report: pytest.TestReport | pytest.CollectReport) -> str:
    """What to type, where pytest was started, to run what failed alone and with the same examples."""
    here = config.invocation_params.dir

    def from_here(path: Path) -> str:
        return os.path.relpath(path, here) if path.is_relative_to(config.rootpath) else str(path)

    properties = [(name, str(value)) for name, value in getattr(report, "user_properties", ())]
    python = Path(sys.executable)
    for name, value in properties:
        if name == COMMAND_PROPERTY:
            program, *arguments = value.split()
            return shlex.join([from_here(python.with_name(program)), *arguments])
    file, *names = report.nodeid.split("::", 1)
    test = "::".join([from_here(config.rootpath / file), *names])
    options = [value for name, value in properties if name == OPTION_PROPERTY]
    return shlex.join([from_here(python), "-m", "pytest", test, *options])


def lines(config: pytest.Config, reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> list[str]:
    """A line for each failed test, at most REPEATS_SHOWN_MAX; a test that fails twice has one."""
    commands = dict.fromkeys(command(config, report) for report in reports)
    return [f"repeat: {text}" for text in commands][:REPEATS_SHOWN_MAX]
