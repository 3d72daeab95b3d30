"""Do no harm: a node without data never takes the place of one with data (P1, P2, P4).

Owns the question whether this node may follow or replace a primary, and the offset that it announces. A node is empty
if its data plane tells no replication offset, or tells 0. The offsets of others prove nothing: a primary that was
loaded from a file may say 0 and hold a million keys. So an empty node stands back, unless its operator has said
`cluster-replica-no-failover no`, which declares its shard one of empty nodes. Such nodes announce an offset of 1, and
whoever announces more, or nothing yet, is not of them. Changes no role; main thread. Beyond the source, which lets an
empty replica be elected.
"""

from __future__ import annotations

from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.model.node import Node
from clusterbus.errors import StateError

ALWAYS: Final = "no"
"""The value of cluster-replica-no-failover by which an operator lets an empty replica be elected too."""
NEVER: Final = "yes"
IF_EMPTY: Final = "if-empty"


def is_empty(core: Core) -> bool:
    """Whether this node has no data of its shard, or cannot tell."""
    return not core.data_plane.replication_offset()


def may_stand(core: Core, primary: Node) -> bool:
    """Whether this replica may be elected in the place of its failed primary, as far as data and directives go."""
    return core.config.cluster_replica_no_failover != NEVER and may_follow(core, primary)


def may_follow(core: Core, primary: Node) -> bool:
    """Whether this node may become the replica of a primary unasked, or the primary in its place."""
    return not is_empty(core) or _is_of_empty_shard(core, primary)


def may_take_unasked(core: Core) -> bool:
    """Whether this node may take a slot that another one has given up, without its operator's word for that slot."""
    return not is_empty(core) or core.config.cluster_replica_no_failover == ALWAYS


def has_keys(core: Core) -> bool:
    """Whether this node has data: a history of its shard, or keys. A data plane that fails may have some."""
    try:
        return not is_empty(core) or core.data_plane.count_keys() > 0
    except StateError:
        return True


def owner_has_data(owner: Node) -> bool | None:
    """Whether an owner of slots has data, as far as we know: its own word, or an offset that no empty node has. None if
    nobody has said. Then it may: the offset of a server that was loaded from a file says nothing.
    """
    if owner.has_data is None and owner.has_told_offset and owner.repl_offset > c.EMPTY_SHARD_OFFSET:
        return True
    return owner.has_data


def refresh_flag(core: Core) -> None:
    """Sets the flag by which we announce that we are not to be elected: by order, or as a replica without data (P1)."""
    myself, primary = core.myself, core.myself.replicaof
    never = core.config.cluster_replica_no_failover == NEVER
    if never or (primary is not None and not may_follow(core, primary)):
        myself.flags |= c.FLAG_NOFAILOVER
    else:
        myself.flags &= ~c.FLAG_NOFAILOVER


def offset_to_announce(core: Core) -> int:
    """The replication offset of this node: what the data plane tells, 0 without one, 1 in a shard of empty nodes."""
    offset = core.data_plane.replication_offset()
    if offset is not None:
        return offset
    primary = core.myself.replicaof
    is_by_word = core.config.cluster_replica_no_failover == ALWAYS
    if is_by_word and (primary is None or _is_of_empty_shard(core, primary)):
        return c.EMPTY_SHARD_OFFSET
    return 0


def loss(core: Core, primary: Node) -> str:
    """What would be lost if this empty replica took the place of its primary, and who may allow it."""
    slots = primary.slot_bits.bit_count()
    told = f"announces offset {primary.repl_offset}" if primary.has_told_offset else "has not told its offset yet"
    return (
        f"this replica is empty: the keys in the {slots} slots of its primary {primary.node_id} would be lost"
        f" (the primary {told}; only a shard of empty nodes, offset at most {c.EMPTY_SHARD_OFFSET}, may do that,"
        f" and only with cluster-replica-no-failover {ALWAYS})"
    )


def _is_of_empty_shard(core: Core, primary: Node) -> bool:
    return (
        core.config.cluster_replica_no_failover == ALWAYS
        and primary.has_told_offset
        and primary.repl_offset <= c.EMPTY_SHARD_OFFSET
    )
