"""Cuts a simulated cluster in two and shows what each side does: no server, no socket, no waiting.

    python examples/simulate_partition.py --seed 7

Six nodes form a cluster in virtual time. Then two of them are cut off from the other four, and later the network heals.
The same seed always prints the same lines, on every machine.
"""

from __future__ import annotations

import argparse

from clusterbus.cluster.events import Event, NodeFailed, NodeRecovered, StateChanged
from clusterbus.sim import Simulation

MINORITY = [0, 1]
MAJORITY = [2, 3, 4, 5]


def main() -> None:
    """Prints one line for each event that matters here."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--seed", type=int, default=7, help="the same seed gives the same run")
    seed = arguments.parse_args().seed

    cluster = Simulation(seed, nodes=6, node_timeout_ms=1_000)
    print(f"formed after {cluster.form():,.0f} ms")
    names = {cluster.node_id(node): f"node {node}" for node in cluster.nodes}

    def tell(node: int, event: Event, now_ms: float) -> None:
        if isinstance(event, NodeFailed):
            print(f"{now_ms:9,.0f} ms  node {node}: {names[event.node_id]} has failed")
        elif isinstance(event, NodeRecovered) and event.was_failed:
            print(f"{now_ms:9,.0f} ms  node {node}: {names[event.node_id]} is back")
        elif isinstance(event, StateChanged):
            print(f"{now_ms:9,.0f} ms  node {node}: the cluster is {event.state}")

    cluster.on_event(tell)
    cut = cluster.partition(MINORITY, MAJORITY)
    cluster.run_for(5_000)
    failed = [names[node.node_id] for node in cluster.state(2).nodes if node.is_failed]
    print(f"the majority has given up {' and '.join(sorted(failed))}; the minority cannot agree on any failure")

    cut.heal()
    healed_ms = cluster.now_ms
    if not cluster.run_until(cluster.agrees, limit_ms=60_000):
        raise SystemExit("\n".join(cluster.disagreements()))
    print(f"all agree again {cluster.now_ms - healed_ms:,.0f} ms after healing")


if __name__ == "__main__":
    main()
