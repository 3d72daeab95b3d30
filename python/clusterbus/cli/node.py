"""`clusterbus node`: runs one node; its arguments are read as valkey-server reads them.

Owns the help, which is made from the table of directives, and the one line that reports a wrong argument. `runtime/`
runs the node. Main thread.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import Final

import click

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


class _RawCommand(click.Command):
    """A subcommand whose arguments click does not parse, because their syntax is valkey-server's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["arguments"] = tuple(args)
        return []

    def get_short_help_str(self, limit: int = 45) -> str:
        return "Run one node of a cluster."


@click.command(cls=_RawCommand, add_help_option=False)
def node(arguments: tuple[str, ...]) -> None:
    """Runs one node of a cluster."""
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help"):
        click.echo(help_text(), nl=False)
        return
    if first in ("-v", "--version"):
        click.echo(f"clusterbus, version {__version__}")
        return
    try:
        config = Config.from_arguments(arguments)
    except ClusterBusError as error:
        click.echo(f"clusterbus: {error}", err=True)
        sys.exit(EXIT_BAD_CONFIGURATION)
    from clusterbus.runtime.process import run_node

    sys.exit(run_node(config))
