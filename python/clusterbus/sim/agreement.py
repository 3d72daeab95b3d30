"""Whether all members see the same cluster: what must hold after every fault is healed and it was quiet.

Owns the comparison of what each member knows with what each node says of itself: members, roles, primaries,
slots, config epochs, failure flags, links, the cluster's state, the current epoch; and of what it knows with what is
on its disk and in its engine. Reads states, changes nothing. One thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from clusterbus.cluster.constants import ALL_SLOTS, FAILING, FLAG_HANDSHAKE
from clusterbus.cluster.model.node import Node
from clusterbus.sim.host import Host


def disagreements(members: Sequence[Host], *, at_most: int = 10) -> list[str]:
    """What the members do not agree on, one line each, at most so many; empty when they agree.

    A member that is down must be known to all others, and be held FAIL by them.
    """
    return list(islice(_disagreements(members), at_most))


def _disagreements(members: Sequence[Host]) -> Iterator[str]:
    living = [member for member in members if member.is_up]
    selves = {member.node_id: member for member in members}
    if not living:
        return
    for member in living:
        yield from _about_members(member, selves)
    for member in living:
        for other in living:
            if other is not member:
                yield from _about_one(member, other)
    for member in living:
        yield from _about_the_disk(member)
    yield from _about_the_whole(living, all_up=len(living) == len(members))


def _about_members(member: Host, selves: dict[str, Host]) -> Iterator[str]:
    state = member.state
    if state.known_nodes_count != len(selves):
        yield f"{member.name} knows {state.known_nodes_count} nodes of {len(selves)}"
        return
    for node in state.nodes:
        peer = selves.get(node.node_id)
        if peer is None or node.flags & FLAG_HANDSHAKE:
            yield f"{member.name} knows {node.node_id}, which is no member"
        elif not peer.is_up and not node.is_failed:
            yield f"{member.name} does not hold {peer.name} FAIL, which is down"


def _about_one(member: Host, other: Host) -> Iterator[str]:
    seen = member.state.find(other.node_id)
    true = other.state.myself
    if seen is None:
        yield f"{member.name} does not know {other.name}"
        return
    if seen.flags & FAILING:
        yield f"{member.name} holds {other.name} failing, which is up"
    if seen.is_primary != true.is_primary or _primary_id(seen) != _primary_id(true):
        yield f"{member.name} holds {other.name} for {_role(seen)}, it is {_role(true)}"
    if seen.slot_bits != true.slot_bits:
        yield (
            f"{member.name} gives {other.name} {seen.slot_bits.bit_count()} slots, it has {true.slot_bits.bit_count()}"
        )
    if true.is_primary and seen.config_epoch != true.config_epoch:
        yield f"{member.name} has epoch {seen.config_epoch} for {other.name}, it is {true.config_epoch}"
    if (seen.ip, seen.cport) != (other.ip, other.cport):
        yield f"{member.name} has {other.name} at {seen.ip}:{seen.cport}, it is at {other.ip}:{other.cport}"
    for link in (seen.link, seen.inbound_link):
        if link is None or not member.is_connected(link.link_id):
            yield f"{member.name} lacks a link with {other.name}"
            return
        if member.engine.name_of(link.link_id) != other.node_id:
            yield f"{member.name}'s engine does not know a link for {other.name}'s"


def _about_the_disk(member: Host) -> Iterator[str]:
    saved = _lasting(member.disk.text or "")
    for node_id, line in _lasting(member.state.nodes_conf_text()).items():
        if saved.get(node_id) != line:
            yield f"{member.name}'s nodes.conf says {saved.get(node_id)!r} of {node_id}, and {line!r} is true"


def _lasting(nodes_conf: str) -> dict[str, str]:
    """The lines of nodes by their id, without what no save is due for: PFAIL, times, the state of the link.

    The last line is left out. A current epoch that was only heard of is not worth a save, in Valkey neither
    (`clusterProcessPacket`); that a vote and an own epoch are on disk is a rule of `checks`.
    """
    lines = {}
    for line in nodes_conf.splitlines()[:-1]:
        node_id, address, flags, primary_id, _ping_sent, _pong_received, epoch, _connected, *slots = line.split()
        lasting_flags = ",".join(flag for flag in flags.split(",") if flag != "fail?")
        lines[node_id] = " ".join((address, lasting_flags, primary_id, epoch, *slots))
    return lines


def _about_the_whole(living: list[Host], *, all_up: bool) -> Iterator[str]:
    states = {member.state.is_ok for member in living}
    if len(states) > 1:
        yield "the state is ok for some and fail for others"
    elif states == {False} and all_up and living[0].state.assigned_slots == ALL_SLOTS:
        yield "the state is fail, with every slot served"
    epochs = {member.state.current_epoch for member in living}
    if len(epochs) > 1:
        yield f"the current epoch is one of {sorted(epochs)}"
    for member in living:
        primary = member.state.myself.replicaof
        if primary is not None and not primary.is_primary:
            yield f"{member.name} is a replica of a replica"
    yield from _about_shards([member for member in living if member.state.myself.is_primary])
    holders: dict[int, str] = {}
    for member in living:
        myself = member.state.myself
        if myself.is_primary and holders.setdefault(myself.config_epoch, member.name) != member.name:
            yield f"{holders[myself.config_epoch]} and {member.name} share config epoch {myself.config_epoch}"


def _about_shards(primaries: list[Host]) -> Iterator[str]:
    """A primary whose slots went to another of its shard follows that one.

    Without cluster-allow-replica-migration one whose last slot went elsewhere stays an empty primary.
    """
    served = {member.state.myself.shard_id for member in primaries if member.state.myself.slot_bits}
    for member in primaries:
        myself = member.state.myself
        if myself.slot_bits or not member.config.cluster_allow_replica_migration:
            continue
        if myself.shard_id in served:
            yield f"{member.name} is a primary without slots in a shard that another one serves"


def _primary_id(node: Node) -> str | None:
    return node.replicaof.node_id if node.replicaof is not None else None


def _role(node: Node) -> str:
    return "a primary" if node.is_primary else f"a replica of {_primary_id(node)}"
