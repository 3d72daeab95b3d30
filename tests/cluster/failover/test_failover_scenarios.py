"""Whole failovers in a simulated cluster: killed primaries, ranks, split votes, restarts, manual failovers (S5, S6).

The states are real, and the tests read what each member believes. Deterministic for a seed.
"""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.events import ElectionLost, ElectionStarted, ElectionWon, WritesPaused, WritesResumed
from clusterbus.cluster.operator.persist import parse
from clusterbus.data_plane import DataPlane
from clusterbus.wire import Packet

from tests.cluster.harness import Member, Network, all_connected, joined, pairs

TIMEOUT_MS = 2_000
FAILOVER_LIMIT_MS = 2 * TIMEOUT_MS + 3_000


def cluster(
    seed: int = 1, *, primaries: int = 3, replicas: int = 1, **directives: object
) -> tuple[Network, list[Member]]:
    """Primaries, and replicas of the first one. All agree, and the state is ok."""
    network, members = joined(seed, primaries + replicas, owners=primaries, **directives)
    network.run_until(lambda: len({member.state.myself.config_epoch for member in members}) == len(members))
    for replica in members[primaries:]:
        network.simulation.replicate(replica.index, 0)
    network.run_until(lambda: agree(members), 30_000)
    return network, members


def agree(members: list[Member]) -> bool:
    """Whether all members see the same roles, slots and epochs, and the state is ok for all."""
    tables = {
        tuple(
            sorted(
                (node.node_id, node.flags & 15, node.primary.node_id, node.slot_bits, node.primary.config_epoch)
                for node in member.state.nodes
            )
        )
        for member in members
    }
    return len(tables) == 1 and all(member.state.is_ok for member in members)


def owner(member: Member, slot: int = 0) -> str:
    node = member.state.owner_of(slot)
    assert node is not None
    return node.node_id


def order(network: Network, member: Member, how: str = "") -> None:
    network.simulation.failover(member.index, how)


def votes_of(member: Member) -> list[tuple[str, int]]:
    """(receiver, epoch) of every vote that a member sent."""
    return [(name, packet.current_epoch) for name, packet in member.sent if packet.type == c.AUTH_ACK]


@pytest.mark.parametrize("seed", range(5))
def test_s5_a_killed_primary_is_replaced_by_its_replica_and_comes_back_as_one(seed: int) -> None:
    network, members = cluster(seed)
    primary, *others, replica = members
    network.kill(primary)
    living = [*others, replica]
    took_ms = network.run_until(lambda: all(owner(member) == replica.id for member in living), FAILOVER_LIMIT_MS)
    assert took_ms <= FAILOVER_LIMIT_MS
    (won,) = replica.events_of(ElectionWon)
    assert isinstance(won, ElectionWon)
    assert replica.state.myself.config_epoch == won.epoch
    assert [votes_of(other) for other in others] == [[(replica.name, won.epoch)]] * 2
    network.run_until(lambda: all(member.state.is_ok for member in living), 10_000)
    network.restart(primary)
    network.run_until(lambda: agree(members), 30_000)
    assert primary.state.myself.replicaof is primary.state.find(replica.id)
    assert replica.state.myself.replicas.keys() == {primary.id}


@pytest.mark.parametrize("seed", range(5))
def test_p21_two_old_primaries_that_come_back_follow_the_third(seed: int) -> None:
    """A is replaced by B, and B by C, which A never met; then A and B return. Without replica migration only the shard
    tells them that they belong to C.
    """
    network = Network(seed, 5, cluster_allow_replica_migration=False)
    a, one, other, b, third = network.members
    for number, member in enumerate((a, one, other)):
        network.add_slots(member, range(number, 16384, 3))
    for member in (one, other, b):
        network.meet(a, member)
    first = [a, one, other, b]
    network.run_until(lambda: all_connected(first), 20_000)
    network.run_until(lambda: len({member.state.myself.config_epoch for member in first}) == len(first))
    network.simulation.replicate(b.index, a.index)
    network.run_until(lambda: agree(first), 30_000)
    network.kill(a)
    network.run_until(lambda: all(owner(member) == b.id for member in (one, other, b)), FAILOVER_LIMIT_MS)
    network.meet(b, third)
    network.run_until(lambda: all(who.knows(whom) for who, whom in pairs((one, other, b, third))), 30_000)
    network.simulation.replicate(third.index, b.index)
    network.run_until(lambda: all(member.node(third).replicaof is member.node(b) for member in (one, other, b)), 30_000)
    network.run(2 * TIMEOUT_MS)
    network.kill(b)
    network.run_until(lambda: all(owner(member) == third.id for member in (one, other, third)), 2 * FAILOVER_LIMIT_MS)
    network.restart(a)  # alone: B, if it were up, would show A the way
    network.run_until(lambda: a.knows(third) and a.state.myself.replicaof is a.node(third), 30_000)
    network.restart(b)
    network.run_until(lambda: agree(network.members), 60_000)
    assert third.state.myself.replicas.keys() == {a.id, b.id}


