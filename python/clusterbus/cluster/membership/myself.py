"""What this node announces of itself: ports, address, names and flags, from the configuration at the time of use.

Owns the fields of `Core.myself` that come from directives or from the sockets of our links. Must never touch role,
slots or epochs. Main thread. Source: `deriveAnnouncedPorts`, `clusterUpdateMyself*`.
"""

from __future__ import annotations

from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import AppliedConfig, Core
from clusterbus.cluster.events import AddressChanged
from clusterbus.cluster.failover import no_harm
from clusterbus.cluster.model.node import Link

ANNOUNCED: Final = (
    ("hostname", "cluster_announce_hostname"),
    ("nodename", "cluster_announce_human_nodename"),
    ("client_ipv4", "cluster_announce_client_ipv4"),
    ("client_ipv6", "cluster_announce_client_ipv6"),
    ("availability_zone", "availability_zone"),
    ("client_tcp_port", "cluster_announce_client_port"),
    ("client_tls_port", "cluster_announce_client_tls_port"),
)
"""(field of the node, its directive)"""

ABILITIES: Final = c.FLAG_EXTENSIONS | c.FLAG_LIGHT_PUBLISH | c.FLAG_LIGHT_MODULE
"""The flags that tell peers what this implementation can do."""


def refresh_myself(core: Core) -> None:
    """Applies the present configuration. The first call fills in a new node, later ones follow CONFIG SET."""
    config, myself = core.config, core.myself
    _apply_to_heartbeats(core)
    before = (myself.ip, myself.port, myself.tls_port, myself.cport, myself.flags)
    myself.port = config.cluster_announce_port or config.port
    myself.tls_port = config.cluster_announce_tls_port or config.tls_port
    client_port = config.tls_port if config.tls_cluster else config.port
    myself.cport = config.cluster_announce_bus_port or config.cluster_port or client_port + c.BUS_PORT_OFFSET
    if config.cluster_announce_ip:
        myself.ip = config.cluster_announce_ip
    myself.flags |= c.FLAG_MYSELF | ABILITIES
    no_harm.refresh_flag(core)
    changed = before != (myself.ip, myself.port, myself.tls_port, myself.cport, myself.flags)
    core.note_primary_failure()
    for field, directive in ANNOUNCED:
        value = getattr(config, directive)
        if getattr(myself, field) != value:
            setattr(myself, field, value)
            changed = True
    if changed:
        core.want_save()


def _apply_to_heartbeats(core: Core) -> None:
    """Begins a new version if heartbeats change by a directive that is no field of a node."""
    config = core.config
    now = AppliedConfig(
        config.cluster_announce_ip,
        config.tls_cluster,
        config.cluster_message_gossip_perc,
        config.cluster_label,
        (
            config.cluster_allow_networks,
            config.cluster_allow_node_ids,
            config.cluster_allow_certificate_names,
            config.cluster_pin_certificates,
        ),
    )
    before, core.applied = core.applied, now
    if before == now:
        return
    core.wants_review = core.wants_review or before.admission != now.admission
    core.wants_label_told = core.wants_label_told or before.label != now.label
    if before.announce_ip and not now.announce_ip:
        core.myself.ip = ""  # the next link shows it again
    for node in core.table.all_nodes:
        node.outdate()
    core.version.move_own_header()


def learn_ip(core: Core, link: Link, *, sure: bool) -> None:
    """Takes our end of a link as our own address, if we are `sure` of it (a MEET arrived there) or have none."""
    myself = core.myself
    if core.config.cluster_announce_ip or not link.local_ip or link.local_ip == myself.ip:
        return
    if not sure and myself.ip:
        return
    myself.ip = link.local_ip
    core.log("notice", f"IP address for this node updated to {myself.ip}")
    core.notify(AddressChanged(myself.node_id, myself.ip, core.client_port(myself), myself.cport))
    core.want_save()
