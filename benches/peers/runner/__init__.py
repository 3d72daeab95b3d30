"""The runner of `make bench-peers`: starts each server with the load generator, and reports the figures.

Its files in reading order:

    workloads     what is measured
    servers       the servers, and how they are started
    cluster_file  the nodes.conf and the ports of a run
    measure       one measurement
    nodes_table   what a server knows at the end, compared with what it was told
    errors        the error of a measurement
    figures       from measurements to figures, ratios and verdicts
    output        the tables, the picture, README's short table
    busy          a program of a user with a busy main loop, around clusterbus
    loop_share    what the bus took of that loop
    toy           a bus endpoint in plain Python, one of the servers
    __main__      all workloads, all servers, several rounds

Must never import the package under test, which is one server among others; `busy` alone does, in a process of its own.
"""
