"""Extensions of heartbeats: which ones we send, and what those of a peer change.

Owns the mapping from extension types to node fields, and the way of a FORGET through the cluster (S8, S9). Unknown
types are skipped (H15). Bad text never gets here: the wire layer names it in `Packet.refused` (H12). Main thread.
Source: `writePingExtensions`, `clusterProcessPingExtensions`.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.history.change import Cause
from clusterbus.cluster.model.node import Node, Succession
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.wire import Extension, Packet

TEXT_FIELDS: Final = {
    c.EXTENSION_HOSTNAME: "hostname",
    c.EXTENSION_NODENAME: "nodename",
    c.EXTENSION_CLIENT_IPV4: "client_ipv4",
    c.EXTENSION_CLIENT_IPV6: "client_ipv6",
    c.EXTENSION_AVAILABILITY_ZONE: "availability_zone",
}
"""The node field of each text extension."""

PORT_FIELDS: Final = {
    c.EXTENSION_CLIENT_PORT: "client_tcp_port",
    c.EXTENSION_CLIENT_TLS_PORT: "client_tls_port",
}
"""The node field of each extension that is a port."""

_WITHDRAWN: Final[dict[str, str | int]] = dict.fromkeys(TEXT_FIELDS.values(), "") | dict.fromkeys(
    PORT_FIELDS.values(), 0
)
"""What a heartbeat without any of them says."""

_ORDER: Final = sorted(TEXT_FIELDS | PORT_FIELDS)
"""The order in which they are sent."""


def own_extensions(core: Core) -> list[Extension]:
    """The extensions of a heartbeat to a peer that takes them."""
    myself = core.myself
    extensions = [extension for number in _ORDER if (extension := _announced(myself, number)) is not None]
    if core.forgotten:
        extensions += [
            Extension.forgotten_node_of(node_id, ttl_s)
            for node_id, ttl_s in islice(core.forgotten.remaining(core.now_ms), c.FORGOTTEN_PER_HEARTBEAT_MAX)
        ]
    extensions.append(Extension.shard_id_of(myself.shard_id))
    return extensions


def label_extension(core: Core) -> Extension:
    """Our cluster's label, empty too (`membership.labels`)."""
    return Extension(c.EXTENSION_CLUSTER_LABEL, padded(core.applied.label))


def _announced(myself: Node, number: int) -> Extension | None:
    """The extension of a type that has a field; None if there is nothing to announce."""
    if number in PORT_FIELDS:
        port = getattr(myself, PORT_FIELDS[number])
        of = Extension.client_port_of if number == c.EXTENSION_CLIENT_PORT else Extension.client_tls_port_of
        return of(port) if port else None
    text = getattr(myself, TEXT_FIELDS[number])
    return Extension(number, padded(text)) if text else None


def padded(text: str) -> bytes:
    """A text with its NUL, padded to a multiple of eight bytes."""
    data = text.encode() + b"\0"
    return data + bytes(-len(data) % 8)


def learn_shard(core: Core, sender: Node, packet: Packet) -> None:
    """The shard of a primary that has told none yet, before its claims are applied (P21).

    Until then its shard id is made up, so a primary of our own shard would take our slots as one of another shard. What
    a replica says follows from its primary, and what a primary with a known shard says may be its new one: both wait
    for `apply`. If its place is ours, and we never learnt its shard while it lived, ours is made up too, and it would
    not know us for its successor.
    """
    if sender.sends_shard_id or sender.replicaof is not None or packet.replicaof is not None:
        return
    for extension in packet.extensions:
        if extension.type == c.EXTENSION_SHARD_ID and extension.shard_id is not None:
            sender.sends_shard_id = True
            if sender.succession is Succession.PREDECESSOR and sender.shard_id == core.myself.shard_id:
                set_shard_id(core, core.myself, extension.shard_id)
            set_shard_id(core, sender, extension.shard_id)


def apply(core: Core, sender: Node, packet: Packet) -> None:
    """Applies the extensions of a known sender.

    A text or port that is missing was withdrawn. There are two exceptions: a peer that does not know yet that we take
    extensions sends none at all, and a packet with a refused field withdraws nothing.
    """
    core.history.begin_part(Cause.EXTENSION)
    extensions = packet.extensions
    asks_to_forget = any(extension.type == c.EXTENSION_FORGOTTEN_NODE for extension in extensions)
    is_whole = not packet.refused  # found anew each time, by a look at every entry
    sender.raw_extensions = None if not is_whole or asks_to_forget else packet.raw_extensions
    if not extensions and sender.sends_shard_id:
        return
    told: dict[str, str | int] = {}
    shard_id = None
    for extension in extensions:
        number = extension.type
        if number == c.EXTENSION_SHARD_ID:
            shard_id = extension.shard_id
        elif number == c.EXTENSION_FORGOTTEN_NODE:
            _apply_forgotten(core, sender, extension)
        elif (field := TEXT_FIELDS.get(number)) is not None:
            told[field] = extension.text or ""
        elif (field := PORT_FIELDS.get(number)) is not None:
            told[field] = extension.port or 0
    if is_whole:
        told = _WITHDRAWN | told
    for field, value in told.items():
        if getattr(sender, field) != value:
            setattr(sender, field, value)
            core.want_save()
    if shard_id is not None:
        sender.sends_shard_id = True
        _take_shard_id(core, sender, shard_id)


def _take_shard_id(core: Core, sender: Node, shard_id: str) -> None:
    """Takes the shard that a node says it is of. A replica is of the shard of its primary, whatever it says (P18)."""
    primary = sender.replicaof
    if primary is None or primary.shard_id == shard_id:
        sender.refused_shard_id = ""
        set_shard_id(core, sender, shard_id)
    elif shard_id != sender.refused_shard_id and (primary.sends_shard_id or primary is core.myself):
        # Once for each id, because a heartbeat that repeats it is quiet. If the shard of the primary is made up, the
        # replica may well be right.
        sender.refused_shard_id = shard_id
        text = f"says that it is of shard {shard_id}, but its primary {primary.name} is of {primary.shard_id}: refused"
        core.refuse(Refusal.SHARD_ID, sender.node_id, text)


def set_shard_id(core: Core, node: Node, shard_id: str) -> None:
    """Sets the shard of a node and of its replicas, ours too if we are one (P18, `updateShardId`)."""
    if node.shard_id != shard_id:
        node.shard_id = shard_id
        core.want_save(durable=node is core.myself)
    for replica in node.replicas.values():
        if replica.shard_id != shard_id:
            replica.raw_extensions = None  # what its next heartbeat says of its shard is to be looked at again
            set_shard_id(core, replica, shard_id)


def _apply_forgotten(core: Core, sender: Node, extension: Extension) -> None:
    """Forgets a node because a peer did, unless it is the sender, ourselves, our primary or in handshake (H19)."""
    forgotten = extension.forgotten_node
    if forgotten is None:
        return
    node_id, ttl_s = forgotten
    node = core.table.find(node_id)
    if node is None:
        return
    if node is core.myself or node is sender or node is core.myself.replicaof or node.in_handshake:
        core.refuse(Refusal.FORGOTTEN_NODE, sender.node_id, f"asks to forget {node_id}: ignored")
        return
    core.forgotten.add(node_id, core.now_ms + min(ttl_s * 1000, c.FORGET_TTL_MAX_MS))
    core.remove_node(node, core.leave.reason_to_forget(node_id))
