"""The node's log: Valkey's levels and line format on top of Python's logging.

Owns the logger `clusterbus` and the format of its lines. Must never let a peer's text break a line in two. A program
that embeds a node keeps its own handlers: only `clusterbus node` installs one, by `open_log`. Main thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from logging.handlers import WatchedFileHandler
from typing import Final, TextIO

from clusterbus.config.log_levels import LEVEL_NUMBERS
from clusterbus.errors import ConfigError

# The mark of each level in a line, the most important level first.
_MARKS: Final = (("warning", "#"), ("notice", "*"), ("verbose", "-"))
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CONTROL_TO_VISIBLE: Final = {code: f"\\x{code:02x}" for code in (*range(32), 127)}

logger: Final = logging.getLogger("clusterbus")


class ValkeyFormatter(logging.Formatter):
    """Lines of the form `pid:M 23 Nov 2026 08:26:09.786 * text`, which tools that read Valkey's log expect. The letter
    is S on a replica, M otherwise (`serverLogRaw`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_replica: Callable[[], bool] = lambda: False
        """Asked for each line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback, if there is one, follows below it."""
        moment = time.localtime(record.created)
        stamp = (
            f"{moment.tm_mday:02d} {_MONTHS[moment.tm_mon - 1]} {moment.tm_year} "
            f"{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}.{int(record.msecs):03d}"
        )
        mark = next((mark for level, mark in _MARKS if record.levelno >= LEVEL_NUMBERS[level]), ".")
        role = "S" if self.is_replica() else "M"
        line = f"{os.getpid()}:{role} {stamp} {mark} {record.getMessage().translate(_CONTROL_TO_VISIBLE)}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _LogFile(WatchedFileHandler):
    """A file. A line that cannot be written, because the disk is full, is lost; what is logged must not be in the way
    of what is done. The same holds for a file that was moved away and cannot be opened anew.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line. Whatever the disk says, nothing is raised."""
        try:
            super().emit(record)
        except OSError:  # while it closed the old file or opened the new one
            stream, self.stream = self.stream, None
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what is still buffered
            super().close()


class _Output(logging.StreamHandler[TextIO]):
    """Standard output. When nobody reads it any more, as after `| head`, the log goes nowhere, and the node on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.stream.fileno())  # also what Python flushes at its end then goes there
            os.close(nothing)
        elif not isinstance(error, OSError):
            super().handleError(record)


def open_log(level_name: str, path: str, formatter: logging.Formatter) -> logging.Handler:
    """Sends the log to the file `path`, or to standard output if `path` is empty; returns the handler.

    Raises ConfigError if the file cannot be opened.
    """
    handler: logging.Handler
    if path:
        try:
            handler = _LogFile(path)
        except OSError as error:
            raise ConfigError(f"logfile: can't open the log file '{path}': {error.strerror}") from error
    else:
        handler = _Output(sys.stdout)
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.propagate = False
    set_level(level_name)
    return handler


def close_log(handler: logging.Handler) -> None:
    """Removes the handler that `open_log` installed."""
    logger.removeHandler(handler)
    logger.propagate = True
    handler.close()


def write_line(level: str, text: str, error: BaseException | None = None) -> None:
    """Writes a line of a member (`member.ports.Log`) to the logger. With `error` it is logged as an error with its
    traceback.
    """
    if error is not None:
        logger.error("%s", text, exc_info=error)
    else:
        logger.log(LEVEL_NUMBERS[level], "%s", text)


def set_level(level_name: str) -> None:
    """Sets the level of the logger; `level_name` is a value of the directive loglevel."""
    logger.setLevel(LEVEL_NUMBERS[level_name])
