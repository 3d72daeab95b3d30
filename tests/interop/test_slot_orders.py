"""A program's orders about slots in a cluster with Valkey: moves by its client port, and votes beside servers that have
none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import clusterbus
import pytest
from clusterbus.cluster.model.node import Kin
from clusterbus.errors import StateError

from tests.bus.harness import settings, well
from tests.loops import Run, until
from tests.peers.cluster import cluster_nodes, node_id
from tests.peers.server import Server

Peers = Callable[..., Server]
FREE = 16_000


class Keys(clusterbus.DataPlane):
    """A key in each of some slots."""

    def __init__(self) -> None:
        self.slots: set[int] = set()

    def count_keys_in_slot(self, slot: int) -> int:
        return int(slot in self.slots)

    def keys_in_slot(self, slot: int, count: int) -> list[bytes]:
        return [b"precious"][:count] if slot in self.slots else []


def slots_of(server: Server, owner_id: str) -> tuple[str, ...]:
    return next(line.slots for line in cluster_nodes(server).values() if line.node_id == owner_id)


def test_slots_move_to_a_valkey_node_and_those_with_keys_stay(peers: Peers, run: Run, tmp_path: Path) -> None:
    valkey = peers("valkey")
    keys = Keys()

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "ours"), data_plane=keys) as bus:
            await bus.add_slots((0, 16383))
            await bus.meet("127.0.0.1", valkey.port)
            await until(lambda: well(bus) == 2 and bus.is_ok)
            keys.slots.add(700)
            with pytest.raises(StateError, match="slot 700 holds keys, b'precious' among them"):
                await bus.move_slots((0, 999), node_id(valkey))
            await bus.move_slots([(0, 599), 5000], node_id(valkey), timeout_s=60)
            assert bus.me.slots == ((600, 4999), (5001, 16383))
            assert bus.nodes[node_id(valkey)].slots == ((0, 599), (5000, 5000))
            await until(lambda: slots_of(valkey, node_id(valkey)) == ("0-599", "5000"))
            await until(lambda: slots_of(valkey, bus.node_id) == ("600-4999", "5001-16383"))
            await until(lambda: bus.nodes[node_id(valkey)].config_epoch > bus.me.config_epoch)

    run(scenario())


def test_valkey_nodes_do_not_count_among_the_voters_and_keep_their_slots(
    peers: Peers, run: Run, tmp_path: Path
) -> None:
    servers = [peers("valkey"), peers("valkey"), peers("valkey")]
    for server, slots in zip(servers, ((0, 5000), (5001, 10000), (10001, FREE - 1)), strict=True):
        assert server.call("CLUSTER", "ADDSLOTSRANGE", *slots) == "OK"

    async def scenario() -> None:
        async with (
            clusterbus.Bus(**settings(tmp_path / "a", cluster_require_full_coverage=False)) as first,
            clusterbus.Bus(**settings(tmp_path / "b", cluster_require_full_coverage=False)) as second,
        ):
            for server in servers:
                await first.meet("127.0.0.1", server.port)
            await first.meet("127.0.0.1", second._config.port)
            await until(lambda: well(first) == well(second) == 5)
            await until(lambda: len(first.slots) == len(second.slots) == 3)
            token = await first.take_slots(FREE, timeout_s=30)
            assert {first._member().state.find(node_id(server)).kin for server in servers} == {Kin.OTHER}  # type: ignore[union-attr]
            for server in servers:
                await until(lambda server=server: slots_of(server, first.node_id) == (str(FREE),))  # type: ignore[misc]
            assert token == first.me.config_epoch
            with pytest.raises(StateError, match="may have keys: they would be lost"):
                await first.take_slots(5)
            assert first.nodes[node_id(servers[0])].slots[0][0] == 0
            await second.take_slots(5, force=True)
            await until(lambda: slots_of(servers[0], second.node_id) == ("5",))

    run(scenario())
