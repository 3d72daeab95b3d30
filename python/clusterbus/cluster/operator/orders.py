"""What an operator may order: MEET, FORGET, REPLICATE, RESET, slots, epochs; and the failure reports (S1, S9, S4).

Owns the checks of the arguments and Valkey's error texts, raised as StateError without the leading "ERR". The client
port parses the command line. Main thread. Source: `clusterCommandSpecial`, `checkSlotAssignmentsOrReply`.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import DataDropped
from clusterbus.cluster.failover import epochs, failure, replication, roles
from clusterbus.cluster.membership import admission, handshake, observing
from clusterbus.cluster.model.leave_state import LeaveState
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.slots import bits_of, slots_in
from clusterbus.errors import StateError


def meet(core: Core, ip: str, port: int, cport: int | None) -> Node | None:
    """CLUSTER MEET: starts a handshake, unless one with that address is under way, and returns the node that it is
    about. None if there is no room for another handshake.

    `cport` None means `port` + 10000. Raises StateError for an invalid address.
    """
    if cport is None:
        cport = port + c.BUS_PORT_OFFSET
    if not 0 < port <= c.PORT_MAX:
        raise StateError("Port number is out of range")
    if not 0 < cport <= c.PORT_MAX:
        raise StateError("Cluster bus port number is out of range")
    try:
        normal_ip = str(ip_address(ip))
    except ValueError:
        raise StateError(f"Invalid node address specified: {ip}:{port}") from None
    fault = admission.address_fault(core, normal_ip)
    if fault:
        raise StateError(fault)
    tls = core.config.tls_cluster
    under_way = core.table.handshakes.get((normal_ip, cport))
    if under_way is not None:
        under_way.met_by_operator = True
        return under_way
    return handshake.start(core, normal_ip, 0 if tls else port, port if tls else 0, cport, asked_by_us=True)


def forget(core: Core, node_id: str) -> None:
    """CLUSTER FORGET: removes a node and keeps it out for `cluster-blacklist-ttl`, here and at peers that take
    extensions.
    """
    node = core.table.find(node_id)
    if node is None:
        if core.forgotten.has(node_id, core.now_ms):
            return  # we forgot it already, perhaps because a peer asked for it
        raise StateError(f"Unknown node {node_id}")
    if node is core.myself:
        raise StateError("I tried hard but I can't forget myself...")
    if node is core.myself.replicaof:
        raise StateError("Can't forget my master!")
    core.forgotten.add(node_id, core.now_ms + core.config.cluster_blacklist_ttl * 1000)
    core.remove_node(node, "forgotten")


def add_slots(core: Core, slots: Iterable[int]) -> None:
    """CLUSTER ADDSLOTS: all slots or none. Raises StateError."""
    bits = _checked(core, slots, free=True)
    core.move_slots(core.myself, bits)
    for slot in slots_in(core.slots.importing.bits & bits):
        del core.slots.importing[slot]


def del_slots(core: Core, slots: Iterable[int]) -> None:
    """CLUSTER DELSLOTS: leaves slots without an owner, as this node sees it. All or none. Raises StateError."""
    core.take_slots(_checked(core, slots, free=False))


def flush_slots(core: Core) -> None:
    """CLUSTER FLUSHSLOTS: this node gives up all its slots. Raises StateError if it has keys."""
    if core.data_plane.count_keys():
        raise StateError("DB must be empty to perform CLUSTER FLUSHSLOTS.")
    core.take_slots(core.myself.slot_bits)


def reset(core: Core, *, hard: bool) -> None:
    """CLUSTER RESET: this node becomes a primary without slots in a shard of its own, which knows no other node (P20).

    `hard` also gives it a new id and epochs of 0. Raises StateError for a primary that has keys.
    """
    myself = core.myself
    if myself.is_primary and core.data_plane.count_keys():
        raise StateError("CLUSTER RESET can't be called with master nodes containing keys")
    _forget_all(core)
    if hard:
        core.current_epoch = core.last_vote_epoch = 0
        core.epoch_bound.forget()
        core.set_config_epoch(myself, 0)
        core.table.rename(myself, _new_own_id(core))
        core.log("notice", f"Reset, under a new id: {myself.node_id}")
    _found_shard(core)


def start_anew(core: Core) -> None:
    """This node has left its cluster: it is a new one, under a new id, as after a hard RESET. Its epochs stay, because
    no epoch ever goes down, and it may hold keys, which are no longer in the cluster.
    """
    _forget_all(core)
    core.table.rename(core.myself, _new_own_id(core))
    core.log("notice", f"Left the cluster; this is a new node: {core.myself.node_id}")
    _found_shard(core)


def _new_own_id(core: Core) -> str:
    return observing.new_id(core.random, observes=observing.is_on(core))


def _forget_all(core: Core) -> None:
    myself = core.myself
    replication.end_election(core, "reset")
    replication.end_manual_failover(core)
    if myself.is_replica:
        roles.set_primary(core, myself)
        core.notify(DataDropped())
    core.take_slots(core.slots.assigned)
    core.slots.migrating.clear()
    core.slots.importing.clear()
    for node in core.table:
        if node is not myself:
            core.remove_node(node, "reset")
    core.forgotten.clear()
    core.leave = LeaveState()


def _found_shard(core: Core) -> None:
    core.myself.shard_id = core.new_id()
    core.log("notice", f"Reset, in a new shard: {core.myself.shard_id}")
    core.want_save(durable=True)
    core.want_state_update()


def set_config_epoch(core: Core, epoch: int) -> None:
    """CLUSTER SET-CONFIG-EPOCH. Raises StateError if this node knows another node or has a config epoch already."""
    if not 0 <= epoch <= c.EPOCH_MAX:
        raise StateError(f"Invalid config epoch specified: {epoch}")
    if len(core.table) > 1:
        raise StateError("The user can assign a config epoch only when the node does not know any other node.")
    if core.myself.config_epoch != 0:
        raise StateError("Node config epoch is already non-zero")
    core.set_config_epoch(core.myself, epoch)
    core.epoch_bound.forget()
    core.log("notice", f"configEpoch set to {epoch} via CLUSTER SET-CONFIG-EPOCH")
    core.current_epoch = max(core.current_epoch, epoch)
    core.want_state_update()


def bump_epoch(core: Core) -> bool:
    """CLUSTER BUMPEPOCH. True if there is a new config epoch, False if ours was the greatest already."""
    return epochs.bump(core)


def replicate(core: Core, node_id: str) -> None:
    """CLUSTER REPLICATE: this node becomes a replica of a primary; nothing happens if it is one already.

    Raises StateError, among others while this node is a primary with slots or keys.
    """
    node = known(core, node_id)
    if node is core.myself:
        raise StateError("Can't replicate myself")
    if node.is_replica:
        raise StateError("I can only replicate a master, not a replica.")
    if core.myself.is_primary and (core.myself.slot_bits or core.data_plane.count_keys()):
        raise StateError("To set a master the node must be empty and without assigned slots.")
    if core.myself.replicaof is not node:
        replication.replicate(core, node)


def replicate_no_one(core: Core) -> None:
    """CLUSTER REPLICATE NO ONE: this replica becomes an empty primary of a new shard. Nothing happens on a primary."""
    if core.myself.is_replica:
        replication.leave(core)


def count_failure_reports(core: Core, node_id: str) -> int:
    """CLUSTER COUNT-FAILURE-REPORTS."""
    return failure.count_reports(core, known(core, node_id))


def known(core: Core, node_id: str) -> Node:
    """The node with that id. Raises StateError if there is none."""
    node = core.table.find(node_id)
    if node is None:
        raise StateError(f"Unknown node {node_id}")
    return node


def _checked(core: Core, slots: Iterable[int], *, free: bool) -> int:
    """The bitmap of some slots, which must all be without an owner if `free`, else all have one. Raises StateError."""
    wanted = list(slots)
    for slot in wanted:
        if not 0 <= slot < c.SLOTS:
            raise StateError("Invalid or out of range slot")
    seen = bytearray(c.SLOTS)
    assigned = core.slots.assigned
    taken = assigned.to_bytes(c.SLOTS // 8, "little")
    for slot in wanted:
        has_owner = bool(taken[slot >> 3] >> (slot & 7) & 1)
        if has_owner and free:
            raise StateError(f"Slot {slot} is already busy")
        if not has_owner and not free:
            raise StateError(f"Slot {slot} is already unassigned")
        if seen[slot]:
            raise StateError(f"Slot {slot} specified multiple times")
        seen[slot] = 1
    return bits_of(wanted)
