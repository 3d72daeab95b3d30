"""`clusterbus node`: runs one node; its arguments are read as valkey-server reads them.

Owns the help, which is made from the table of directives, and the one line that reports a wrong argument. `runtime/`
runs the node. Main thread.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import Final

from clusterbus.config import DIRECTIVES, Config, Directive
from clusterbus.errors import ClusterBusError
from clusterbus.version import __version__

HELP_WIDTH: Final = 100
EXIT_BAD_CONFIGURATION: Final = 1
_USAGE: Final = """\
Usage: clusterbus node [CONFIG_FILE] [-] [--directive value ...]

  Runs one node of a cluster until SIGTERM, Ctrl-C or SHUTDOWN.

  CONFIG_FILE has the format of valkey.conf; '-' reads the same format from standard input. Directives
  on the command line override both: --port 7000 --bind 127.0.0.1 ::1 --save "". CONFIG SET can change
  the directives that are marked with an asterisk.

Directives:
"""


def help_text(directives: Sequence[Directive] = DIRECTIVES) -> str:
    """The help of `clusterbus node`: every directive that does something with its syntax, its meaning and its default,
    and the names of the others by the reason why they do nothing.
    """
    lines = [_USAGE.rstrip()]
    idle: dict[str, list[str]] = {}
    for directive in directives:
        names = [f"--{name}" for name in (directive.name, *directive.aliases)]
        if directive.without_effect:
            idle.setdefault(directive.doc, []).extend(names)
            continue
        lines.append(f"  {', '.join(names)} {directive.kind.syntax()}{' *' if directive.mutable else ''}")
        default = f" [default: {directive.default}]" if directive.default else ""
        lines += _indented(directive.doc + default)
    lines += ["", "Directives of Valkey 9.1 and Redis 7.0 that are accepted, checked, and have no effect here:"]
    for reason, names in idle.items():
        lines += [f"  {reason}", *_indented(", ".join(names))]
    return "\n".join(lines) + "\n"


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, HELP_WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False)


def main(arguments: Sequence[str]) -> int:
    """Runs one node with the arguments of the command line; returns the exit status."""
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help"):
        print(help_text(), end="")
        return 0
    if first in ("-v", "--version"):
        print(f"clusterbus, version {__version__}")
        return 0
    try:
        config = Config.from_arguments(arguments)
    except ClusterBusError as error:
        print(f"clusterbus: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIGURATION
    from clusterbus.runtime.process import run_node

    return run_node(config)
