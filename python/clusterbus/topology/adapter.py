"""`attach`: a cluster client of redis-py or valkey-py takes its topology from what clusterbus nodes push.

Owns the place where the client asks for CLUSTER SLOTS: its only startup node is one of ours, which answers from the
picture. So the client's own code does the rest, at its start, after a push, and after an error. Must never leave a
client without a way: when no node pushes, the real nodes are asked, as the client itself would. Any thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final

from clusterbus.errors import ConfigError, StateError
from clusterbus.topology.feed import Feed, FeedState

PATIENCE_S: Final = 5.0
ATTACH_TIMEOUT_S: Final = 10.0
FALL_BACK_AFTER_S: Final = 3.0
"""When no node has pushed for so long, the client asks the real nodes."""

logger: Final = logging.getLogger("clusterbus.topology")


def attach(
    client: Any,
    seeds: Iterable[str],
    *,
    patience_s: float = PATIENCE_S,
    timeout_s: float = ATTACH_TIMEOUT_S,
) -> Attached:
    """From now on `client` (`redis.RedisCluster` or `valkey.ValkeyCluster`, not the asyncio ones) follows the topology
    that one of the clusterbus nodes `seeds` ("host:port" of their client ports) pushes, with the client's own password
    and TLS. It sends CLUSTER SLOTS to no node while one of them can be reached.

    After an error a command waits up to `patience_s` for a change before the client tries again: a failover under way
    is a call that takes longer, not one that fails. Closing what is returned, or leaving its context, gives the client
    back its own way.

    Raises ConfigError for what is no address, TypeError for a client of another kind, and StateError if none of the
    nodes has told a topology within `timeout_s`, or the client's version of its library works otherwise.
    """
    attached = Attached(client, [_address(seed) for seed in seeds], patience_s)
    attached._open(timeout_s)
    return attached


def _address(seed: str) -> tuple[str, int]:
    host, colon, port = seed.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ConfigError(f"seeds: {seed!r} is no host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


class Attached:
    """A client that follows what is pushed. Closing it is idempotent."""

    def __init__(self, client: Any, seeds: list[tuple[str, int]], patience_s: float) -> None:
        if not seeds:
            raise ConfigError("seeds: there is none")
        self._manager = _manager_of(client)
        self._is_valkey = hasattr(self._manager, "create_valkey_node")
        self._patience_s = patience_s
        self._tls = bool(self._manager.connection_kwargs.get("ssl")) or _speaks_tls(self._manager)
        self._old_startup: dict[str, Any] = dict(self._manager.startup_nodes)
        self._was_dynamic: bool = self._manager._dynamic_startup_nodes
        self._given = -1
        self._feed = Feed(seeds, self._connect, self._refresh)
        self._is_open = False

    def __enter__(self) -> Attached:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def state(self) -> FeedState:
        """Whether a node is followed at present."""
        return self._feed.state

    @property
    def follows(self) -> str:
        """The node that is followed, "host:port"; "" while none is."""
        return self._feed.follows

    @property
    def changes(self) -> int:
        """How many changes the client was told."""
        return self._feed.number

    def close(self) -> None:
        """Gives the client back its own way to find the topology."""
        if self._is_open:
            self._is_open = False
            self._feed.close()
            nodes = self._manager.nodes_cache if self._was_dynamic else self._old_startup
            self._manager.startup_nodes = dict(nodes) or self._old_startup
            self._manager._dynamic_startup_nodes = self._was_dynamic

    def _open(self, timeout_s: float) -> None:
        self._feed.start()
        if not self._feed.wait(lambda: self._feed.number > 0, timeout_s):
            self._feed.close()
            raise StateError(f"none of the seeds has pushed a topology within {timeout_s:g} s")
        node_class = type(next(iter(self._old_startup.values())))
        node = node_class("clusterbus.topology", 0)
        setattr(node, "valkey_connection" if self._is_valkey else "redis_connection", _Answers(self))
        self._manager._dynamic_startup_nodes = False
        self._manager.startup_nodes = {node.name: node}
        self._is_open = True
        self._refresh()
        if self._given < 0:
            self.close()
            raise StateError("this version of the client's library does not ask its startup nodes for CLUSTER SLOTS")

    def _connect(self, host: str, port: int) -> Any:
        make = self._manager.create_valkey_node if self._is_valkey else self._manager.create_redis_node
        return make(host, port, **self._manager.connection_kwargs)

    def _refresh(self) -> None:
        """Has the client take the picture of now. On the feed's thread, or the one that attaches."""
        if not self._is_open:
            return
        try:
            self._given = -1  # what is pushed is not waited for
            self._manager.initialize()
        except Exception as fault:  # the client's own calls will say it too
            logger.info("the client did not take the topology: %s", fault)

    def _answer(self) -> list[Any]:
        """CLUSTER SLOTS. Who has this picture already asks because something went wrong: it waits for another."""
        number = self._feed.number
        if number == self._given:
            self._feed.wait(lambda: self._feed.number != number or self._must_fall_back(), self._patience_s)
        if self._must_fall_back():
            return self._asked()
        self._given, rows = self._feed.rows(tls=self._tls)
        return rows

    def _must_fall_back(self) -> bool:
        return self._feed.cut_off_for_s() > FALL_BACK_AFTER_S

    def _asked(self) -> list[Any]:
        """CLUSTER SLOTS of a real node."""
        fault: Exception | None = None
        known = {**self._old_startup, **self._manager.nodes_cache}
        for node in list(known.values()):
            try:
                with contextlib.closing(self._connect(node.host, node.port)) as connection:
                    rows: list[Any] = connection.execute_command("CLUSTER SLOTS")
                    return rows
            except Exception as error:
                fault = error
        raise ConnectionError("no node pushes its topology, and none answers CLUSTER SLOTS") from fault


class _Answers:
    """In the place of a client's connection to a startup node, and of its pool."""

    def __init__(self, attached: Attached) -> None:
        self._attached = attached
        self._lock = threading.RLock()

    @property
    def connection_pool(self) -> _Answers:
        return self

    def execute_command(self, *words: str, **_options: Any) -> list[Any]:
        if " ".join(words).upper() != "CLUSTER SLOTS":
            raise StateError(f"the pushed topology does not answer {words[0]}")
        return self._attached._answer()

    def update_active_connections_for_reconnect(self) -> None:
        """There are none."""

    def disconnect_free_connections(self) -> None:
        """There are none."""

    def close(self) -> None:
        """There is nothing to close."""


def _manager_of(client: Any) -> Any:
    manager = getattr(client, "nodes_manager", None)
    makes = [name for name in ("create_redis_node", "create_valkey_node") if hasattr(manager, name)]
    if manager is None or not makes or not hasattr(manager, "initialize"):
        raise TypeError(f"client must be a redis.RedisCluster or valkey.ValkeyCluster, not {type(client).__name__}")
    missing = [
        name
        for name in ("startup_nodes", "nodes_cache", "connection_kwargs", "_dynamic_startup_nodes")
        if not hasattr(manager, name)
    ]
    if missing:
        raise StateError(f"this version of the client's library has no {missing[0]}")
    return manager


def _speaks_tls(manager: Any) -> bool:
    pool: Any = manager.connection_kwargs.get("connection_class") or getattr(manager, "connection_pool_class", None)
    return "SSL" in getattr(pool, "__name__", "")
