"""Epochs that no honest cluster reaches are not believed of one member, and cost nobody the next election (H28)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.claims.letters import Kind, Letter, encode
from clusterbus.cluster.effects import Broadcast, Save
from clusterbus.cluster.model.records import NodeRecord, NodesConf
from clusterbus.errors import StateError
from clusterbus.wire import HeaderOnly, ModuleMessage, Update

from tests.cluster.shards import lives, replicate, requests, sends
from tests.cluster.solo import MYSELF_ID, Puppet, Solo, entry, node_id

JUMP_MAX = 2**32
WILD = 2**64 - 1

Attack = Callable[[Solo, Puppet, int], object]


def in_header(solo: Solo, puppet: Puppet, epoch: int) -> object:
    return solo.says(puppet, current_epoch=epoch)


def in_pong(solo: Solo, puppet: Puppet, epoch: int) -> object:
    return solo.says(puppet, c.PONG, current_epoch=epoch)


def in_config_epoch(solo: Solo, puppet: Puppet, epoch: int) -> object:
    return solo.says(puppet, config_epoch=epoch)


def as_replica_of_known(solo: Solo, puppet: Puppet, epoch: int) -> object:
    return solo.says(puppet, config_epoch=epoch, flags=c.FLAG_REPLICA, replicaof=node_id("b"))


def of_type(kind: int) -> Attack:
    return lambda solo, puppet, epoch: solo.receive(
        puppet.inbound, HeaderOnly(kind, solo.header(puppet, mflags=0, current_epoch=epoch))
    )


def in_update(solo: Solo, puppet: Puppet, epoch: int) -> object:
    return solo.updates(puppet, node_id("b"), epoch, range(10))


def in_headers_of_update(solo: Solo, puppet: Puppet, epoch: int) -> object:
    header = solo.header(puppet, mflags=0, current_epoch=epoch)
    return solo.receive(puppet.inbound, Update(header, 1_000, node_id("b"), b"\xff" * 2048))


def in_letter(kind: Kind, **fields: Any) -> Attack:
    def attack(solo: Solo, puppet: Puppet, epoch: int) -> object:
        told: dict[str, Any] = {name: epoch if value is None else value for name, value in fields.items()}
        letter = Letter(kind, False, **told)
        header = solo.header(puppet, mflags=0)
        return solo.receive(puppet.inbound, ModuleMessage(header, c.SLOT_CLAIMS_MODULE_ID, kind, encode(letter)))

    return attack


ATTACKS: dict[str, Attack] = {
    "PING": in_header,
    "PONG": in_pong,
    "config epoch": in_config_epoch,
    "replica": as_replica_of_known,
    "FAILOVER_AUTH_REQUEST": of_type(c.AUTH_REQUEST),
    "FAILOVER_AUTH_ACK": of_type(c.AUTH_ACK),
    "MFSTART": of_type(c.MFSTART),
    "UPDATE": in_update,
    "header of UPDATE": in_headers_of_update,
    "letter ASK": in_letter(Kind.ASK, epoch=None, count=5, slots=1),
    "letter ASK about owners": in_letter(Kind.ASK, epoch=200, other_epoch=None, count=5, slots=1),
    "letter DENY": in_letter(Kind.DENY, epoch=1, other_epoch=None, count=0),
    "letter RENEW": in_letter(Kind.RENEW, epoch=None, count=1_000, slots=1),
}


def cluster(**directives: Any) -> tuple[Solo, list[Puppet]]:
    """A node that owns slots 100 to 199 and knows four others, one of which owns slots 0 to 99."""
    solo = Solo(**directives)
    puppets = [solo.puppet("a", slots=range(100))] + [solo.puppet(letter) for letter in "bcd"]
    solo.state.add_slots(range(100, 200), solo.now_ms)
    solo.poll()
    for puppet in puppets:
        solo.says(puppet, c.PONG)
    return solo, puppets


def knowledge(solo: Solo) -> object:
    """All that an epoch, a role and a claim may change."""
    state = solo.state
    return state.current_epoch, [
        (node.node_id, node.config_epoch, node.slot_bits, node.is_primary, node.replicaof) for node in state.nodes
    ]


@pytest.mark.parametrize("epoch", [WILD, 2**63, 2**33], ids=["greatest", "half", "just over"])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_packet_of_one_member_makes_the_epoch_jump_h28(name: str, epoch: int) -> None:
    solo, (attacker, _other, *_rest) = cluster()
    attacker.slots = frozenset(range(300))
    before = knowledge(solo)
    saves = [save for save in solo.saves() if save.durable]
    ATTACKS[name](solo, attacker, epoch)
    assert knowledge(solo) == before
    assert [save for save in solo.of(Save) if save.durable] == saves
    assert solo.counter("refused_epoch_jump") == 1
    assert any("cluster-epoch-jump-max" in text for text in solo.warnings())
    solo.ticks(10_000)
    assert solo.state.current_epoch < 1_000
    assert solo.is_alive()


def test_what_is_within_the_bound_is_believed_and_what_is_one_over_is_not_h28() -> None:
    solo, (one, *_others) = cluster()
    known = solo.state.current_epoch
    solo.says(one, current_epoch=known + JUMP_MAX + 1)
    assert solo.state.current_epoch == known
    solo.says(one, current_epoch=known + JUMP_MAX)
    assert solo.state.current_epoch == known + JUMP_MAX


def test_who_jumps_still_answers_and_tells_whom_it_hears_h28() -> None:
    solo, (attacker, other, *_rest) = cluster()
    solo.now_ms += 1_000
    solo.says(attacker, current_epoch=WILD)
    assert solo.sent(attacker.inbound, c.PONG)
    assert solo.node(attacker).data_received_ms == solo.now_ms
    solo.says(attacker, current_epoch=WILD, gossip=[entry(other, flags=c.FLAG_PRIMARY | c.FLAG_PFAIL)])
    assert solo.node(attacker) in solo.node(other).fail_reports


@pytest.mark.parametrize("wild", [2**62, WILD])
def test_elections_go_on_after_wild_epochs_h28(wild: int) -> None:
    """We replicate "a"; one of the three other voters claims wild epochs all the time, and "a" fails."""
    solo = Solo()
    primary = solo.puppet("a", slots=range(100, 103))
    attacker, *voters = [solo.puppet(letter, slots=[200 + ord(letter)]) for letter in "cde"]
    replicate(solo, primary)
    lives(solo, [primary, *voters], 200)
    effects = solo.fails(voters[0], primary.node_id)
    while not requests(effects):
        for kind in (c.PING, c.PONG):
            solo.says(attacker, kind, current_epoch=wild, config_epoch=wild)
        effects = lives(solo, voters, 100)
    epoch = solo.state.current_epoch
    assert epoch < 1_000
    sends(solo, attacker, c.AUTH_ACK, current_epoch=wild)
    for voter in [primary, *voters]:
        sends(solo, voter, c.AUTH_ACK, current_epoch=epoch)
        lives(solo, voters, 100)
    sends(solo, attacker, c.AUTH_ACK, current_epoch=epoch)
    assert solo.state.myself.is_primary
    assert solo.state.myself.config_epoch == epoch
    assert solo.state.myself.slot_bits == 0b111 << 100
    assert solo.counter("refused_epoch_jump") >= 3


def test_our_vote_is_not_spent_on_a_candidate_that_is_not_believed_h28() -> None:
    solo, (_one, primary, replica, rival) = cluster()
    primary.slots = frozenset(range(500, 510))
    solo.says(primary)
    for candidate in (replica, rival):
        candidate.flags, candidate.replicaof = c.FLAG_REPLICA, primary.node_id
        candidate.slots, candidate.config_epoch = primary.slots, primary.config_epoch
        solo.says(candidate)
    request = {"mflags": c.MFLAG_FORCE_ACK, "flags": c.FLAG_REPLICA}
    for fields in ({"current_epoch": WILD}, {"config_epoch": WILD}):
        solo.receive(replica.inbound, HeaderOnly(c.AUTH_REQUEST, solo.header(replica, **request, **fields)))
        assert not solo.sent(replica.dialled, c.AUTH_ACK)
    epoch = solo.state.current_epoch + 1
    solo.receive(rival.inbound, HeaderOnly(c.AUTH_REQUEST, solo.header(rival, **request, current_epoch=epoch)))
    assert solo.sent(rival.dialled, c.AUTH_ACK)


# ---------------------------------------------------------------- many packets


def test_many_packets_within_a_second_climb_no_further_than_one_h28() -> None:
    solo, (attacker, *_others) = cluster(cluster_epoch_jump_max=1_000)
    begun = solo.state.current_epoch
    for _ in range(50):
        solo.says(attacker, current_epoch=solo.state.current_epoch + 1_000)
    first = solo.state.current_epoch
    assert first <= begun + 2_000  # at the edge of two seconds
    solo.ticks(10_000)
    for _ in range(10):
        for _ in range(50):
            solo.says(attacker, current_epoch=solo.state.current_epoch + 1_000)
        solo.ticks(1_000)
    assert solo.state.current_epoch <= first + 11 * 1_000


def test_to_exhaust_the_epochs_by_small_jumps_takes_over_a_hundred_years_h28() -> None:
    default = Solo().config.cluster_epoch_jump_max
    assert 2**64 // default * c.EPOCH_JUMP_INTERVAL_MS > 100 * 365 * 24 * 3_600_000


# ---------------------------------------------------------------- honest members


def joins(epoch: int, count: int = 5, *, alike: int = 5) -> Solo:
    """A new node meets `count` members of an old cluster, of which only the first few claim its epoch."""
    solo = Solo()
    puppets = []
    for number, letter in enumerate("abcde"[:count]):
        is_old = number < alike
        puppets.append(solo.puppet(letter, config_epoch=epoch - number if is_old else 0))
    for _ in range(2):
        for number, puppet in enumerate(puppets):
            solo.says(puppet, current_epoch=epoch if number < alike else 0)
        solo.ticks(1_100)
    for number, puppet in enumerate(puppets):
        solo.says(puppet, current_epoch=epoch if number < alike else 0)
    return solo


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("epoch", [5_000_000, 2**40, 2**62])
def test_a_new_node_joins_a_cluster_of_any_age_h28(epoch: int, count: int) -> None:
    solo = joins(epoch, count)
    assert solo.state.current_epoch == epoch
    assert solo.node(node_id("a")).config_epoch == epoch


def test_a_new_node_believes_no_minority_h28() -> None:
    assert joins(2**62, alike=2).state.current_epoch < 1_000
    assert joins(2**62, alike=4).state.current_epoch == 2**62


def test_a_node_with_an_epoch_of_its_own_believes_a_majority_itself_included_h28() -> None:
    solo, puppets = cluster()  # five members
    for count in (1, 2):
        for puppet in puppets[:count]:
            solo.says(puppet, current_epoch=2**50)
        solo.ticks(1_100)
        assert solo.state.current_epoch < 1_000
    for number, puppet in enumerate(puppets[:3]):
        solo.says(puppet, current_epoch=2**50 + number * 2**40)
    solo.ticks(1_100)
    assert solo.state.current_epoch == 2**50, "what the least of the majority claims"
    puppets[0].slots = frozenset(range(300, 310))
    solo.says(puppets[0], current_epoch=2**50, config_epoch=2**50)
    assert solo.state.owner_of(305) is solo.node(puppets[0])


def test_of_two_members_neither_is_a_majority_h28() -> None:
    solo = Solo()
    other = solo.puppet("a", config_epoch=7)
    for _ in range(5):
        solo.says(other, current_epoch=2**50)
        solo.ticks(1_000)
    assert solo.state.current_epoch == 7


def test_claims_count_only_while_they_are_repeated_h28() -> None:
    solo, puppets = cluster()
    for puppet in puppets[:3]:
        solo.says(puppet, current_epoch=2**50)
        solo.ticks(4_500)
    assert solo.state.current_epoch < 1_000
    for puppet in puppets[:3]:  # a sane packet takes a claim back
        solo.says(puppet, current_epoch=2**50)
        solo.says(puppet)
    solo.ticks(2_000)
    assert solo.state.current_epoch < 1_000


def test_no_majority_leads_to_an_epoch_after_which_there_are_no_elections_h28() -> None:
    solo, puppets = cluster()
    for _ in range(4):
        for puppet in puppets:
            solo.says(puppet, current_epoch=WILD - 1)
        solo.ticks(1_000)
    assert solo.state.current_epoch < 1_000


def test_an_operator_may_lift_the_bound_for_clusters_that_are_to_become_one_h28() -> None:
    solo, (one, *_others) = cluster()
    solo.says(one, current_epoch=2**50)
    assert solo.state.current_epoch < 1_000
    solo.config.set("cluster-epoch-jump-max", "0")
    solo.says(one, current_epoch=2**50)
    assert solo.state.current_epoch == 2**50


@pytest.mark.parametrize("epoch", [12, 2**40, 2**63 - 1])
def test_what_the_operator_orders_is_no_jump_h28(epoch: int) -> None:
    """CLUSTER SET-CONFIG-EPOCH on a node that is alone, then BUMPEPOCH, then others that are as far."""
    solo = Solo()
    solo.state.set_config_epoch(epoch, solo.now_ms)
    puppet = solo.puppet("a", config_epoch=epoch + 3)
    assert solo.state.current_epoch == epoch + 3
    assert solo.state.bump_epoch(solo.now_ms)
    assert solo.state.myself.config_epoch == epoch + 4
    solo.says(puppet, current_epoch=epoch + 5)
    assert solo.state.current_epoch == epoch + 5
    assert not solo.counter("refused_epoch_jump")


def test_after_a_hard_reset_the_node_is_new_h28() -> None:
    solo = Solo()
    solo.state.set_config_epoch(2**45, solo.now_ms)
    solo.state.reset(solo.now_ms, hard=True)
    solo.poll()
    other = solo.puppet("a", config_epoch=5)
    solo.says(other, current_epoch=2**40)
    assert solo.state.current_epoch == 5, "2^40 is a jump again"


# ---------------------------------------------------------------- nodes.conf


def restored(current_epoch: int, config_epoch: int) -> Solo:
    record = NodeRecord(MYSELF_ID, "10.0.0.5", 7000, 17000, c.FLAG_PRIMARY | c.FLAG_MYSELF, config_epoch=config_epoch)
    solo = Solo(saved=NodesConf((record,), current_epoch=current_epoch))
    solo.poll()
    return solo


@pytest.mark.parametrize(
    ("current_epoch", "config_epoch", "is_told"),
    [(9, 7, False), (2**40, 2**40 - 5, False), (WILD, 7, True), (2**40, 7, True), (WILD, WILD, True)],
)
def test_a_node_starts_on_a_file_with_wild_epochs_and_says_so_h28(
    current_epoch: int, config_epoch: int, is_told: bool
) -> None:
    solo = restored(current_epoch, config_epoch)
    assert solo.state.current_epoch == current_epoch
    assert ("climbs so far" in "".join(solo.warnings())) == is_told
    assert f"cluster_current_epoch:{current_epoch}" in [f"{n}:{v}" for n, v in solo.state.info_lines({})]


def test_the_order_of_a_wild_epoch_is_refused_as_before_h28() -> None:
    solo = Solo()
    with pytest.raises(StateError):
        solo.state.set_config_epoch(2**64, solo.now_ms)
    assert not solo.of(Broadcast)
