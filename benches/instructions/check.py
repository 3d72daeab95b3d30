"""Compares instruction counts per packet with the table in counts.md; `--write` writes a new table.

Runs `instructions` under callgrind, case by case. Without valgrind it says so and checks nothing; under CI=true that is
a failure. The counts do not depend on the machine's speed or load, only on the compiler and the kind of processor. So
the tolerance is small; it covers the random choice of gossiped nodes. A change beyond it, up or down, needs a new
table.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TABLE_FILE = Path(__file__).with_name("counts.md")
BINARY = Path("target/release/instructions")
# Each run hashes ids with another random seed, so the number of collisions varies a little.
TOLERANCE = 0.10
COLLECTED = re.compile(r"Collected : (\d+)")
ROW = re.compile(r"^\| ([a-z0-9-]+) +\| +([\d,]+) \|$", re.MULTILINE)
HEAD = """# Instructions per packet

Counted by callgrind in the release build, 64 packets a case, by `make instructions`. The number in a name is the
packet's gossip entries; the node table has 2,000 nodes (201 where it says 20 and comes from the view).

| case | instructions |
|---|---|
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write a new table")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("instructions: not checked, needs the package valgrind (Debian)")
        return 1 if os.environ.get("CI", "").lower() == "true" else 0
    names = subprocess.run([BINARY], capture_output=True, text=True, check=True).stdout.split()
    counts = {name: count(name) for name in names}
    if options.write:
        rows = "".join(f"| {name:32}| {number:,} |\n" for name, number in counts.items())
        TABLE_FILE.write_text(HEAD + rows)
        return 0
    return compare(counts, read_table())


def count(name: str) -> int:
    """Instructions per packet of one case."""
    words = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"]
    words += ["--toggle-collect=instructions::measured", str(BINARY), name]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    collected = COLLECTED.search(done.stderr)
    if done.returncode != 0 or collected is None:
        raise SystemExit(f"{name}: {done.stderr}")
    return round(int(collected[1]) / int(done.stdout))


def read_table() -> dict[str, int]:
    return {name: int(number.replace(",", "")) for name, number in ROW.findall(TABLE_FILE.read_text())}


def compare(counts: dict[str, int], table: dict[str, int]) -> int:
    """Prints every case with its change. Returns 1 if a case is beyond the tolerance or not in the table, else 0."""
    failed = counts.keys() != table.keys()
    for name, now in counts.items():
        before = table.get(name)
        change = now / before - 1 if before else float("inf")
        beyond = abs(change) > TOLERANCE
        failed |= beyond
        print(f"{name:32} {before or 0:>10,} {now:>10,} {change:+8.1%}{'  beyond the tolerance' if beyond else ''}")
    if failed:
        print(f"instructions: differ from {TABLE_FILE}; if this is intended, run `make instructions WRITE=--write`")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
