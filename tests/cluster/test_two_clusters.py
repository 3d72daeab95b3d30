"""Two clusters whose nodes trade addresses stay two (redis/redis#6174), with a label and without one."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.cluster.events import HandshakeFailed

from tests.cluster.harness import Member, Network, all_connected

LIMIT_MS = 60_000
LONG_MS = 30_000


def two_clusters(seed: int, **directives: Any) -> tuple[Network, list[Member], list[Member]]:
    """Two clusters of three members. Each one's members share all slots, as both clusters have all of them."""
    network = Network(seed, 6, cluster_allow_replica_migration=False)
    blue, green = network.members[:3], network.members[3:]
    for members, label in ((blue, "blue"), (green, "green")):
        for number, member in enumerate(members):
            if directives.get("labels"):
                member.config.set("cluster-label", label)
            network.simulation.set_config_epoch(member.index, member.index + 1)  # no check of the simulator sees two
            first, last = 16384 * number // 3, 16384 * (number + 1) // 3
            network.add_slots(member, range(first, last))
        for other in members[1:]:
            network.meet(members[0], other)
    network.run_until(lambda: all_connected(blue) and all_connected(green), LIMIT_MS)
    return network, blue, green


def strangers(members: list[Member], others: list[Member]) -> bool:
    """Whether nobody knows anybody of the other cluster."""
    return not any(one.knows(other) or other.knows(one) for one in members for other in others)


def own_slots(members: list[Member]) -> list[int]:
    return [member.state.myself.slot_bits for member in members]


@pytest.mark.parametrize("labels", [False, True], ids=["without labels", "with labels"])
@pytest.mark.parametrize("seed", range(1, 5))
def test_two_clusters_whose_nodes_trade_addresses_stay_two(seed: int, labels: bool) -> None:
    """One node of each cluster dies, and each starts at the address that the other one had."""
    network, blue, green = two_clusters(seed, labels=labels)
    before = own_slots(blue + green)
    here, there = blue[-1], green[-1]
    here_ip, there_ip = here.ip, there.ip
    network.kill(here)
    network.kill(there)
    network.run(3_000 if seed % 2 else 100)
    network.restart(here, ip=there_ip)
    network.restart(there, ip=here_ip)
    network.run_until(lambda: all_connected(blue) and all_connected(green), LIMIT_MS)
    network.run(LONG_MS)
    assert strangers(blue, green)
    assert all_connected(blue)
    assert all_connected(green)
    assert own_slots(blue + green) == before


@pytest.mark.parametrize("labels", [False, True], ids=["without labels", "with labels"])
def test_a_new_node_at_the_address_of_a_dead_one_is_not_drawn_into_its_cluster(labels: bool) -> None:
    """As in the report: the address of a node that is gone goes to a member of another cluster, and a node that joins
    later hears of the dead one by gossip, and dials the address.
    """
    network, blue, green = two_clusters(7, labels=labels)
    gone, moved = blue[-1], green[-1]
    address = gone.ip
    network.kill(gone)
    network.kill(moved)
    network.run(300)
    network.restart(moved, ip=address)
    network.run_until(lambda: all_connected(green), LIMIT_MS)
    newcomer = blue[1]  # it forgets all but who it is, and hears of the dead node by the gossip of the first
    network.operate(newcomer, lambda state, now_ms: state.del_slots(range(16384 // 3, 16384 * 2 // 3), now_ms))
    network.operate(newcomer, lambda state, now_ms: state.reset(now_ms))
    network.meet(blue[0], newcomer)
    network.run_until(lambda: newcomer.knows(blue[0]) and blue[0].knows(newcomer), LIMIT_MS)
    network.run(LONG_MS)
    assert strangers(blue[:-1], green)
    assert all_connected(green)


def test_by_mistake_an_operator_merges_clusters_only_without_labels() -> None:
    """CLUSTER MEET of an address where by now another cluster's node is."""
    network, blue, green = two_clusters(3, labels=True)
    before = own_slots(blue + green)
    network.meet(blue[0], green[0])
    network.run_until(lambda: bool(blue[0].events_of(HandshakeFailed)), LIMIT_MS)
    network.run(LONG_MS)
    assert strangers(blue, green)
    assert own_slots(blue + green) == before
    (failed,) = blue[0].events_of(HandshakeFailed)
    assert "cluster-label is 'green'" in str(failed)
    assert green[0].state.counters["refused_label"] >= 1

    network, blue, green = two_clusters(3, labels=False)
    network.meet(blue[0], green[0])
    network.run_until(lambda: all_connected(blue + green), LIMIT_MS)


def test_a_label_that_comes_late_keeps_apart_what_has_merged() -> None:
    """Nothing that the others say counts from then on, and nobody gossips of them."""
    network, blue, green = two_clusters(5, labels=False)
    network.meet(blue[0], green[0])
    network.run_until(lambda: all_connected(blue + green), LIMIT_MS)
    for members, label in ((blue, "blue"), (green, "green")):
        for member in members:
            member.config.set("cluster-label", label)
    network.run_until(
        lambda: (
            all(one.node(other).is_outsider for one in blue for other in green)
            and all(one.node(other).is_outsider for one in green for other in blue)
        ),
        LIMIT_MS,
    )
    for one in blue:
        for other in green:
            network.forget(one, other)
    for one in green:
        for other in blue:
            if one.knows(other):
                network.forget(one, other)
    network.run(LONG_MS)
    assert strangers(blue, green)
