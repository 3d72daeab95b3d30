"""`Finding`: one thing that does not fit together in a cluster, who says so, and what to do about it.

Owns the kinds and how grave each is. Must never hold more than data: the checks are in `findings`. Any thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How grave a finding is. A NOTE says what could not be seen or is worth knowing, and leaves a cluster sound."""

    FAULT = "fault"
    WARNING = "warning"
    NOTE = "note"


class Kind(Enum):
    """What is wrong. The value is the code in `--json` and in the docs."""

    PIECES = "pieces"
    PHANTOM_PRIMARY = "phantom-primary"
    TWO_PRIMARIES = "two-primaries"
    FAILED_BUT_ANSWERS = "failed-but-answers"
    FAILED_NODE = "failed-node"
    UNOWNED_SLOTS = "unowned-slots"
    STATE_FAIL = "state-fail"
    STALE_ADDRESS = "stale-address"
    ONE_SIDED_LINK = "one-sided-link"
    OPEN_SLOTS = "open-slots"
    VIEWS_DIFFER = "views-differ"
    NOT_KNOWN = "not-known"
    EPOCH_SHARED = "epoch-shared"
    HANDSHAKE = "handshake"
    TIMEOUTS_DIFFER = "timeouts-differ"
    VERSIONS_DIFFER = "versions-differ"
    NOT_ASKED = "not-asked"
    OFF_THE_BUS = "off-the-bus"
    SILENT_MEMBER = "silent-member"
    SETTINGS_DIFFER = "settings-differ"
    REFUSED = "refused"
    NO_SLOTS = "no-slots"
    NOT_WHOLE = "not-whole"


SEVERITIES = {
    Kind.PIECES: Severity.FAULT,
    Kind.PHANTOM_PRIMARY: Severity.FAULT,
    Kind.TWO_PRIMARIES: Severity.FAULT,
    Kind.FAILED_BUT_ANSWERS: Severity.FAULT,
    Kind.FAILED_NODE: Severity.FAULT,
    Kind.UNOWNED_SLOTS: Severity.FAULT,
    Kind.STATE_FAIL: Severity.FAULT,
    Kind.STALE_ADDRESS: Severity.FAULT,
    Kind.ONE_SIDED_LINK: Severity.FAULT,
    Kind.OPEN_SLOTS: Severity.WARNING,
    Kind.VIEWS_DIFFER: Severity.WARNING,
    Kind.NOT_KNOWN: Severity.WARNING,
    Kind.EPOCH_SHARED: Severity.WARNING,
    Kind.HANDSHAKE: Severity.WARNING,
    Kind.TIMEOUTS_DIFFER: Severity.WARNING,
    Kind.VERSIONS_DIFFER: Severity.WARNING,
    Kind.NOT_ASKED: Severity.WARNING,
    Kind.OFF_THE_BUS: Severity.WARNING,
    Kind.SILENT_MEMBER: Severity.NOTE,
    Kind.SETTINGS_DIFFER: Severity.NOTE,
    Kind.REFUSED: Severity.NOTE,
    Kind.NO_SLOTS: Severity.NOTE,
    Kind.NOT_WHOLE: Severity.NOTE,
}


@dataclass(frozen=True)
class Finding:
    """`what` is one line. `said_by` are the addresses of the nodes that say so, `node_ids` the nodes that it is about.

    `cure` is what to do about it: a command, or where to look. `subject` tells two findings of a kind apart.
    """

    kind: Kind
    subject: str
    what: str
    said_by: tuple[str, ...] = ()
    cure: str = ""
    node_ids: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        return SEVERITIES[self.kind]

    def is_like(self, other: Finding) -> bool:
        """Whether it is the same trouble at another time: the nodes of which it is true may have changed a little."""
        if self.kind is not other.kind:
            return False
        if self.subject == other.subject or not (self.node_ids or other.node_ids):
            return True
        return bool({*self.node_ids} & {*other.node_ids})
