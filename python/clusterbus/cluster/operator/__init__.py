"""What an operator orders and reads.

orders      MEET, FORGET, slots, epochs, REPLICATE, RESET
slot_moves  slots on the move between two primaries
describe    CLUSTER NODES, INFO, SLOTS, SHARDS, LINKS
persist     nodes.conf: from text to state, and back
"""
