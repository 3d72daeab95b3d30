"""The table of metrics: name, type, help and labels of each, and where its numbers are counted.

Owns the names. What INFO shows too is counted under the tables of `member/counters`, which stay the one source of what
there is to count. Must never hold a number. Main thread.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from clusterbus.member.counters import CLASSES, DRIVER, GAUGES, LIGHT, OFFLOAD, REFUSALS, Counter

_OWN: Final = "clusterbus_"
_OF_INFO: Final = "cluster_"


class Type(Enum):
    """The types of the exposition format that are used here."""

    COUNTER = "counter"
    GAUGE = "gauge"


class Metric(NamedTuple):
    """One metric. Each of its numbers has all `labels`."""

    name: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()


def _own(row: Counter, kind: Type) -> Metric:
    """The metric of a counter that INFO shows."""
    name = _OWN + row.shown.removeprefix(_OF_INFO)
    return Metric(f"{name}_total" if kind is Type.COUNTER else name, kind, row.doc)


CLUSTER_INFO: Final = {
    "cluster_slots_assigned": "slots that have an owner",
    "cluster_slots_ok": "slots whose owner neither fails nor is suspected to",
    "cluster_slots_pfail": "slots whose owner this node suspects to fail (PFAIL)",
    "cluster_slots_fail": "slots whose owner has failed, as the majority says (FAIL)",
    "cluster_nodes_pfail": "nodes that this node suspects to fail (PFAIL)",
    "cluster_nodes_fail": "nodes that have failed, as the majority says (FAIL)",
    "cluster_known_nodes": "nodes that this node knows, itself among them",
    "cluster_size": "primaries that own slots",
    "cluster_current_epoch": "the current epoch",
    "cluster_my_epoch": "the config epoch of this node's shard",
}
"""What it means, by its name in CLUSTER INFO; redis_exporter puts `redis_` before that."""

STATE: Final = Metric("redis_cluster_state", Type.GAUGE, "1 if this node holds the cluster ok, 0 if it is down")
OF_CLUSTER_INFO: Final = {name: Metric(f"redis_{name}", Type.GAUGE, doc) for name, doc in CLUSTER_INFO.items()}
MESSAGES_SENT: Final = Metric("redis_cluster_messages_sent_total", Type.COUNTER, "messages of the bus sent")
MESSAGES_RECEIVED: Final = Metric("redis_cluster_messages_received_total", Type.COUNTER, "messages of the bus received")

UP: Final = Metric("clusterbus_up", Type.GAUGE, "1: the node runs and has answered the scrape")
INFO: Final = Metric(
    "clusterbus_info", Type.GAUGE, "1, with what this node is in its labels", ("node_id", "role", "shard_id", "version")
)
STATE_REASON: Final = Metric("clusterbus_state_reason", Type.GAUGE, "1, with why the cluster is down", ("reason",))
UPTIME: Final = Metric("clusterbus_uptime_seconds", Type.GAUGE, "seconds since the node started")
READY: Final = Metric("clusterbus_ready", Type.GAUGE, "1 if /readyz says yes")
SLOTS: Final = Metric("clusterbus_slots", Type.GAUGE, "slots that this node owns")
OPEN_SLOTS: Final = Metric("clusterbus_open_slots", Type.GAUGE, "slots on the move at this node", ("direction",))
MESSAGES: Final = Metric(
    "clusterbus_messages_total", Type.COUNTER, "messages of the bus by type", ("direction", "type")
)
BYTES: Final = Metric("clusterbus_bytes_total", Type.COUNTER, "bytes on the bus by class", ("direction", "class"))
THREAD_TIME: Final = Metric("clusterbus_thread_busy_seconds_total", Type.COUNTER, "time that was used", ("thread",))
SAVES: Final = Metric("clusterbus_saves_total", Type.COUNTER, "how often nodes.conf was saved")
SAVE_FAILURES: Final = Metric("clusterbus_save_failures_total", Type.COUNTER, "how often that failed")
SAVE_OK: Final = Metric("clusterbus_save_ok", Type.GAUGE, "0 if the last save of nodes.conf failed")
SENDBUF_EXCEEDED: Final = Metric(
    "clusterbus_links_buffer_limit_exceeded_total", Type.COUNTER, "links closed by cluster-link-sendbuf-limit"
)
REFUSED: Final = Metric(
    "clusterbus_refused_total",
    Type.COUNTER,
    "what was refused, by the reason; its names are those of INFO",
    ("reason",),
)
PEER_UP: Final = Metric("clusterbus_peer_up", Type.GAUGE, "1 if our link to the node is up", ("node_id",))
PEER_FAILING: Final = Metric(
    "clusterbus_peer_failing", Type.GAUGE, "2 if the node has failed (FAIL), 1 if it is suspected (PFAIL)", ("node_id",)
)
PEER_SLOTS: Final = Metric("clusterbus_peer_slots", Type.GAUGE, "slots that the node owns", ("node_id",))
PEER_INFO: Final = Metric(
    "clusterbus_peer_info",
    Type.GAUGE,
    "1, with what the node is in its labels",
    ("node_id", "address", "role", "shard_id"),
)
PEER_RTT: Final = Metric(
    "clusterbus_peer_rtt_seconds",
    Type.GAUGE,
    "how long PINGs to the node take until their PONG is read, moving average; the last one while no link is up",
    ("node_id",),
)
PEER_RTT_MAX: Final = Metric(
    "clusterbus_peer_rtt_max_seconds", Type.GAUGE, "the same, the greatest of the last minute or two", ("node_id",)
)
PEERS: Final = (PEER_UP, PEER_FAILING, PEER_SLOTS, PEER_RTT, PEER_RTT_MAX, PEER_INFO)

OF_ENGINE: Final = {
    row.name: _own(row, kind) for rows, kind in ((OFFLOAD, Type.COUNTER), (GAUGES, Type.GAUGE)) for row in rows
}
OF_DRIVER: Final = {row.name: _own(row, Type.COUNTER) for row in DRIVER}
OF_STATE: Final = {row.name: _own(row, Type.COUNTER) for row in LIGHT}
REASONS: Final = {row.name: row.shown.removeprefix(_OF_INFO) for row in REFUSALS}
"""The label of a refusal by the name under which it is counted."""
BYTE_CLASSES: Final = CLASSES

METRICS: Final[tuple[Metric, ...]] = (
    *(UP, INFO, READY, STATE, STATE_REASON, UPTIME, SLOTS, OPEN_SLOTS),
    *OF_CLUSTER_INFO.values(),
    *(MESSAGES_SENT, MESSAGES_RECEIVED, MESSAGES, BYTES, THREAD_TIME, SAVES, SAVE_FAILURES, SAVE_OK, SENDBUF_EXCEEDED),
    *(*OF_ENGINE.values(), *OF_DRIVER.values(), *OF_STATE.values(), REFUSED),
    *PEERS,
)
"""Every metric, in the order in which the text shows them."""
