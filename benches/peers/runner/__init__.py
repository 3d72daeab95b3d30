"""The runner of `make bench-peers`: starts servers and the load generator in turn, and tells what came out.

`workloads` says what is measured, `servers` who, `measure` does it once, `report` and `plot` show it.
Nothing of the package under test is imported here: it is one server among others.
"""
