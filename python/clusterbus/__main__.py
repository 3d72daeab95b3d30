"""`python -m clusterbus`: the same program as `clusterbus`."""

from clusterbus.cli import main

main(prog_name="clusterbus")
