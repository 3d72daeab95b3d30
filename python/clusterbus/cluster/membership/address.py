"""The addresses of other nodes, and their changes by the headers of the nodes' own packets.

Owns the rule of when a header may move a node, and the guard against two peers that use one id in turn (H22). The rule
for addresses of failing nodes in gossip is in `gossip_in`. Main thread. Source: `nodeUpdateAddressIfNeeded`.
"""

from __future__ import annotations

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import AddressChanged
from clusterbus.cluster.failover import failure
from clusterbus.cluster.history.change import Cause
from clusterbus.cluster.membership import admission
from clusterbus.cluster.model.node import Link, Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.wire import Packet


def update_from_header(core: Core, node: Node, link: Link, packet: Packet) -> bool:
    """Moves `node` to the address that its packet names, or if there is none, came from. True if it moved.

    On the link that we dialled to the node, nothing happens. A second move within the node timeout is refused.
    """
    if link is node.link:
        return False
    ip = packet.myip or link.peer_ip
    port, tls_port = core.ports_of(packet)
    if (ip, port, tls_port, packet.cport) == (node.ip, node.port, node.tls_port, node.cport):
        return False
    if not ip or not packet.cport or "myip" in packet.refused or admission.address_fault(core, ip):
        return False
    if node.address_changed_ms and core.now_ms - node.address_changed_ms < core.node_timeout_ms:
        core.refuse(
            Refusal.ADDRESS_FLAPPING, node.node_id, f"address {ip}:{packet.cport} refused: it has only just changed"
        )
        return False
    core.set_address(node, ip, port, tls_port, packet.cport)
    return True


def lose_address(core: Core, node: Node) -> None:
    """Another node answers at this one's address (H24): this one is FAIL, and without an address until it sends us a
    packet (P6).

    Nobody dials a node without an address or waits for its PONG. So if it were not FAIL from now on, it never would be,
    and its slots would stay with it for ever. A node that only a stranger has mentioned is forgotten instead: the
    cluster may know it well, at another address.
    """
    if node.provisional:
        core.remove_node(node, "another node answers at its address")
        return
    core.history.begin_part(Cause.ADDRESS_TAKEN)  # and nothing else of this packet is applied
    node.flags |= c.FLAG_NOADDR
    node.ip, node.port, node.tls_port, node.cport = "", 0, 0, 0
    node.dialing = None
    core.notify(AddressChanged(node.node_id, "", 0, 0))
    core.want_save()
    failure.give_up(core, node)
