"""Which nodes are in the cluster, and where: handshakes, links, addresses, and what this node announces of itself."""
