"""The label of a cluster (`cluster-label`): clusterbus nodes of another one are not let in, and their word is refused.

Owns `Node.label`, `is_outsider` and `is_hearsay`, and how labels travel. Must never hold an empty label, ours or a
peer's, for another one: servers of another kind have none. Main thread. Beyond the source.

A label is an extension of a heartbeat, of a type that Valkey and Redis do not know: they skip it, and those that know
the sender write one line to their log. So it is in few heartbeats: in MEET, in the first PING on each link that we
dial, in a PING to everybody when it changes, and in the answer to a heartbeat that has one. Each side so hears the
other's label before it applies anything else, and a MEET with another label starts no handshake. Of a node that servers
of another kind name in their gossip it hears on the first link; until then it takes nobody's word about its slots.

    data of the extension: the label in ASCII, a NUL, and NULs up to a multiple of eight bytes
"""

from __future__ import annotations

import re
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.membership import admission
from clusterbus.cluster.model.node import Link, Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.wire import Packet

_LABEL: Final = re.compile(rb"([A-Za-z0-9._:/-]{0,64})\0+")


def told_in(packet: Packet) -> str | None:
    """The label that a heartbeat tells, "" for none; None if it tells nothing, or nothing that makes sense."""
    if not packet.raw_extensions[1]:
        return None
    for extension in packet.extensions:
        if extension.type == c.EXTENSION_CLUSTER_LABEL:
            match = _LABEL.fullmatch(extension.data)
            return match[1].decode() if match is not None else None
    return None


def differs(core: Core, label: str | None) -> bool:
    """Whether a label is that of another cluster."""
    ours = core.applied.label
    return bool(label and ours and label != ours)


def note(core: Core, node: Node, packet: Packet) -> str | None:
    """Remembers the label that a heartbeat of a known node tells, and returns it."""
    node.is_hearsay = False
    label = told_in(packet)
    if label is not None and label != node.label:
        node.label = label
        judge(core, node)
    return label


def judge(core: Core, node: Node) -> None:
    """Whether a node is of another cluster, after its label or ours has changed."""
    node.is_outsider = differs(core, node.label)


def refuse(core: Core, link: Link, node_id: str, label: str) -> None:
    """Counts and tells a packet of another cluster's node."""
    text = f"node {node_id} is of the cluster '{label}', and this node of '{core.applied.label}'"
    admission.refuse(core, Refusal.LABEL, link.peer_ip, node_id, text)


def refused_text(label: str) -> str:
    """Why a handshake with a node of another cluster has ended."""
    return f"it is of another cluster: its cluster-label is '{label}'"


def follow_config(core: Core) -> None:
    """Does what a change of the directives about labels and members asks for."""
    if core.wants_review:
        core.wants_review = False
        admission.review(core)
    if core.wants_label_told:
        core.wants_label_told = False
        _tell_all(core)


def _tell_all(core: Core) -> None:
    """Our label is another one: everybody is judged anew, and told at once."""
    for node in core.table.all_nodes:
        if node is not core.myself:
            judge(core, node)
            if node.link is not None and not node.in_handshake:
                heartbeat.send(core, node.link, c.PING, with_label=True)
