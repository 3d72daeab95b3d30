"""The rules of failover: more than a dozen modules, since each module of `cluster/failover` has one, some two."""
