#!/usr/bin/env python3
"""`make memcheck`: the extension under valgrind's memcheck, driven from Python.

    python scripts/memcheck.py target/memcheck/release/lib_core.so

The library is one that uses the system's allocator, since memcheck knows no other. CPython is kept out of the report
by what it is: an error counts if a function of the extension is on its stack. Ends with 1 and the stacks found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "target/memcheck/package"
REPORT = ROOT / "target/memcheck/report.xml"
EXTENSION = "_core.abi3.so"
NO_LEAKS = {"Leak_StillReachable", "Leak_PossiblyLost"}
"""What a process that ends still knows of is no leak; interior pointers are what Rust's shared bytes are made of."""
KEPT_ON_PURPOSE = ("finalize_methods_and_properties", "create_type_object")
"""Functions of pyo3 on the stacks of what it keeps for as long as the process lives: the tables of its classes."""
FRAMES_SHOWN = 14
EXERCISES = Path(__file__).with_name("memcheck_exercises.py")


def stage(library: Path) -> None:
    """A package of the checkout's Python files and this library."""
    shutil.rmtree(PACKAGE, ignore_errors=True)
    folder = PACKAGE / "clusterbus"
    folder.mkdir(parents=True)
    for entry in (ROOT / "python/clusterbus").iterdir():
        if entry.suffix != ".so" and entry.name != "__pycache__":
            (folder / entry.name).symlink_to(entry)
    shutil.copy(library, folder / EXTENSION)


def run(exercises: Path) -> int:
    """Runs the exercises under memcheck. Returns their exit status."""
    command = ["valgrind", "--tool=memcheck", "--xml=yes", f"--xml-file={REPORT}", "--leak-check=full"]
    command += ["--show-leak-kinds=definite,indirect", "--num-callers=40", "--fair-sched=yes"]
    command += [sys.executable, "-s", "-P", str(exercises)]
    environment = os.environ | {"PYTHONMALLOC": "malloc", "PYTHONPATH": str(PACKAGE), "PYTHONHASHSEED": "1"}
    return subprocess.run(command, env=environment).returncode


def found(report: Path) -> tuple[list[str], int]:
    """The errors with the extension on their stack, as text, and the number of the others."""
    ours, others = [], 0
    for error in ElementTree.parse(report).getroot().iter("error"):
        kind = error.findtext("kind", "")
        if kind in NO_LEAKS:
            continue
        frames = [(frame.findtext("obj", ""), frame.findtext("fn", "?")) for frame in error.iter("frame")]
        of_ours = any(obj.endswith(EXTENSION) for obj, _ in frames)
        on_purpose = kind.startswith("Leak_") and any(name in KEPT_ON_PURPOSE for _, name in frames)
        if not of_ours or on_purpose:
            others += 1
            continue
        what = error.findtext("what") or error.findtext("xwhat/text") or ""
        ours.append("\n    ".join([f"{kind}: {what}", *(name for _, name in frames[:FRAMES_SHOWN])]))
    return ours, others


def main() -> int:
    if shutil.which("valgrind") is None:
        print("make memcheck needs the package valgrind (Debian)")
        return 1
    stage(Path(sys.argv[1]).resolve())
    status = run(Path(sys.argv[2]) if len(sys.argv) > 2 else EXERCISES)
    ours, others = found(REPORT)
    print(*ours, sep="\n", end="\n" if ours else "")
    print(f"make memcheck: {len(ours)} errors of the extension; {others} of CPython alone are no concern here")
    return 1 if ours or status else 0


if __name__ == "__main__":
    sys.exit(main())
