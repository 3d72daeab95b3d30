"""`python -m clusterbus`, the same as the command `clusterbus`."""

from clusterbus.cli import main

main(prog_name="clusterbus")
