"""The election of this node in the place of its failed primary (S5): when, with which delay, and the counting.

Owns `Core.election`. A vote of ours for another node is `vote`'s; what winning does is `replication`'s. Must
never count a vote given in another epoch, nor two of one voter. Main loop only. Source:
`clusterHandleReplicaFailover`, `clusterGetReplicaRank`; the delays are those of newer servers.

    primary FAIL -> planned: delay + random part + rank -> votes asked for in a new epoch, on disk before
                 -> majority: promoted | too late: lost; planned again after the retry time
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import ElectionStarted, ElectionWon
from clusterbus.cluster.failover import replication
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.membership import links
from clusterbus.cluster.model.election_state import Election
from clusterbus.cluster.model.node import Link, Node
from clusterbus.wire import Packet


def step(core: Core) -> None:
    """Takes the election as far as it goes now: at every tick, and when something it waits for is there."""
    primary = core.myself.replicaof
    manual = core.manual.can_start
    if primary is None or not (manual or _is_wanted(core, primary)):
        _stand_down(core)
        return
    if not manual and _data_is_too_old(core, primary):
        _hindered(core, "Disconnected from primary for longer than allowed (cluster-replica-validity-factor)")
        return
    if _may_be_planned(core, manual=manual):
        _plan(core, primary, manual=manual)
    election = core.election
    assert election.start_ms is not None
    if not election.is_requested and not manual:
        _update_rank(core, primary)
    if core.now_ms < election.start_ms:
        _hindered(core, "Waiting the delay before I can start a new failover")
    elif election.is_over or core.now_ms - election.start_ms > timeout_ms(core):
        replication.lose_election(core, "no majority in time")
        _hindered(core, "Failover attempt expired")
    elif not election.is_requested:
        _ask_for_votes(core, manual=manual)
    elif len(election.voters) >= _votes_needed(core):
        _win(core)
    else:
        _hindered(core, "Waiting for votes, but majority still not reached")


def take_vote(core: Core, _link: Link, sender: Node, packet: Packet) -> None:
    """A FAILOVER_AUTH_ACK: counted once per voter, and only for the epoch it was given in."""
    election = core.election
    if not election.is_open or not sender.is_voting or packet.current_epoch != election.epoch:
        core.counters["votes_ignored"] += 1
        return
    election.voters.add(sender.node_id)
    step(core)


def quorum(core: Core) -> int:
    """The majority of the shards that vote, those that are down included.

    Every owner of slots counts. One that is a replica by now has been deposed by a primary not heard of yet, which
    votes in its place: left out, two candidates of one epoch could each find a majority.
    """
    return len(core.slots.owners) // 2 + 1


def _votes_needed(core: Core) -> int:
    """The quorum, and never less than when the votes were asked for: who votes may change meanwhile."""
    return max(core.election.quorum, quorum(core))


def timeout_ms(core: Core) -> int:
    """How long votes are waited for."""
    return max(core.node_timeout_ms * c.ELECTION_TIMEOUT, c.ELECTION_TIMEOUT_MIN_MS)


def rank(core: Core, primary: Node) -> int:
    """How many replicas of the same primary go first: greater offset, or the same and a smaller id."""
    myself = core.myself
    mine = (-core.repl_offset, myself.node_id)
    return sum(
        (-replica.repl_offset, replica.node_id) < mine
        for replica in primary.replicas.values()
        if replica is not myself and not replica.flags & c.FLAG_NOFAILOVER
    )


def shard_rank(core: Core, primary: Node) -> int:
    """How many other failed primaries come first by their shard, so that shards do not split the votes."""
    return sum(
        node is not primary and node.is_failed and node.is_voting and node.shard_id < primary.shard_id
        for node in core.table.failing.values()
    )


# ---------------------------------------------------------------- the conditions


def _is_wanted(core: Core, primary: Node) -> bool:
    """An election without an operator's order: the primary is FAIL, has slots, and we may take its place."""
    return primary.is_failed and bool(primary.slot_bits) and not core.myself.flags & c.FLAG_NOFAILOVER


def _data_is_too_old(core: Core, primary: Node) -> bool:
    """Whether the data lags behind what cluster-replica-validity-factor (0: whatever) allows. The node timeout,
    which FAIL takes anyway, does not count.
    """
    factor = core.config.cluster_replica_validity_factor
    if not factor:
        return False
    age_ms = core.data_plane.data_age_ms()
    if age_ms is None:
        age_ms = links.silence_ms(core, primary)
    if age_ms > core.node_timeout_ms:
        age_ms -= core.node_timeout_ms
    return age_ms > c.DATA_AGE_ALLOWANCE_MS + core.node_timeout_ms * factor


