"""Coverage-guided fuzzing of everything that parses bytes of others: `make fuzz` (H48).

Builds and runs the targets of `rust/fuzz` under libFuzzer, and those of `tests/fuzz` under atheris, which is libFuzzer
around Python; shows how far each is, and at the end a table. What it finds is in `target/fuzz/`: the grown corpus of
each target, its log, and a file for each crash. Ends with status 1 if there was one.

    scripts/fuzz.py [--minutes N | --total N] [--jobs N] [--merge] [TARGET ...]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

ROOT: Final = Path(__file__).resolve().parent.parent
WORK: Final = ROOT / "target" / "fuzz"
TRIPLE: Final = "x86_64-unknown-linux-gnu"
RUST_CORPUS: Final = ROOT / "rust" / "fuzz" / "corpus"
PYTHON_CORPUS: Final = ROOT / "tests" / "fuzz" / "corpus"
RUST: Final = tuple(sorted(path.name for path in RUST_CORPUS.iterdir()))
PYTHON: Final = tuple(sorted(path.name for path in PYTHON_CORPUS.iterdir()))
"""Tests hold that each target has a folder, and each folder a target."""
INSTRUMENTATION: Final = (
    "-Cpasses=sancov-module",
    *(
        f"-Cllvm-args=-sanitizer-coverage-{what}"
        for what in ("level=4", "inline-8bit-counters", "pc-table", "trace-compares")
    ),
)
"""What makes rustc, also a stable one, count the edges that libFuzzer is guided by."""

CRASHES_MAX: Final = 5
"""A target that has crashed so often is not started again."""
INPUT_TIMEOUT_S: Final = 30
RSS_MAX_MB: Final = 1_024
PROGRESS_EVERY_S: Final = 20
KEPT_FILES_MAX: Final = 60
KEPT_BYTES_MAX: Final = 48 * 1024
"""What `--merge` keeps of one target's corpus at most."""
_LINE: Final = re.compile(r"^#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)")
_RUNS: Final = re.compile(r"^stat::number_of_executed_units: (\d+)")


@dataclass
class Course:
    """How far one target is."""

    name: str
    runs: int = 0
    coverage: int = 0
    features: int = 0
    corpus: str = ""
    crashes: list[Path] = field(default_factory=list)
    trouble: str = ""
    runs_before: int = 0
    """In the fuzzers of this target that a crash has ended."""

    def read(self, line: str) -> None:
        """Takes what a line of libFuzzer says."""
        if found := _LINE.match(line):
            self.runs = self.runs_before + int(found[1])
            self.coverage, self.features = int(found[2]), int(found[3])
            self.corpus = f"{found[4]} / {found[5]}"
        elif found := _RUNS.match(line):
            self.runs = self.runs_before + int(found[1])

    def row(self) -> tuple[str, ...]:
        crashes = self.trouble or str(len(self.crashes))
        return (self.name, f"{self.runs:,}", f"{self.coverage:,}", f"{self.features:,}", self.corpus, crashes)


def main() -> int:
    arguments = parsed()
    names = arguments.targets or [*RUST, *PYTHON]
    if missing := what_is_missing(names):
        print("\n".join(("make fuzz needs what this machine does not have:", *missing)), file=sys.stderr)
        return 2
    if any(name in RUST for name in names):
        build()
    if arguments.merge:
        for name in names:
            merge(name)
        return 0
    jobs = min(arguments.jobs, len(names))
    seconds = round(60 * (arguments.total * jobs / len(names) if arguments.total else arguments.minutes))
    print(f"{len(names)} targets, {seconds} s each, {jobs} at a time; what is found is in {WORK.relative_to(ROOT)}/")
    courses = [Course(name) for name in names]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda course: run(course, seconds), courses))
    print(table(courses))
    for course in courses:
        for crash in course.crashes:
            print(
                f"crash: {crash.relative_to(ROOT)}; its trace is at the end of {log_of(course.name).relative_to(ROOT)}"
            )
    return int(any(course.crashes or course.trouble for course in courses))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of all parsers.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join((*RUST, *PYTHON)))
    times = parser.add_mutually_exclusive_group()
    times.add_argument("--minutes", type=float, default=1.0, help="for each target (default 1)")
    times.add_argument("--total", type=float, help="minutes in total, shared by the targets")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="targets at a time")
    parser.add_argument("--merge", action="store_true", help="put a small part of what has grown into the repository")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.targets if name not in (*RUST, *PYTHON)]:
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join((*RUST, *PYTHON))}")
    return arguments


def what_is_missing(names: list[str]) -> list[str]:
    """A line for each program or package that the targets need and that is not here."""
    missing = []
    if any(name in RUST for name in names):
        if shutil.which("cargo") is None:
            missing.append("  cargo: Rust, from https://rustup.rs")
        if shutil.which("c++") is None:
            missing.append("  c++: a C++ compiler that builds libFuzzer; on Debian: apt-get install g++")
    if any(name in PYTHON for name in names):
        has_atheris = subprocess.run([sys.executable, "-c", "import atheris"], capture_output=True, check=False)
        if has_atheris.returncode:
            missing.append(
                "  atheris: the package in requirements-fuzz.lock, which `make fuzz` installs; there are wheels of it"
                " for CPython 3.11 to 3.13 on Linux"
            )
    return missing


