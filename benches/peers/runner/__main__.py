"""`make bench-peers`: runs every workload against every server; prints tables, writes JSON and a picture."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from runner.cluster_file import make_cluster
from runner.errors import MeasurementError
from runner.figures import ELSEWHERE_CORES_MAX, TARGETS, Tables, elsewhere_cores, row_of
from runner.measure import Setup, measure
from runner.output import readme
from runner.output.plot import draw
from runner.output.readme import README_FILE, RUN_FILE
from runner.output.report import report
from runner.servers import SERVERS, Start, version_of
from runner.workloads import WORKLOADS

ROUNDS = 5
QUICK_ROUNDS = 2
QUICK_SCALE = 0.4
QUICK_WORKLOADS = (
    *("tcp-4", "tcp-201", "tcp-2000", "tls-2000", "sparse-201", "sparse-2000", "news-2000", "churn-2000", "join-2000"),
    *("busy", "publish"),
)


def main() -> int:
    options = _options()
    binaries = options.binaries.resolve()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as name:
        certificates = Path(name)
        subprocess.run([binaries / "bus-load", "certificates", certificates], check=True)
        setup = Setup(binaries, certificates, QUICK_SCALE if options.quick else options.scale)
        run = _describe(setup, options)
        started = time.monotonic()
        tables = _measure_all(setup, options, run)
    run["seconds"] = round(time.monotonic() - started)
    text = report(tables)
    print(text)
    caption = _caption(run, tables)
    print(caption)
    (options.output / "peers.json").write_text(json.dumps(run, indent=1) + "\n")
    (options.output / "peers.md").write_text(f"{text}\n{caption}\n")
    draw(tables, caption, options.output / "peers.png")
    if options.output.resolve() == RUN_FILE.parent.resolve():
        readme.write(run, README_FILE)
    return 1 if run["failures"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer workloads, shorter windows, two rounds")
    parser.add_argument("--workloads", help=f"some of {','.join(WORKLOADS)}")
    parser.add_argument("--servers", help=f"some of {','.join(SERVERS)}")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies warm-ups and windows")
    parser.add_argument("--binaries", type=Path, default=Path("target/release"))
    parser.add_argument("--output", type=Path, default=Path("target/bench-peers"))
    options = parser.parse_args()
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    workloads = options.workloads or ",".join(QUICK_WORKLOADS if options.quick else WORKLOADS)
    servers = options.servers or ",".join(SERVERS)
    for given, known, kind in ((workloads, WORKLOADS, "workload"), (servers, SERVERS, "server")):
        for name in given.split(","):
            if name not in known:
                parser.error(f"no such {kind}: {name}")
    options.workloads = [name for name in WORKLOADS if name in workloads.split(",")]
    options.servers = [name for name in SERVERS if name in servers.split(",")]
    return options


def _measure_all(setup: Setup, options: argparse.Namespace, run: dict[str, Any]) -> Tables:
    """Runs workload by workload, in rounds A B C A B C. A measurement that fails is reported and left out."""
    tables: Tables = {}
    missing: set[str] = set()
    for name in options.workloads:
        workload = WORKLOADS[name]
        measurements: list[dict[str, Any]] = []
        run["workloads"][name] = {
            "title": workload.title,
            "unit": workload.unit,
            "measurements": measurements,
        }
        rows = tables.setdefault(name, {})
        for number in range(min(options.rounds, workload.max_rounds)):
            for server_name in options.servers:
                if server_name not in workload.servers or server_name in missing:
                    continue
                try:
                    windows = measure(setup, workload, SERVERS[server_name])
                    if windows is None:
                        missing.add(server_name)
                        _say(f"left out: {server_name} needs {SERVERS[server_name].package}")
                        continue
                    row = row_of(workload, windows, number + 1)
                except (MeasurementError, ValueError) as error:
                    first, *rest = str(error).splitlines()
                    # The other lines come from a log and contain paths, so they go only to the terminal.
                    run["failures"].append(f"{name}, {server_name}, round {number + 1}: {first}")
                    last = rest[-1:] or [""]
                    _say(f"{name}, {server_name}, round {number + 1}: {first}; {last[0]}")
                    continue
                rows.setdefault(server_name, []).append(row)
                measurements.append({"server": server_name, "round": number + 1, "figures": row, "windows": windows})
            _say(f"{name}: round {number + 1} of {min(options.rounds, workload.max_rounds)}")
        if not rows:
            del tables[name]
    run["targets"] = [
        {"figure": target.text, "bound": target.bound, "reached": value, "met": target.is_met(value)}
        for target in TARGETS
        if (value := target.value(tables)) is not None
    ]
    return tables


def _say(line: str) -> None:
    """Prints progress and failures to standard error; the tables go to standard output."""
    print(line, file=sys.stderr, flush=True)


def _describe(setup: Setup, options: argparse.Namespace) -> dict[str, Any]:
    """The machine, the versions and the options: the facts that make two runs comparable."""
    start = Start(make_cluster(4), Path("."), setup.binaries, None, 1)
    versions = {name: version_of(SERVERS[name], start) for name in options.servers}
    return {
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "versions": {name: version for name, version in versions.items() if version},
        "rounds": options.rounds,
        "scale": setup.scale,
        "failures": [],
        "workloads": {},
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _caption(run: dict[str, Any], tables: Tables) -> str:
    machine = run["machine"]
    text = (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}; "
        f"medians of {run['rounds']} rounds; generator and server share the machine."
    )
    elsewhere = elsewhere_cores(tables)
    if elsewhere > ELSEWHERE_CORES_MAX:
        text += f" Provisional: other processes used {elsewhere:.1f} cores."
    return text


if __name__ == "__main__":
    sys.exit(main())
