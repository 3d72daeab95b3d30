"""The levels of the log: their names in valkey.conf, and their numbers in Python's `logging`.

Owns the table alone; `runtime.log` does the logging. Any thread.
"""

from __future__ import annotations

import logging
from typing import Final

VERBOSE: Final = 15
logging.addLevelName(VERBOSE, "VERBOSE")

LEVEL_NUMBERS: Final = {
    "debug": logging.DEBUG,
    "verbose": VERBOSE,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "nothing": logging.CRITICAL + 1,
}
