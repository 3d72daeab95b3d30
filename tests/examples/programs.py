"""Several processes of one example that form a cluster, and the lines that each has printed so far."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

from tests.peers.ports import free_port

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


class Program:
    """One process of an example that takes a port, a folder and seeds. `lines` grows while it runs."""

    def __init__(self, name: str, folder: Path, port: int, *seeds: str) -> None:
        folder.mkdir(exist_ok=True)
        self.port = port
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / f"{name}.py"), str(port), str(folder), *seeds],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def last(self) -> str:
        return self.lines[-1] if self.lines else ""

    @property
    def is_up(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """As a crash does."""
        self._process.kill()
        self._end()

    def freeze(self) -> None:
        """Stops it without its knowledge, as a machine that is suspended."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _end(self) -> None:
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def start(name: str, folder: Path, count: int) -> list[Program]:
    """So many programs; each joins those before it. One seed would not do: who has only heard of the others from a
    first one that is killed at once does not find them."""
    programs: list[Program] = []
    for number in range(count):
        seeds = (f"127.0.0.1:{program.port}" for program in programs)
        programs.append(Program(name, folder / str(number), free_port(), *seeds))
    return programs
