"""The election of this node in place of its failed primary (S5): its conditions, its delay, and the count of votes.

Owns `Core.election`. Our votes for other nodes are in `vote`, the change of role after a win in `replication`. Must
never count a vote of another epoch, or two of one voter. Main thread. Source: `clusterHandleReplicaFailover`,
`clusterGetReplicaRank`; the delays are those of newer servers.

    primary FAIL -> planned: base delay + random part + rank -> new epoch, on disk -> votes requested
                 -> majority: promoted | too late: lost, and planned again after the retry time
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import ElectionStarted, ElectionWon
from clusterbus.cluster.failover import no_harm, replication
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.history.change import Cause, ChangeKind
from clusterbus.cluster.membership import links
from clusterbus.cluster.model.election_state import Election
from clusterbus.cluster.model.node import Link, Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.wire import Packet


def step(core: Core) -> None:
    """Moves the election on as far as possible. Called at every tick, and when a vote or a start condition arrives."""
    primary = core.myself.replicaof
    manual = core.manual.can_start
    if primary is None or not (manual or _is_wanted(core, primary)):
        _stand_down(core)
        if primary is not None and primary.is_failed and primary.slot_bits and not no_harm.may_follow(core, primary):
            _log_blocked(core, no_harm.loss(core, primary))
        return
    if not manual and _data_is_too_old(core, primary):
        _log_blocked(core, "Disconnected from primary for longer than allowed (cluster-replica-validity-factor)")
        return
    if _may_be_planned(core, manual=manual):
        _plan(core, primary, manual=manual)
    election = core.election
    assert election.start_ms is not None
    if not election.is_requested and not manual:
        _update_rank(core, primary)
    if core.now_ms < election.start_ms:
        _log_blocked(core, "Waiting the delay before I can start a new failover")
    elif election.is_over or core.now_ms - election.start_ms > timeout_ms(core):
        replication.lose_election(core, "no majority in time")
        _log_blocked(core, "Failover attempt expired")
    elif not election.is_requested:
        _ask_for_votes(core, forced=manual or is_best_ranked(core, primary))
    elif len(election.voters) >= _votes_needed(core):
        _win(core)
    else:
        _log_blocked(core, "Waiting for votes, but majority still not reached")


def take_vote(core: Core, _link: Link, sender: Node, packet: Packet) -> None:
    """A FAILOVER_AUTH_ACK. Counts once for each voter, and only in the epoch that it was given for."""
    election = core.election
    if not election.is_open or not sender.is_voting or packet.current_epoch != election.epoch:
        core.count_refused(Refusal.VOTE)
        return
    election.voters.add(sender.node_id)
    core.history.say(ChangeKind.VOTE_RECEIVED, sender.node_id, str(election.epoch))
    step(core)


def note_claim(core: Core, claimer: Node) -> None:
    """A node claims a greater config epoch than before.

    If that is not below the epoch of our election, the voters have moved on, and so do we: the next election may begin
    at the next tick, in place of after the retry time (P12).
    """
    election = core.election
    if election.is_requested and claimer.config_epoch >= election.epoch:
        core.log(
            "warning",
            f"Failover election for epoch {election.epoch} cannot be won any more: node {claimer.name} claims epoch"
            f" {claimer.config_epoch}. Resetting the election.",
        )
        replication.end_election(core, "a later epoch was claimed")


def quorum(core: Core) -> int:
    """The majority of the shards that vote, including those that are down.

    Every owner of slots counts. One that is a replica by now was deposed by a primary that we have not heard of yet and
    that votes in its place. If it did not count, two candidates in one epoch could each find a majority.
    """
    return len(core.slots.owners) // 2 + 1


def _votes_needed(core: Core) -> int:
    """The quorum, but never less than at the time of the request: the set of voters may change meanwhile."""
    return max(core.election.quorum, quorum(core))


def timeout_ms(core: Core) -> int:
    """How long votes count after the request."""
    return max(core.node_timeout_ms * c.ELECTION_TIMEOUT, c.ELECTION_TIMEOUT_MIN_MS)


def rank(core: Core, primary: Node) -> int:
    """How many replicas of the same primary go first: those with a greater offset, or the same and a smaller id."""
    myself = core.myself
    mine = (-core.repl_offset, myself.node_id)
    return sum(
        (-replica.repl_offset, replica.node_id) < mine
        for replica in primary.replicas.values()
        if replica is not myself and not replica.flags & c.FLAG_NOFAILOVER
    )


def is_best_ranked(core: Core, primary: Node) -> bool:
    """Whether no replica can go first and all siblings hold the primary FAIL, so that we know their last offsets (P13).

    A replica with offset 0 may be new and not know its siblings yet. Peers that do not send the flag, and siblings that
    are down, leave the delays as they are. So does a failure from nodes.conf: it may have ended while we were down, and
    nobody may vote for us who knows better.
    """
    election = core.election
    return (
        election.rank == election.shard_rank == 0
        and core.repl_offset != 0
        and primary.fail_time_ms > core.started_ms
        and all(replica.flags & c.FLAG_MY_PRIMARY_FAIL for replica in primary.replicas.values())
    )


def shard_rank(core: Core, primary: Node) -> int:
    """How many other failed primaries go first, by shard id, so that elections of several shards do not split votes.

    One without a replica will have no election, and one that failed long ago has had its chances (P14).
    """
    factor = core.config.cluster_replica_validity_factor
    since_ms = core.now_ms - core.node_timeout_ms * factor if factor else 0
    return sum(
        node is not primary
        and node.is_failed
        and node.is_voting
        and bool(node.replicas)
        and node.fail_time_ms >= since_ms
        and node.shard_id < primary.shard_id
        for node in core.table.failing.values()
    )


# ---------------------------------------------------------------- the conditions


def _is_wanted(core: Core, primary: Node) -> bool:
    """Whether to hold an election without an order: the primary is FAIL, with slots or without (P14), and we may take
    its place.
    """
    return primary.is_failed and no_harm.may_stand(core, primary)


def _data_is_too_old(core: Core, primary: Node) -> bool:
    """Whether our data is older than cluster-replica-validity-factor allows (0 allows any age).

    One node timeout is not counted, because FAIL takes that long anyway.
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
    """Whether there is no election yet, or the last one is long enough ago. An operator has to wait less."""
    start_ms = core.election.start_ms
    if start_ms is None:
        return True
    age_ms = core.now_ms - start_ms
    if manual:
        return not core.election.is_open or age_ms > timeout_ms(core)
    return age_ms > timeout_ms(core) * c.ELECTION_RETRY


