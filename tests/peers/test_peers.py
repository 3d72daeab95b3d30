"""The fixtures with the real servers alone: everything that other tests rely on."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.peers.cluster import NodeLine, all_know_all, form, hold_failed, listings, node_id, wait_until
from tests.peers.ports import BUS_PORT_OFFSET, FIRST_PORT, LANE_PORTS, LAST_PORT, Lane, free_port
from tests.peers.server import Server, redis_command
from tests.peers.tls import Certificates

Peers = Callable[..., Server]
DEADLINE_S = 30.0


def test_valkey_primaries_join_and_agree_on_a_dead_one(peers: Peers) -> None:
    servers = [peers("valkey", cluster_node_timeout=1500) for _ in range(3)]
    form(servers, servers)
    assert servers[0].info()["server_name"] == "valkey"
    victim_id = node_id(servers[2])
    servers[2].kill()
    survivors = servers[:2]
    wait_until(lambda: hold_failed(survivors, victim_id), DEADLINE_S, lambda: listings(survivors))


def test_redis_joins_over_mutual_tls_and_keeps_its_id_over_a_restart(peers: Peers, certificates: Certificates) -> None:
    servers = [peers("redis", certificates=certificates) for _ in range(3)]
    form(servers, servers)
    before = node_id(servers[1])
    servers[1].restart()
    assert node_id(servers[1]) == before
    wait_until(lambda: all_know_all(servers), DEADLINE_S, lambda: listings(servers))


def test_servers_are_stopped_by_pid(peers: Peers) -> None:
    server = peers("valkey")
    assert server.exit_code() is None
    assert server.stop() == 0
    assert server.exit_code() == 0


def test_a_server_that_cannot_start_fails_with_its_log(peers: Peers) -> None:
    with pytest.raises(AssertionError, match=r"(?s)did not start \(exit 1\).*no-such-directive"):
        peers("valkey", no_such_directive="1")


def test_wait_until_fails_at_its_deadline_and_says_what_was_awaited() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.1 s: the sky falls"):
        wait_until(lambda: False, 0.1, "the sky falls")


def test_ports_come_in_pairs_below_the_ephemeral_range_and_none_again_before_the_others() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert all(FIRST_PORT <= port <= LAST_PORT < FIRST_PORT + BUS_PORT_OFFSET for port in ports)
    assert LAST_PORT + BUS_PORT_OFFSET < 32_768


def test_a_port_somebody_listens_on_is_passed_over_and_so_is_one_whose_bus_port_is_taken() -> None:
    taken, halved = free_port(), free_port()
    with (
        socket.create_server(("127.0.0.1", taken)),
        socket.create_server(("127.0.0.1", halved + BUS_PORT_OFFSET)),
    ):
        assert not {taken, halved} & {free_port() for _ in range(LANE_PORTS)}
    assert {taken, halved} <= {free_port() for _ in range(LANE_PORTS)}


def test_processes_that_run_tests_share_no_port() -> None:
    ours, others = Lane(), Lane()
    try:
        assert not set(ours.ports) & set(others.ports)
    finally:
        ours.close()
        others.close()


def test_a_missing_peer_skips_with_its_package_name_and_fails_under_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="redis-server"):
        redis_command()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="redis-server"):
        redis_command()


def test_node_lines_are_read_as_valkey_and_redis_print_them() -> None:
    line = NodeLine.parse(
        "a" * 40 + " 127.0.0.1:7000@17000,host,shard-id=b myself,master - 0 1700000000000 3 connected 0-5 9"
    )
    assert (line.port, line.cport, line.primary, line.config_epoch) == (7000, 7000 + BUS_PORT_OFFSET, None, 3)
    assert line.flags == {"myself", "master"}
    assert line.slots == ("0-5", "9")
    assert line.is_well
    suspected = NodeLine.parse("a" * 40 + " :0@0 slave,fail? " + "b" * 40 + " 1 2 0 disconnected")
    assert suspected.is_suspected
    assert not suspected.is_failed
    assert not suspected.is_well
