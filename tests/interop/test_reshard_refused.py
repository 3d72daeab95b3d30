"""Slots with keys are to move from Valkey to a primary of ours without data: that fails, and nothing is lost (P5)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
import redis
from clusterbus.wire import key_slot

from tests.interop.test_redis_cli import address, checked, slot_count, wait_for_checks
from tests.peers.cluster import SLOT_COUNT, cluster_nodes, form, listings, node_id, wait_agreed, wait_until
from tests.peers.redis_cli import redis_cli
from tests.peers.server import Server, redis_cli_command

Peers = Callable[..., Server]
DEADLINE_S = 30.0
SLOTS_BEFORE = range(20, 60)
TAG = next(str(number) for number in count() if key_slot(b"%d" % number) in SLOTS_BEFORE)
SLOT = key_slot(TAG.encode())
"""A slot of the first of three primaries, with some empty ones before it."""
KEYS = [f"{{{TAG}}}{number}" for number in range(25)]
"""More than one MIGRATE of redis-cli takes."""
OPEN = "slots are open"


@pytest.fixture
def servers(peers: Peers) -> list[Server]:
    """Two Valkey primaries and one of ours without data. The first has the keys."""
    redis_cli_command()
    servers = [peers("valkey"), peers("valkey"), peers("clusterbus")]
    form(servers, servers)
    wait_agreed(servers, DEADLINE_S)
    for key in KEYS:
        assert servers[0].call("SET", key, key) == "OK"
    return servers


def move_slot_to_ours(servers: list[Server]) -> None:
    valkey, _, ours = servers
    assert ours.call("CLUSTER", "SETSLOT", SLOT, "IMPORTING", node_id(valkey)) == "OK"
    assert valkey.call("CLUSTER", "SETSLOT", SLOT, "MIGRATING", node_id(ours)) == "OK"


def migrate(servers: list[Server], *keys: str) -> str:
    with pytest.raises(redis.ResponseError) as caught:
        servers[0].call("MIGRATE", "127.0.0.1", servers[2].port, "", 0, 5000, "KEYS", *keys)
    return str(caught.value)


def keys_are_at_valkey(servers: list[Server]) -> bool:
    """The keys are in their slot, which is Valkey's on every node."""
    valkey = servers[0]
    owners = {line.node_id for server in servers for line in cluster_nodes(server).values() if owns(line.slots)}
    return owners == {node_id(valkey)} and valkey.call("MGET", *KEYS) == KEYS


def owns(slots: tuple[str, ...]) -> bool:
    ranges = [words.split("-") for words in slots if not words.startswith("[")]
    return any(int(bounds[0]) <= SLOT <= int(bounds[-1]) for bounds in ranges)


def fix(server: Server) -> None:
    redis_cli("--cluster", "fix", address(server), may_fail=True)


def test_migrate_to_a_primary_without_data_fails_with_one_error_and_ends_the_import_p5(servers: list[Server]) -> None:
    valkey, _, ours = servers
    assert "keeps no data" not in migrate(servers, KEYS[0]), "MOVED: without SETSLOT the slot is not ours"
    move_slot_to_ours(servers)
    text = migrate(servers, *KEYS)
    assert f"this node keeps no data: it no longer imports slot {SLOT}, whose keys stay where they are" in text
    assert text.count("ERR") == 1
    assert keys_are_at_valkey(servers)
    assert f"[{SLOT}-" not in ours.call("CLUSTER", "NODES")
    assert f"import from node {node_id(valkey)}" in ours.log_text()
    assert valkey.call("CLUSTER", "SETSLOT", SLOT, "STABLE") == "OK"
    wait_for_checks(servers)


def test_a_reshard_that_meets_keys_fails_and_fix_mends_it_p5(servers: list[Server]) -> None:
    """The empty slots before the one with keys have moved, and may stay."""
    valkey, _, ours = servers
    output = redis_cli(
        "--cluster", "reshard", address(valkey), "--cluster-from", node_id(valkey), "--cluster-to", node_id(ours),
        "--cluster-slots", str(SLOT + 1), "--cluster-yes", may_fail=True,
    )  # fmt: skip
    assert "this node keeps no data: it no longer imports" in output
    assert keys_are_at_valkey(servers)
    assert OPEN in checked(valkey)
    fix(valkey)
    wait_for_checks(servers)
    assert OPEN not in checked(valkey)
    assert keys_are_at_valkey(servers)
    assert slot_count(valkey, node_id(valkey)) == SLOT_COUNT // 3 - SLOT
    wait_until(lambda: slot_count(ours, node_id(ours)) > SLOT_COUNT // 3, DEADLINE_S, lambda: listings(servers))


def test_an_import_that_was_left_open_before_any_key_came_is_mended_too_p5(servers: list[Server]) -> None:
    """`fix` tries the move once more, which ends the import, and then closes the slot."""
    move_slot_to_ours(servers)
    for _ in range(2):
        fix(servers[0])
    wait_for_checks(servers)
    assert OPEN not in checked(servers[0])
    assert keys_are_at_valkey(servers)
