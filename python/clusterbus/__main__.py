"""The program `clusterbus`, also as `python -m clusterbus`.

Owns what a node does about signals until its modules are loaded and `runtime/process` takes over: nothing is open yet,
so it ends. Imports nothing of the package before that. Main thread.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def run() -> None:
    """Runs the program with the arguments of the process."""
    if sys.argv[1:2] == ["node"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)
    try:
        from clusterbus.cli import main

        status = main(sys.argv[1:])
    except KeyboardInterrupt:  # while modules load; a subcommand that runs says more itself
        status = 128 + signal.SIGINT
    sys.exit(status)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)  # an exception would be raised in the middle of an import, which may swallow it


if __name__ == "__main__":
    run()
