"""Why the state of the cluster is fail (P42). Plain data. Any thread."""

from __future__ import annotations

from enum import Enum


class StateReason(Enum):
    """The value is the word in CLUSTER INFO."""

    NONE = "none"
    """The state is ok."""
    STARTED = "just-started"
    """This node has not run for long; others may have taken its slots."""
    SLOTS_NOT_SERVED = "slots-not-served"
    """A slot has no owner, or one that is FAIL, and `cluster-require-full-coverage` is on; or no slot has an owner."""
    MINORITY = "minority"
    """This node does not reach most primaries with slots."""
    REJOINED = "just-rejoined"
    """This node reaches most primaries again, but not for long."""
