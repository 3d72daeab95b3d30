"""How the process of a node stands to who started it: in the background (`daemonize`), or told on (`supervised`).

Owns the fork, the session, and what systemd and upstart are told. Knows nothing of a node but a function that runs it.
Runs before any thread exists; `tell_ready` on the main thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

_READY: Final = b"ready"
_EXIT_NOT_STARTED: Final = 1


class Supervisor(Enum):
    """Who waits for the node to say that it serves."""

    NONE = auto()
    SYSTEMD = auto()
    UPSTART = auto()


def supervisor(directive: str) -> Supervisor:
    """Who it is, by the directive `supervised` and the environment. Without the variable that the supervisor sets for
    its processes there is none.
    """
    if directive in ("systemd", "auto") and os.environ.get("NOTIFY_SOCKET"):
        return Supervisor.SYSTEMD
    if directive in ("upstart", "auto") and os.environ.get("UPSTART_JOB"):
        return Supervisor.UPSTART
    return Supervisor.NONE


def tell_ready(who: Supervisor) -> None:
    """Tells the supervisor that the node serves (sd_notify(3); upstart's `expect stop`). Never fails: a supervisor that
    does not listen is its own affair.
    """
    if who is Supervisor.UPSTART:
        os.kill(os.getpid(), signal.SIGSTOP)
    if who is Supervisor.SYSTEMD:
        path = os.environ["NOTIFY_SOCKET"]
        address = "\0" + path[1:] if path.startswith("@") else path
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1\nSTATUS=Ready to accept connections", address)


def run_detached(run: Callable[[Callable[[], None]], int], hint: str) -> int:
    """Runs `run` in a child process with a session of its own; returns in both processes.

    `run` gets a function to call when the node serves. Only then the parent returns, with 0; if the child ends before,
    the parent says so with `hint`, and returns its exit status. Until then the child keeps the terminal, so that what
    goes wrong can be read there; from then on it reads nothing and its standard output is gone. In the child this
    returns what `run` returned.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    news, news_end = os.pipe()
    child = os.fork()
    if child:
        os.close(news_end)
        with open(news, "rb") as pipe:
            if pipe.read():
                return 0
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            print(f"clusterbus: the node did not start; {hint}", file=sys.stderr)
        return code if code >= 0 else _EXIT_NOT_STARTED
    os.close(news)
    os.setsid()

    def leave_terminal() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        os.close(nothing)
        os.write(news_end, _READY)
        os.close(news_end)

    return run(leave_terminal)
