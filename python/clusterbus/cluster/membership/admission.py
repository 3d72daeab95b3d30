"""Who may be a member: by address, by the names of its certificate, by node id, and by the certificate pinned to it.

Owns the checks of `cluster-allow-networks`, `-node-ids`, `-certificate-names` and `cluster-pin-certificates`, the pins
(`Node.pin`), and what becomes of a refusal: a counter, a line in the log and the event PeerRefused. Who calls must not
go on with what is refused. Must never refuse anybody while these directives have their defaults. Main thread. Beyond
the source.

A pin is taken where a node has proved that it is there: it answered under its id on a link that we dialled, to the
address where the cluster knows it. From then on whoever claims the id on any link must show the same key, or the same
names (H21). Pins are kept in nodes.conf, and end with the node (FORGET) or when the directive changes.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from clusterbus.cluster.core import Core
from clusterbus.cluster.events import PeerRefused
from clusterbus.cluster.model.node import Certificate, Link, Node
from clusterbus.cluster.model.refusal import Refusal

NO_PIN: Final = "no"
NAMES_SHOWN_MAX: Final = 5


def refuse(core: Core, refusal: Refusal, ip: str, node_id: str, text: str) -> None:
    """Counts a refusal. Now and then, as each line of the log, it is also an event."""
    core.refuse(refusal, ip or node_id, text, event=PeerRefused(node_id, ip, refusal.word, text))


# ---------------------------------------------------------------- the lists


def address_fault(core: Core, ip: str) -> str:
    """Why no member may be at an address; "" if one may."""
    allowed = core.config.cluster_allow_networks
    if not allowed or _is_in(allowed, ip):
        return ""
    return f"{ip} is in no network of cluster-allow-networks"


def id_fault(core: Core, node_id: str) -> str:
    """Why no member may have an id; "" if one may."""
    allowed = core.config.cluster_allow_node_ids
    return f"{node_id} is not among cluster-allow-node-ids" if allowed and node_id not in allowed else ""


def certificate_fault(core: Core, certificate: Certificate | None) -> str:
    """Why a peer with that certificate may be no member; "" if it may."""
    allowed = core.config.cluster_allow_certificate_names
    if not allowed:
        return ""
    if certificate is None:
        return "it shows no certificate, and cluster-allow-certificate-names asks for one"
    if any(_fits(name, pattern) for name in certificate.names for pattern in allowed):
        return ""
    # A URI may hold any text, also what would break a line of the log.
    shown = ", ".join(ascii(name)[1:-1] for name in certificate.names[:NAMES_SHOWN_MAX]) or "no name"
    return f"its certificate has none of cluster-allow-certificate-names, but {shown}"


def admits_link(core: Core, link: Link, node_id: str = "") -> bool:
    """Whether a link may be used, by the address and the certificate at its other end."""
    fault = address_fault(core, link.peer_ip)
    refusal = Refusal.NOT_ALLOWED_ADDRESS
    if not fault:
        fault, refusal = certificate_fault(core, link.certificate), Refusal.NOT_ALLOWED_CERTIFICATE
    if fault:
        refuse(core, refusal, link.peer_ip, node_id, fault)
    return not fault


def admits(core: Core, ip: str, node_id: str) -> bool:
    """Whether a node that others tell of may be a member, by its address and its id."""
    fault, refusal = address_fault(core, ip), Refusal.NOT_ALLOWED_ADDRESS
    if not fault:
        fault, refusal = id_fault(core, node_id), Refusal.NOT_ALLOWED_ID
    if fault:
        refuse(core, refusal, ip, node_id, fault)
    return not fault


def admits_sender(core: Core, link: Link, node: Node) -> bool:
    """Whether a link may be that of a known node: its id is allowed, and the certificate is the one pinned to it."""
    fault, refusal = id_fault(core, node.node_id), Refusal.NOT_ALLOWED_ID
    if not fault:
        fault, refusal = pin_fault(core, link, node), Refusal.PIN
    if fault:
        refuse(core, refusal, link.peer_ip, node.node_id, fault)
    return not fault


def may_not_dial(core: Core, node: Node) -> str:
    """Why a node is not dialled; "" if it is."""
    return address_fault(core, node.ip) or ("" if node.in_handshake else id_fault(core, node.node_id))


# ---------------------------------------------------------------- pins


def pin_fault(core: Core, link: Link, node: Node) -> str:
    """Why the certificate at the other end of a link is not that of a node; "" if it is, or if none is pinned."""
    if node.in_handshake or not _is_pinned(core, node) or _pin_of(core, link.certificate) == node.pin:
        return ""
    return f"claims node {node.node_id} with another certificate than the one pinned to it"


def take_pin(core: Core, link: Link, node: Node) -> None:
    """A node answered under its id on the link that we dialled: its certificate is pinned, if none is."""
    if core.config.cluster_pin_certificates == NO_PIN or _is_pinned(core, node):
        return
    pin = _pin_of(core, link.certificate)
    if pin and pin != node.pin:
        node.pin = pin
        core.log("notice", f"The certificate of node {node.name} is pinned to it ({pin[:24]}...)")
        core.want_save(durable=True)


def drop_old_pins(core: Core) -> None:
    """The directive may have changed: pins of another kind than it asks for are forgotten."""
    for node in core.table.all_nodes:
        if node.pin and not _is_pinned(core, node):
            node.pin = ""
            core.want_save()


def _is_pinned(core: Core, node: Node) -> bool:
    kind = core.config.cluster_pin_certificates
    return kind != NO_PIN and node.pin.startswith(f"{kind}:")


def _pin_of(core: Core, certificate: Certificate | None) -> str:
    """`key:` or `names:` and 64 hexadecimal digits; "" if there is nothing to pin."""
    kind = core.config.cluster_pin_certificates
    if certificate is None or (kind == "names" and not certificate.names):
        return ""
    if kind == "names":
        return f"names:{hashlib.sha256(chr(0).join(sorted(certificate.names)).encode()).hexdigest()}"
    return f"key:{certificate.key}"


# ---------------------------------------------------------------- after CONFIG SET


def review(core: Core) -> None:
    """The directives have changed: links that would not be let in now are closed."""
    drop_old_pins(core)
    for link in list(core.links.values()):
        node = link.node
        node_id = node.node_id if node is not None and not node.in_handshake else ""
        if admits_link(core, link, node_id) and (not node_id or node is None or admits_sender(core, link, node)):
            continue
        core.close_link(link, "not allowed any more")


# ---------------------------------------------------------------- names and networks


@lru_cache(maxsize=8)
def _networks(allowed: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text) for text in allowed)


def _is_in(allowed: tuple[str, ...], ip: str) -> bool:
    try:
        address: IPv4Address | IPv6Address = ip_address(ip)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in _networks(allowed))


def _fits(name: str, pattern: str) -> bool:
    """Whether a name of a certificate fits a word of the list. Only the first label of a DNS name may be a `*`."""
    if "://" in name or "://" in pattern:
        return name == pattern
    name, pattern = name.lower().rstrip("."), pattern.lower().rstrip(".")
    first, dot, rest = name.partition(".")
    return name == pattern or (pattern.startswith("*.") and bool(first) and dot + rest == pattern[1:])
