"""PUBLISH and PUBLISHSHARD: a message to every connected node, and what comes in from one (S7).

Owns the choice between the full and the light form, by what each peer announced, and the event a received
message becomes. Must never keep a message. Main loop only. Source: `clusterPropagatePublish`,
`clusterSendPublish`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster import heartbeat
from clusterbus.cluster.core import MESSAGES_SENT, Core
from clusterbus.cluster.effects import Broadcast
from clusterbus.cluster.events import Message
from clusterbus.cluster.node import Node
from clusterbus.wire import Packet, Publish


def publish(core: Core, channel: bytes, message: bytes) -> int:
    """Sends a message to all connected nodes; how many those are. Each form is encoded once."""
    light: list[int] = []
    full: list[int] = []
    for node in core.table:
        if node.link is not None and not node.flags & (c.FLAG_MYSELF | c.FLAG_HANDSHAKE):
            (light if node.flags & c.FLAG_LIGHT_PUBLISH else full).append(node.link.link_id)
    if light:
        core.emit(Broadcast(tuple(light), Publish(None, channel, message)))
    if full:
        core.emit(Broadcast(tuple(full), Publish(heartbeat.header(core), channel, message)))
    core.counters[MESSAGES_SENT[c.PUBLISH]] += len(light) + len(full)
    return len(light) + len(full)


def receive(core: Core, sender: Node, packet: Packet) -> None:
    """A message a known node sent us, in either form."""
    published = packet.decode()
    if isinstance(published, Publish):
        core.notify(Message(sender.node_id, published.channel, published.message, published.sharded))
