"""Free port pairs for servers of a test: a client port and the bus port 10,000 above it.

Both ports stay below the ephemeral range, so no outgoing connection of another process takes one between
the test of the port and its use. Two test runs at once may still pick the same: the server then fails to
start and its starter asks for another pair.
"""

from __future__ import annotations

import random
import socket

FIRST_PORT = 11_000
LAST_PORT = 22_700
BUS_PORT_OFFSET = 10_000
MAX_TRIES = 500

_given: set[int] = set()
# Not seeded: two test runs must not walk through the same ports.
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
    """A client port such that it and its bus port are free now and were not given out before in this run."""
    for _ in range(MAX_TRIES):
        port = _random.randint(FIRST_PORT, LAST_PORT)
        if port not in _given and _is_free(port) and _is_free(port + BUS_PORT_OFFSET):
            _given.update((port, port + BUS_PORT_OFFSET))
            return port
    raise RuntimeError(f"no free pair of ports found in {MAX_TRIES} tries")
