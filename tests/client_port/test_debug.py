"""DEBUG: its switches reach what they switch, and what it cannot do it says (P31, P43)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import clusterbus
import pytest
import redis
from clusterbus.client_port.commands.debug import POPULATE_LEN_MAX_BYTES, POPULATE_MAX, RESTART_DELAY_MAX_MS
from clusterbus.sim import Simulation

from tests.client_port.session import Port, Session
from tests.peers.cluster import node_id, wait_until
from tests.peers.server import Server

DEADLINE_S = 30.0


class Store(clusterbus.DataPlane):
    """Takes keys from DEBUG POPULATE."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {b"key:1": b"old"}

    def populate(self, items: Iterable[tuple[bytes, bytes]]) -> bool:
        for key, value in items:
            self.values.setdefault(key, value)
        return True


@pytest.fixture
def port() -> Port:
    simulation = Simulation(seed=1, nodes=1, directives={"enable_debug_command": "yes"})
    return Port(simulation.members[0].member)


@pytest.fixture
def client(port: Port) -> Session:
    return port.connect()


def test_the_switches_p31(port: Port, client: Session) -> None:
    switches, driver = port.member.state.switches, port.member.driver
    assert (switches.reconnects, switches.pings_at_random, driver.closes_filtered) == (True, True, False)
    for name in ("disable-cluster-reconnection", "DISABLE-CLUSTER-RANDOM-PING", "close-cluster-link-on-packet-drop"):
        assert client(f"DEBUG {name} 1") == "OK"
    assert (switches.reconnects, switches.pings_at_random, driver.closes_filtered) == (False, False, True)
    for name in ("disable-cluster-reconnection", "DISABLE-CLUSTER-RANDOM-PING", "close-cluster-link-on-packet-drop"):
        assert client(f"DEBUG {name} 0") == "OK"
    assert (switches.reconnects, switches.pings_at_random, driver.closes_filtered) == (True, True, False)
    assert "unknown subcommand or wrong number" in client("DEBUG DISABLE-CLUSTER-RECONNECTION")


def test_populate_sets_keys_that_are_not_there_p43(port: Port) -> None:
    store = Store()
    client = Port(port.member, data_plane=store).connect()
    assert client("DEBUG POPULATE 3") == "OK"
    assert store.values == {b"key:0": b"value:0", b"key:1": b"old", b"key:2": b"value:2"}
    client("DEBUG POPULATE 1 long 10")
    client("DEBUG POPULATE 1 short 3")
    assert (store.values[b"long:0"], store.values[b"short:0"]) == (b"value:0\0\0\0", b"val")
    for wrong in ("-1", "x", f"{POPULATE_MAX + 1}", f"1 key {POPULATE_LEN_MAX_BYTES + 1}", "1 key -1"):
        assert client(f"DEBUG POPULATE {wrong}").startswith("ERR ")
    assert "wrong number" in client("DEBUG POPULATE 1 2 3 4")


def test_what_a_node_in_a_program_cannot_do_it_says_p43(client: Session) -> None:
    assert client("DEBUG POPULATE 3").endswith("takes no keys from DEBUG POPULATE (DataPlane.populate)")
    assert client("DEBUG RESTART") == "ERR this node runs inside a program, which alone can restart it"
    assert client(f"DEBUG RESTART {RESTART_DELAY_MAX_MS + 1}") == "ERR value is out of range"


@pytest.mark.processes
def test_restart_begins_the_process_again_with_what_it_knew_p43(peers: Callable[..., Server]) -> None:
    node = peers("clusterbus", config_file=True)
    node.call("CLUSTER", "ADDSLOTS", 5)
    node.call("CONFIG", "SET", "maxclients", "77")
    before, me, pid = node.info()["run_id"], node_id(node), node.pid
    assert node.call("DEBUG", "LOG", "before the restart") == "OK"
    assert node.call("DEBUG", "RESTART", "100") == "OK"
    node.disconnect()

    def is_new() -> bool:
        try:
            return bool(node.info()["run_id"] != before)
        except redis.ConnectionError:
            return False

    wait_until(is_new, DEADLINE_S, node.log_tail)
    assert node.exit_code() is None
    assert node.info()["process_id"] == str(pid)
    assert node_id(node) == me
    assert " 5" in node.call("CLUSTER", "NODES")
    assert node.call("CONFIG", "GET", "maxclients") == ["maxclients", "77"], "the file was rewritten"
    assert "DEBUG LOG: before the restart" in node.log_text()
