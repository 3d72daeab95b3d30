"""`clusterbus top`: its model without a terminal, its screen without a cluster."""
