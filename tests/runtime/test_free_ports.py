"""Free pairs of ports: how they are kept, and nodes that take one because of `port 0`."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus.config import Config
from clusterbus.config.address import BindAddress
from clusterbus.errors import ConfigError
from clusterbus.runtime import free_ports
from clusterbus.runtime.free_ports import OPENING_TRIES, PAIR_TRIES, openings, reserve_pair

from tests.bus.harness import settings, well
from tests.loops import Run, until
from tests.peers.ports import free_port
from tests.peers.tls import Certificates


def listening(port: int, ip: str = "127.0.0.1") -> socket.socket:
    taken = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind((ip, port))
    taken.listen()
    return taken


def test_a_kept_pair_can_be_listened_on_and_is_given_to_nobody_else() -> None:
    with contextlib.ExitStack() as held:
        pairs = [held.enter_context(reserve_pair()) for _ in range(50)]
        assert len({number for pair in pairs for number in (pair.port, pair.bus_port)}) == 100
        assert all(pair.bus_port == pair.port + 10_000 <= 65_535 for pair in pairs)
        for number in (pairs[0].port, pairs[0].bus_port):
            listening(number).close()
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", number))  # a server that does not ask for SO_REUSEADDR
    listening(pairs[0].port).close()


def test_a_number_that_is_kept_is_not_kept_twice() -> None:
    """Not even if both are asked for by number, as the other port of a pair is."""
    address = BindAddress("127.0.0.1", optional=False, wildcard=False)
    with reserve_pair() as pair, pytest.raises(OSError, match="in use"):
        free_ports._bound(address, pair.bus_port)


def test_every_address_counts_and_one_that_the_machine_lacks_does_not() -> None:
    here = [BindAddress(ip, optional=False, wildcard=False) for ip in ("127.0.0.1", "127.0.0.2")]
    with reserve_pair([*here, BindAddress("192.0.2.7", optional=True, wildcard=False)]) as pair:
        for ip in ("127.0.0.1", "127.0.0.2"):
            for number in (pair.port, pair.bus_port):
                with socket.socket() as other, pytest.raises(OSError, match="in use"):
                    other.bind((ip, number))
    with pytest.raises(ConfigError, match="no address of 'bind' can be listened on"):
        reserve_pair([BindAddress("192.0.2.7", optional=True, wildcard=False)])


def test_the_search_for_a_pair_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    bound = free_ports._bound

    def refuse(address: BindAddress, port: int) -> socket.socket:
        if port:
            raise OSError("in use")
        drawn.append(port)
        return bound(address, port)

    monkeypatch.setattr(free_ports, "_bound", refuse)
    with pytest.raises(ConfigError, match=f"no free pair of ports found in {PAIR_TRIES} tries"):
        reserve_pair()
    assert len(drawn) == PAIR_TRIES


def test_port_0_opens_a_pair_that_can_be_read_back(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            clusterbus.Bus(**settings(tmp_path / "a", port=0)) as first,
            clusterbus.Bus(**settings(tmp_path / "b", port=0)) as second,
        ):
            assert first.port not in (0, second.port)
            assert first.bus_port == first.port + 10_000
            for number in (first.port, first.bus_port):
                with socket.create_connection(("127.0.0.1", number)):
                    pass
            await first.meet("127.0.0.1", second.port)
            await until(lambda: well(first) == well(second) == 2)
            told = first.nodes[second.node_id]
            assert (told.port, told.bus_port) == (second.port, second.bus_port)
            assert first.nodes[first.node_id].port == first.port

    run(scenario())


def test_a_bus_that_opens_again_has_its_ports_again_or_others_if_they_are_taken(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = clusterbus.Bus(**settings(tmp_path / "a", port=0))
        async with bus:
            port, node_id = bus.port, bus.node_id
        async with bus:
            assert bus.port == port
        with listening(port + 10_000):
            async with bus:
                assert bus.node_id == node_id
                assert bus.port != port

    run(scenario())


@pytest.mark.parametrize("number", [0, 10_000])
def test_a_pair_that_is_taken_at_the_last_moment_is_given_up(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Somebody listens on the client port, or the bus port, after it was drawn."""
    taken: list[socket.socket] = []
    draw = free_ports.reserve_pair

    def steal(*arguments: Any, **keywords: Any) -> free_ports.PortPair:
        pair = draw(*arguments, **keywords)
        if len(taken) < OPENING_TRIES - 1:
            taken.append(listening(pair.port + number))
        return pair

    monkeypatch.setattr(free_ports, "reserve_pair", steal)

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "a", port=0)) as bus:
            assert len(taken) == OPENING_TRIES - 1
            assert bus.port + number not in [other.getsockname()[1] for other in taken]
        with clusterbus.BlockingBus(**settings(tmp_path / "b", port=0)) as blocking:
            assert blocking.port

    try:
        run(scenario())
    finally:
        for other in taken:
            other.close()


