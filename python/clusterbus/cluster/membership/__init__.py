"""Who is in the cluster and where: handshakes, links, addresses, and what this node says of itself."""
