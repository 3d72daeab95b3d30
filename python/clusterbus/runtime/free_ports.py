"""Free ports, and the pair of a client port and a bus port that `port 0` asks for.

Owns the sockets that keep a pair for whoever is about to listen on it: they are bound and do not listen, so another
socket with SO_REUSEADDR may listen there, while no outgoing connection and nobody who asks for a free port gets it
(Linux, `inet_csk_bind_conflict`). Every search has an end. Any thread.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from clusterbus.config.address import BindAddress
from clusterbus.config.config import Config
from clusterbus.errors import ConfigError
from clusterbus.wire import BUS_PORT_OFFSET, PORT_MAX

PAIR_TRIES: Final = 100
"""So many ports are drawn for one pair. A draw fails only if something else is at the other port of its pair."""
OPENING_TRIES: Final = 5
"""So many pairs a node that opens tries, if somebody listens on one after all before it does."""
LOOPBACK: Final = (BindAddress("127.0.0.1", optional=False, wildcard=False),)


class PortPair:
    """A client port and its bus port that nobody else gets by asking for a free one, until `close`."""

    def __init__(self, port: int, bus_port: int, sockets: Sequence[socket.socket]) -> None:
        self.port = port
        self.bus_port = bus_port
        self._sockets = sockets

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets the ports go. Idempotent. Sockets that listen on them by now are not touched."""
        for held in self._sockets:
            held.close()


def reserve_pair(addresses: Sequence[BindAddress] = LOOPBACK, *, distance: int = BUS_PORT_OFFSET) -> PortPair:
    """Keeps two ports that are free at every address, the bus port `distance` above the client port; a distance of 0
    keeps one port.

    Raises ConfigError if PAIR_TRIES draws found none. An address that cannot be listened on at all is left out: whoever
    listens there meets the error.
    """
    for _ in range(PAIR_TRIES):
        with contextlib.ExitStack() as undo:
            first, here = _drawn(addresses, undo)
            drawn = first.getsockname()[1]
            port = drawn if drawn + distance <= PORT_MAX else drawn - distance
            sockets = [first]
            try:
                for address in here:
                    for number in {port, port + distance} - ({drawn} if address is here[0] else set()):
                        sockets.append(undo.enter_context(_bound(address, number)))
            except OSError:
                continue
            undo.pop_all()
            return PortPair(port, port + distance, sockets)
    raise ConfigError(f"no free pair of ports found in {PAIR_TRIES} tries")


def _drawn(addresses: Sequence[BindAddress], undo: contextlib.ExitStack) -> tuple[socket.socket, list[BindAddress]]:
    """A socket on a free port of the first address that this machine has, and the addresses that it has."""
    drawn: socket.socket | None = None
    here = []
    for address in addresses:
        with contextlib.suppress(OSError):
            probe = _bound(address, 0)
            here.append(address)
            if drawn is None:
                drawn = undo.enter_context(probe)
            else:
                probe.close()
    if drawn is None:
        raise ConfigError("port 0: no address of 'bind' can be listened on")
    return drawn, here


def _bound(address: BindAddress, port: int) -> socket.socket:
    held = socket.socket(socket.AF_INET6 if ":" in address.ip else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if held.family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        held.bind((address.ip, port))
        # Only now: of two sockets that have it and do not listen, both are bound to the same port.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except BaseException:
        held.close()
        raise
    return held


def openings(config: Config) -> Iterator[tuple[contextlib.AbstractContextManager[object], bool]]:
    """The attempts of a node to open: for each, what to hold meanwhile, and whether it is the last one.

    There is one attempt, or with `port 0` OPENING_TRIES, each with a pair of ports of its own, which `config` then has.
    Another attempt is for a PortInUseError only. A node that opens again first tries the ports that it had.
    """
    if not config.asks_for_free_port:
        yield contextlib.nullcontext(), True
        return
    if config.base_port:
        yield contextlib.nullcontext(), False
    for left in range(OPENING_TRIES, 0, -1):
        pair = reserve_pair(config.bind_addresses, distance=0 if config.cluster_port else BUS_PORT_OFFSET)
        config.take_port(pair.port)
        yield pair, left == 1
