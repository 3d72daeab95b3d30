"""The picture of the cluster that the page shows and `/topology.json` gives, as JSON.

Owns the shape, and the one text that all pages share: it is made at most once in PICTURE_AGE_MIN_S, in pieces between
which the main loop does other things. Must never change the member. Main thread.
"""

from __future__ import annotations

import asyncio
import json
from itertools import islice
from typing import Any, Final

from clusterbus.cluster.model.node import Node
from clusterbus.member.member import Member
from clusterbus.metrics.health import reasons_against
from clusterbus.streams.snapshots import NodeView, node_view

NODES_PER_PIECE: Final = 50
"""About half a millisecond of work."""
PICTURE_AGE_MIN_S: Final = 1.0
"""A younger picture is given again, changes or not."""
PICTURE_AGE_MAX_S: Final = 5.0
"""An older one is made anew, though nothing but times has changed."""


class Pictures:
    """The latest picture. `version` is that of the state at which its making began."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._text = b""
        self._made_s = 0.0
        self._making = asyncio.Lock()
        self.version = -1

    @property
    def is_stale(self) -> bool:
        """Whether the state has another version than the picture."""
        return self.version != self._member.state.version

    async def text(self) -> bytes:
        """The picture as JSON in UTF-8, no older than PICTURE_AGE_MAX_S."""
        async with self._making:
            age_s = asyncio.get_running_loop().time() - self._made_s
            if not self._text or age_s > (PICTURE_AGE_MIN_S if self.is_stale else PICTURE_AGE_MAX_S):
                self._text = await self._made()
            return self._text

    async def _made(self) -> bytes:
        member = self._member
        self.version, self._made_s = member.state.version, asyncio.get_running_loop().time()
        head = json.dumps(_head(member))
        nodes = iter([node for node in member.state.nodes if not node.in_handshake])
        parts: list[str] = []
        while piece := list(islice(nodes, NODES_PER_PIECE)):
            parts += [json.dumps(row(node_view(member, node))) for node in piece]
            await asyncio.sleep(0)
        return f'{head[:-1]}, "nodes": [{",".join(parts)}]}}'.encode()


def _head(member: Member) -> dict[str, Any]:
    state = member.state
    migrating, importing = state.open_slots
    return {
        "me": state.myself.node_id,
        "at_ms": member.clock.now_ms(),
        "state": "ok" if state.is_ok else "fail",
        "reason": state.reason.value,
        "not_ready": reasons_against(member),
        "current_epoch": state.current_epoch,
        "migrating": [[slot, node.node_id] for slot, node in sorted(migrating.items(), key=_slot_of)],
        "importing": [[slot, node.node_id] for slot, node in sorted(importing.items(), key=_slot_of)],
    }


def _slot_of(move: tuple[int, Node]) -> int:
    return move[0]


def row(node: NodeView) -> dict[str, Any]:
    """One node of the picture."""
    return {
        "id": node.node_id,
        "ip": node.ip,
        "port": node.port or node.tls_port,
        "hostname": node.hostname,
        "name": node.human_nodename,
        "zone": node.availability_zone,
        "role": "replica" if node.is_replica else "primary",
        "primary": node.primary_id,
        "shard": node.shard_id,
        "flags": sorted(node.flags),
        "epoch": node.config_epoch,
        "slots": node.slots,
        "up": node.connected,
        "rtt_us": node.rtt_us,
        "rtt_max_us": node.rtt_max_us,
        "tags": dict(node.tags),
    }
