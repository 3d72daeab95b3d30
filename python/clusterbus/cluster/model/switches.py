"""Parts of the protocol that tests turn off, with DEBUG on the client port (P31). Plain data. Main thread."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Switches:
    """`reconnects`: links that are down are dialled again. `pings_at_random`: each second one node of five drawn ones
    is pinged. Both are on unless a test turns them off."""

    reconnects: bool = True
    pings_at_random: bool = True
