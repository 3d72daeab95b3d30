"""PING, PONG and MEET: what goes out, and what comes in.

heartbeat   what we send: header, heartbeats, FAIL, UPDATE
gossip_out  which nodes our heartbeats mention, and what they say of each
gossip_in   what the entries of a peer change
extensions  names, shard ids, forgotten nodes: ours, and those of a peer
quiet       the published view, and heartbeats that say nothing new to it
"""
