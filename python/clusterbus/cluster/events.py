"""What `Bus.events()` yields: facts about the cluster as this node sees it, each a small frozen record.

`ClusterEvent` are those about the cluster itself; `Event` adds what programs say to each other.

Owned by the cluster layer, which wraps them in the `Notify` effect in the order in which they happened. Plain data
without references into the state, so a reader may keep them. Any thread may read one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node is known by its true id: its handshake is done. `ip` may be "" if it has no address."""

    node_id: str
    ip: str
    port: int
    cport: int


@dataclass(frozen=True, slots=True)
class HandshakeFailed:
    """A handshake that this node was told to begin, by `meet`, `join` or a seed, came to nothing. `reason` says how the
    last dial or link ended, or "no answer", or that the address is our own.
    """

    ip: str
    port: int
    cport: int
    reason: str


@dataclass(frozen=True, slots=True)
class PeerRefused:
    """Somebody was not let in, or a node's word was refused: by `cluster-allow-networks`, `cluster-allow-node-ids`,
    `cluster-allow-certificate-names`, `cluster-pin-certificates` or `cluster-label`. `reason` is the word in the name
    of the counter ("label" is counted under `cluster_refused_label`), `node_id` the id that it used, "" if it has told
    none, `ip` where it is. At most one comes for each address and reason in ten seconds; the counters have them all.
    """

    node_id: str
    ip: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class NodeLeft:
    """A node was forgotten. `reason` is "forgotten", "forgotten by a peer", "never answered", "reset", or "left":
    it left the cluster by its own wish."""

    node_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class NodeSuspected:
    """This node flags another one PFAIL, because it was silent for longer than the node timeout."""

    node_id: str


@dataclass(frozen=True, slots=True)
class NodeFailed:
    """A node is FAIL. `reported_by` is the sender of the FAIL message, or None if we counted a quorum ourselves."""

    node_id: str
    reported_by: str | None


@dataclass(frozen=True, slots=True)
class NodeUnreachable:
    """Most members hold a node PFAIL or FAIL: `suspected_by` of `of`. The members that count are those that this node
    reaches, itself included, without the node in question. So of two members, or for one that is cut off, its own word
    is 1 of 1: compare `of` with the number of nodes (`bus.in_majority`) before acting. No slots are needed, but a node
    that is FAIL is unreachable too, whatever the count. Source: the failure reports in the gossip of all members.
    """

    node_id: str
    suspected_by: int
    of: int


@dataclass(frozen=True, slots=True)
class NodeReachable:
    """A node is no longer unreachable: at most half of the members that count hold it PFAIL, and it is not FAIL."""

    node_id: str


@dataclass(frozen=True, slots=True)
class NodeRecovered:
    """A node is no longer PFAIL or, with `was_failed`, no longer FAIL."""

    node_id: str
    was_failed: bool


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """A node is now "primary" or "replica"; `primary_id` names the primary of a replica, if it is known."""

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
    """A node has another address; `ip` is "" if its address is no longer known."""

    node_id: str
    ip: str
    port: int
    cport: int


@dataclass(frozen=True, slots=True)
class TagsChanged:
    """The program of a node, ours or another clusterbus node, has set other tags: `tags` are all that it has now."""

    node_id: str
    tags: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The cluster state is now "ok" or "fail"."""

    state: str


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link of a known node is up; `inbound` if the node dialled us."""

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
    """A node published a message to the cluster; `sharded` if it was meant only for its shard."""

    node_id: str
    channel: bytes
    message: bytes
    sharded: bool


@dataclass(frozen=True, slots=True)
class ModuleReceived:
    """A node sent a MODULE message. `module_id` (64 bits) is the module that it is for, `module_type` (8 bits) that
    module's number for the kind of message.
    """

    node_id: str
    module_id: int
    module_type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ElectionStarted:
    """This node, a replica, asks for votes in `epoch` to take the place of its failed primary.

    Only the candidate sees it: `node_id` is always this node.
    """

    node_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class ElectionWon:
    """The election of `epoch` made this node a primary; `epoch` is its config epoch from now on.

    Only the winner sees it: `node_id` is always this node. The others see RoleChanged, SlotsChanged and EpochChanged of
    the winner.
    """

    node_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class ElectionLost:
    """The election of `epoch` ended without a majority for this node; `reason` says why.

    Only the candidate sees it: `node_id` is always this node.
    """

    node_id: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class WritesPaused:
    """A manual failover is under way: writes on this node must wait until `until_ms` (unix) or WritesResumed.

    Only the primary that is to be replaced sees it.
    """

    until_ms: int


@dataclass(frozen=True, slots=True)
class WritesResumed:
    """Writes of this node may go on. It comes only after WritesPaused, on the same node."""


@dataclass(frozen=True, slots=True)
class DataDropped:
    """This replica left its shard (CLUSTER REPLICATE NO ONE, or RESET): the data that it holds of it must go."""


@dataclass(frozen=True, slots=True)
class SlotOrdered:
    """An operator's SETSLOT was carried out, on this node or on its primary. `order` is "migrating", "importing",
    "stable" or "node", and `node_id` the node at the other end, None for "stable".
    """

    slot: int
    order: str
    node_id: str | None


@dataclass(frozen=True, slots=True)
class SlotsTaken:
    """This node took slots under the config epoch `epoch`, by the votes of a majority of the members (`take_slots`)."""

    epoch: int
    slots: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SlotOrderEnded:
    """An order of this node's program to take slots or to give some away has ended. `number` is what the order was
    given, `reason` says why it failed and is "" if it did not, `is_late` that its time was over.
    """

    number: int
    reason: str
    is_late: bool


@dataclass(frozen=True, slots=True)
class HandoverEnded:
    """This primary wanted to go and has asked a replica to take over: it did (`done`), or it did not in time."""

    done: bool


ClusterEvent = (
    NodeJoined
    | HandshakeFailed
    | PeerRefused
    | NodeLeft
    | NodeSuspected
    | NodeFailed
    | NodeRecovered
    | NodeUnreachable
    | NodeReachable
    | RoleChanged
    | SlotsChanged
    | SlotOrdered
    | SlotsTaken
    | SlotOrderEnded
    | HandoverEnded
    | EpochChanged
    | AddressChanged
    | TagsChanged
    | StateChanged
    | LinkUp
    | LinkDown
    | ElectionStarted
    | ElectionWon
    | ElectionLost
    | WritesPaused
    | WritesResumed
    | DataDropped
)
"""Every event about the cluster itself."""

Event = ClusterEvent | Message | ModuleReceived
"""Every event there is."""
