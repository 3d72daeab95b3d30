"""The topology for clients: numbered pictures of who serves which slots, and what changed from one to the next.

Owns the channel TOPOLOGY_CHANNEL, which is this node's alone: nobody publishes on it but this. What changes in one
round of the main loop is one delta; without subscribers nobody makes one. Must never wait, nor send anything on the
bus. Main thread. Beyond the source: issues 57 and 2558 of valkey-io/valkey ask for it.

Both texts are JSON: `run_id` (of this process), `version`, `previous` (of the picture that a delta changes; null for a
whole picture), `state`, `nodes`, `gone` (ids), `slots` ([first, last, id of the owner or null]).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from clusterbus.cluster.events import (
    AddressChanged,
    EpochChanged,
    Event,
    Message,
    NodeFailed,
    NodeJoined,
    NodeLeft,
    NodeRecovered,
    NodeSuspected,
    RoleChanged,
    SlotsChanged,
    StateChanged,
)
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.member.driver import Driver
from clusterbus.member.subscriptions import Subscriptions

TOPOLOGY_CHANNEL: Final = b"__cluster__:topology"

_OF_A_NODE: Final = (
    AddressChanged,
    EpochChanged,
    NodeFailed,
    NodeJoined,
    NodeRecovered,
    NodeSuspected,
    RoleChanged,
)


class Topology:
    """The pictures of a driver's node. `run_id` tells those of one process from those of the next."""

    def __init__(self, driver: Driver, subscriptions: Subscriptions, run_id: str) -> None:
        self._state = driver.state
        self._subscriptions = subscriptions
        self._run_id = run_id
        self._version = 1
        self._nodes: set[str] = set()
        self._gone: set[str] = set()
        self._slot_bits = 0
        self._is_dirty = False
        self._made: tuple[tuple[int, int], bytes] | None = None
        """The last whole picture, and of which versions it is."""
        self.schedule: Callable[[Callable[[], None]], object] = lambda _flush: None
        """Calls a function at the end of this round of the main loop. Without one, the next tick tells."""
        driver.event_listeners.append(self.on_event)
        driver.tick_listeners.append(self.flush)

    @property
    def has_subscribers(self) -> bool:
        return self._subscriptions.has_listeners(TOPOLOGY_CHANNEL)

    # ------------------------------------------------------------ what happens

    def on_event(self, event: Event) -> None:
        """Notes what an event says that clients must know."""
        if isinstance(event, SlotsChanged):
            for first, last in (*event.gained, *event.lost):
                self._slot_bits |= ((1 << last - first + 1) - 1) << first
        elif isinstance(event, NodeLeft):
            self._gone.add(event.node_id)
        elif isinstance(event, _OF_A_NODE):
            self._nodes.add(event.node_id)
            self._gone.discard(event.node_id)
        elif not isinstance(event, StateChanged):
            return
        if not self._is_dirty:
            self._is_dirty = True
            self.schedule(self.flush)

    def flush(self) -> None:
        """Tells the subscribers what has changed since the last time, if anything has."""
        if not self._is_dirty:
            return
        previous, self._version = self._version, self._version + 1
        nodes, gone, slot_bits = self._nodes, self._gone, self._slot_bits
        self._nodes, self._gone, self._slot_bits, self._is_dirty = set(), set(), 0, False
        if not self.has_subscribers:
            return
        known = [node for node in map(self._state.find, sorted(nodes - gone)) if node is not None]
        delta = self._text(previous, known, sorted(gone), self._slots(slot_bits))
        message = Message(self._state.myself.node_id, TOPOLOGY_CHANNEL, delta, False)
        self._subscriptions.publish(message)

    # ------------------------------------------------------------ the texts

    def picture(self) -> bytes:
        """The whole picture of now. Every later delta goes on from it. It is made once for all who want the same."""
        self.flush()
        present = (self._version, self._state.version)
        if self._made is None or self._made[0] != present:
            self._made = (present, self._whole())
        return self._made[1]

    def _whole(self) -> bytes:
        nodes = [node for node in self._state.nodes if not node.in_handshake]
        slots = [(first, last, owner.node_id) for owner in self._state.slot_owners for first, last in _ranges(owner)]
        return self._text(None, nodes, [], sorted(slots))

    def _slots(self, bits: int) -> list[tuple[int, int, str | None]]:
        """Who owns these slots now."""
        rows: list[tuple[int, int, str | None]] = []
        for owner in self._state.owners_of(bits):
            rows += [(first, last, owner.node_id) for first, last in ranges_of(owner.slot_bits & bits)]
        rows += [(first, last, None) for first, last in ranges_of(bits & ~self._state.assigned_slots)]
        return sorted(rows, key=lambda row: row[0])

    def _text(self, previous: int | None, nodes: list[Node], gone: list[str], slots: object) -> bytes:
        told = {
            "run_id": self._run_id,
            "version": self._version,
            "previous": previous,
            "state": "ok" if self._state.is_ok else "fail",
            "nodes": [_row(node) for node in nodes],
            "gone": gone,
            "slots": slots,
        }
        return json.dumps(told, separators=(",", ":")).encode()


def _ranges(node: Node) -> tuple[tuple[int, int], ...]:
    return ranges_of(node.slot_bits)


def _row(node: Node) -> dict[str, Any]:
    """One node: its addresses as clients are to use them, and what it is."""
    return {
        "id": node.node_id,
        "ip": node.client_ipv4 or node.ip,
        "port": node.client_tcp_port or node.port,
        "tls_port": node.client_tls_port or node.tls_port,
        "hostname": node.hostname,
        "zone": node.availability_zone,
        "role": "replica" if node.is_replica else "primary",
        "primary": node.replicaof.node_id if node.replicaof is not None else None,
        "shard": node.shard_id,
        "epoch": node.primary.config_epoch,
        "failing": "fail" if node.is_failed else "pfail" if node.is_pfail else "",
    }
