"""`attach` and the libraries: what it needs of them is checked, and what has changed in one is said."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus import topology
from clusterbus.errors import StateError
from clusterbus.topology import adapter
from clusterbus.topology.feed import FeedState

ROWS = [[0, 16_383, ["127.0.0.1", 7000, "a" * 40]]]


class Node:
    """A startup node as both libraries have them."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port, self.name = host, port, f"{host}:{port}"
        self.redis_connection: Any = None


class Manager:
    """The part of redis-py's `NodesManager` that is used."""

    def __init__(self) -> None:
        self.startup_nodes = {"127.0.0.1:7000": Node("127.0.0.1", 7000)}
        self.nodes_cache: dict[str, Node] = {}
        self.connection_kwargs: dict[str, Any] = {}
        self._dynamic_startup_nodes = True
        self.rows: Any = None

    def create_redis_node(self, _host: str, _port: int, **_options: Any) -> None: ...

    def initialize(self) -> None:
        for node in self.startup_nodes.values():
            if node.redis_connection is not None:
                self.rows = node.redis_connection.execute_command("CLUSTER SLOTS")


class Client:
    def __init__(self, manager: Manager) -> None:
        self.nodes_manager = manager


class ToldFeed:
    """A feed that has one picture."""

    def __init__(self, *_arguments: Any) -> None:
        self.state, self.number, self.follows = FeedState.LIVE, 1, "127.0.0.1:7001"
        self.waits: list[float] = []

    def start(self) -> None: ...

    def close(self) -> None: ...

    def cut_off_for_s(self) -> float:
        return 0.0

    def wait(self, condition: Any, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        return bool(condition())

    def rows(self, *, tls: bool) -> tuple[int, list[Any]]:
        assert not tls
        return self.number, ROWS


@pytest.fixture(autouse=True)
def told_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "Feed", ToldFeed)


def test_the_only_startup_node_answers_from_the_picture_until_it_is_closed() -> None:
    manager = Manager()
    before = dict(manager.startup_nodes)
    with topology.attach(Client(manager), ["127.0.0.1:7001"], patience_s=7) as attached:
        assert manager.rows == ROWS
        assert list(manager.startup_nodes) == ["clusterbus.topology:0"]
        assert manager._dynamic_startup_nodes is False
        assert attached._feed.waits == [adapter.ATTACH_TIMEOUT_S], "what is new is not waited for"  # type: ignore[attr-defined]
        manager.initialize()
        assert attached._feed.waits[-1] == 7, "who has this picture already waits for another"  # type: ignore[attr-defined]
        (connection,) = (node.redis_connection for node in manager.startup_nodes.values())
        with pytest.raises(StateError, match="does not answer GET"):
            connection.execute_command("GET", "key")
    assert manager.startup_nodes == before
    assert manager._dynamic_startup_nodes is True


@pytest.mark.parametrize("name", ["startup_nodes", "nodes_cache", "connection_kwargs", "_dynamic_startup_nodes"])
def test_a_library_that_lacks_something_is_refused(name: str) -> None:
    manager = Manager()
    delattr(manager, name)
    with pytest.raises(StateError, match=f"this version of the client's library has no {name}"):
        topology.attach(Client(manager), ["127.0.0.1:7001"])


def test_a_library_that_asks_otherwise_is_refused_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Manager()
    before = dict(manager.startup_nodes)
    monkeypatch.setattr(manager, "initialize", lambda: None)
    with pytest.raises(StateError, match="does not ask its startup nodes for CLUSTER SLOTS"):
        topology.attach(Client(manager), ["127.0.0.1:7001"])
    assert manager.startup_nodes == before
