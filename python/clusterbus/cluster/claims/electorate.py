"""Who counts when slots are taken, who of them can be reached, and which nodes are of our own kind.

Owns `Node.kin` and `Node.has_data`, and how letters go out. A node counts as a member until it is certain that it is a
server of another kind: after a restart, a node that counted only those it has heard would find a majority anywhere.
Main thread.
"""

from __future__ import annotations

from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster import pubsub
from clusterbus.cluster.claims.letters import Kind, Letter, encode
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import no_harm
from clusterbus.cluster.membership import observing
from clusterbus.cluster.model.node import Kin, Node

DATA_LOOK_MS: Final = 1_000
"""We look at most this often whether there are keys here."""
_ASKS: Final = frozenset({Kind.HELLO, Kind.ASK, Kind.RENEW})
"""The letters that every node of our kind answers."""


def members(core: Core) -> list[Node]:
    """The nodes that count, this one included, also those that are down."""
    return [
        node
        for node in core.table.all_nodes
        if not node.in_handshake and not node.provisional and node.kin is not Kin.OTHER
    ]


def needed(core: Core, members_count: int) -> int:
    """How many of so many members make a majority; never fewer than the program asked for."""
    return max(members_count // 2 + 1, core.claims.votes_min)


def is_reachable(core: Core, node: Node) -> bool:
    """Whether a letter would reach a node, as far as we know."""
    return node is core.myself or (node.link is not None and not node.flags & c.FAILING)


def write(core: Core, node: Node, letter: Letter) -> None:
    """Sends a letter, if there is a link."""
    if node.link is None or node.in_handshake:
        return
    link_id = node.link.link_id
    if letter.kind in _ASKS and node.kin is Kin.UNKNOWN and (node.kin_asked or (None,))[0] != link_id:
        node.kin_asked = (link_id, core.now_ms)
        core.claims.awaits_kin = True
    pubsub.send_module(core, node.node_id, c.SLOT_CLAIMS_MODULE_ID, letter.kind, encode(letter))


def write_all(core: Core, letter: Letter) -> None:
    """Sends a letter to every other member that has a link."""
    for node in members(core):
        if node is not core.myself:
            write(core, node, letter)


def ask_unknown(core: Core) -> None:
    """Asks those nodes for an answer whose kind is not known: they count until it is."""
    for node in members(core):
        if node.kin is Kin.UNKNOWN and node.kin_asked is None:
            write(core, node, Letter(Kind.HELLO, has_data(core)))


def note_letter(node: Node, letter: Letter) -> None:
    """A letter of a node came: it is of our kind."""
    node.kin = Kin.OURS
    node.kin_asked = None
    node.has_data = letter.has_data
    observing.takes_part(node)


def find_others(core: Core) -> None:
    """Finds the servers of another kind: who answers a PING has read all that we sent before it on that link, and could
    have answered on its own. To take a node of ours for another would lower the majority, so it takes a while, and
    whoever has told tags is of ours.
    """
    if not core.claims.awaits_kin:
        return
    core.claims.awaits_kin = False
    wait_ms = max(core.node_timeout_ms, c.KIN_ANSWER_MS)
    for node in core.table.all_nodes:
        link, inbound, asked = node.link, node.inbound_link, node.kin_asked
        if asked is None or link is None or link.link_id != asked[0]:
            continue
        if node.is_clusterbus:
            node.kin, node.kin_asked = Kin.OURS, None
            continue
        core.claims.awaits_kin = True
        if inbound is None or inbound.created_ms >= asked[1]:
            node.kin_asked = (link.link_id, core.now_ms)  # it could not have answered until now
            write(core, node, Letter(Kind.HELLO, has_data(core)))
        elif node.answered_ping_ms > asked[1] and core.now_ms - asked[1] > wait_ms:
            node.kin, node.kin_asked = Kin.OTHER, None
            core.log("verbose", f"Node {node.name} does not vote on slots: it is a server of another kind.")


def has_data(core: Core) -> bool:
    """Whether this node has keys, or a history of some, as of a moment ago."""
    known = core.claims.has_data
    if known is None or core.now_ms - known[0] >= DATA_LOOK_MS:
        known = core.claims.has_data = (core.now_ms, no_harm.has_keys(core))
    return known[1]


def reaches_owners_of_other_kinds(core: Core) -> bool:
    """Where servers of another kind own slots, they elect primaries by their own majority, which then counts too."""
    owners = [owner for owner in core.slots.owners.values() if owner.is_primary]
    if not any(owner.kin is Kin.OTHER for owner in owners):
        return True
    return sum(not owner.flags & c.FAILING for owner in owners) >= len(owners) // 2 + 1
