"""What the soak runs: real processes, and the clients and links around them.

Its files in reading order:

    certificates  one authority, and certificates that can be issued anew while nodes run
    commands      one connection of redis-py that gives orders, and how to open one
    node          a node's process, from its start to its end, as often as it lives
    program       the program with a `Bus` in it, a process of its own
    owners        which process owns a connection
    sidecar       every bus link: TLS for those without, cuts, holds, and when each lived
    traffic       publishers and subscribers
    keys          keys that were acknowledged, and must be there at the end
"""
