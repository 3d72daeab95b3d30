"""Errands: names that are resolved, commands at other nodes, and the bound on their threads."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from clusterbus.config import Config
from clusterbus.errors import ClusterBusError
from clusterbus.member.ports import Place
from clusterbus.runtime import errands as module
from clusterbus.runtime.errands import ERRANDS_AT_ONCE_MAX, Errands

from tests.peers.cluster import wait_until
from tests.peers.ports import free_port
from tests.peers.server import Server

DEADLINE_S = 20.0


def test_an_address_needs_no_thread_and_a_name_is_resolved() -> None:
    errands = Errands(Config())
    for address in ("10.1.2.3", "::1"):
        errand = errands.resolve(address)
        assert errand.is_done
        assert errand.result() == (address,)
    name = errands.resolve("localhost")
    wait_until(lambda: name.is_done, DEADLINE_S, "resolved")
    assert "127.0.0.1" in name.result()


def test_a_name_that_nobody_knows_is_one_clear_error() -> None:
    errand = Errands(Config()).resolve("no-such-host.invalid")
    wait_until(lambda: errand.is_done, DEADLINE_S, "resolved")
    with pytest.raises(ClusterBusError, match="no-such-host"):
        errand.result()


def test_only_so_many_run_at_once_and_all_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, running = threading.Event(), []

    def wait_at_the_gate(host: str) -> tuple[str, ...]:
        running.append(host)
        assert gate.wait(DEADLINE_S)
        return (host,)

    monkeypatch.setattr(module, "_addresses", wait_at_the_gate)
    errands = Errands(Config())
    ordered = [errands.resolve(f"host{number}") for number in range(ERRANDS_AT_ONCE_MAX + 5)]
    wait_until(lambda: len(running) == ERRANDS_AT_ONCE_MAX, DEADLINE_S, "the first ones run")
    gate.set()
    wait_until(lambda: all(errand.is_done for errand in ordered), DEADLINE_S, "all are done")
    assert len(running) == ERRANDS_AT_ONCE_MAX + 5


def test_a_command_at_another_node(peers: Callable[..., Server]) -> None:
    server = peers("valkey")
    errands = Errands(Config())
    good = errands.command(Place("127.0.0.1", server.port), "CLUSTER", "FORGET", "0" * 40)
    nobody = errands.command(Place("127.0.0.1", free_port()), "PING")
    wait_until(lambda: good.is_done and nobody.is_done, DEADLINE_S, "answered")
    assert good.result().reply.startswith("ERR Unknown node")
    assert (good.result().is_ok, nobody.result().is_ok, nobody.result().reply) == (False, False, "")