def _stand_down(core: Core) -> None:
    """There is no reason for an election (any more). One whose votes were requested still delays the next one."""
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
    if is_best_ranked(core, primary):
        core.log("notice", "This is the best ranked replica and can initiate the election immediately.")
        delay_ms = 0
    election.start_ms = core.now_ms + delay_ms
    core.log(
        "notice",
        f"Start of election delayed for {delay_ms} milliseconds"
        f" (rank #{election.rank}, primary rank #{election.shard_rank}, offset {core.repl_offset}).",
    )
    heartbeat.broadcast_pong(core, primary.replicas.values())  # so that they learn our offset, and their rank


def _base_delay_ms(core: Core) -> int:
    """The time that FAIL needs to reach all nodes."""
    return min(core.node_timeout_ms // c.ELECTION_DELAY_PARTS, c.ELECTION_DELAY_MAX_MS)


def _rank_delay_ms(core: Core, replica_rank: int, failed_primary_rank: int) -> int:
    return _base_delay_ms(core) * (c.ELECTION_DELAYS_PER_RANK * replica_rank + failed_primary_rank)


def _update_rank(core: Core, primary: Node) -> None:
    """Adjusts the delay to offsets and failures that we have learnt of since the election was planned."""
    election = core.election
    assert election.start_ms is not None
    new_rank, new_shard_rank = rank(core, primary), shard_rank(core, primary)
    if (new_rank, new_shard_rank) != (election.rank, election.shard_rank):
        before_ms = _rank_delay_ms(core, election.rank, election.shard_rank)
        added_ms = _rank_delay_ms(core, new_rank, new_shard_rank) - before_ms
        election.start_ms += added_ms
        election.rank, election.shard_rank = new_rank, new_shard_rank
        core.log(
            "notice",
            f"Replica rank updated to #{new_rank}, primary rank to #{new_shard_rank}, added {added_ms} ms of delay.",
        )
    if election.start_ms > core.now_ms and is_best_ranked(core, primary):
        core.log("notice", "Myself become the best ranked replica, initiate the election immediately.")
        election.start_ms = core.now_ms


def _ask_for_votes(core: Core, *, forced: bool) -> None:
    """Requests votes in a new epoch, which is on disk before the request is sent.

    `forced`: also of those who do not hold our primary FAIL. It is well in a manual failover; without delay, FAIL may
    still be on its way to them.
    """
    if core.current_epoch >= c.EPOCH_MAX:
        core.refuse(Refusal.EPOCH_EXHAUSTED, "cluster", "the current epoch has reached its maximum")
        return
    election = core.election
    with core.history.because(Cause.ELECTION):
        core.current_epoch += 1
    election.epoch = core.current_epoch
    election.quorum = quorum(core)
    election.is_requested = True
    core.log("notice", f"Starting a failover election for epoch {election.epoch}.")
    core.notify(ElectionStarted(core.myself.node_id, election.epoch))
    core.save_now()
    heartbeat.broadcast_header(core, c.AUTH_REQUEST, c.MFLAG_FORCE_ACK if forced else 0)


def _win(core: Core) -> None:
    with core.history.because(Cause.ELECTION):
        _take_office(core)


def _take_office(core: Core) -> None:
    election = core.election
    election.is_over = True
    core.elected_epoch = election.epoch
    core.log("notice", f"Failover election won: I'm the new primary, config epoch {election.epoch}.")
    if election.epoch > core.myself.config_epoch:  # a BUMPEPOCH meanwhile has given us a greater one
        core.set_config_epoch(core.myself, election.epoch)
    replication.promote(core)
    core.notify(ElectionWon(core.myself.node_id, election.epoch))


def _log_blocked(core: Core, why: str) -> None:
    """Logs why there is no failover: if the reason is new, and then every LOG_INTERVAL_MS."""
    election = core.election
    if why == election.blocked_reason and core.now_ms - election.blocked_logged_ms < c.LOG_INTERVAL_MS:
        return
    election.blocked_reason, election.blocked_logged_ms = why, core.now_ms
    detail = f" ({len(election.voters)} votes of {_votes_needed(core)} needed)" if election.is_requested else ""
    core.log("notice", f"Currently unable to failover: {why}{detail}.")
