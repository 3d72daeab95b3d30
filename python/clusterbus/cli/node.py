"""`clusterbus node`: valkey-server's command line, read as valkey-server reads it.

Reads the arguments and reports what is wrong with them in one line; running the node is the runtime's. The
help is made from the table of directives. Main thread.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import Final

import click

from clusterbus import __version__
from clusterbus.config import DIRECTIVES, Config, Directive
from clusterbus.errors import ClusterBusError

HELP_WIDTH: Final = 100
EXIT_BAD_CONFIGURATION: Final = 1
_USAGE: Final = """\
Usage: clusterbus node [CONFIG_FILE] [-] [--directive value ...]

  Runs one node of a cluster until SIGTERM, Ctrl-C or SHUTDOWN.

  CONFIG_FILE is written like valkey.conf; '-' reads the same from standard input. Directives on the
  command line come last and win: --port 7000 --bind 127.0.0.1 ::1 --save "". An asterisk marks those
  CONFIG SET can change.

Directives:
"""


def help_text(directives: Sequence[Directive] = DIRECTIVES) -> str:
    """The help of `clusterbus node`: every directive with its syntax, what it does and its default."""
    lines = [_USAGE.rstrip()]
    for directive in directives:
        names = ", ".join(f"--{name}" for name in (directive.name, *directive.aliases))
        lines.append(f"  {names} {directive.kind.syntax()}{' *' if directive.mutable else ''}")
        default = f" [default: {directive.default}]" if directive.default else ""
        lines += textwrap.wrap(directive.doc + default, HELP_WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines) + "\n"


class _RawCommand(click.Command):
    """A command whose arguments click leaves alone: their syntax is valkey-server's, not click's."""

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
