"""This node's own role: becoming a replica, becoming the primary, and its replication offset.

Owns every change of the role of `Core.myself` but that of CLUSTER RESET, and ends the election or manual failover that
such a change makes pointless. Must never decide when: that is up to `election`, `manual_failover`, `replica_migration`,
`roles` and operators. Main thread. Source: `clusterSetPrimary`, `clusterFailoverReplaceYourPrimary`,
`resetManualFailover`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import DataDropped, ElectionLost, WritesResumed
from clusterbus.cluster.failover import health, no_harm
from clusterbus.cluster.heartbeats import extensions, heartbeat
from clusterbus.cluster.model.election_state import Election, ManualFailover
from clusterbus.cluster.model.node import Node, Succession


def replicate(core: Core, primary: Node) -> None:
    """Makes this node a replica of `primary`, another node, and announces it to all."""
    myself = core.myself
    if primary is myself:
        raise ValueError("a node is not its own replica")
    core.take_slots(myself.slot_bits)
    end_election(core, "has another primary now")
    end_manual_failover(core)
    for node in core.table.all_nodes:
        node.succession = Succession.NONE
    myself.flags = (myself.flags & ~(c.FLAG_PRIMARY | c.FLAG_MIGRATE_TO)) | c.FLAG_REPLICA
    myself.follow(primary)
    core.note_primary_failure()
    if primary.shard_id != myself.shard_id:
        core.slots.migrating.clear()
        core.slots.importing.clear()
    extensions.set_shard_id(core, myself, primary.shard_id)
    refresh_offset(core)
    no_harm.refresh_flag(core)
    if not no_harm.may_follow(core, primary):
        core.log(
            "warning",
            f"This node keeps no copy of the data of its primary {primary.name}: its replication link stays down, no"
            " client should read from it, and it will not be elected.",
        )
    core.notify_role(myself)
    core.want_state_update()
    core.save_now()
    heartbeat.broadcast_pong(core)


def leave(core: Core) -> None:
    """CLUSTER REPLICATE NO ONE on a replica: it becomes an empty primary in a shard of its own (P28)."""
    myself = core.myself
    end_election(core, "replicates nobody now")
    end_manual_failover(core)
    myself.follow(None)
    core.note_primary_failure()
    myself.flags = (myself.flags & ~c.FLAG_REPLICA) | c.FLAG_PRIMARY
    core.slots.migrating.clear()
    core.slots.importing.clear()
    extensions.set_shard_id(core, myself, core.new_id())
    core.log("notice", f"I replicate nobody now, as an empty primary in the new shard {myself.shard_id}")
    core.notify_role(myself)
    core.notify(DataDropped())
    refresh_offset(core)
    core.want_state_update()
    core.save_now()
    heartbeat.broadcast_pong(core)


def promote(core: Core) -> None:
    """Makes this replica the primary of its shard, with all slots of the old one, and announces it to all.

    Its config epoch must be the new one already. All of it is on disk before it is announced.
    """
    myself = core.myself
    old = myself.primary
    core.log("notice", f"Setting myself to primary in shard {myself.shard_id}; my old primary is {old.name}")
    myself.follow(None)
    core.note_primary_failure()
    old.succession = Succession.PREDECESSOR
    myself.flags = (myself.flags & ~c.FLAG_REPLICA) | c.FLAG_PRIMARY
    core.move_slots(myself, old.slot_bits)
    end_manual_failover(core)
    core.election = Election()
    refresh_offset(core)
    core.notify_role(myself)
    health.update(core)
    core.save_now()
    heartbeat.broadcast_pong(core)


def announce_loss(core: Core) -> None:
    """Tells everybody which slots we still claim, as the primary that we still are.

    Other nodes give slots of an owner to a claimer with no greater config epoch only when the owner has stopped to
    claim them. What we send as a replica would not tell them that.
    """
    core.save_now()
    heartbeat.broadcast_now(core, c.PONG)


def end_manual_failover(core: Core) -> None:
    """Forgets a manual failover, whether it succeeded or not. On the primary, writes resume."""
    if core.manual.pauses_writes:
        core.notify(WritesResumed())
        core.version.move_own_header()
    core.manual = ManualFailover()


def end_election(core: Core, reason: str) -> None:
    """Forgets an election. One that waited for votes is reported as lost."""
    lose_election(core, reason)
    core.election = Election()


def lose_election(core: Core, reason: str) -> None:
    """Ends the count of votes. The election is not forgotten, so it still delays the next one."""
    election = core.election
    if election.is_open:
        election.is_over = True
        core.notify(ElectionLost(core.myself.node_id, election.epoch, reason))


def is_up(core: Core) -> bool:
    """Whether this node is a replica whose data follow a primary that it hears: what ROLE and INFO call connected."""
    primary = core.myself.replicaof
    return primary is not None and primary.link is not None and not primary.is_failed and core.repl_offset > 0


def refresh_offset(core: Core) -> None:
    """Asks the data plane again how far replication is."""
    core.repl_offset = no_harm.offset_to_announce(core)
