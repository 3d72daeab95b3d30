"""The published view of the node table, as Python sees it: what workers compare heartbeats with (R33, R34).

Owns the names of the core's classes for it, and nothing else; the cluster layer fills them, the runtime
publishes them. Plain data, shared with the workers: immutable but for the times, which are atomics.
"""

from clusterbus._core import ExpectedHeartbeat, NodeRow, NodeTimes, View

__all__ = ["ExpectedHeartbeat", "NodeRow", "NodeTimes", "View"]
