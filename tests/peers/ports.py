"""Free pairs of ports for the servers of a test: a client port and the bus port 10,000 above it.

Every process that runs tests takes its ports from a lane of its own, so tests that run side by side, in one session
or in several, never pick the same. A lane is held by an abstract socket, whose name the kernel gives free when the
process ends. All ports stay below the ephemeral range, so no outgoing connection takes one between the test of the
port and its use; a server of somebody else still may, and then its starter asks for another pair.
"""

from __future__ import annotations

import socket
from functools import cache

FIRST_PORT = 11_000
LANE_PORTS = 250
LANES = 40
LAST_PORT = FIRST_PORT + LANES * LANE_PORTS - 1
BUS_PORT_OFFSET = 10_000


class Lane:
    """LANE_PORTS client ports, and their bus ports, that no other process gives out while this one lives."""

    def __init__(self) -> None:
        self._claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        number = next((number for number in range(LANES) if self._claims(number)), None)
        if number is None:
            self._claim.close()
            raise RuntimeError(f"{LANES} processes run tests already")
        self.ports = range(FIRST_PORT + number * LANE_PORTS, FIRST_PORT + (number + 1) * LANE_PORTS)
        self._given = 0

    def _claims(self, number: int) -> bool:
        try:
            self._claim.bind(f"\0clusterbus-tests-ports-{number}")
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._claim.close()

    def free_port(self) -> int:
        """The next port of the lane that is free, as is its bus port; one comes again when all others came."""
        for _ in self.ports:
            port = self.ports[self._given % LANE_PORTS]
            self._given += 1
            if _is_free(port) and _is_free(port + BUS_PORT_OFFSET):
                return port
        raise RuntimeError(f"no free pair of ports among {LANE_PORTS}")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@cache
def _lane() -> Lane:
    return Lane()


def free_port() -> int:
    """A client port such that it and its bus port are free, and given to nobody else."""
    return _lane().free_port()
