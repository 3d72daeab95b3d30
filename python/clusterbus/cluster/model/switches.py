"""Parts of the protocol that tests turn off, with DEBUG on the client port (P31) or `clusterbus.testing`.

Plain data. Main thread.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Switches:
    """`reconnects`: links that are down are dialled again. `pings_at_random`: each second one node of five drawn ones
    is pinged. `waits_after_start`: a primary holds the cluster failed for its first two seconds. All are on unless a
    test turns them off."""

    reconnects: bool = True
    pings_at_random: bool = True
    waits_after_start: bool = True
