"""The published view as the simulator uses it: the heartbeats that it encodes follow from its arguments alone (R34)."""

from __future__ import annotations

import pytest
from clusterbus import _core, wire
from clusterbus.errors import ConfigError
from clusterbus.view import NodeRow, NodeTimes, Version, View

NODES = 50
SEEDS = range(20)
NOW_MS = 1_700_000_000_000


def node_id(number: int) -> str:
    return f"{number:040x}"


def view_of(nodes: int, *, gossip_percent: int = _core.GOSSIP_PERCENT) -> View:
    """The view that node 0 publishes; its rows are the other nodes."""
    rows = [
        NodeRow(
            times=NodeTimes(),
            node_id=node_id(number),
            ip="10.0.0.1",
            port=7000,
            pport=0,
            cport=17000,
            flags=_core.FLAG_PRIMARY,
            is_gossiped=True,
            has_reports=False,
            takes_extensions=False,
        )
        for number in range(1, nodes + 1)
    ]
    ours = wire.encode(wire.Heartbeat(_core.TYPE_PING, wire.Header(sender=node_id(0))))
    return View(
        version=Version(),
        now_ms=NOW_MS,
        heartbeat=ours,
        current_epoch=0,
        table_len=nodes + 1,
        rows=rows,
        gossip_percent=gossip_percent,
    )


def test_whom_a_heartbeat_mentions_follows_from_the_seed_r34() -> None:
    # Two views of the same table: neither hashing nor memory addresses may have an effect.
    once, again = (
        [view.encode(_core.TYPE_PING, node_id(1), seed) for seed in SEEDS] for view in map(view_of, (NODES,) * 2)
    )
    assert once == again
    assert len(set(once)) == len(SEEDS), "another seed chooses otherwise"
    (packet,) = wire.parse(once[0])
    mentioned = [entry.node_id for entry in packet.gossip]
    assert len(mentioned) == len(set(mentioned)) == (NODES + 1) * _core.GOSSIP_PERCENT // 100
    assert node_id(1) not in mentioned


@pytest.mark.parametrize("percent", [1, 25, 100])
def test_the_view_says_how_many_nodes_a_heartbeat_mentions_p30(percent: int) -> None:
    view = view_of(NODES, gossip_percent=percent)
    counts = [len(wire.parse(view.encode(_core.TYPE_PING, node_id(1), seed))[0].gossip) for seed in SEEDS]
    wanted = max(_core.GOSSIP_MIN, (NODES + 1) * percent // 100)
    assert max(counts) <= wanted
    assert max(counts) >= wanted * 9 // 10


def test_a_seed_has_64_bits() -> None:
    view = view_of(NODES)
    for seed in (0, 2**64 - 1):
        assert wire.parse(view.encode(_core.TYPE_PONG, node_id(1), seed))
    for seed in (-1, 2**64):
        with pytest.raises(ConfigError, match="seed"):
            view.encode(_core.TYPE_PONG, node_id(1), seed)
    with pytest.raises(TypeError):
        view.encode(_core.TYPE_PONG, node_id(1))  # type: ignore[call-arg]
