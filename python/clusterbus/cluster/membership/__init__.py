"""Which nodes are in the cluster, and where.

admission     who may be a member: networks, ids, certificates, pins
labels        the label of the cluster, and nodes of another one
handshake     MEET in both directions, until the true id is known
acquaintance  MEET again, to those that do not know us
leaving       a node asks the others to forget it, and they do
links         dials, links that come up, and links that end
address       where other nodes are, by their own packets
tags          what a node's program says of it, to clusterbus nodes
observing     what a node that only watches does not do
myself        what this node announces of itself
"""
