"""Whole nodes against whole nodes: real Valkey, real Redis, clusterbus processes, and hand-made bus peers. More than a
dozen modules, since what they prove of a whole node lies in no one layer: each has one matter, and none shares its
servers with another."""
