"""Finds the node that serves the slot of a request, and redirects the client if that is another node.

Owns the order of the checks, and Valkey's texts. Must never change anything. Main thread. Source: `getNodeByQuery` and
`clusterRedirectClient` in `src/cluster.c`, and the answers of a running Valkey 9.1.2.
"""

from __future__ import annotations

from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import Call
from clusterbus.client_port.reply import ErrorReply, error
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.operator.describe import client_ip
from clusterbus.errors import StateError
from clusterbus.member.member import Member
from clusterbus.wire import key_slot

CROSSSLOT: Final = ErrorReply("CROSSSLOT Keys in request don't hash to the same slot")
SLOT_NOT_SERVED: Final = ErrorReply("CLUSTERDOWN Hash slot not served")
CLUSTER_DOWN: Final = ErrorReply("CLUSTERDOWN The cluster is down")
CLUSTER_READS_ONLY: Final = ErrorReply("CLUSTERDOWN The cluster is down and only accepts read commands")
TRY_AGAIN: Final = ErrorReply("TRYAGAIN Multiple keys request during rehashing of slot")


def shard_channel_gate(member: Member, client: Client, call: Call) -> ErrorReply | None:
    """The error for a command on shard channels that this node does not serve. None if it does serve them, and for any
    other command.

    The replicas of a shard serve its channels just as its primary does.
    """
    if not call.spec.names_shard_channels:
        return None
    slots = {key_slot(channel) for channel in call.key_arguments()}
    if len(slots) != 1:
        return CROSSSLOT if slots else None
    (slot,) = slots
    state = member.state
    owner = state.owner_of(slot)
    if owner is None:
        return SLOT_NOT_SERVED
    if not state.is_ok and not member.config.cluster_allow_pubsubshard_when_down:
        return CLUSTER_DOWN
    if owner is state.myself.primary or (client.asking and state.importing_from(slot) is not None):
        return None
    return _redirection("MOVED", slot, owner, client)


def key_gate(member: Member, client: Client, call: Call) -> ErrorReply | None:
    """The error for a command whose keys are in a slot that this node does not serve. None if it does serve the slot,
    and for a command without keys.

    While a slot moves between nodes, the answer depends on which of the keys are here.
    """
    if call.spec.names_shard_channels or not (keys := call.key_arguments()):
        return None
    state = member.state
    slot = key_slot(keys[0])
    owner = state.owner_of(slot)
    if any(key_slot(key) != slot for key in keys):
        return CROSSSLOT
    if owner is None:
        return SLOT_NOT_SERVED
    writes = "write" in call.spec.flags
    if not state.is_ok:
        if not member.config.cluster_allow_reads_when_down:
            return CLUSTER_DOWN
        if writes:
            return CLUSTER_READS_ONLY
    myself = state.myself
    target, source = None, None
    if myself.is_primary or client.readonly:
        target = state.migrating_to(slot) if owner is myself.primary else None
        source = state.importing_from(slot) if target is None else None
    try:
        missing = sum(not member.data_plane.has_key(key) for key in keys) if target or source else 0
    except StateError as fault:
        return error(str(fault))
    if (target or source) and call.name == "migrate" and myself.is_primary:
        return None
    if target is not None and missing:
        return TRY_AGAIN if missing < len(keys) else _redirection("ASK", slot, target, client)
    if source is not None and (client.asking or "asking" in call.spec.flags):
        return TRY_AGAIN if missing and len(set(keys)) > 1 else None
    if owner is myself or (client.readonly and not writes and owner is myself.primary):
        return None
    return _redirection("MOVED", slot, owner, client)


def _redirection(word: str, slot: int, to: Node, client: Client) -> ErrorReply:
    ip = client_ip(to, ipv6=client.is_ipv6)
    return ErrorReply(f"{word} {slot} {ip}:{to.tls_port if client.tls else to.port}")
