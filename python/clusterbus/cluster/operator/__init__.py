"""What an operator orders and reads: CLUSTER's orders, slots on the move, descriptions, nodes.conf as meaning."""
