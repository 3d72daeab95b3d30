"""One member of a cluster, whatever world it lives in: the driver, its ports, messages and counters."""
