"""CLUSTER SLOT-STATS with cluster-slot-stats-enabled: time and bytes of each slot (P28)."""

from __future__ import annotations

from typing import Any

import clusterbus
import pytest
from clusterbus.sim import Simulation

from tests.client_port.harness import multibulk
from tests.client_port.session import Port, Session

FOO = 12182


@pytest.fixture
def simulation() -> Simulation:
    simulation = Simulation(seed=1, nodes=2)
    simulation.form(primaries=1)
    simulation.run_until(lambda: simulation.state(0).is_ok)
    return simulation


@pytest.fixture
def port(simulation: Simulation) -> Port:
    commands = (
        clusterbus.Command("GET", lambda key: key),
        clusterbus.Command("SET", lambda key, value: clusterbus.OK),
    )
    member = simulation.members[0].member
    port = Port(member, *(command.spec() for command in commands))
    member.listen(port.server.on_event)
    return port


@pytest.fixture
def client(port: Port) -> Session:
    return port.connect()


def costs(client: Session, slot: int = FOO) -> dict[str, Any]:
    ((_slot, row),) = client(f"CLUSTER SLOT-STATS SLOTSRANGE {slot} {slot}")
    return dict(zip(row[::2], row[1::2], strict=True))


def length(*requests: bytes) -> int:
    return sum(len(multibulk(*request.split())) for request in requests)


def test_the_columns_come_with_the_directive_p28(client: Session) -> None:
    assert costs(client) == {"key-count": 0}
    assert client("CLUSTER SLOT-STATS ORDERBY cpu-usec") == "ERR Unrecognized sort metric for ORDERBY."
    client("GET foo")
    client("CONFIG SET cluster-slot-stats-enabled yes")
    assert costs(client) == {"key-count": 0, "cpu-usec": 0, "network-bytes-in": 0, "network-bytes-out": 0}


def test_the_bytes_of_requests_and_replies_count_for_their_slot_p28(client: Session) -> None:
    client("CONFIG SET cluster-slot-stats-enabled yes")
    client.all("GET foo", "PING", "GET bar", "SET foo 1")
    row = costs(client)
    assert row["network-bytes-in"] == length(b"GET foo", b"SET foo 1")
    assert row["network-bytes-out"] == len(b"$3\r\nfoo\r\n+OK\r\n")
    client.all("MULTI", "GET foo", "PING", "EXEC")
    row = costs(client)
    assert row["network-bytes-in"] == length(b"GET foo", b"SET foo 1", b"GET foo", b"EXEC", b"MULTI"), "MULTI with EXEC"
    assert row["network-bytes-out"] == len(b"$3\r\nfoo\r\n+OK\r\n") + len(b"+QUEUED\r\n*2\r\n$3\r\nfoo\r\n+PONG\r\n")


def test_slots_are_ordered_by_any_column_p28(client: Session) -> None:
    client("CONFIG SET cluster-slot-stats-enabled yes")
    client.all("GET foo", "GET foo", "GET bar")
    for metric in ("network-bytes-in", "network-bytes-out"):
        assert [row[0] for row in client(f"CLUSTER SLOT-STATS ORDERBY {metric} LIMIT 3")] == [FOO, 5061, 0]
    assert [row[0] for row in client("CLUSTER SLOT-STATS ORDERBY network-bytes-in LIMIT 1 ASC")] == [0]


def test_time_counts_once_for_a_transaction_p28(client: Session, port: Port) -> None:
    client("CONFIG SET cluster-slot-stats-enabled yes")
    client.all("MULTI", "GET foo", "EXEC")
    rows = port.server.observer.stats.rows
    assert port.server.observer.slots.cost(FOO).time_ns == rows["exec"].time_ns


def test_a_slot_that_changes_hands_and_resetstat_begin_anew_p28(client: Session, simulation: Simulation) -> None:
    client("CONFIG SET cluster-slot-stats-enabled yes")
    client.all("GET foo", "GET bar")
    other = simulation.node_id(1)
    simulation.operate(0, lambda state, now_ms: state.assign_slot(FOO, other, now_ms))
    assert client(f"CLUSTER SLOT-STATS SLOTSRANGE {FOO} {FOO}") == [], "not of this shard"
    me = simulation.node_id(0)
    simulation.operate(0, lambda state, now_ms: state.import_slot(FOO, other, now_ms))
    simulation.operate(0, lambda state, now_ms: state.assign_slot(FOO, me, now_ms))
    assert costs(client)["network-bytes-in"] == 0
    assert costs(client, 5061)["network-bytes-in"] > 0
    client("CONFIG RESETSTAT")
    assert costs(client, 5061)["network-bytes-in"] == 0
