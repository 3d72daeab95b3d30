"""The table of workloads: the cluster, the links, what the generator does, and which servers take part."""

from __future__ import annotations

from dataclasses import dataclass

ALL = ("floor", "redis", "valkey", "asyncio", "uvloop", "clusterbus-1", "clusterbus-2", "clusterbus-3")
WITH_TLS = ("redis", "clusterbus-1", "clusterbus-2", "clusterbus-3")
NODES = ("redis", "valkey", "clusterbus-1", "clusterbus-2", "clusterbus-3")
WITHOUT_TOYS = ("floor", "redis", "valkey", "clusterbus-1", "clusterbus-2", "clusterbus-3")
IDLE = ("redis", "valkey", "clusterbus-2", "clusterbus-3")
LINKS = 200
SIZES = (4, 201, 1_000, 2_000)
SPARSE_SIZES = (201, 2_000)
# What a member of a calm cluster of 2,000 nodes is sent.
SPARSE_PER_S = 400
CHANGES_PER_S = 20
# The workload busy: callbacks that take 70 % of the main loop, and more PINGs than a calm cluster sends.
BURN_MS, BURN_PERIOD_MS = 50, 71
BUSY_PER_S = 2_000
# Long enough that no node becomes PFAIL, and that none gets an extra PING because it was silent. All that the server's
# clock then causes is one PING a second, and a walk over the table ten times a second.
QUIET_NODE_TIMEOUT_MS = 3_600_000
# The servers' default. With it a server sends many PINGs of its own accord.
USUAL_NODE_TIMEOUT_MS = 15_000


@dataclass(frozen=True)
class Workload:
    """One table of the report. `unit` is what the CPU time is divided by."""

    name: str
    title: str
    mode: str
    nodes: int
    servers: tuple[str, ...]
    links: int
    unit: str = "pongs"
    tls: bool = False
    in_flight: int = 1
    failing: int = 0
    pace_per_s: int = 0
    storm_links: int = 0
    # The first so many windows are without load.
    idle_windows: int = 0
    # The server is `busy.py`, whose main loop is taken by callbacks most of the time.
    is_busy: bool = False
    # Every PING claims a slot that another node has under a greater epoch.
    news: bool = False
    # One in so many PINGs announces a change of the cluster; at the end every server must know the same.
    churn_every: int = 0
    warm_up_ms: int = 400
    window_ms: int = 800
    windows: int = 1
    node_timeout_ms: int = QUIET_NODE_TIMEOUT_MS
    max_count: int = 2_000_000
    # Whether the server knows the addresses of the other nodes, and so dials them.
    addresses: bool = True
    # Memory varies less than time, so a workload that measures memory needs fewer rounds.
    max_rounds: int = 99

    def generator_arguments(self, server_dials: bool, scale: float, *, storm: bool) -> dict[str, str]:
        """The arguments of `bus-load`; with `storm`, those of the second generator, which makes the storm."""
        arguments = {
            "mode": "storm" if storm else self.mode,
            "links": str(self.storm_links if storm else self.links_to(server_dials)),
            "first-peer": str(self.links if storm else 0),
            "in-flight": str(self.in_flight),
            "failing": str(self.failing),
            # In a storm the first generator already listens as the nodes.
            "expect-dials": str(self.nodes - 1 if server_dials and not storm else 0),
            "warm-up-ms": str(100 if storm else int(self.warm_up_ms * scale)),
            "window-ms": str(int(self.window_ms * scale)),
            "windows": "1" if storm else str(self.windows + bool(self.storm_links)),
            "max-count": str(self.max_count),
            "idle-windows": str(self.idle_windows),
        }
        if self.mode == "join":
            # What every PONG says of the nodes decides when the server has joined.
            arguments["check-every"] = "1"
        if self.news:
            arguments["news"] = "1"
        if self.churn_every:
            arguments["churn"] = str(self.churn_every)
        if self.pace_per_s:
            arguments["pace"] = str(self.pace_per_s)
        return arguments

    def links_to(self, server_dials: bool) -> int:
        """How many links the generator dials. A server that does not dial the nodes sends PUBLISH on these links."""
        if self.mode == "publish":
            return 0 if server_dials else self.nodes - 1
        return self.links


