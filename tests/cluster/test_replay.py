"""Packets of real Valkey and Redis clusters, given to a state that knows their senders (S12).

The captures hold the creation of a cluster, publishes, a manual failover, a killed primary, its return and a FORGET.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Log
from clusterbus.cluster.operator.persist import parse as parse_conf
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.wire import Heartbeat, Packet, encode, parse

from tests.cluster.solo import START_MS

DATA = Path(__file__).parent.parent / "data"
CAPTURES = ("redis-7.0.15", "valkey-9.1.2")
STEP_MS = 20


class Replay:
    """A state that knows all senders from the start. Each has an inbound link of its own."""

    def __init__(self, capture: str) -> None:
        self.packets = parse((DATA / f"{capture}.frames").read_bytes())
        self.now_ms = START_MS
        self.state = ClusterState(
            config=Config(),
            random=Random(1),
            now_ms=self.now_ms,
            read_age_ms=lambda _link: 0,
            node_id="0123456789" * 4,
        )
        self.warnings: list[str] = []
        self.links: dict[str, int] = {}
        for number, sender in enumerate(dict.fromkeys(packet.sender for packet in self.full), start=1):
            self.links[sender] = number
            self.state.handle_link_accepted(number, f"10.0.0.{number}", "10.0.0.99", self.now_ms)
        self._learn_senders()

    @property
    def full(self) -> list[Packet]:
        return [packet for packet in self.packets if not packet.is_light]

    def _learn_senders(self) -> None:
        """Makes each sender known: its first heartbeat becomes the answer to a dial of ours."""
        firsts: dict[str, Heartbeat] = {}
        for packet in self.full:
            if packet.type in (c.PING, c.PONG, c.MEET):
                message = packet.decode()
                assert isinstance(message, Heartbeat)
                firsts.setdefault(packet.sender, message)
        for sender, number in self.links.items():
            self.state.meet(f"10.0.0.{number}", 7000 + number, None, self.now_ms)
            self.state.tick(self.now_ms)
            (temporary,) = [node for node in self.state.nodes if node.in_handshake]
            self.state.handle_link_opened(temporary.node_id, 1_000 + number, "10.0.0.99", self.now_ms)
            pong = encode(Heartbeat(c.PONG, firsts[sender].header, [], []))
            self.state.handle_packet(1_000 + number, parse(pong)[0], self.now_ms)
        self.settle()

    def settle(self) -> None:
        for effect in self.state.poll_effects():
            if isinstance(effect, Log) and effect.level == "warning":
                self.warnings.append(effect.text)

    def run(self) -> None:
        for packet in self.packets:
            self.now_ms += STEP_MS
            link = next(iter(self.links.values())) if packet.is_light else self.links[packet.sender]
            self.state.handle_packet(link, packet, self.now_ms)
            self.settle()


@pytest.mark.parametrize("capture", CAPTURES)
def test_s12_real_packets_raise_nothing_and_the_node_table_is_sensible(capture: str) -> None:
    replay = Replay(capture)
    assert {sender for sender in replay.links if replay.state.find(sender)} == set(replay.links)
    replay.run()
    state = replay.state
    nodes = {node.node_id: node for node in state.nodes if node is not state.myself}
    assert set(nodes) <= set(replay.links), "only the six, and perhaps not the forgotten one"
    assert len(nodes) >= 5
    owners = [node for node in nodes.values() if node.slot_bits]
    assert len(owners) == 3
    assert state.assigned_slots == c.ALL_SLOTS
    assert all(node.is_primary for node in owners)
    replicas = [node for node in nodes.values() if node.is_replica]
    assert replicas
    assert all(node.replicaof is None or node.replicaof.is_primary for node in replicas)
    epochs = [node.config_epoch for node in owners]
    assert len(set(epochs)) == 3
    assert state.current_epoch >= max(epochs)
    assert state.counters["messages_fail_received"] > 0
    assert not [name for name in state.counters if name.startswith("refused_field")]


@pytest.mark.parametrize("capture", CAPTURES)
def test_s12_a_replica_shares_its_primarys_shard(capture: str) -> None:
    replay = Replay(capture)
    replay.run()
    for node in replay.state.nodes:
        if node.replicaof is not None:
            assert node.shard_id == node.replicaof.shard_id


@pytest.mark.parametrize("capture", CAPTURES)
def test_s12_every_message_type_in_the_capture_was_counted(capture: str) -> None:
    replay = Replay(capture)
    replay.state.counters.clear()
    replay.run()
    for number, name in enumerate(c.MESSAGE_NAMES):
        expected = sum(packet.type == number for packet in replay.packets)
        assert replay.state.counters[f"messages_{name}_received"] == expected


@pytest.mark.parametrize("capture", CAPTURES)
def test_s12_the_learnt_node_table_survives_nodes_conf(capture: str) -> None:
    replay = Replay(capture)
    replay.run()
    text = replay.state.nodes_conf_text()
    again = ClusterState(
        config=Config(),
        random=Random(2),
        now_ms=replay.now_ms,
        read_age_ms=lambda _link: None,
        saved=parse_conf(text),
    )
    assert again.assigned_slots == replay.state.assigned_slots
    assert {node.node_id: node.primary.config_epoch for node in again.nodes} == {
        node.node_id: node.primary.config_epoch for node in replay.state.nodes
    }
