"""`DataPlane`: the keys that a user of the package keeps beside the bus.

Owns the contract between the bus, which knows the owner of every slot, and the code that keeps the data: questions
that the bus asks, and facts that it reports. This class itself is the empty data plane: no keys, no replication. Every
method is called on the main thread and must return at once. An exception out of it is logged and never ends the node;
a client whose request needed the answer gets an error reply.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clusterbus.arguments import wrong_type
from clusterbus.wire import CLUSTER_SLOTS


class DataPlane:
    """What the bus asks the code that keeps the data, and what it reports to it. Override the methods you need.

    Pass an instance as `Bus(data_plane=...)`. Slots are numbers 0 to 16,383, ids 40 hex characters, times unix
    milliseconds, keys bytes.
    """

    # ------------------------------------------------------------ questions

    def replication_offset(self) -> int | None:
        """How much of its shard's history this node holds, in bytes. Replicas that hold more are elected first.

        Asked ten times a second and at an election. It must not go down while the node keeps its role. None or 0 means
        that this node holds nothing of it: such a replica is never elected, unless `cluster-replica-no-failover no`
        declares that the shard has no data. A primary that has keys says more than 1, which is the offset of such
        shards.
        """
        return None

    def data_age_ms(self) -> int | None:
        """On a replica: milliseconds since its data was last known to equal its primary's; 0 while they are connected.

        None means that replication cannot tell; the bus then uses the time since it last heard from the primary. With
        `cluster-replica-validity-factor` this age decides whether the replica may be elected.
        """
        return None

    def has_key(self, key: bytes) -> bool:
        """Whether a key is here. Asked while its slot moves between nodes, to choose between an answer and ASK."""
        return False

    def key_version(self, key: bytes) -> int | None:
        """A number that is another one after each change of the key, also after it was deleted, expired or set anew.

        It may change more often than the key does. WATCH remembers it, and EXEC compares. None means that this data
        plane does not say when keys change; WATCH is then refused.
        """
        return None

    def key_len_bytes(self, key: bytes) -> int | None:
        """How many bytes of memory a key takes with its value (MEMORY USAGE); None if it is not here, or not known."""
        return None

    def count_keys(self) -> int:
        """How many keys this node has (DBSIZE). While it has any, CLUSTER FLUSHSLOTS is refused, and so are CLUSTER
        RESET and CLUSTER REPLICATE on a primary."""
        if type(self).count_keys_in_slot is DataPlane.count_keys_in_slot:
            return 0
        return sum(self.count_keys_in_slot(slot) for slot in range(CLUSTER_SLOTS))

    def count_keys_in_slot(self, slot: int) -> int:
        """How many keys are in a slot (CLUSTER COUNTKEYSINSLOT)."""
        return 0

    def keys_in_slot(self, slot: int, count: int) -> Sequence[bytes]:
        """At most `count` keys of a slot, in any order (CLUSTER GETKEYSINSLOT)."""
        return ()

    # ------------------------------------------------------------ orders

    def flush_slot(self, slot: int) -> bool:
        """Deletes all keys of a slot, and returns True (CLUSTER FLUSHSLOT). False, with every key left as it was, means
        that this data plane cannot do that; the operator is told so."""
        return self.count_keys_in_slot(slot) == 0

    def populate(self, items: Iterable[tuple[bytes, bytes]]) -> bool:
        """Sets these keys to these values, except keys that are here already, and returns True (DEBUG POPULATE).
        False, with nothing set, means that this data plane takes none from the bus."""
        return False

    # ------------------------------------------------------------ facts

    def slots_gained(self, slots: Sequence[int]) -> None:
        """This node owns these slots from now on. Ascending."""

    def slots_lost(self, slots: Sequence[int]) -> None:
        """This node no longer owns these slots. Ascending. Keys still left in them belong to no node."""

    def slot_ordered(self, slot: int, order: str, node_id: str | None) -> None:
        """An operator's SETSLOT was carried out, on this node or on the primary of this replica.

        `order` is "migrating", "importing", "stable" or "node"; `node_id` the node at the other end, None for "stable".
        """

    def role_changed(self, role: str, primary_id: str | None) -> None:
        """This node is "primary" or "replica" from now on. `primary_id` is the primary of a replica, else None."""

    def data_dropped(self) -> None:
        """This replica left its shard, by CLUSTER REPLICATE NO ONE or RESET. All keys must go: they belong to a shard
        that it is no part of, and a primary with keys cannot be made a replica again."""

    def writes_paused(self, until_ms: int) -> None:
        """Writes must wait until that time or until `writes_resumed`: in a manual failover the replica has to catch up
        first. Called again when the time changes."""

    def writes_resumed(self) -> None:
        """Writes may go on."""


def checked_data_plane(value: object) -> DataPlane | None:
    """A data plane, or None. Raises TypeError for an object that lacks methods of `DataPlane`, and names these."""
    if value is None or (isinstance(value, DataPlane) and not isinstance(value, type)):
        return value
    if isinstance(value, type):
        raise wrong_type("data_plane", "an instance, not a class", value)
    names = [name for name in vars(DataPlane) if not name.startswith("_")]
    missing = [name for name in names if not callable(getattr(value, name, None))]
    if missing:
        raise TypeError(
            f"data_plane: {type(value).__name__} lacks {', '.join(missing)}; inherit from clusterbus.DataPlane"
        )
    plane: DataPlane = value  # type: ignore[assignment]
    return plane
