"""The rows of the table of directives that say who may join, and what a member is believed. Pure data. Any thread.

`cluster-bus-port-protected-mode` is that of Redis 8.2.10 to 8.10.2 (src/config.c), and its default `no` is theirs; the
others are of this package.
"""

from __future__ import annotations

from typing import Final

from clusterbus.config.directive import Directive
from clusterbus.config.guard_kinds import CertificateNames, Networks, NodeIds, cluster_label
from clusterbus.config.kinds import LONG_MAX, Choice, Integer, Text, YesNo

PINS: Final = ("no", "key", "names")

GUARD: Final[tuple[Directive, ...]] = (
    Directive(
        "cluster-bus-port-protected-mode",
        YesNo(),
        "no",
        "Refuse to run with a bus that does not ask each peer for a certificate: tls-cluster yes, and tls-auth-clients "
        "yes.",
        True,
    ),
    Directive(
        "cluster-allow-node-ids",
        NodeIds(),
        "",
        "Ids of the nodes that may be members; empty is all.",
        True,
    ),
    Directive(
        "cluster-allow-networks",
        Networks(),
        "",
        "Networks (10.0.0.0/8, 2001:db8::/32, single addresses) from which members come and where they are dialled; "
        "empty is all.",
        True,
    ),
    Directive(
        "cluster-allow-certificate-names",
        CertificateNames(),
        "",
        "DNS and URI names, one of which a peer's certificate must have (subjectAltName; *.example.org is any one label"
        "); empty is any certificate.",
        True,
    ),
    Directive(
        "cluster-pin-certificates",
        Choice(*PINS),
        "no",
        "Keep to each node id the first certificate seen with it, by its public key or by its names (subjectAltName), "
        "and refuse another.",
        True,
    ),
    Directive(
        "cluster-label",
        Text(cluster_label),
        "",
        "Name of the cluster: clusterbus nodes with another one are not let in, and their gossip is refused; empty "
        "fits all.",
        True,
    ),
    Directive(
        "cluster-observer",
        YesNo(),
        "no",
        "Be a member that only watches: it owns no slots, has no vote, is no replica, and changes no epoch.",
    ),
    Directive(
        "cluster-epoch-jump-max",
        Integer(0, LONG_MAX),
        "4294967296",
        "An epoch that lies further above all known ones is not believed of a single member; 0 is no limit.",
        True,
    ),
)
