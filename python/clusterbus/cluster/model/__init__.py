"""What a node knows, as plain data: nodes, links, the table, slots, an election's memory, lines of nodes.conf.

Holds the fields and the invariants between them, and no rule of the protocol. Imports nothing of the other rooms.
"""
