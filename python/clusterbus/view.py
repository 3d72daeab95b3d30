"""The published view of the node table, which the workers compare heartbeats with (R33, R34).

Owns nothing but the names of the core's classes for it. `cluster/` fills them and `member/` publishes them. The
workers share this data, so it is immutable, except for the times, which are atomics.
"""

from clusterbus._core import ExpectedHeartbeat, NodeRow, NodeTimes, Verdict, Version, View

__all__ = ["ExpectedHeartbeat", "NodeRow", "NodeTimes", "Verdict", "Version", "View"]
