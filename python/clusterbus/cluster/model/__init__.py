"""What a node knows, as plain data. Holds fields and the invariants between them, and no rule of the protocol.

    node            `Node` and `Link`: one member of the cluster, one connection
    table           all nodes, and the ids that were forgotten
    slots           who owns which slot, and the arithmetic of slot bitmaps
    election_state  this node's own election, and a manual failover
    records         the lines of nodes.conf

Imports nothing of the other rooms.
"""
