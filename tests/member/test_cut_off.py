"""A member that is cut off from an address dials nobody there, and drops what was being dialled (`Driver.cut_off`)."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from clusterbus.cluster.effects import Dial
from clusterbus.member.driver import CUT_OFF

from tests.member.scripted import running

OTHER_ID = "c" * 40


def test_nobody_is_dialled_at_an_address_that_is_cut_off(tmp_path: Path) -> None:
    with running(tmp_path) as loop, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        state: Any = loop.state
        state.nodes = []
        loop.driver.cut_off = frozenset({f"127.0.0.1:{port}"})
        state.answers["tick"] = lambda: [Dial(OTHER_ID, "127.0.0.1", port)]
        loop.driver.tick()
        loop.until(lambda: state.heard("dial failed"), "the failure is reported")
        assert state.heard("dial failed") == [(OTHER_ID, CUT_OFF)]
        assert loop.driver.counters["dials_failed"] == 0, "nothing failed but what was meant to"
        loop.driver.cut_off = frozenset()
        loop.driver.tick()
        loop.until(lambda: state.heard("opened"), "it is dialled")
        server.accept()[0].close()


def test_a_dial_under_way_comes_to_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as loop, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        state: Any = loop.state
        state.nodes = []
        state.answers["tick"] = lambda: [Dial(OTHER_ID, "127.0.0.1", port)]
        loop.driver.tick()
        peer, _ = server.accept()
        with peer:
            loop.driver.cut_off = frozenset({f"127.0.0.1:{port}"})
            loop.until(lambda: state.heard("dial failed"), "the failure is reported")
            assert state.heard("dial failed") == [(OTHER_ID, CUT_OFF)]
            assert state.heard("opened") == []
            assert not loop.driver.links
            loop.until(lambda: loop.driver.engine.stats()["links"] == 0, "nothing of it stays")
            assert peer.recv(1) == b""
