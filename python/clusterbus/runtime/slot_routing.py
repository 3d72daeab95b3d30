"""Which node answers for the slot of a request, and the redirection when it is another one.

Owns the order of the checks and Valkey's texts. Changes nothing. Main thread. Source: `getNodeByQuery`,
`clusterRedirectClient` in `src/cluster.c`, and what a running 9.1.2 answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clusterbus.cluster.describe import client_ip
from clusterbus.runtime.resp import Client, ErrorReply
from clusterbus.runtime.resp.registry import Call
from clusterbus.wire import key_slot

if TYPE_CHECKING:
    from clusterbus.runtime.node import Node

CROSSSLOT: Final = ErrorReply("CROSSSLOT Keys in request don't hash to the same slot")
SLOT_NOT_SERVED: Final = ErrorReply("CLUSTERDOWN Hash slot not served")
CLUSTER_DOWN: Final = ErrorReply("CLUSTERDOWN The cluster is down")


def shard_channel_gate(node: Node, client: Client, call: Call) -> ErrorReply | None:
    """Why a command about shard channels is not served here; None when it is, and for other commands.

    A shard's replicas serve its channels as its primary does.
    """
    if not call.spec.names_shard_channels:
        return None
    slots = {key_slot(channel) for channel in call.key_arguments()}
    if len(slots) != 1:
        return CROSSSLOT if slots else None
    (slot,) = slots
    state = node.driver.state
    owner = state.owner_of(slot)
    if owner is None:
        return SLOT_NOT_SERVED
    if not state.is_ok and not node.config.cluster_allow_pubsubshard_when_down:
        return CLUSTER_DOWN
    if owner is state.myself.primary:
        return None
    ip = client_ip(owner, ipv6=client.is_ipv6)
    return ErrorReply(f"MOVED {slot} {ip}:{owner.tls_port if client.tls else owner.port}")
