"""What a snapshot keeps of the peers between two scrapes, and that it sees each change of them."""

from __future__ import annotations

from pathlib import Path

from clusterbus.metrics.health import reasons_against
from clusterbus.metrics.snapshot import Peers, take

from tests.bus.harness import order, pair
from tests.loops import Run, until
from tests.peers.ports import free_port


def test_what_is_kept_of_the_peers_is_what_they_are(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path, resp=True) as (first, second):
            member, other_id = first._member(), second.node_id

            def peers() -> Peers:
                return take(member).peers

            await until(lambda: peers().rtts_us != [None])
            assert (peers().node_ids, peers().ups, peers().slot_bits) == ([other_id], [True], [0])
            version, kept = member.state.version, peers()
            again = peers()
            assert member.state.version == version
            assert again.node_ids is kept.node_ids, "nothing has changed, so no node was looked at"

            await order(second, b"CLUSTER ADDSLOTS 7")
            await until(lambda: peers().slot_bits == [1 << 7])
            assert kept.slot_bits == [0], "a snapshot that was taken stays as it is"

            await order(first, b"CLUSTER MEET 127.0.0.1 %d" % free_port())
            assert member.state.handshakes_count == 1
            assert peers().node_ids == [other_id], "the node in handshake has no id of its own yet"

            await second.close()
            await until(lambda: peers().ups == [False])
            assert peers().rtts_us != [None], "what was measured last"
            assert "no link to any of 1 other members is up" in reasons_against(member)

    run(scenario())
