"""Real servers for tests: Valkey, Redis and clusterbus processes on loopback, started and stopped by pid.

`server` starts and stops one process, `cluster` asks questions of several and joins them, `redis_cli` runs
Debian's, `ports` finds free ports, `tls` makes certificates. Nothing of the package under test is imported
here, so what a peer says is never what our own code thinks it said.
"""
