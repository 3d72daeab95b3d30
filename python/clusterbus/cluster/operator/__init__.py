"""What an operator orders and reads.

orders        MEET, FORGET, slots, epochs, REPLICATE, RESET
slot_moves    slots that move between two primaries
shard_orders  what a primary passes on to its replicas
describe      CLUSTER NODES, INFO, SLOTS, SHARDS
persist       nodes.conf: from text to state, and back
"""
