"""Free pairs of ports for the servers of a test: a client port and the bus port 10,000 above it.

Both ports lie below the ephemeral range, so that no outgoing connection takes one between the check of the port and its
use. Two test runs at the same time may still pick the same pair: the server then fails to start, and its starter asks
for another pair.
"""

from __future__ import annotations

import random
import socket

FIRST_PORT = 11_000
LAST_PORT = 22_700
BUS_PORT_OFFSET = 10_000
MAX_TRIES = 500

_given: set[int] = set()
# Not seeded, because two test runs must not try the same ports in the same order.
_random = random.SystemRandom()


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A client port that is free now together with its bus port, and was not returned before in this run."""
    for _ in range(MAX_TRIES):
        port = _random.randint(FIRST_PORT, LAST_PORT)
        if port not in _given and _is_free(port) and _is_free(port + BUS_PORT_OFFSET):
            _given.update((port, port + BUS_PORT_OFFSET))
            return port
    raise RuntimeError(f"no free pair of ports found in {MAX_TRIES} tries")
