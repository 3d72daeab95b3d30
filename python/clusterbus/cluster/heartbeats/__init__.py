"""PING, PONG and MEET: what ours carry, what gossip and extensions of a peer change, and which heartbeats are quiet."""
