"""What an operator orders and reads: CLUSTER's orders, slots that move, descriptions, and the meaning of nodes.conf."""
