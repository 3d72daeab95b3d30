"""CONFIG SET io-threads under load: no link is lost and every PING is answered.

The load is 32 hand-made peers that the node knows. Each sends its next PING as soon as the last one is answered, while
the number of I/O threads goes up and down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import cycle, islice

import pytest

from tests.interop.bus_peer import Peer, PeerGroup
from tests.peers.cluster import cluster_nodes, listings, wait_until
from tests.peers.server import Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]

LINK_COUNT = 32
RESIZES = 30
ROUNDS_BETWEEN_RESIZES = 5
DEADLINE_S = 30.0


class Load:
    """PINGs on the link of every peer, one in flight on each, until `stop` is called."""

    def __init__(self, peers: list[Peer]) -> None:
        self._peers = peers
        self._stopping = False
        self.answered = dict.fromkeys((peer.node_id for peer in peers), 0)
        self.lost: list[str] = []

    async def _drive(self, peer: Peer) -> None:
        while not self._stopping:
            if await peer.ping() is None:
                self.lost.append(peer.node_id)
                return
            self.answered[peer.node_id] += 1

    async def run(self) -> None:
        """Returns when the last PING of every peer is answered. Raises TimeoutError if one is not."""
        await asyncio.gather(*map(self._drive, self._peers))

    def wait_for_answers(self, count: int, when: str) -> None:
        """Waits until so many more were answered."""
        least = sum(self.answered.values()) + count
        wait_until(
            lambda: sum(self.answered.values()) >= least,
            DEADLINE_S,
            lambda: f"answers go on {when}: {self.answered}",
        )

    def stop(self) -> None:
        self._stopping = True


@pytest.mark.parametrize("with_tls", [False, True])
def test_io_threads_change_under_load_without_loss_r22_r35(
    peers: Peers, bus: PeerGroup, certificates: Certificates, with_tls: bool
) -> None:
    node = peers("clusterbus", certificates=certificates if with_tls else None, io_threads=3)
    senders = [bus.peer(f"{number:040x}", node) for number in range(1, LINK_COUNT + 1)]
    wait_until(
        lambda: sum(line.is_well for line in cluster_nodes(node).values()) == LINK_COUNT + 1,
        DEADLINE_S,
        lambda: f"all peers are known\n{listings([node])}",
    )

    load = Load(senders)
    running = bus.loop.start(load.run())
    for io_threads in islice(cycle((1, 4, 2, 3)), RESIZES):
        assert node.call("CONFIG", "SET", "io-threads", io_threads) == "OK"
        assert node.call("CONFIG", "GET", "io-threads") == ["io-threads", str(io_threads)]
        load.wait_for_answers(ROUNDS_BETWEEN_RESIZES * LINK_COUNT, f"with {io_threads} I/O threads")
    load.stop()
    running.result(DEADLINE_S)
    assert load.lost == []
    assert min(load.answered.values()) >= RESIZES
    assert sum(line.is_well for line in cluster_nodes(node).values()) == LINK_COUNT + 1


def test_workers_take_over_and_hand_back_at_run_time_r22_r25(peers: Peers, bus: PeerGroup) -> None:
    node = peers("clusterbus", io_threads=1)
    sender = bus.peer("a" * 40, node)
    wait_until(lambda: len(cluster_nodes(node)) == 2, DEADLINE_S, lambda: listings([node]))
    assert node.counter("cluster_threaded_reads_processed") == 0

    assert node.call("CONFIG", "SET", "io-threads", 3) == "OK"
    assert bus.loop.run(sender.ping()) is not None
    wait_until(lambda: node.counter("cluster_threaded_reads_processed") > 0, DEADLINE_S, "a worker reads")

    assert node.call("CONFIG", "SET", "io-threads", 1) == "OK"
    on_workers = node.counter("cluster_threaded_reads_processed")
    for _ in range(10):
        assert bus.loop.run(sender.ping()) is not None
    assert node.counter("cluster_threaded_reads_processed") == on_workers
    assert node.counter("cluster_io_main_thread_fallbacks") == 0