def _heartbeats(nodes: int, *, tls: bool = False) -> Workload:
    links = min(LINKS, nodes - 1)
    entries = min(max(3, nodes // 10), nodes - 2)
    return Workload(
        name=f"{'tls' if tls else 'tcp'}-{nodes}",
        title=f"PING answered by PONG, {nodes:,} nodes, {entries} gossip entries, {links} links, "
        f"one in flight on each, {'TLS' if tls else 'TCP'}",
        mode="ping",
        nodes=nodes,
        servers=WITH_TLS if tls else ALL,
        links=links,
        tls=tls,
        # Only the picture shows this size.
        max_rounds=2 if nodes == 1_000 else 99,
    )


def _sparse(nodes: int, *, tls: bool = False) -> Workload:
    entries = nodes // 10
    return Workload(
        name="sparse-tls" if tls else f"sparse-{nodes}",
        title=f"{SPARSE_PER_S} PINGs a second in all, evenly spaced over {LINKS} links, {nodes:,} nodes, "
        f"{entries} gossip entries, {'TLS' if tls else 'TCP'}",
        mode="paced",
        nodes=nodes,
        servers=WITH_TLS if tls else WITHOUT_TOYS,
        links=LINKS,
        tls=tls,
        pace_per_s=SPARSE_PER_S,
        window_ms=3_000,
        max_rounds=3,
    )


def _news(nodes: int) -> Workload:
    # The last node has the greatest epoch, so it cannot claim what belongs to a later one.
    links = min(LINKS, nodes - 2)
    return Workload(
        name=f"news-{nodes}",
        title=f"Each PING claims a slot of a node with a greater epoch: {nodes:,} nodes, {nodes // 10} gossip entries, "
        f"{links} links, one in flight on each, TCP",
        mode="ping",
        nodes=nodes,
        servers=WITHOUT_TOYS,
        links=links,
        news=True,
        max_rounds=3,
    )


WORKLOADS = {
    workload.name: workload
    for workload in (
        *(_heartbeats(nodes) for nodes in SIZES),
        *(_heartbeats(nodes, tls=True) for nodes in (201, 2_000)),
        *(_sparse(nodes) for nodes in SPARSE_SIZES),
        _sparse(201, tls=True),
        *(_news(nodes) for nodes in (201, 2_000)),
        Workload(
            name="churn-2000",
            title=f"{CHANGES_PER_S} changes of slots, roles or addresses a second among {SPARSE_PER_S} PINGs a second, "
            "2,000 nodes, 200 gossip entries, TCP",
            mode="paced",
            nodes=2_000,
            servers=NODES,
            links=LINKS,
            pace_per_s=SPARSE_PER_S,
            churn_every=SPARSE_PER_S // CHANGES_PER_S,
            window_ms=3_000,
            max_rounds=3,
        ),
        Workload(
            name="join-2000",
            title=f"A node starts into 2,000 known nodes, which send it {SPARSE_PER_S} PINGs a second, until its "
            "heartbeats are quiet, TCP",
            mode="join",
            nodes=2_000,
            servers=NODES,
            links=LINKS,
            unit="joins",
            pace_per_s=SPARSE_PER_S,
            max_rounds=3,
        ),
        Workload(
            name="busy",
            title=f"The user's callbacks take {BURN_MS} of every {BURN_PERIOD_MS} ms of the main loop, "
            f"{BUSY_PER_S:,} PINGs a second over {LINKS} links, 2,000 nodes, 200 gossip entries, TCP",
            mode="paced",
            nodes=2_000,
            servers=("clusterbus-1", "clusterbus-2", "clusterbus-3"),
            links=LINKS,
            pace_per_s=BUSY_PER_S,
            idle_windows=1,
            windows=2,
            is_busy=True,
            window_ms=4_000,
            max_rounds=3,
        ),
        Workload(
            name="storm",
            title="TLS handshake storm: 401 nodes, 200 links at 2,000 PINGs a second in all, "
            "32 connections coming and going",
            mode="paced",
            nodes=401,
            servers=WITH_TLS,
            links=LINKS,
            unit="handshakes",
            tls=True,
            pace_per_s=2_000,
            storm_links=32,
            window_ms=1_500,
        ),
        Workload(
            name="publish",
            title="PUBLISH of 1 KiB fanned out to 200 links, four in flight, 201 nodes, TCP",
            mode="publish",
            nodes=201,
            servers=("floor", *NODES),
            links=LINKS,
            unit="deliveries",
            in_flight=4,
        ),
        Workload(
            name="failures",
            title="Failure storm: every PING marks 500 of 2,000 nodes PFAIL (700 entries), 200 links, TCP",
            mode="ping",
            nodes=2_000,
            servers=("floor", *NODES),
            links=LINKS,
            failing=500,
            # The first PING of each link brings 500 new reports. The warm-up covers these, so that the window only
            # measures repeated reports.
            warm_up_ms=2_000,
            window_ms=2_000,
            max_rounds=3,
        ),
        Workload(
            name="idle",
            title="Idle: 2,000 nodes, 3,998 links, node timeout 15 s, TCP",
            mode="idle",
            nodes=2_000,
            servers=IDLE,
            links=1_999,
            unit="seconds",
            warm_up_ms=4_000,
            window_ms=5_000,
            node_timeout_ms=USUAL_NODE_TIMEOUT_MS,
            max_rounds=3,
        ),
        Workload(
            name="idle-unlinked",
            title="The same nodes without addresses, so without links: for memory per link",
            mode="idle",
            nodes=2_000,
            servers=IDLE,
            links=0,
            unit="seconds",
            addresses=False,
            # At the end it is as old as the server of the workload idle, because servers free memory with time.
            warm_up_ms=8_500,
            window_ms=500,
            node_timeout_ms=USUAL_NODE_TIMEOUT_MS,
            max_rounds=1,
        ),
        Workload(
            name="idle-small",
            title="The same with 4 nodes: for memory per known node",
            mode="idle",
            nodes=4,
            servers=IDLE,
            links=0,
            unit="seconds",
            addresses=False,
            # At the end it is as old as the server of the workload idle, because servers free memory with time.
            warm_up_ms=8_500,
            window_ms=500,
            node_timeout_ms=USUAL_NODE_TIMEOUT_MS,
            max_rounds=1,
        ),
    )
}
