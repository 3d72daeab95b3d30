"""Whole processes against each other: real Valkey, real Redis, clusterbus nodes, and hand-made bus peers.

More than a dozen modules, because each needs whole clusters of its own and is run alone when its subject changes.
"""
