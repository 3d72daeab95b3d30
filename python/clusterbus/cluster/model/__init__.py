"""What a node knows, as plain data: nodes, links, the table, slots, the state of an election, lines of nodes.conf.

Holds the fields and the invariants between them, but no rule of the protocol. Imports nothing from the other folders of
the cluster layer.
"""