@pytest.mark.parametrize("seed", range(5))
def test_s5_of_two_replicas_the_first_by_rank_wins_and_the_other_follows(seed: int) -> None:
    network, members = cluster(seed, replicas=2)
    primary, one, other, *replicas = members
    network.kill(primary)
    living = [one, other, *replicas]
    first, second = sorted(replicas, key=lambda member: member.id)
    network.run_until(lambda: all(owner(member) == first.id for member in living), FAILOVER_LIMIT_MS)
    network.run_until(lambda: second.state.myself.replicaof is second.node(first), 10_000)
    assert not second.events_of(ElectionWon)


class Offset(DataPlane):
    """A data plane with a constant offset."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def replication_offset(self) -> int | None:
        return self.offset


@pytest.mark.parametrize("seed", range(3))
def test_s5_of_two_replicas_the_one_with_more_data_wins(seed: int) -> None:
    network, members = cluster(seed, replicas=2)
    primary, one, other, *replicas = members
    last, better = sorted(replicas, key=lambda member: member.id)
    for member, offset in ((primary, 100), (last, 90), (better, 100)):
        member.state._core.data_plane = Offset(offset)
    network.run(3 * TIMEOUT_MS)
    network.kill(primary)
    network.run_until(lambda: all(owner(member) == better.id for member in (one, other, last)), FAILOVER_LIMIT_MS)


def test_s5_a_split_vote_has_no_winner_and_the_next_election_has_one() -> None:
    """One of three primaries is dead. Each replica gets one vote, but needs two."""
    network, members = cluster(replicas=2)
    primary, one, other, *replicas = members
    for member, offset in zip(replicas, (7, 7), strict=True):
        member.state._core.data_plane = Offset(offset)
    split = {(replicas[0].name, other.name), (replicas[1].name, one.name)}

    network.drop(
        lambda sender, receiver, packet: packet.type == c.AUTH_REQUEST and (sender.name, receiver.name) in split
    )
    network.kill(primary)
    network.run_until(lambda: all(replica.events_of(ElectionStarted) for replica in replicas), FAILOVER_LIMIT_MS)
    network.run_until(lambda: all(replica.events_of(ElectionLost) for replica in replicas), 3 * TIMEOUT_MS)
    assert not any(replica.events_of(ElectionWon) for replica in replicas)
    network.drop(None)
    living = [one, other, *replicas]
    network.run_until(lambda: len({owner(member) for member in living}) == 1 and owner(one) != primary.id, 20_000)
    network.run_until(lambda: all(member.state.is_ok for member in living), 20_000)
    for voter in (one, other):
        epochs = [epoch for _, epoch in votes_of(voter)]
        assert len(epochs) == len(set(epochs)), "one vote an epoch"


def test_s5_s10_a_voter_that_restarts_does_not_vote_again_in_the_epoch() -> None:
    network, members = cluster(replicas=2, primaries=4)
    primary, voter, *others = members[:4]
    replicas = members[4:]
    requests: list[tuple[Member, Packet]] = []

    def drop(sender: Member, receiver: Member, packet: Packet) -> bool:
        if packet.type == c.AUTH_REQUEST and receiver is voter:
            requests.append((sender, packet))
        return packet.type == c.AUTH_ACK  # no candidate ever wins

    network.drop(drop)
    network.kill(primary)
    network.run_until(lambda: bool(votes_of(voter)), FAILOVER_LIMIT_MS)
    ((_, epoch),) = votes_of(voter)
    assert parse(voter.saved_text).last_vote_epoch == epoch
    network.kill(voter)
    network.restart(voter)
    assert voter.state._core.last_vote_epoch == epoch
    sender, request = next((sender, packet) for sender, packet in requests if packet.current_epoch == epoch)
    network.run_until(
        lambda: sender.node(voter).link is not None and voter.node(sender).inbound_link is not None, 10_000
    )
    network.run(500)
    voter.sent.clear()
    link = sender.node(voter).link
    assert link is not None
    assert sender.host.engine.send(link.link_id, bytes(request))
    sender.host.engine.flush()
    network.run(100)
    assert [vote for vote in votes_of(voter) if vote[1] == epoch] == []
    assert voter.state.counters["refused_vote_request"] >= 1
    assert len(replicas) == 2
    assert others


def test_s5_a_replica_cut_off_for_too_long_is_not_elected() -> None:
    network, members = cluster(cluster_replica_validity_factor=1)
    primary, one, other, replica = members
    limit_ms = c.DATA_AGE_ALLOWANCE_MS + 2 * TIMEOUT_MS
    network.partition([primary], [replica])
    network.run(limit_ms + 1_000)
    network.kill(primary)
    network.run_until(lambda: replica.node(primary).is_failed, FAILOVER_LIMIT_MS)
    network.run(FAILOVER_LIMIT_MS)
    assert not replica.events_of(ElectionStarted)
    replica.config.update(cluster_replica_validity_factor=0)
    network.run_until(lambda: owner(one) == owner(other) == replica.id, FAILOVER_LIMIT_MS)


@pytest.mark.parametrize("how", ["", "FORCE", "TAKEOVER"])
def test_s6_an_operator_changes_the_primary_and_back(how: str) -> None:
    network, members = cluster()
    primary, replica = members[0], members[3]
    order(network, replica, how)
    took_ms = network.run_until(lambda: agree(members) and owner(members[1]) == replica.id, FAILOVER_LIMIT_MS)
    assert took_ms <= 1_000
    assert primary.state.myself.replicaof is primary.node(replica)
    paused = [
        isinstance(event, WritesPaused) for event in primary.events if isinstance(event, WritesPaused | WritesResumed)
    ]
    assert paused == ([True, False] if not how else [])
    network.run(2 * TIMEOUT_MS)
    order(network, primary, how)
    network.run_until(lambda: agree(members) and owner(members[1]) == primary.id, FAILOVER_LIMIT_MS)


def test_s6_force_and_takeover_work_with_the_primary_dead_takeover_even_without_a_majority() -> None:
    network, members = cluster()
    primary, one, other, replica = members
    network.kill(primary)
    network.kill(other)
    network.run_until(lambda: replica.node(primary).is_pfail, FAILOVER_LIMIT_MS)
    order(network, replica, "FORCE")
    network.run(2 * TIMEOUT_MS)
    assert owner(one) == primary.id, "one vote of three"
    order(network, replica, "TAKEOVER")
    network.run_until(lambda: owner(one) == replica.id, 1_000)


def test_s6_a_primary_whose_replica_vanishes_after_mfstart_writes_again() -> None:
    network, members = cluster()
    primary, replica = members[0], members[3]
    order(network, replica)
    network.run(1)
    network.kill(replica)
    network.run_until(lambda: bool(primary.events_of(WritesResumed)), 6_000)
    assert primary.state.myself.is_primary


def test_s5_a_minority_elects_no_primary() -> None:
    network, members = cluster(primaries=5)
    primary, *rest = members
    replica = members[5]
    network.kill(primary)
    network.partition([replica, rest[0], rest[1]], [rest[2], rest[3]])
    network.run(6 * TIMEOUT_MS)
    assert not replica.events_of(ElectionWon)
    network.heal()
    network.run_until(lambda: all(owner(member) == replica.id for member in rest), 30_000)


def test_s5_a_primary_partitioned_away_steps_down_when_it_is_back() -> None:
    network, members = cluster()
    primary, one, other, replica = members
    network.partition([primary], [one, other, replica])
    network.run_until(lambda: owner(one) == replica.id, FAILOVER_LIMIT_MS)
    assert primary.state.myself.slot_bits, "it cannot know"
    assert not primary.state.is_ok, "but it knows that it is alone"
    network.heal()
    network.run_until(lambda: agree(members), 30_000)
    assert primary.state.myself.replicaof is primary.node(replica)
