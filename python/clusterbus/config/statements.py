"""Lines of valkey.conf that are no directives: they may stand several times, and CONFIG does not know them.

Owns which there are and how many words each takes. Reads no file, holds no value. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clusterbus.errors import ConfigError

RENAME_COMMAND: Final = "rename-command"
ACCESS_RULES: Final = ("user", "aclfile")
"""What restricts clients in Valkey and does not here."""

_WORDS: Final = {RENAME_COMMAND: (2, 2), "user": (1, None), "loadmodule": (1, None)}
"""Name of a statement -> the least and the most words after it; None is any number."""

STATEMENTS: Final = ("include", *_WORDS)


def is_statement(name: str) -> bool:
    """Whether a line of this name is a statement. A name with a dot is a setting of a module."""
    return name in _WORDS or "." in name.strip(".")


def check(name: str, arguments: Sequence[str]) -> None:
    """Raises ConfigError, whose text is just the reason, if the statement has too few words or too many."""
    least, most = _WORDS.get(name, (1, None))
    if len(arguments) < least or (most is not None and len(arguments) > most):
        raise ConfigError("wrong number of arguments")
