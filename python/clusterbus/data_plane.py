"""`DataPlane`: the keys beside the bus, as a user of the package gives them.

Owns the contract between the bus, which knows who owns which slot, and whoever keeps the data: questions the
bus asks and facts it tells. This class is the empty data plane: no keys, nothing replicated. Every method is
called on the main thread and must return at once; what it raises is logged and goes no further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SLOTS: Final = 16_384


class DataPlane:
    """What the bus asks of and tells to the keeper of the data. Override what you have; the rest is empty.

    An object of it is passed as `Bus(data_plane=...)`. Slots are numbers 0 to 16,383, ids 40 hex characters,
    times unix milliseconds, keys bytes.
    """

    # ------------------------------------------------------------ questions

    def replication_offset(self) -> int | None:
        """How much of its shard's history this node holds, in bytes; replicas with more are elected first.

        Asked ten times a second and at an election. Never goes down while the node keeps its role. None when
        nothing is replicated: then a replica counts as being where its primary is.
        """
        return None

    def data_age_ms(self) -> int | None:
        """On a replica: milliseconds since its data was last known to be that of its primary; 0 while they are
        connected. None when replication does not tell: then the bus takes the time since it last heard of the
        primary. Decides with `cluster-replica-validity-factor` whether the replica may be elected.
        """
        return None

    def has_key(self, key: bytes) -> bool:
        """Whether a key is here. Asked while its slot is on the move, to choose between answer and ASK."""
        return False

    def count_keys(self) -> int:
        """How many keys there are (DBSIZE). While there are any, the node's slots cannot be flushed, nor a primary
        be reset or made a replica."""
        return sum(self.count_keys_in_slot(slot) for slot in range(SLOTS))

    def count_keys_in_slot(self, slot: int) -> int:
        """How many keys are in a slot (CLUSTER COUNTKEYSINSLOT)."""
        return 0

    def keys_in_slot(self, slot: int, count: int) -> Sequence[bytes]:
        """At most `count` keys of a slot, in any order (CLUSTER GETKEYSINSLOT)."""
        return ()

    # ------------------------------------------------------------ facts

    def slots_gained(self, slots: Sequence[int]) -> None:
        """This node owns these slots from now on. Ascending."""

    def slots_lost(self, slots: Sequence[int]) -> None:
        """These slots are no longer this node's. Ascending. Their keys, if any are left, are nobody's."""

    def role_changed(self, role: str, primary_id: str | None) -> None:
        """This node is "primary" or "replica" from now on; a replica's primary is named."""

    def writes_paused(self, until_ms: int) -> None:
        """Writes have to wait until that time, or `writes_resumed`: a manual failover waits for its replica to
        catch up. Called again when the time is moved."""

    def writes_resumed(self) -> None:
        """Writes may go on."""
