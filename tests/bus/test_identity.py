"""Who a member is: `bus.me`, and what `bus.nodes` says of each member's names and role."""

from __future__ import annotations

from pathlib import Path

import clusterbus

from tests.bus.harness import order, pair
from tests.loops import Run, until


def test_a_member_shows_its_names_and_role_to_itself_and_to_others(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        names = {
            "cluster_announce_hostname": "db.example.com",
            "cluster_announce_human_nodename": "blue",
            "availability_zone": "zone-1",
        }
        async with pair(tmp_path, **names) as (first, second):

            def seen() -> clusterbus.NodeView:
                return second.nodes[first.node_id]

            await until(lambda: seen().availability_zone == "zone-1")
            for view in (first.me, seen()):
                assert view.node_id == first.node_id
                assert (view.hostname, view.human_nodename) == ("db.example.com", "blue")
                assert view.is_primary
                assert not view.is_replica
            assert first.me == first.nodes[first.node_id]
            assert first.me.is_myself
            assert not seen().is_myself

            await order(first, f"CLUSTER REPLICATE {second.node_id}".encode())
            assert first.me.is_replica
            assert not first.me.is_primary
            assert first.me.primary_id == second.node_id
            await until(lambda: seen().is_replica)

    run(scenario())
