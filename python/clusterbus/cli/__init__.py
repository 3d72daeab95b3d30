"""The command `clusterbus`: its group, and how each subcommand is found.

Subcommands are imported when they are called, so that `--version` and a typing mistake cost nothing. Must
never hold logic of a node. Main thread.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

from clusterbus import __version__

_COMMANDS: Final = {
    "node": ("clusterbus.cli.node", "node"),
    "demo": ("clusterbus.cli.demo", "demo"),
    "simulate": ("clusterbus.cli.simulate", "simulate"),
}
"""Name of a subcommand -> module and click command."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-v", "--version", prog_name="clusterbus")
def main() -> None:
    """The Valkey/Redis cluster bus in Python, its I/O on Rust threads."""
