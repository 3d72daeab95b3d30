"""Where the other nodes are: address updates from the headers of their own packets.

Owns the rule of when a header may move a node, and the guard against two peers that fight over one id (H22).
Gossip's rule for failing nodes is in `gossip_in`. Main loop only. Source: `nodeUpdateAddressIfNeeded`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import AddressChanged
from clusterbus.cluster.model.node import Link, Node
from clusterbus.wire import Packet


def update_from_header(core: Core, node: Node, link: Link, packet: Packet) -> bool:
    """Moves `node` to the address its packet names, or came from when it names none. True when it moved.

    Nothing happens on the link we dialled to that very node; a second move within the node timeout waits.
    """
    if link is node.link:
        return False
    ip = packet.myip or link.peer_ip
    port, tls_port = core.ports_of(packet)
    if (ip, port, tls_port, packet.cport) == (node.ip, node.port, node.tls_port, node.cport):
        return False
    if not ip or not packet.cport or "myip" in packet.refused:
        return False
    if node.address_changed_ms and core.now_ms - node.address_changed_ms < core.node_timeout_ms:
        core.refuse("address_flapping", node.node_id, f"address {ip}:{packet.cport} not taken: changed just now")
        return False
    core.set_address(node, ip, port, tls_port, packet.cport)
    return True


def lose_address(core: Core, node: Node) -> None:
    """Somebody else answers where this node was (H24): it has no address until it shows itself."""
    node.flags |= c.FLAG_NOADDR
    node.ip, node.port, node.tls_port, node.cport = "", 0, 0, 0
    node.dialing = None
    core.notify(AddressChanged(node.node_id, "", 0, 0))
    core.want_save()
