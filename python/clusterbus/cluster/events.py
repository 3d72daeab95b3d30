"""What `Bus.events()` yields: facts about the cluster as this node sees it, each a small frozen record.

Owned by the cluster layer, which wraps them in the `Notify` effect in the order they happened. Plain data:
holds no reference into the state, so a reader may keep them. Any thread may read one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node is known by its true id, past its handshake. `ip` may be "" when it has no address."""

    node_id: str
    ip: str
    port: int
    cport: int


@dataclass(frozen=True, slots=True)
class NodeLeft:
    """A node was forgotten. `reason` is "forgotten", "forgotten by a peer", "never answered" or "reset"."""

    node_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class NodeSuspected:
    """This node holds another PFAIL: silent for longer than the node timeout."""

    node_id: str


@dataclass(frozen=True, slots=True)
class NodeFailed:
    """A node is FAIL. `reported_by` is the sender of the FAIL message, or None when we reached the quorum."""

    node_id: str
    reported_by: str | None


@dataclass(frozen=True, slots=True)
class NodeRecovered:
    """A node that was PFAIL or FAIL (`was_failed`) is held well again."""

    node_id: str
    was_failed: bool


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """A node is now "primary" or "replica"; `primary_id` names a replica's primary when it is known."""

    node_id: str
    role: str
    primary_id: str | None


@dataclass(frozen=True, slots=True)
class SlotsChanged:
    """A node gained and lost slots; both are inclusive (first, last) ranges."""

    node_id: str
    gained: tuple[tuple[int, int], ...]
    lost: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class EpochChanged:
    """The config epoch of a node changed."""

    node_id: str
    config_epoch: int


@dataclass(frozen=True, slots=True)
class AddressChanged:
    """A node is found elsewhere; `ip` is "" when its address is no longer known."""

    node_id: str
    ip: str
    port: int
    cport: int


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The cluster state is now "ok" or "fail"."""

    state: str


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link of a known node is up; `inbound` when the node dialled us."""

    node_id: str
    inbound: bool


@dataclass(frozen=True, slots=True)
class LinkDown:
    """A link of a known node is gone."""

    node_id: str
    inbound: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """A node published something to the cluster; `sharded` when it was meant for its shard alone."""

    node_id: str
    channel: bytes
    message: bytes
    sharded: bool


@dataclass(frozen=True, slots=True)
class ModuleReceived:
    """A node sent a MODULE message: `module_id` (64 bits) and `module_type` (8 bits) say whom it is for."""

    node_id: str
    module_id: int
    module_type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ElectionStarted:
    """A replica, `node_id`, asks for votes in `epoch` to take the place of its failed primary."""

    node_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class ElectionWon:
    """The election of `epoch` made `node_id` a primary; `epoch` is its config epoch from now on."""

    node_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class ElectionLost:
    """The election of `epoch` ended without a majority for `node_id`; `reason` tells why."""

    node_id: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class WritesPaused:
    """A manual failover is under way: this node's writes wait until that time or WritesResumed."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class WritesResumed:
    """Writes of this node may go on."""


Event = (
    NodeJoined
    | NodeLeft
    | NodeSuspected
    | NodeFailed
    | NodeRecovered
    | RoleChanged
    | SlotsChanged
    | EpochChanged
    | AddressChanged
    | StateChanged
    | LinkUp
    | LinkDown
    | Message
    | ModuleReceived
    | ElectionStarted
    | ElectionWon
    | ElectionLost
    | WritesPaused
    | WritesResumed
)
