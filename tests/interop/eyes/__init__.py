"""Tools that look at a cluster, against real servers."""
