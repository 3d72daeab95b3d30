"""`clusterbus top`: a live view of a cluster in the terminal.

A thread of its own asks the nodes at their client ports, within a budget, and makes of what it heard a `Picture`; the
screen shows the picture and never waits. Whatever is sent only reads.

Its files in reading order:

    heard     what is kept of each address
    schedule  who is asked next, and for what
    merge     many views become one
    picture   rows, shards, owners of slots: what the screen shows, as plain data
    feed      what happened between two pictures
    order     sorting and filtering
    watch     the thread that asks
    words     numbers and flags, short
    colours   which colour means what
    table     the table of nodes
    panels    title, slot map, feed
    screens   details of a node, help
    app       the screen and its keys

These are more than a dozen because what is tested without a terminal stands apart. This file owns the run: its
arguments, errors before there is a screen, exit status. Main thread.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import Final

from clusterbus.cli.seed_arguments import EXIT_BAD_USAGE, Arguments, add_access, parsed
from clusterbus.cli.top.app import TopApp
from clusterbus.cli.top.watch import NobodyAnswersError, Watch
from clusterbus.errors import ConfigError

EXIT_NOBODY: Final = 3
INTERVAL_S: Final = 1.0
INTERVAL_MIN_S: Final = 0.2
INTERVAL_MAX_S: Final = 3600.0
TIMEOUT_S: Final = 2.0
SWITCH_S: Final = 0.001
"""How long the asking thread may hold the interpreter when the screen wants it; a key waits no longer."""
SUMMARY: Final = """\
Shows a cluster live: shards, roles, slots, flags, round trips, queues, bytes, messages and events. Changes nothing.
Press h for the keys."""


class _Top(TopApp):
    """Ends on SIGTERM as on q, so that the terminal is put back in order."""

    def on_mount(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        super().on_mount()


def main(arguments: Sequence[str]) -> int:
    """Runs the subcommand with the arguments of the command line; returns its exit status."""
    parser = Arguments("top", SUMMARY)
    add_access(parser)
    parser.add_argument(
        "--interval",
        type=float,
        default=INTERVAL_S,
        metavar="SECONDS",
        help=f"between two refreshes, {INTERVAL_MIN_S:g} to {INTERVAL_MAX_S:g} (default: {INTERVAL_S:g})",
    )
    given, access = parsed(parser, arguments)
    if not INTERVAL_MIN_S <= given.interval <= INTERVAL_MAX_S:
        parser.error(f"--interval: not within {INTERVAL_MIN_S:g} and {INTERVAL_MAX_S:g}")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _complain("needs a terminal; `clusterbus doctor` writes plain lines", EXIT_BAD_USAGE)
    watch = Watch(given.seeds, access, interval_s=given.interval, timeout_s=TIMEOUT_S)
    try:
        watch.check()
    except (ConfigError, NobodyAnswersError) as error:
        return _complain(str(error), EXIT_NOBODY)
    except KeyboardInterrupt:
        return 130
    sys.setswitchinterval(SWITCH_S)
    _Top(watch, interval_s=given.interval).run()
    return 0


def _complain(text: str, status: int) -> int:
    print(f"clusterbus top: {text}", file=sys.stderr)
    return status
