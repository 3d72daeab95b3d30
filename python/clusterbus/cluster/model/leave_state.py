"""What this node knows of leaving: its own, and that of others.

Owns the fields alone; the rules are in `membership/leaving`. Main thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

LEFT: Final = "left"
"""The reason in NodeLeft of a node that left by its own wish."""


class LeaveAnswer(Enum):
    """The last word of a node of our kind to this one, which leaves."""

    READY = auto()
    IS_OUR_REPLICA = auto()
    """It does not forget its primary."""
    DONE = auto()


@dataclass(slots=True)
class LeaveState:
    """`is_leaving`: this node is. `answers`: by node. `leavers`: the nodes that have told us to forget them, with the
    time and the ids of those who must hear it from us. `askers`: those who have asked whether we would, and when last.
    """

    is_leaving: bool = False
    answers: dict[str, LeaveAnswer] = field(default_factory=dict)
    askers: dict[str, int] = field(default_factory=dict)
    leavers: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)

    def reason_to_forget(self, node_id: str) -> str:
        """Why a node goes that a peer mentions as forgotten: that peer may have heard first that it leaves."""
        return LEFT if node_id in self.askers or node_id in self.leavers else "forgotten by a peer"
