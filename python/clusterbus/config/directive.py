"""`Directive`: one row of the table of directives.

Pure data: reads no file, holds no value. Any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from clusterbus.config.kinds import Kind


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive. `default` is text that `kind` parses like any other. `mutable`: CONFIG SET may change it.
    `secret`: errors do not show its value. `hidden`: CONFIG GET does not show it either. `without_effect`: the value is
    checked, kept and shown, but nothing reads it, and `doc` says why.
    """

    name: str
    kind: Kind
    default: str
    doc: str
    mutable: bool = False
    aliases: tuple[str, ...] = ()
    secret: bool = False
    without_effect: bool = False
    hidden: bool = False

    @property
    def attribute(self) -> str:
        """The name of the attribute of `Config`."""
        return self.name.replace("-", "_")

    @property
    def default_text(self) -> str:
        """The default as CONFIG GET shows it."""
        words = (self.default.split() or [""]) if self.kind.several else [self.default]
        return self.kind.format(self.kind.parse(words))
