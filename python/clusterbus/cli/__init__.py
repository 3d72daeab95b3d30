"""The program `clusterbus`, and how it finds its subcommands.

Its files in reading order:

    node        `clusterbus node`: one node, with valkey-server's arguments
    demo        `clusterbus demo`: six nodes lose one and get it back
    demo_nodes  the processes of the demo
    simulate    `clusterbus simulate`: whole clusters in virtual time

A subcommand is imported only when it is called, so that `--version` and a typing mistake cost nothing. Must never hold
logic of a node. Main thread.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

from clusterbus.version import __version__

_SUBCOMMANDS: Final = {
    "node": ("clusterbus.cli.node", "node"),
    "demo": ("clusterbus.cli.demo", "demo"),
    "simulate": ("clusterbus.cli.simulate", "simulate"),
}
"""Name of a subcommand -> its module, and the name of its function there."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _SUBCOMMANDS:
            return None
        module, name = _SUBCOMMANDS[cmd_name]
        subcommand: click.Command = getattr(importlib.import_module(module), name)
        return subcommand


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-v", "--version", prog_name="clusterbus")
def main() -> None:
    """The Valkey/Redis cluster bus in Python, its I/O on Rust threads."""
