"""Writes `python/clusterbus/config/typed.py`: the directives as types for `Bus(...)`, from the table of directives.

    python scripts/typed_directives.py            write the file
    python scripts/typed_directives.py --check    end with 1 if the file is not what would be written

A directive without effect is left out: a program that gives one is mistaken, while a valkey.conf may well hold it.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from clusterbus.config import WITH_EFFECT, Directive

TARGET = Path(__file__).parent.parent / "python" / "clusterbus" / "config" / "typed.py"
LINE_LEN_MAX = 120

OPENING = '''\
"""The directives as types, for checkers and editors: the keywords of `Bus` and `BlockingBus`.

Made by `scripts/typed_directives.py` from the table in `directives`; `make format` makes it again, and `make lint`
fails if it is not what the table says. Must never be edited by hand. Pure types. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Literal, TypedDict


class Directives(TypedDict, total=False):
    """The keywords of `Bus` and `BlockingBus`: valkey.conf's directives with underscores, and their values in Python.

    None leaves a directive as it is. Those that do nothing here are missing; a configuration file may hold them.
    """
'''


def source() -> str:
    """The text of the file, formatted."""
    text = OPENING + "".join(map(entry, WITH_EFFECT))
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def entry(directive: Directive) -> str:
    """One key, and its help below it."""
    annotation = directive.kind.annotation()
    bounds = directive.kind.syntax() if annotation == "int" else "number"
    facts = [] if bounds == "number" else [bounds]
    facts += [f"default {directive.default_text}"] if directive.default_text else []
    text = f"{directive.doc} ({', '.join(facts)})" if facts else directive.doc
    lines = textwrap.wrap(f'"""{text}"""', LINE_LEN_MAX - 4)
    return f"\n    {directive.attribute}: {annotation} | None\n" + textwrap.indent("\n".join(lines), "    ") + "\n"


def main() -> int:
    """Writes or checks the file; returns the exit status."""
    text = source()
    if "--check" in sys.argv[1:]:
        if TARGET.exists() and TARGET.read_text() == text:
            return 0
        print(f"{TARGET.name} is not what scripts/typed_directives.py makes of the table: make format")
        return 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
