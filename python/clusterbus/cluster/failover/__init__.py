"""Failures, and what follows from them.

failure            PFAIL by our own timeouts, FAIL by a quorum of reports
reachability       which nodes most members cannot reach, whoever owns slots
health             the state of the cluster: ok or fail
epoch_bound        which epochs of others are believed
epochs             the current epoch, and collisions of config epochs
roles              which nodes are primaries of which slots, by the claims of others
no_harm            what a node without data must not do
election           this node's own election in the place of its primary
vote               our vote in the election of another node
replication        this node's own role, and its replication offset
manual_failover    CLUSTER FAILOVER
handover           a primary goes, and a replica takes over first
replica_migration  a replica moves to a primary without one

These are more than a dozen, because each rule of failures, epochs and roles is a subject of its own.
"""