def test_the_attempts_end(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, tries = free_ports.reserve_pair, []
    with listening(0) as other:
        taken = other.getsockname()[1]

        def same(*arguments: Any, **keywords: Any) -> free_ports.PortPair:
            tries.append(1)
            pair = draw(*arguments, **keywords)
            pair.port = taken
            return pair

        monkeypatch.setattr(free_ports, "reserve_pair", same)

        async def scenario() -> None:
            with pytest.raises(ConfigError, match="Address already in use"):
                await clusterbus.Bus(**settings(tmp_path / "a", port=0, cluster_port=free_port())).open()

        run(scenario())
    assert len(tries) == OPENING_TRIES


def test_a_given_bus_port_stays_and_only_the_client_port_is_free(run: Run, tmp_path: Path) -> None:
    bus_port = free_port()

    async def scenario() -> None:
        async with clusterbus.Bus(**settings(tmp_path / "a", port=0, cluster_port=bus_port)) as bus:
            assert bus.bus_port == bus_port
            assert bus.port not in (0, bus_port)

    run(scenario())


def test_with_a_tls_port_port_0_means_no_plain_port_as_in_valkey(
    run: Run, tmp_path: Path, certificates: Certificates
) -> None:
    files = {name.replace("-", "_"): text for name, text in certificates.directives().items()} | {"tls_cluster": "no"}
    tls_port = free_port()

    async def scenario() -> None:
        async with clusterbus.Bus(
            **settings(tmp_path / "a", port=0, tls_port=tls_port, cluster_port=free_port(), **files)
        ) as bus:
            assert bus._config.port == 0
            assert bus.port == tls_port
        async with clusterbus.Bus(**settings(tmp_path / "b", port=0, **files | {"tls_cluster": "yes"})) as bus:
            assert bus._config.port == 0, "over TLS it is the TLS port that the bus port follows"
            assert bus.bus_port == bus._config.tls_port + 10_000 == bus.port + 10_000

    run(scenario())


def test_a_fixed_port_is_tried_once(run: Run, tmp_path: Path) -> None:
    config = Config.from_keywords(**settings(tmp_path / "a"))
    assert [last for _ports, last in openings(config)] == [True]
    with listening(config.port):

        async def scenario() -> None:
            with pytest.raises(ConfigError, match=f"can't listen on 127.0.0.1:{config.port}"):
                await clusterbus.Bus(**settings(tmp_path / "b", port=config.port)).open()

        run(scenario())


@pytest.mark.processes
def test_a_node_of_the_program_takes_a_free_pair_and_logs_it(tmp_path: Path) -> None:
    words = ["--port", "0", "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "clusterbus", "node", *words], stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        try:
            found = next(match for line in node.stdout if (match := re.search(r" port=(\d+), bus port=(\d+)", line)))
            for number in found.groups():
                with socket.create_connection(("127.0.0.1", int(number))):
                    pass
        finally:
            node.terminate()
