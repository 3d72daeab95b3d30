"""Real servers for tests: Valkey, Redis and clusterbus processes on loopback, started and stopped by pid.

`server` starts and stops one process, `cluster` joins several and asks them, `redis_cli` runs Debian's redis-cli,
`ports` finds free ports, `tls` makes certificates, and `test_peers` tests all of these. Nothing of the package under
test is imported here, so that answers of the peers are never read by our own code.
"""
