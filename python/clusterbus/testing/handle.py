"""`NodeHandle`: what a cluster of a test does with one node, whatever kind of node it is.

Owns the node's place: number, id, ports and folder, which outlive its crashes. The loop's thread.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Final

from clusterbus.errors import StateError
from clusterbus.runtime.free_ports import PortPair
from clusterbus.testing.plan import HOST
from clusterbus.testing.view import View

CONF_NAME: Final = "nodes.conf"


class NodeKind(Enum):
    """What a node of a test's cluster is."""

    BUS = "a Bus in this process"
    PROCESS = "a process `clusterbus node`"
    VALKEY = "a process valkey-server"


class NodeHandle(ABC):
    """One node of a cluster, running or not: `index` is its number, `host` and `port` are where clients connect."""

    kind: NodeKind

    def __init__(self, index: int, node_id: str, ports: PortPair, folder: Path) -> None:
        self.index = index
        self.node_id = node_id
        self.host = HOST
        self.port = ports.port
        self.bus_port = ports.bus_port
        self.folder = folder

    def __repr__(self) -> str:
        running = "running" if self.is_running else "down"
        return f"<node {self.index}: {self.kind.value}, {self.host}:{self.port}, {self.node_id[:8]}, {running}>"

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether the node was started and has not crashed, stopped or been told to shut down."""

    def check_running(self) -> None:
        """Raises StateError if the node is down."""
        if not self.is_running:
            raise StateError(f"node {self.index} is down")

    @abstractmethod
    async def start(self, changed: asyncio.Event) -> None:
        """Starts the node from its folder; `changed` is set whenever it sees something new, if it can tell."""

    @abstractmethod
    async def crash(self) -> None:
        """Ends the node at once: nothing is saved and nobody is told. Idempotent."""

    @abstractmethod
    async def look(self) -> View:
        """What the node sees now."""

    @abstractmethod
    async def failover(self, *, force: bool, timeout_s: float) -> None:
        """CLUSTER FAILOVER [FORCE]; the role may change later. Raises StateError."""

    @abstractmethod
    async def give_slots(self, slots: Sequence[int], target: NodeHandle, *, timeout_s: float) -> None:
        """Moves slots of this node to another. Raises StateError, above all if a slot has keys, and TimeoutError."""

    @abstractmethod
    async def import_slots(self, slots: Sequence[int], source_id: str) -> None:
        """SETSLOT IMPORTING, for slots that a process gives. Raises StateError."""

    @abstractmethod
    async def take_slots(self, slots: Sequence[int]) -> None:
        """SETSLOT NODE with this node's own id, at the end of such a move. Raises StateError."""

    @abstractmethod
    async def settle_slots(self, slots: Sequence[int]) -> None:
        """SETSLOT STABLE, for such a move that failed."""
