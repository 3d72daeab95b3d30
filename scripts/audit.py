#!/usr/bin/env python3
"""`make audit`: what is known against the crates and Python packages that we build on.

Runs cargo-deny (licences, bans, sources; advisories) and pip-audit over the lock files. Where a database of advisories
cannot be reached, as in a build without a network, the rest is still held, and the end says in plain words what was not
looked at; with `--strict` that fails too. Changes nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "target/audit-venv/bin"
LOCKS = ("requirements.lock", "requirements-wheel.lock", "requirements-docs.lock", "requirements-bench.lock")
UNREACHED = ("failed to fetch advisory database", "failed to load advisory database")


def offline_rules() -> int:
    """Licences, bans and sources of Cargo.lock: they need no network. Returns the exit status."""
    return subprocess.run(
        [TOOLS / "cargo-deny", "--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"], cwd=ROOT
    ).returncode


def crate_advisories() -> tuple[bool, list[str]]:
    """Whether the crates passed, and what was not looked at."""
    command = [str(TOOLS / "cargo-deny"), "--locked", "check", "advisories"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    output = done.stdout + done.stderr
    if done.returncode and any(words in output for words in UNREACHED):
        return True, ["advisories of crates: RustSec's database could not be fetched"]
    print(output, end="")
    return done.returncode == 0, []


def package_advisories(lock: str) -> tuple[bool, list[str]]:
    """The same for the packages of one lock file."""
    command = [str(TOOLS / "pip-audit"), "--requirement", lock, "--require-hashes", "--disable-pip"]
    command += ["--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return True, [f"{lock}: pip-audit had no answer: {(done.stderr.strip().splitlines() or ['?'])[-1]}"]
    return judged(lock, packages)


def judged(lock: str, packages: list[dict[str, object]]) -> tuple[bool, list[str]]:
    """What pip-audit's answer about one lock file means: whether all passed, and what was not looked at."""
    passed, skipped = True, 0
    for package in packages:
        if package.get("skip_reason"):
            skipped += 1
            continue
        vulnerabilities = package.get("vulns")
        assert isinstance(vulnerabilities, list)
        for found in vulnerabilities:
            passed = False
            print(f"{lock}: {package['name']} {package['version']}: {found['id']}, fixed in {found['fix_versions']}")
    looked_at = len(packages) - skipped
    print(f"{lock}: {looked_at} of {len(packages)} packages looked at")
    return passed, [f"{lock}: the index has no word on {skipped} of {len(packages)} packages"] if skipped else []


def main() -> int:
    parser = argparse.ArgumentParser(prog="make audit", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--strict", action="store_true", help="what could not be looked at is a failure")
    strict = parser.parse_args().strict
    failed = offline_rules() != 0
    missed: list[str] = []
    for passed, gaps in (crate_advisories(), *map(package_advisories, LOCKS)):
        failed |= not passed
        missed += gaps
    for gap in missed:
        print(f"NOT LOOKED AT: {gap}")
    if failed or (strict and missed):
        return 1
    print("make audit: nothing known against what was looked at" if missed else "make audit: nothing is known")
    return 0


if __name__ == "__main__":
    sys.exit(main())
