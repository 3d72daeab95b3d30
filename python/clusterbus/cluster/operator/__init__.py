"""What an operator orders and reads.

orders      MEET, FORGET, slots, epochs, REPLICATE, RESET
slot_moves  slots that move between two primaries
describe    CLUSTER NODES, INFO, SLOTS, SHARDS
persist     nodes.conf: from text to state, and back
"""
