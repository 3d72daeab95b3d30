"""The runner of `make bench-slots`: what moving slots costs at Valkey's nodes and at ours.

Its files in reading order:

    nodes     the kinds of nodes, a cluster of three of a kind, one connection that asks them
    measure   one measurement: a thousand open slots mended by redis-cli, and single orders
    figures   medians, spreads and ratios, and their table
    __main__  all kinds, in rounds

Must never import the package under test, which is one kind of node among others.
"""