def build() -> None:
    command = ["cargo", "build", "--profile", "fuzz", "--locked", "--package", "clusterbus-fuzz"]
    command += ["--features", "libfuzzer", "--target", TRIPLE, "--target-dir", str(WORK)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"RUSTFLAGS": " ".join(INSTRUMENTATION)}, check=True)


def command_of(name: str) -> tuple[list[str], dict[str, str]]:
    """How the fuzzer of a target is started, and its environment."""
    if name in RUST:
        return [str(WORK / TRIPLE / "fuzz" / "clusterbus-fuzz")], os.environ | {"CLUSTERBUS_FUZZ_TARGET": name}
    # libFuzzer starts itself again to merge, by the first word of its command; so that must be a program.
    program = WORK / f"{name}.sh"
    WORK.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.fuzz.fuzzer {name} "$0" "$@"\n')
    program.chmod(0o755)
    return [str(program)], dict(os.environ)


def committed(name: str) -> Path:
    return (RUST_CORPUS if name in RUST else PYTHON_CORPUS) / name


def grown(name: str) -> Path:
    return WORK / "corpus" / name


def log_of(name: str) -> Path:
    return WORK / f"{name}.log"


def run(course: Course, seconds: int) -> None:
    """Runs one target for so long. After a crash its fuzzer is started again, for the rest of the time."""
    name, crashes = course.name, WORK / "crashes" / course.name
    for folder in (grown(name), crashes):
        folder.mkdir(parents=True, exist_ok=True)
    end_s = time.monotonic() + seconds
    with open(log_of(name), "w") as log:
        while (left_s := round(end_s - time.monotonic())) > 0 and len(course.crashes) < CRASHES_MAX:
            before = set(crashes.iterdir())
            command, environment = command_of(name)
            options = {
                "max_total_time": left_s,
                "timeout": INPUT_TIMEOUT_S,
                "rss_limit_mb": RSS_MAX_MB,
                "print_final_stats": 1,
                "artifact_prefix": f"{crashes}/",
            }
            command += [f"-{option}={value}" for option, value in options.items()]
            status = follow([*command, str(grown(name)), str(committed(name))], environment, course, log)
            found = sorted(set(crashes.iterdir()) - before)
            course.crashes += found
            course.runs_before = course.runs
            if status and not found:  # the same crash again, at the first inputs; or no crash at all
                course.trouble = "" if course.crashes else f"ended with {status}"
                break
    print(f"{name}: done, {course.runs:,} runs, {len(course.crashes)} crashes {course.trouble}", flush=True)


def follow(command: list[str], environment: dict[str, str], course: Course, log: TextIO) -> int:
    """Runs a fuzzer to its end; shows now and then how far it is."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as fuzzer:
        done = threading.Event()

        def show() -> None:
            while not done.wait(PROGRESS_EVERY_S):
                print(f"{course.name}: {course.runs:,} runs, {course.features:,} features, {course.corpus}", flush=True)

        shower = threading.Thread(target=show, daemon=True)
        shower.start()
        assert fuzzer.stdout is not None
        for line in fuzzer.stdout:
            log.write(line)
            course.read(line)
        done.set()
        shower.join()
        return fuzzer.wait()


def table(courses: list[Course]) -> str:
    rows = [("target", "runs", "coverage", "features", "corpus", "crashes"), *(course.row() for course in courses)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def merge(name: str) -> None:
    """Chooses of what has grown the inputs that libFuzzer needs for its coverage, and keeps the small ones of them.

    An input with a name, which stands for a crash that is mended or for something that people made, stays.
    """
    chosen = WORK / "merged" / name
    shutil.rmtree(chosen, ignore_errors=True)
    chosen.mkdir(parents=True)
    keep = committed(name)
    keep.mkdir(parents=True, exist_ok=True)
    command, environment = command_of(name)
    command += ["-merge=1", f"-timeout={INPUT_TIMEOUT_S}", str(chosen), str(grown(name)), str(keep)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    named = [path for path in keep.iterdir() if not re.fullmatch(r"[0-9a-f]{40}", path.name)]
    for path in set(keep.iterdir()) - set(named):
        path.unlink()
    left_bytes = KEPT_BYTES_MAX - sum(path.stat().st_size for path in named)
    inputs = sorted(chosen.iterdir(), key=lambda path: (path.stat().st_size, path.name))
    files = 0
    # Every so manieth of all sizes, so that long ones are among them.
    for path in inputs[:: max(1, len(inputs) // KEPT_FILES_MAX)]:
        size = path.stat().st_size
        if files < KEPT_FILES_MAX and size <= left_bytes and path.name not in {one.name for one in named}:
            shutil.copy(path, keep / path.name)
            files, left_bytes = files + 1, left_bytes - size
    print(f"{name}: {files} of {len(inputs)} inputs, and {len(named)} with names")


if __name__ == "__main__":
    sys.exit(main())
