"""PING, PONG and MEET: what goes out, what the gossip and extensions of others change, and which say nothing new."""
