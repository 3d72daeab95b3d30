"""A program of threads: four workers take jobs that any node of the cluster publishes, and publish the results.

    python examples/threads.py 7100 "$(mktemp -d)" [HOST:PORT ...]

Each line of the input is a job; `redis-cli -p 7000 publish jobs hello` at a node of the cluster gives one too. The
bus has a thread of its own, so it answers the others while the program is busy. The end of the input or Ctrl-C ends it.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading

import clusterbus


def work(bus: clusterbus.BlockingBus, jobs: clusterbus.BlockingMessages) -> None:
    """Does one job after the other until the subscription ends; each goes to one of the workers."""
    for job in jobs:
        if isinstance(job, clusterbus.Message):
            bus.publish("results", job.message.upper())


def watch(events: clusterbus.BlockingEvents[clusterbus.NodeJoined | clusterbus.NodeUnreachable]) -> None:
    """Prints who comes and who is gone, until the bus closes."""
    for event in events:
        print(event, flush=True)


def main(port: str, folder: str, *seeds: str) -> None:
    """Starts the threads, and gives each line of the input to whoever takes it."""
    with (
        clusterbus.BlockingBus(port=int(port), dir=folder, bind="127.0.0.1", seeds=seeds, thread=True) as bus,
        bus.subscribe("jobs") as jobs,
        bus.subscribe("results") as results,
    ):
        for _ in range(4):
            threading.Thread(target=work, args=(bus, jobs)).start()
        events = bus.events(clusterbus.NodeJoined, clusterbus.NodeUnreachable)
        threading.Thread(target=watch, args=(events,)).start()
        for line in sys.stdin:
            bus.publish("jobs", line.strip())
            try:
                print(results.get(timeout_s=5), flush=True)
            except queue.Empty:
                print("nobody did it within 5 s", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
