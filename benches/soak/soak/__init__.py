"""The runner of `make soak`: one mixed cluster for twenty minutes, faults all along, and a check of everything.

Valkey, Redis over mutual TLS, clusterbus nodes and programs with a `Bus` are one cluster. Every bus link passes a
**sidecar**, which knows when a link lived and who ended it, cuts and holds links, and speaks TLS for Valkey's wheel,
which has none. Each node publishes numbered messages and has a subscriber. The bus is fire-and-forget, so a message may
be lost, but only for a reason: `checks/messages.py` says which, and whatever it cannot explain is a finding.

Its files in reading order:

    cast       who takes part: nodes, their kinds, their shards
    schedule   which faults come, from a seed
    world/     the processes, certificates, links and real clients
    acts       carries the faults out and notes from when to when each lasted
    checks/    what must hold: messages, slots, keys, memory, descriptors, threads, logs
    story      the run itself: form, disturb, calm, judge
    output/    the line of progress, the table, the picture
    __main__   the arguments

Times are seconds of CLOCK_MONOTONIC, which all processes of a machine share. One thread, one asyncio loop.
"""
