"""Whole nodes against whole nodes: real Valkey, real Redis, clusterbus processes, and hand-made bus peers."""
