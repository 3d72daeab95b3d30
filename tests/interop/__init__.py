"""Whole processes against each other: real Valkey, real Redis, clusterbus nodes, and hand-made bus peers."""
