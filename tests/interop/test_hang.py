"""A node whose main loop hangs looks dead to the other nodes, and comes back by itself.

Workers go on while the main loop sleeps. But they answer PINGs only under its lease, for a quarter of a second at most:
else the other nodes would not notice.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.peers.cluster import all_know_all, cluster_nodes, form, listings, node_id, wait_until
from tests.peers.server import Server

Peers = Callable[..., Server]

NODE_TIMEOUT_MS = 1500
SLEEP_S = 8
BACK_DEADLINE_S = 30.0


@pytest.mark.parametrize("victim_has_slots", [False, True])
def test_a_hung_main_loop_is_held_failing_and_comes_back_by_itself_s3_r23(peers: Peers, victim_has_slots: bool) -> None:
    theirs = [peers("valkey", cluster_node_timeout=NODE_TIMEOUT_MS) for _ in range(2)]
    ours = [peers("clusterbus", cluster_node_timeout=NODE_TIMEOUT_MS, io_threads=3) for _ in range(2)]
    victim, witness = ours
    servers = theirs + ours
    form(servers, [*theirs, victim if victim_has_slots else witness])
    victim_id = node_id(victim)
    others = [server for server in servers if server is not victim]

    sleeper = victim.connect(timeout_s=SLEEP_S + BACK_DEADLINE_S)
    sleeper.send_command("DEBUG", "SLEEP", SLEEP_S, check_health=False)
    wait_until(
        lambda: all(cluster_nodes(server)[victim_id].is_failed for server in others),
        SLEEP_S,
        lambda: f"the others hold the sleeper failing\n{listings(others)}",
    )
    assert sleeper.read_response() == "OK"
    sleeper.disconnect()
    wait_until(lambda: all_know_all(servers), BACK_DEADLINE_S, lambda: f"it is back\n{listings(servers)}")
    wait_until(
        lambda: all(server.info()["cluster_state"] == "ok" for server in servers),
        BACK_DEADLINE_S,
        lambda: listings(servers),
    )
