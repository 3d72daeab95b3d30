"""The cluster of these tests meets its troubles as it says."""

from __future__ import annotations

from tests.interop.eyes.mixed import Mixed
from tests.peers.cluster import NodeLine, wait_until


def lines(mixed: Mixed, n: int) -> dict[str, NodeLine]:
    found = [NodeLine.parse(line) for line in mixed.call(n, "CLUSTER", "NODES").splitlines()]
    return {line.node_id: line for line in found}


def test_failover_partition_and_a_node_with_another_id(mixed: Mixed) -> None:
    cut = mixed.partition()
    assert lines(mixed, 2)[cut.minority[0].node_id].is_failed
    assert not lines(mixed, 1)[cut.minority[1].node_id].is_suspected
    mixed.heal()

    change = mixed.failover()
    for n in (1, 2, 3, 4, 5):
        seen = lines(mixed, n)
        assert seen[change.new.node_id].slots == ("0-5460",), f"node {n}"
        assert seen[change.old.node_id].is_failed
    mixed.come_back()
    assert lines(mixed, 1)[change.old.node_id].primary == change.new.node_id

    replaced = mixed.come_back_with_another_id()
    assert replaced.new_id != replaced.old_id
    wait_until(lambda: replaced.new_id in lines(mixed, 1), 20, "node 1 hears of it")
    assert lines(mixed, 2)[replaced.new_id].port == replaced.handle.port
    wait_until(lambda: not lines(mixed, 2)[replaced.old_id].is_well, 20, "the old id is not well")
