"""Ports and addresses that move at run time, among real members (P41)."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import clusterbus
import pytest
from clusterbus.errors import ConfigError

from tests.bus.harness import order, pair, well
from tests.loops import Run, until
from tests.peers.ports import BUS_PORT_OFFSET, free_port
from tests.peers.tls import Certificates


def answers(port: int, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def address_of(bus: clusterbus.Bus, other: clusterbus.Bus) -> tuple[int, int]:
    """The client port and bus port under which a bus knows another."""
    node = bus.nodes[other.node_id]
    return node.port, node.bus_port


def test_client_port_and_bus_port_move_and_peers_follow_p41(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            old, new = first._config.port, free_port()
            links = [(link.peer, link.inbound) for link in first.links()]
            assert len(links) == 2
            first._config.set("port", str(new))
            assert [(link.peer, link.inbound) for link in first.links()] == links, "no link is lost by the move itself"
            assert not answers(old)
            assert not answers(old + BUS_PORT_OFFSET)
            assert answers(new)
            assert answers(new + BUS_PORT_OFFSET)
            await until(lambda: address_of(second, first) == (new, new + BUS_PORT_OFFSET))
            await until(lambda: all(well(bus) == 2 for bus in (first, second)))

    run(scenario())


def test_a_move_that_is_refused_moves_nothing_p41(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, _):
            port = free_port()
            taken = socket.create_server(("127.0.0.1", port))  # the client port is taken, the bus port is not
            with taken, pytest.raises(ConfigError, match="Address already in use"):
                first._config.set("port", str(port))
            assert not answers(port + BUS_PORT_OFFSET)
            assert answers(first._config.port)
            assert answers(first._config.port + BUS_PORT_OFFSET)

    run(scenario())


def test_addresses_of_bind_come_and_go_p41(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as (first, second):
            port = first._config.port
            await order(first, b'CONFIG SET bind "127.0.0.1 127.0.0.2"')
            assert answers(port, "127.0.0.2")
            assert answers(port + BUS_PORT_OFFSET, "127.0.0.2")
            await order(first, b"CONFIG SET bind 127.0.0.1")
            assert not answers(port, "127.0.0.2")
            assert not answers(port + BUS_PORT_OFFSET, "127.0.0.2")
            assert all(well(bus) == 2 for bus in (first, second))

    run(scenario())


def test_a_cluster_changes_to_tls_while_it_runs_p41(run: Run, tmp_path: Path, certificates: Certificates) -> None:
    files = {name.replace("-", "_"): value for name, value in certificates.directives().items() if "file" in name}

    def speaks_tls(port: int) -> bool:
        with (
            socket.create_connection(("127.0.0.1", port), 5) as raw,
            certificates.client_context().wrap_socket(raw, server_hostname="127.0.0.1"),
        ):
            return True

    def bus_ports_known(first: clusterbus.Bus, second: clusterbus.Bus) -> list[int]:
        return [address_of(second, first)[1], address_of(first, second)[1]]

    async def scenario() -> None:
        async with pair(tmp_path, **files) as buses:
            for bus in buses:
                await order(bus, f"CONFIG SET tls-port {free_port()} tls-cluster yes".encode())
            ports = [bus._config.tls_port + BUS_PORT_OFFSET for bus in buses]
            await until(lambda: bus_ports_known(*buses) == ports)
            await until(lambda: all(well(bus) == 2 for bus in buses))
            for port in ports:
                assert await asyncio.to_thread(speaks_tls, port)
            for bus in buses:
                await order(bus, b"CONFIG SET tls-cluster no")
            ports = [bus._config.port + BUS_PORT_OFFSET for bus in buses]
            await until(lambda: bus_ports_known(*buses) == ports)
            await until(lambda: all(well(bus) == 2 for bus in buses))

    run(scenario())
