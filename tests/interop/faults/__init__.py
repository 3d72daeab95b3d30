"""Faults of the machine under a mixed cluster of Valkey and clusterbus that carries a load.

`mixed` is the cluster, its load and what must hold at the end; `machine` makes the faults: a small disk, a slow fsync,
limits, network namespaces. The node that a fault meets is the same process before, meanwhile and after.
"""
