"""The real world around a member: clocks, the disk, the log, signals, and the event loop that drives it.

Its files in reading order:

    startup            a configuration becomes a member that listens
    node               the member on asyncio or uvloop, with its client port
    blocking           the same member without an event loop
    turns              one thread at a time works on it, first come, first served
    clock              its timeline, and when ticks are due
    ticks              the ticks of all members on one event loop
    free_ports         free pairs of ports, for `port 0` and for tests
    nodes_conf         its file nodes.conf: locks, reading, atomic replacement
    history_file       changes of the cluster, appended to a file off the main thread
    tls_material       what TLS connections are made from
    live_certificates  how that is renewed while the node runs
    live_config        directives that the engine must hear of when they change
    peer_commands      commands at the client port of another node
    errands            what takes long: names to resolve, commands at other nodes
    open_files         the limit of open files, and what of it is kept for the bus
    log                Valkey's levels and line format on Python's logging
    process            `clusterbus node`: signals, pid file, exit status
    supervision        its place below who started it: detached, or told on to systemd

It fills the ports of `member/` (engine, file, clock, log). It decides nothing of the protocol. It has more than a dozen
files because each stands for another part of that world, and hardly two of them have anything in common.
"""
