"""Whether all members see the same cluster, as they must some time after the last fault was healed.

Owns the comparison of what each member knows of a node with what that node knows of itself: members, roles, primaries,
slots, config epochs, failure flags, links, state and current epoch. Also compares it with nodes.conf and with the
engine. Reads states, changes nothing. One thread.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Final

from clusterbus.cluster.constants import ALL_SLOTS, FAILING, FLAG_HANDSHAKE
from clusterbus.cluster.failover.no_harm import IF_EMPTY
from clusterbus.cluster.model.node import Node
from clusterbus.member.driver import TICK_PERIOD_MS
from clusterbus.member.saving import SAVE_PERIOD_MS
from clusterbus.sim.host import Host

_OPEN_MOVE: Final = re.compile(r"\[(\d+)-([<>])-(\w+)\]")
"""An open move in the line of our own node."""


def disagreements(hosts: Sequence[Host], gone: Collection[str] = (), *, at_most: int = 10) -> list[str]:
    """Where the members differ, one line each, at most `at_most`; empty if they agree.

    A host that is down must be known to all others, and flagged FAIL by them. So must be the nodes with the ids `gone`,
    which are no more, wherever they are still known.
    """
    return list(islice(_disagreements(hosts, gone), at_most))


def still_hoped_for(hosts: Sequence[Host], gone: Collection[str]) -> list[str]:
    """Where a node that is no more is known and not flagged FAIL, one line each. Older rules do not ask for that."""
    return [
        f"{host.name} does not flag {node.node_id} FAIL, whose address another node has"
        for host in hosts
        if host.is_up and not host.is_older
        for node in host.state.nodes
        if node.node_id in gone and not node.is_failed
    ]


def _disagreements(hosts: Sequence[Host], gone: Collection[str]) -> Iterator[str]:
    living = [host for host in hosts if host.is_up]
    selves = {host.node_id: host for host in hosts}
    if not living:
        return
    yield from still_hoped_for(hosts, gone)
    for host in living:
        yield from _about_members(host, selves, gone)
    for host in living:
        for other in living:
            if other is not host:
                yield from _about_one(host, other)
    for host in living:
        yield from _about_the_disk(host)
        yield from _about_the_data(host)
    yield from _about_the_whole(living, all_up=len(living) == len(hosts))


def _about_members(host: Host, selves: dict[str, Host], gone: Collection[str]) -> Iterator[str]:
    present = [node for node in host.state.nodes if node.node_id not in gone]
    if len(present) != len(selves):
        yield f"{host.name} knows {len(present)} nodes of {len(selves)}"
        return
    for node in present:
        peer = selves.get(node.node_id)
        if peer is None or node.flags & FLAG_HANDSHAKE:
            yield f"{host.name} knows {node.node_id}, which is no member"
        elif not peer.is_up and not node.is_failed:
            yield f"{host.name} does not flag {peer.name} FAIL, which is down"


def _about_one(host: Host, other: Host) -> Iterator[str]:
    seen = host.state.find(other.node_id)
    true = other.state.myself
    if seen is None:
        yield f"{host.name} does not know {other.name}"
        return
    if seen.flags & FAILING:
        yield f"{host.name} flags {other.name} as failing, which is up"
    if seen.is_unreachable:
        yield f"{host.name} finds {other.name} unreachable, which is up"
    if seen.is_clusterbus is other.config.cluster_observer or seen.is_observer is not other.config.cluster_observer:
        yield f"{host.name} does not know what {other.name} is"
    if seen.tags != true.tags:
        yield f"{host.name} has {dict(seen.tags)} as the tags of {other.name}, they are {dict(true.tags)}"
    if seen.is_primary != true.is_primary or _primary_id(seen) != _primary_id(true):
        yield f"{host.name} takes {other.name} for {_role(seen)}, it is {_role(true)}"
    if seen.shard_id != true.shard_id:
        yield f"{host.name} has {other.name} in shard {seen.shard_id}, it is in {true.shard_id}"
    if seen.slot_bits != true.slot_bits:
        yield (
            f"{host.name} gives {other.name} {seen.slot_bits.bit_count()} slots, it has {true.slot_bits.bit_count()}"
        )
    if true.is_primary and seen.config_epoch != true.config_epoch:
        yield f"{host.name} has epoch {seen.config_epoch} for {other.name}, it is {true.config_epoch}"
    if (seen.ip, seen.cport) != (other.ip, other.cport):
        yield f"{host.name} has {other.name} at {seen.ip}:{seen.cport}, it is at {other.ip}:{other.cport}"
    for link in (seen.link, seen.inbound_link):
        if link is None or not host.is_connected(link.link_id):
            yield f"{host.name} lacks a link with {other.name}"
            return
        if host.engine.name_of(link.link_id) != other.node_id:
            yield f"{host.name}'s engine does not know that a link is {other.name}'s"


def _about_the_disk(host: Host) -> Iterator[str]:
    if host.clock.now_ms() - host.last_saved_ms <= SAVE_PERIOD_MS + TICK_PERIOD_MS:
        return  # what packets changed since then is written at the first tick after that time
    saved = _lasting(host.disk.text or "")
    for node_id, line in _lasting(host.state.nodes_conf_text()).items():
        if saved.get(node_id) != line:
            yield f"{host.name}'s nodes.conf says {saved.get(node_id)!r} of {node_id}, and {line!r} is true"


def _about_the_data(host: Host) -> Iterator[str]:
    """The data plane must have been told of every change of role and slots."""
    data, myself = host.data, host.state.myself
    if data is None:
        return
    if data.primary_id != _primary_id(myself):
        yield f"{host.name}'s data follows {data.primary_id}, its node {_primary_id(myself)}"
    if data.owned != myself.slot_bits:
        yield f"{host.name}'s data has {data.owned.bit_count()} slots, its node {myself.slot_bits.bit_count()}"


def _lasting(nodes_conf: str) -> dict[str, str]:
    """The lines of nodes, by id, without what never asks for a save: PFAIL, times, the state of the link.

    The last line is left out. A current epoch of another node is not worth a save, in Valkey neither
    (`clusterProcessPacket`). `checks` has the rule that a vote and our own epochs are on disk.
    """
    lines = {}
    for line in nodes_conf.splitlines()[:-1]:
        node_id, address, flags, primary_id, _ping_sent, _pong_received, epoch, _connected, *slots = line.split()
        lasting_flags = ",".join(flag for flag in flags.split(",") if flag != "fail?")
        lines[node_id] = " ".join((address, lasting_flags, primary_id, epoch, *slots))
    return lines


def _about_the_whole(living: list[Host], *, all_up: bool) -> Iterator[str]:
    states = {host.state.is_ok for host in living}
    if len(states) > 1:
        yield "the state is ok for some and fail for others"
    elif states == {False} and all_up and living[0].state.assigned_slots == ALL_SLOTS:
        yield "the state is fail, with every slot served"
    epochs = {host.state.current_epoch for host in living}
    if len(epochs) > 1:
        yield f"the current epoch is one of {sorted(epochs)}"
    for host in living:
        primary = host.state.myself.replicaof
        if primary is not None and not primary.is_primary:
            yield f"{host.name} is a replica of a replica"
        if primary is not None and primary.shard_id != host.state.myself.shard_id:
            yield f"{host.name} is in another shard than its primary"
        yield from _about_open_moves(host)
    yield from _about_shards([host for host in living if host.state.myself.is_primary])
    holders: dict[int, str] = {}
    for host in living:
        myself = host.state.myself
        if host.config.cluster_observer:
            continue
        if myself.is_primary and holders.setdefault(myself.config_epoch, host.name) != host.name:
            yield f"{holders[myself.config_epoch]} and {host.name} share config epoch {myself.config_epoch}"


def _about_open_moves(host: Host) -> Iterator[str]:
    """A slot that is on the move goes to a primary or comes from one, though primaries fail meanwhile."""
    own_line = host.state.nodes_conf_text().partition("\n")[0]
    for slot, direction, node_id in _OPEN_MOVE.findall(own_line):
        node = host.state.find(node_id)
        if node is None or not node.is_primary:
            yield f"{host.name} moves slot {slot} {'to' if direction == '>' else 'from'} {node_id}, which is no primary"


def _about_shards(primaries: list[Host]) -> Iterator[str]:
    """A primary whose slots went to another one of its shard must follow that one.

    Without cluster-allow-replica-migration, a primary whose last slot went to another shard stays an empty primary; so
    does a primary without data (P4), and a member with older rules, which may be stuck so (P21).
    """
    served = {host.state.myself.shard_id for host in primaries if host.state.myself.slot_bits}
    for host in primaries:
        myself = host.state.myself
        if myself.slot_bits or host.is_older or not host.config.cluster_allow_replica_migration:
            continue
        if host.config.cluster_replica_no_failover == IF_EMPTY and (host.data is None or not host.data.offset):
            continue
        if myself.shard_id in served:
            yield f"{host.name} is a primary without slots in a shard that another one serves"


def _primary_id(node: Node) -> str | None:
    return node.replicaof.node_id if node.replicaof is not None else None


def _role(node: Node) -> str:
    return "a primary" if node.is_primary else f"a replica of {_primary_id(node)}"
