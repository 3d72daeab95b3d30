"""`clusterbus doctor`: asks every node of a cluster what it sees, and says what does not fit together.

Owns the run: arguments, exit status, the second look, what is shown while it asks. Must never send what changes
anything. Main thread, with an event loop of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final, TextIO

from clusterbus.cli.doctor_bus import BusLook, add_arguments
from clusterbus.cli.doctor_report import Result, as_json, as_text
from clusterbus.cli.doctor_watch import INTERVAL_S, watch
from clusterbus.cli.seed_arguments import Arguments, add_access, parsed
from clusterbus.survey.access import Access
from clusterbus.survey.asking import DEADLINE_S, Asker, Survey
from clusterbus.survey.finding import Severity
from clusterbus.survey.findings import findings, lasting

EXIT_SOUND: Final = 0
EXIT_FINDINGS: Final = 1
EXIT_NOBODY: Final = 3
EXIT_INTERRUPTED: Final = 130
EXIT_PIPE_CLOSED: Final = 141
SECOND_LOOK_AFTER_S: Final = 1.0
PROGRESS_AFTER_S: Final = 0.5
COLUMNS_OF_A_FILE: Final = 120
SUMMARY: Final = """\
Asks every node of a cluster what it sees, by its client port, and says what does not fit together. Changes nothing.

What it finds it looks for a second time, as nodes are not asked in one moment. Exit status: 0 the cluster is sound,
1 there are findings, 2 wrong usage, 3 nobody could be asked.
"""


def main(arguments: Sequence[str]) -> int:
    """Runs the subcommand with the arguments of the command line; returns its exit status."""
    parser = Arguments("doctor", SUMMARY)
    add_access(parser)
    parser.add_argument("--timeout", type=seconds, default=DEADLINE_S, metavar="SECONDS", help="for each node (5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--all", action="store_true", help="show every node and every finding, however many")
    add_arguments(parser)
    parser.add_argument("--watch", action="store_true", help="say of each change how long it takes to reach everybody")
    parser.add_argument("--interval", type=seconds, metavar="SECONDS", help="with --watch: between two questions (0.1)")
    parser.add_argument(
        "--for", type=seconds, dest="for_s", metavar="SECONDS", help="with --watch: end after that time"
    )
    given, access = parsed(parser, arguments)
    for name, value in (("--interval", given.interval), ("--for", given.for_s)):
        if value is not None and not given.watch:
            parser.error(f"{name} means nothing without --watch")
    for name, value in (("--announce-ip", given.announce_ip), ("--label", given.label)):
        if value and not given.bus:
            parser.error(f"{name} means nothing without --bus")
    if given.bus and given.watch:
        parser.error("--watch asks at client ports alone; --bus means nothing with it")
    try:
        return asyncio.run(_watch(given, access) if given.watch else _examine(given, access))
    except (KeyboardInterrupt, asyncio.CancelledError):
        if given.watch:
            return EXIT_SOUND
        print("clusterbus doctor: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read it has seen enough; Python would complain once more at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED


def seconds(text: str) -> float:
    """A time of an argument. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


async def _examine(given: argparse.Namespace, access: Access) -> int:
    asker = Asker(access, timeout_s=given.timeout)
    bus = BusLook(given, access)
    if given.bus and (task := asyncio.current_task()) is not None:  # an observer leaves before doctor ends
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        survey = await _look(asker, given, bus)
        result = Result(survey, findings(survey))
        if survey.members and any(finding.severity is not Severity.NOTE for finding in result.found):
            await asyncio.sleep(SECOND_LOOK_AFTER_S)
            survey = await _look(asker, given, bus)
            found, passed = lasting(result.found, findings(survey))
            result = Result(survey, found, passed)
    finally:
        await asker.close()
    show(result, given)
    if not result.survey.members:
        return EXIT_NOBODY
    return EXIT_SOUND if result.is_sound else EXIT_FINDINGS


async def _watch(given: argparse.Namespace, access: Access) -> int:
    asker = Asker(access, timeout_s=given.timeout)
    interval_s = given.interval or INTERVAL_S
    return await watch(asker, given.seeds, interval_s=interval_s, for_s=given.for_s, as_json=given.json)


async def _look(asker: Asker, given: argparse.Namespace, bus: BusLook) -> Survey:
    view = await bus.see()
    progress = Progress(sys.stderr)
    try:
        return bus.add(await asker.survey(given.seeds, progress=progress), view)
    finally:
        progress.end()


def show(result: Result, given: argparse.Namespace) -> None:
    if given.json:
        print(json.dumps(as_json(result), indent=2), flush=True)
        return
    is_terminal = sys.stdout.isatty()
    columns = shutil.get_terminal_size().columns if is_terminal else COLUMNS_OF_A_FILE
    is_coloured = is_terminal and not os.environ.get("NO_COLOR")
    print(as_text(result, columns=columns, is_coloured=is_coloured, shows_all=given.all), end="", flush=True)


class Progress:
    """A line on a terminal that says how many nodes were asked, from the moment that it takes long until they were.
    Nothing elsewhere.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._due_s = time.monotonic() + PROGRESS_AFTER_S
        self._is_shown = False

    def __call__(self, asked: int, known: int) -> None:
        if self._is_terminal and time.monotonic() > self._due_s:
            self._is_shown = True
            print(f"\r\x1b[Kasked {asked:,} of {known:,} nodes", end="", file=self._stream, flush=True)

    def end(self) -> None:
        if self._is_shown:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
