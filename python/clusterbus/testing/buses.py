"""Nodes in the process of the test: a `Bus` each, on the loop of the test.

Owns how such a node crashes, is cut off and is looked at, straight at its member. The loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clusterbus.bus.bus import Bus
from clusterbus.config import address_text
from clusterbus.errors import StateError
from clusterbus.member.member import Member
from clusterbus.runtime.free_ports import PortPair
from clusterbus.testing.handle import NodeHandle, NodeKind
from clusterbus.testing.view import Seen, View

BusFactory = Callable[..., Bus]
"""Called with directives as keywords; returns a bus that is not open yet."""


class BusNode(NodeHandle):
    """A node in this process. Each start makes a new bus with `factory(**directives)`, as a new process would."""

    kind = NodeKind.BUS

    def __init__(
        self,
        index: int,
        node_id: str,
        ports: PortPair,
        folder: Path,
        *,
        factory: BusFactory,
        directives: dict[str, Any],
    ) -> None:
        super().__init__(index, node_id, ports, folder)
        self._factory = factory
        self._directives = directives
        self._addresses: frozenset[str] = frozenset()
        self._member: Member | None = None
        self.bus = self._made()

    def _made(self) -> Bus:
        bus = self._factory(**self._directives)
        if not isinstance(bus, Bus):
            raise StateError(f"bus_factory returned {bus!r}, which is no Bus")
        return bus

    @property
    def is_running(self) -> bool:
        return self._member is not None and not self._member.driver.closed

    @property
    def member(self) -> Member:
        """The member of the bus while it runs. Raises StateError."""
        self.check_running()
        assert self._member is not None
        return self._member

    async def start(self, changed: asyncio.Event) -> None:
        if self._member is not None:
            self.bus = self._made()
        await self.bus.open()
        self._member = self.bus._member()
        self._member.state.switches.waits_after_start = False
        self._member.driver.cut_off = self._addresses
        self._member.listen(lambda _event: changed.set())

    async def crash(self) -> None:
        if self.is_running:
            self.member.save_on_stop = False
        await self.bus.close()

    async def look(self) -> View:
        member = self.member
        nodes = self.bus.nodes
        return View(
            self.node_id,
            self.bus.is_ok,
            {
                node_id: Seen(
                    node.is_myself
                    or (node.connected and node.pong_received_ms > 0 and not node.flags & {"fail", "fail?", "noaddr"}),
                    node.is_failed,
                    node.primary_id,
                    node.slots,
                )
                for node_id, node in nodes.items()
            },
            member.state.nodes_text(),
        )

    async def failover(self, *, force: bool, timeout_s: float) -> None:
        await self.bus.failover(force=force, timeout_s=timeout_s)

    async def give_slots(self, slots: Sequence[int], target: NodeHandle, *, timeout_s: float) -> None:
        await self.bus.move_slots(slots, target.node_id, timeout_s=timeout_s)

    async def import_slots(self, slots: Sequence[int], source_id: str) -> None:
        member = self.member
        for slot in slots:
            member.state.import_slot(slot, source_id, member.clock.now_ms())
        member.settle()

    async def take_slots(self, slots: Sequence[int]) -> None:
        member = self.member
        for slot in slots:
            member.state.assign_slot(slot, self.node_id, member.clock.now_ms())
        member.settle()

    async def settle_slots(self, slots: Sequence[int]) -> None:
        member = self.member
        for slot in slots:
            member.state.settle_slot(slot, member.clock.now_ms())
        member.settle()

    def cut_off_from(self, others: Sequence[NodeHandle]) -> None:
        """From now on this node has no link with `others`, and dials none of them; nor after its next start."""
        self._addresses = frozenset(address_text(other.host, other.bus_port) for other in others)
        if self.is_running:
            self.member.driver.cut_off = self._addresses
            self.member.settle()
