"""A cluster client that knows of a failover the moment the cluster does.

    python examples/pushed_topology.py 127.0.0.1:7000

The argument is the client port of a clusterbus node; more of them may follow. The keys are in the cluster's primaries,
Valkey nodes or others. Ctrl-C ends it.
"""

from __future__ import annotations

import contextlib
import sys
import time

import clusterbus.topology
import redis


def write(seeds: list[str]) -> None:
    """Writes a counter, ten times a second, through whatever happens."""
    host, port = seeds[0].rsplit(":", 1)
    with redis.RedisCluster(host=host, port=int(port)) as client, clusterbus.topology.attach(client, seeds) as pushed:
        print(f"follows {', '.join(seeds)}", flush=True)
        while True:
            began_s = time.monotonic()
            number = client.incr("counter")
            took_ms = (time.monotonic() - began_s) * 1000
            print(f"{number}, {took_ms:.1f} ms, {pushed.changes} changes", flush=True)
            time.sleep(0.1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        write(sys.argv[1:])
