"""PUBLISH, PUBLISHSHARD and MODULE: one message to many nodes, and messages that arrive from one (S7).

Owns the choice of the receivers, and for each the full or the light form, by what it announced. All receivers of one
form share one `Broadcast`, which is encoded once. Must never keep a message. Main thread. Source:
`clusterPropagatePublish`, `clusterSendModule`, `clusterProcessPublishPacket`.

Messages go out only on links that we dialled. A light packet names no sender, so a peer that does not know yet whose
link it is closes the link (H17). Our earlier PING proves nothing, since the peer may not have known us then. So a link
takes light packets only after the peer has shown that it knows that the link is ours (`links.note_pong`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import MESSAGES_SENT, Core
from clusterbus.cluster.effects import Broadcast
from clusterbus.cluster.events import Message, ModuleReceived
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.model.node import Node
from clusterbus.errors import StateError
from clusterbus.wire import (
    HEADER_LEN_BYTES,
    MAX_PACKET_LEN_BYTES,
    Header,
    ModuleMessage,
    Packet,
    Publish,
)

PAYLOAD_LEN_MAX_BYTES: Final = MAX_PACKET_LEN_BYTES - HEADER_LEN_BYTES - 16
"""The most bytes of channel and message together, or of a module message's data: what fits into the longest packet (H3)
beside a full header and the lengths."""
MODULE_ID_MAX: Final = 2**64 - 1
MODULE_TYPE_MAX: Final = 255

LIGHT_SENT: Final = {kind: f"light_{c.MESSAGE_NAMES[kind]}_sent" for kind in (c.PUBLISH, c.PUBLISHSHARD, c.MODULE)}
LIGHT_RECEIVED: Final = {
    kind: f"light_{c.MESSAGE_NAMES[kind]}_received" for kind in (c.PUBLISH, c.PUBLISHSHARD, c.MODULE)
}
"""The counters of light messages, by message type."""

Receivers: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""The links that get the light form of a message, and those that get the full one."""
_NOT_A_RECEIVER: Final = c.FLAG_MYSELF | c.FLAG_HANDSHAKE


def publish(core: Core, channel: bytes, message: bytes, *, sharded: bool) -> int:
    """Sends a message to all connected nodes, or to those of our shard. Returns the number of these nodes.

    Raises StateError if it is longer than a packet may be.
    """
    _check_len(len(channel) + len(message))
    nodes = _shard_of(core.myself) if sharded else core.table
    return _send(core, nodes, c.FLAG_LIGHT_PUBLISH, lambda header: Publish(header, channel, message, sharded))


def send_module(core: Core, node_id: str | None, module_id: int, module_type: int, data: bytes) -> int:
    """Sends a MODULE message to one node, or to every connected one if `node_id` is None. Returns how many these are.

    Raises StateError for a node that is unknown or not connected, and for a message that no packet can carry.
    """
    if not 0 <= module_id <= MODULE_ID_MAX:
        raise StateError("a module id is a number of 64 bits without sign")
    if not 0 <= module_type <= MODULE_TYPE_MAX:
        raise StateError(f"the type of a module message is a number from 0 to {MODULE_TYPE_MAX}")
    _check_len(len(data))
    nodes: Iterable[Node] = core.table
    if node_id is not None:
        node = core.table.find(node_id)
        if node is None or node.flags & _NOT_A_RECEIVER:
            raise StateError(f"Unknown node {node_id}")
        if node.link is None:
            raise StateError(f"node {node_id} is not connected")
        nodes = (node,)
    return _send(core, nodes, c.FLAG_LIGHT_MODULE, lambda header: ModuleMessage(header, module_id, module_type, data))


def _check_len(len_bytes: int) -> None:
    if len_bytes > PAYLOAD_LEN_MAX_BYTES:
        raise StateError(f"the message is over {PAYLOAD_LEN_MAX_BYTES} bytes")


def _shard_of(myself: Node) -> Iterable[Node]:
    """The primary of our shard and its replicas."""
    primary = myself.primary
    return (primary, *primary.replicas.values())


def _send(
    core: Core,
    nodes: Iterable[Node],
    ability: int,
    build: Callable[[Header | None], Publish | ModuleMessage],
) -> int:
    """Queues a message for each connected node in `nodes`. It is light if the node announced `ability` and its link
    takes light messages, else it has the full header.
    """
    light, full = _links_to_all(core, ability) if nodes is core.table else _links_to(nodes, ability)
    count = len(light) + len(full)
    if not count:
        return 0
    kind = 0
    if light:
        message = build(None)
        kind = message.type
        core.emit(Broadcast(light, message))
        core.counters[LIGHT_SENT[kind]] += len(light)
    if full:
        message = build(heartbeat.header(core))
        kind = message.type
        core.emit(Broadcast(full, message))
    core.counters[MESSAGES_SENT[kind]] += count
    return count


def _links_to(nodes: Iterable[Node], ability: int) -> Receivers:
    light: list[int] = []
    full: list[int] = []
    for node in nodes:
        link = node.link
        if link is not None and not node.flags & _NOT_A_RECEIVER:
            (light if node.flags & ability and link.takes_light else full).append(link.link_id)
    return tuple(light), tuple(full)


def _links_to_all(core: Core, ability: int) -> Receivers:
    """The links to all connected nodes. They are kept from one message to the next: the table, links and flags change
    with the version, and `core.receivers` is emptied when a link takes light messages from now on.
    """
    version = core.version.number
    kept = core.receivers.get(ability)
    if kept is None or kept[0] != version:
        kept = core.receivers[ability] = version, _links_to(core.table, ability)
    return kept[1]


def receive(core: Core, sender: Node, packet: Packet) -> None:
    """A known node sent us a message, in either form."""
    message = packet.decode()
    if packet.is_light:
        core.counters[LIGHT_RECEIVED[packet.type]] += 1
    if isinstance(message, Publish):
        core.notify(Message(sender.node_id, message.channel, message.message, message.sharded))
    elif isinstance(message, ModuleMessage):
        core.notify(ModuleReceived(sender.node_id, message.module_id, message.module_type, message.data))
