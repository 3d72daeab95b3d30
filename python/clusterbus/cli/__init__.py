"""The program `clusterbus`, and how it finds its subcommands.

Its files in reading order:

    node        `clusterbus node`: one node, with valkey-server's arguments
    demo        `clusterbus demo`: six nodes lose one and get it back
    demo_nodes  the processes of the demo
    observe     `clusterbus observe`: a member that only watches
    observe_lines  what it prints
    simulate    `clusterbus simulate`: whole clusters in virtual time
    doctor      `clusterbus doctor`: what does not fit together in a cluster
    doctor_report   what it shows
    doctor_bus      `--bus`: a look as an observer on the bus
    doctor_watch    `--watch`: how long each change takes to reach everybody
    top         `clusterbus top`: a cluster live, in the terminal
    seed_arguments  seeds, password and TLS, of every tool that looks at a cluster

A subcommand is imported only when it is called, so that `--version` and a typing mistake cost nothing. `node` needs no
other package. What the pictures of others need is an extra with the name of the subcommand; where it is missing
one line says so. Must never hold logic of a node. Main thread.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from clusterbus.version import __version__

EXIT_PACKAGE_MISSING: Final = 1
EXIT_BAD_USAGE: Final = 2


class Subcommand(NamedTuple):
    """A module with `main(arguments) -> exit status`. `packages` are what its extra brings."""

    module: str
    summary: str
    packages: tuple[str, ...] = ()


SUBCOMMANDS: Final = {
    "node": Subcommand("clusterbus.cli.node", "Run one node of a cluster."),
    "demo": Subcommand(
        "clusterbus.cli.demo", "Six nodes lose one and get it back.", ("click", "hiredis", "rich", "trustme")
    ),
    "observe": Subcommand("clusterbus.cli.observe", "Watch a cluster as a member, and leave without a trace."),
    "simulate": Subcommand("clusterbus.cli.simulate", "Whole clusters in virtual time.", ("click", "rich")),
    "doctor": Subcommand("clusterbus.cli.doctor", "What does not fit together in a cluster."),
    "top": Subcommand("clusterbus.cli.top", "A cluster live, in the terminal.", ("textual",)),
}
_HELP: Final = """\
Usage: clusterbus COMMAND [ARGUMENT ...]

  The Valkey/Redis cluster bus in Python, its I/O on Rust threads.

Options:
  -v, --version  Show the version and exit.
  -h, --help     Show this message and exit; after a command, that command's.

Commands:
"""


def main(arguments: Sequence[str]) -> int:
    """Runs the program with these arguments; returns its exit status."""
    first, *rest = arguments or ("--help",)
    if first in ("-h", "--help"):
        lines = (f"  {name:<10}{subcommand.summary}\n" for name, subcommand in SUBCOMMANDS.items())
        print(_HELP + "".join(lines), end="")
        return 0 if arguments else EXIT_BAD_USAGE
    if first in ("-v", "--version"):
        print(f"clusterbus, version {__version__}")
        return 0
    if first not in SUBCOMMANDS:
        return _complain(f"no such command '{first}'; there are {', '.join(SUBCOMMANDS)}", EXIT_BAD_USAGE)
    try:
        run: Callable[[Sequence[str]], int] = importlib.import_module(SUBCOMMANDS[first].module).main
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in SUBCOMMANDS[first].packages:
            raise
        hint = f"pip install 'clusterbus[{first}]'"
        return _complain(f"{first} needs the package {missing}: {hint}", EXIT_PACKAGE_MISSING)
    return run(rest)


def _complain(text: str, status: int) -> int:
    print(f"clusterbus: {text}", file=sys.stderr)
    return status