def _may_be_planned(core: Core, *, manual: bool) -> bool:
    """No election yet, or the last one is long enough ago; an operator need not wait for the retry time."""
    start_ms = core.election.start_ms
    if start_ms is None:
        return True
    age_ms = core.now_ms - start_ms
    if manual:
        return not core.election.is_open or age_ms > timeout_ms(core)
    return age_ms > timeout_ms(core) * c.ELECTION_RETRY


def _stand_down(core: Core) -> None:
    """There is no reason for an election (any more). One that was asked for still keeps the next one waiting."""
    if core.election.start_ms is None:
        return
    if core.election.is_requested:
        replication.lose_election(core, "no longer needed")
    else:
        core.election = Election()


# ---------------------------------------------------------------- the steps


def _plan(core: Core, primary: Node, *, manual: bool) -> None:
    replication.end_election(core, "no majority in time")
    replication.refresh_offset(core)
    election = core.election
    if manual:
        election.start_ms = core.now_ms
        return
    base_ms = _base_delay_ms(core)
    election.rank = rank(core, primary)
    election.shard_rank = shard_rank(core, primary)
    delay_ms = base_ms + int(core.random.random() * base_ms) + _rank_delay_ms(core, election.rank, election.shard_rank)
    election.start_ms = core.now_ms + delay_ms
    core.log(
        "notice",
        f"Start of election delayed for {delay_ms} milliseconds"
        f" (rank #{election.rank}, primary rank #{election.shard_rank}, offset {core.repl_offset}).",
    )
    heartbeat.broadcast_pong(core, primary.replicas.values())  # they may find that they come after us


def _base_delay_ms(core: Core) -> int:
    """Time for FAIL to reach everybody."""
    return min(core.node_timeout_ms // c.ELECTION_DELAY_PARTS, c.ELECTION_DELAY_MAX_MS)


def _rank_delay_ms(core: Core, replica_rank: int, failed_primary_rank: int) -> int:
    return _base_delay_ms(core) * (c.ELECTION_DELAYS_PER_RANK * replica_rank + failed_primary_rank)


def _update_rank(core: Core, primary: Node) -> None:
    """Offsets and failures heard of since the election was planned move it."""
    election = core.election
    assert election.start_ms is not None
    new_rank, new_shard_rank = rank(core, primary), shard_rank(core, primary)
    if (new_rank, new_shard_rank) == (election.rank, election.shard_rank):
        return
    before_ms = _rank_delay_ms(core, election.rank, election.shard_rank)
    added_ms = _rank_delay_ms(core, new_rank, new_shard_rank) - before_ms
    election.start_ms += added_ms
    election.rank, election.shard_rank = new_rank, new_shard_rank
    core.log(
        "notice",
        f"Replica rank updated to #{new_rank}, primary rank to #{new_shard_rank}, added {added_ms} ms of delay.",
    )


def _ask_for_votes(core: Core, *, manual: bool) -> None:
    """A new epoch, on disk before anybody hears of it."""
    if core.current_epoch >= c.EPOCH_MAX:
        core.refuse("epoch_exhausted", "cluster", "the current epoch has reached its maximum")
        return
    election = core.election
    core.current_epoch += 1
    election.epoch = core.current_epoch
    election.quorum = quorum(core)
    election.is_requested = True
    core.log("notice", f"Starting a failover election for epoch {election.epoch}.")
    core.notify(ElectionStarted(core.myself.node_id, election.epoch))
    core.save_now()
    heartbeat.broadcast_header(core, c.AUTH_REQUEST, c.MFLAG_FORCE_ACK if manual else 0)


def _win(core: Core) -> None:
    election = core.election
    election.is_over = True
    core.log("notice", f"Failover election won: I'm the new primary, config epoch {election.epoch}.")
    if election.epoch > core.myself.config_epoch:  # an operator's BUMPEPOCH meanwhile is the greater one
        core.set_config_epoch(core.myself, election.epoch)
    replication.promote(core)
    core.notify(ElectionWon(core.myself.node_id, election.epoch))


def _hindered(core: Core, why: str) -> None:
    """Says why there is no failover: when the reason is new, and again now and then."""
    election = core.election
    if why == election.blocked_reason and core.now_ms - election.blocked_logged_ms < c.LOG_INTERVAL_MS:
        return
    election.blocked_reason, election.blocked_logged_ms = why, core.now_ms
    detail = f" ({len(election.voters)} votes of {_votes_needed(core)} needed)" if election.is_requested else ""
    core.log("notice", f"Currently unable to failover: {why}{detail}.")
