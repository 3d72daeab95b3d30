"""Makes the faults of a machine that a server process runs on: a small disk, slow syncs, limits, stops.

Owns what has to be there before the process starts (a mount namespace with a disk of its own, a library that is loaded
before libc) and the switches that turn each fault on and off while it runs. Nothing outside the process is touched.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.server import Server, Surroundings, missing

DISK_BYTES = 512 << 10
SLOW_SYNC_S = 2.0
TRIES = 20

SLOW_SYNC = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

/* While the file named by SLOW_SYNC_SWITCH exists, every fsync takes SLOW_SYNC_US longer. */
int fsync(int descriptor) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    const char *path = getenv("SLOW_SYNC_SWITCH");
    if (path && access(path, F_OK) == 0) usleep(atoi(getenv("SLOW_SYNC_US")));
    return real(descriptor);
}
"""


def needs(program: str, package: str) -> str:
    """The path of a program. Where it is missing the test is skipped, or fails under CI."""
    path = shutil.which(program)
    if path is None:
        missing(f"{package} (Debian)")
    return path


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for namespaces of mounts and networks")


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr or done.stdout}"
    return done.stdout


class Machine:
    """What one server process runs on: a disk of DISK_BYTES in a mount namespace of its own, and syncs that can be
    slow. `server` starts on it.
    """

    def __init__(self, folder: Path) -> None:
        needs_root()
        unshare, compiler = needs("unshare", "util-linux"), needs("gcc", "gcc")
        self.disk = folder / "disk"
        self.disk.mkdir(parents=True)
        self._switch = folder / "slow-sync"
        source, library = folder / "slow_sync.c", folder / "slow_sync.so"
        source.write_text(SLOW_SYNC)
        run(compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl")
        mount = f'mount -t tmpfs -o size={DISK_BYTES} tmpfs "$0" && exec "$@"'
        self.surroundings = Surroundings(
            command=(unshare, "--mount", "--propagation", "private", "sh", "-c", mount, str(self.disk)),
            environment={
                "LD_PRELOAD": str(library),
                "SLOW_SYNC_SWITCH": str(self._switch),
                "SLOW_SYNC_US": str(int(SLOW_SYNC_S * 1_000_000)),
            },
        )

    def inside(self, server: Server) -> Path:
        """The disk as it is seen from here, while the process lives."""
        return Path(f"/proc/{server.pid}/root{self.disk}")

    @contextlib.contextmanager
    def full(self, server: Server) -> Iterator[None]:
        """Not a byte is left on the disk."""
        ballast = self.inside(server) / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        try:
            yield
        finally:
            ballast.unlink()

    @contextlib.contextmanager
    def read_only(self, server: Server) -> Iterator[None]:
        enter = (needs("nsenter", "util-linux"), "--target", str(server.pid), "--mount")
        # A second mount over the first, which cannot become read-only while files in it are open for writing. Nor can
        # the second, if the process opens one between the two calls.
        for _ in range(TRIES):
            run(*enter, "mount", "--bind", str(self.disk), str(self.disk))
            words = [*enter, "mount", "-o", "remount,bind,ro", str(self.disk)]
            if subprocess.run(words, capture_output=True, check=False).returncode == 0:
                break
            run(*enter, "umount", "--lazy", str(self.disk))
        else:
            raise AssertionError("the disk does not become read-only")
        try:
            yield
        finally:
            run(*enter, "umount", "--lazy", str(self.disk))

    @contextlib.contextmanager
    def slow_sync(self) -> Iterator[None]:
        self._switch.touch()
        try:
            yield
        finally:
            self._switch.unlink()


def open_files(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


@contextlib.contextmanager
def limited(server: Server, which: int, limit: int) -> Iterator[None]:
    """Gives a running process a lower limit, and takes it back. `which` is one of the RLIMIT numbers."""
    soft, hard = resource.prlimit(server.pid, which)
    resource.prlimit(server.pid, which, (limit, hard))
    try:
        yield
    finally:
        resource.prlimit(server.pid, which, (soft, hard))


def memory_bytes(server: Server, name: str) -> int:
    """A line of /proc/PID/status that tells kilobytes, such as VmRSS or VmSize."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024
