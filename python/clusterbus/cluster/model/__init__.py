"""What a node knows, as plain data. Holds fields and the invariants between them, but no rule of the protocol.

    node            `Node` and `Link`: one member of the cluster, one connection
    agenda          things by the time at which they are to be looked at
    table           all nodes, and the ids that were forgotten
    slots           the owner of each slot, and the arithmetic of slot bitmaps
    state_reason    why the state of the cluster is fail
    surveys         what a look at all nodes found, until the next version
    switches        what DEBUG turns off
    election_state  this node's own election, a manual failover, and epochs that are not believed
    claim_state     slots that this node takes or gives away, and leases
    records         the lines of nodes.conf

Imports nothing from the other folders of the cluster layer.
"""
