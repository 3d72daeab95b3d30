"""Events, messages and snapshots for the program a node lives in: bounded, in order, honest about losses."""
