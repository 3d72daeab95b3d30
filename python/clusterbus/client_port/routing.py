"""Finds the node that serves the slot of a request, and redirects the client if that is another node.

Owns the order of the checks, and Valkey's texts. A transaction is one request: EXEC is checked with all that was
queued, and refused as a whole (P26, P36). Must never change anything. Main thread. Source: `getNodeByQuery` and
`clusterRedirectClient` in `src/cluster.c`, and the answers of a running Valkey 9.1.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import Call
from clusterbus.client_port.reply import ErrorReply, error
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.operator.describe import client_port, preferred_endpoint
from clusterbus.errors import StateError
from clusterbus.member.member import Member
from clusterbus.wire import key_slot

CROSSSLOT: Final = ErrorReply("CROSSSLOT Keys in request don't hash to the same slot")
SLOT_NOT_SERVED: Final = ErrorReply("CLUSTERDOWN Hash slot not served")
CLUSTER_DOWN: Final = ErrorReply("CLUSTERDOWN The cluster is down")
CLUSTER_READS_ONLY: Final = ErrorReply("CLUSTERDOWN The cluster is down and only accepts read commands")
TRY_AGAIN: Final = ErrorReply("TRYAGAIN Multiple keys request during rehashing of slot")


@dataclass(slots=True)
class _Request:
    """What the gate looks at: one call, or all calls of a transaction together."""

    keys: list[bytes]
    channels: list[bytes]
    writes: bool
    asking: bool
    """It may be served while its slot is being imported."""
    looks_for_keys: bool
    """Whether it matters which of the keys are here. Not while calls are queued: EXEC looks."""

    @classmethod
    def of(cls, client: Client, call: Call) -> _Request:
        is_exec = call.name == "exec" and client.transaction is not None
        calls: Sequence[Call] = client.transaction or () if is_exec else (call,)
        keys: list[bytes] = []
        channels: list[bytes] = []
        for one in calls:
            (channels if one.spec.names_shard_channels else keys).extend(one.key_arguments())
        return cls(
            keys,
            channels,
            writes=any("write" in one.spec.flags for one in calls),
            asking=client.asking or "asking" in call.spec.flags,
            looks_for_keys=is_exec or client.transaction is None,
        )


def slot_gate(member: Member, client: Client, call: Call) -> ErrorReply | None:
    """The error for a request whose keys or shard channels are in a slot that this node does not serve, or in several.

    None if this node is to serve it. Replicas serve the shard channels of their primary's slots as the primary does.
    While a slot moves between nodes, the answer depends on which of the keys are here.
    """
    if not call.spec.has_keys and call.name != "exec":
        return None
    if client.transaction is None and _is_plainly_ours(member, call):
        return None
    request = _Request.of(client, call)
    slots = {key_slot(word) for word in (*request.keys, *request.channels)}
    if len(slots) != 1:
        return CROSSSLOT if slots else None
    (slot,) = slots
    owner = member.state.owner_of(slot)
    if owner is None:
        return SLOT_NOT_SERVED
    if request.channels and not (member.state.is_ok or member.config.cluster_allow_pubsubshard_when_down):
        return CLUSTER_DOWN
    if request.keys:
        return _check_keys(member, client, call, request, slot, owner)
    state = member.state
    if owner is state.myself.primary or (client.asking and state.importing_from(slot) is not None):
        return None
    return _redirection("MOVED", slot, owner, member, client)


def _is_plainly_ours(member: Member, call: Call) -> bool:
    """Whether a call is one of those that need no other check, which are nearly all: its slot is ours and stays ours,
    and the cluster is ok."""
    state, words = member.state, call.key_arguments()
    if not words or not state.is_ok:
        return False
    slot = key_slot(words[0])
    if len(words) > 1 and any(key_slot(word) != slot for word in words):
        return False
    return state.owner_of(slot) is state.myself and state.migrating_to(slot) is None


def _check_keys(
    member: Member, client: Client, call: Call, request: _Request, slot: int, owner: Node
) -> ErrorReply | None:
    state, keys = member.state, request.keys
    if not state.is_ok:
        if not member.config.cluster_allow_reads_when_down:
            return CLUSTER_DOWN
        if request.writes:
            return CLUSTER_READS_ONLY
    myself = state.myself
    target, source = None, None
    if myself.is_primary or client.readonly:
        target = state.migrating_to(slot) if owner is myself.primary else None
        source = state.importing_from(slot) if target is None else None
    try:
        looks = (target or source) and request.looks_for_keys
        missing = sum(not member.data_plane.has_key(key) for key in keys) if looks else 0
    except StateError as fault:
        return error(str(fault))
    if (target or source) and call.name == "migrate" and myself.is_primary:
        return None
    if target is not None and missing:
        return TRY_AGAIN if missing < len(keys) else _redirection("ASK", slot, target, member, client)
    if source is not None and request.asking:
        return TRY_AGAIN if missing and len(set(keys)) > 1 else None
    # A replica at offset 0 has no data: its empty answers would look like those of a primary without the keys (P3).
    has_copy = owner is myself.primary and state.repl_offset
    if owner is myself or (client.readonly and not request.writes and has_copy):
        return None
    return _redirection("MOVED", slot, owner, member, client)


def lost_slot_gate(member: Member, client: Client, call: Call) -> ErrorReply | None:
    """The error for a call of a running transaction whose slot was lost after EXEC was admitted.

    That happens only if a call before it is awaited, or moves the slot itself.
    """
    state = member.state
    for word in call.key_arguments():
        slot = key_slot(word)
        owner = state.owner_of(slot)
        if owner is None:
            return SLOT_NOT_SERVED
        if owner is not state.myself.primary and state.importing_from(slot) is None:
            return _redirection("MOVED", slot, owner, member, client)
    return None


def _redirection(word: str, slot: int, to: Node, member: Member, client: Client) -> ErrorReply:
    endpoint = preferred_endpoint(member.config, to, ipv6=client.is_ipv6) or ""
    return ErrorReply(f"{word} {slot} {endpoint}:{client_port(to, tls=client.tls)}")
