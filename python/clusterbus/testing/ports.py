"""Free ports on loopback for the servers of a test.

Must never give out a port twice in one process. A port is free when it is given; who needs certainty opens a bus with
`port=0`, or a `cluster`, which keeps its ports. Any thread.
"""

from __future__ import annotations

from contextlib import ExitStack

from clusterbus.errors import StateError
from clusterbus.runtime.free_ports import PortPair, reserve_pair
from clusterbus.wire import BUS_PORT_OFFSET

GIVEN_TRIES = 1000
_given: set[int] = set()


def free_port_pair() -> int:
    """A client port such that it and the bus port 10,000 above it are free on 127.0.0.1.

    Raises ConfigError if there is none.
    """
    return _new(BUS_PORT_OFFSET).port


def free_ports(count: int) -> list[int]:
    """So many different ports that are free on 127.0.0.1. Raises StateError for a negative count, ConfigError if there
    are not so many.
    """
    if count < 0:
        raise StateError(f"count is {count}, and cannot be negative")
    return [_new(0).port for _ in range(count)]


def _new(distance: int) -> PortPair:
    """A pair of which no port was given out before. Those that were are kept meanwhile, so each draw is another one."""
    with ExitStack() as kept:
        for _ in range(GIVEN_TRIES):
            pair = kept.enter_context(reserve_pair(distance=distance))
            numbers = {pair.port, pair.bus_port}
            if not numbers & _given:
                _given.update(numbers)
                return pair
    raise StateError(f"no port was free in {GIVEN_TRIES} tries that was not given out before")
