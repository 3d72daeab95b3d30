"""A network of namespaces for the servers of a test: each has an address of its own, and packets can be dropped.

Owns the namespaces, one for each server and one for the switch between them, and deletes them at the end, with all that
is in them. The network of the machine itself is left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

from tests.interop.faults.machine import needs, needs_root, run
from tests.peers.server import Surroundings

CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class Network:
    """`count` hosts, with addresses 10.77.0.1 and up, joined by a switch."""

    def __init__(self, count: int) -> None:
        needs_root()
        self._ip, self._nft = needs("ip", "iproute2"), needs("nft", "nftables")
        self._prefix = f"cbfault{os.getpid()}"
        self._made: list[str] = []
        try:
            self._switch = self._namespace("s")
            self._in(self._switch, "link", "add", "br0", "type", "bridge")
            self._in(self._switch, "link", "set", "br0", "up")
            self._hosts = [self._host(number) for number in range(count)]
        except BaseException:
            self.close()
            raise

    def _namespace(self, suffix: str) -> str:
        name = f"{self._prefix}{suffix}"
        run(self._ip, "netns", "add", name)
        self._made.append(name)
        self._in(name, "link", "set", "lo", "up")
        return name

    def _in(self, namespace: str, *words: str) -> None:
        run(self._ip, "-n", namespace, *words)

    def _host(self, number: int) -> str:
        name, port = self._namespace(str(number)), f"p{number}"
        pair = ("link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._switch)
        self._in(name, *pair)
        self._in(self._switch, "link", "set", port, "master", "br0", "up")
        self._in(name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
        self._in(name, "link", "set", "eth0", "up")
        return name

    @staticmethod
    def address(number: int) -> str:
        return f"10.77.0.{number + 1}"

    def surroundings(self, number: int) -> Surroundings:
        """Those of a server on one of the hosts."""
        name = self._hosts[number]
        command = (self._ip, "netns", "exec", name)
        return Surroundings(command=command, ip=self.address(number), entered=lambda: entered(name))

    @contextlib.contextmanager
    def cut(self, *ways: tuple[int, int]) -> Iterator[None]:
        """Packets from the first host of each pair never come to the second. No one is told."""
        receivers = {receiver for _, receiver in ways}
        with contextlib.ExitStack() as undo:
            for receiver in receivers:
                filters = (self._ip, "netns", "exec", self._hosts[receiver], self._nft)
                run(*filters, "add", "table", "ip", "faults")
                undo.callback(run, *filters, "delete", "table", "ip", "faults")
                run(*filters, "add", "chain", "ip", "faults", "in", "{ type filter hook input priority 0 ; }")
                for sender in (sender for sender, host in ways if host == receiver):
                    run(*filters, "add", "rule", "ip", "faults", "in", "ip", "saddr", self.address(sender), "drop")
            yield

    def close(self) -> None:
        while self._made:
            run(self._ip, "netns", "delete", self._made.pop())


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """What this thread opens inside is in a network namespace."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{name}") as there:
        _set(there.fileno())
        try:
            yield
        finally:
            _set(home.fileno())


def _set(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
