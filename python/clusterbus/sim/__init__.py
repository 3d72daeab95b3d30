"""A cluster in a box: many `ClusterState`s, virtual time, a network with faults, all from one seed (R38).

Beside the runtime: the same protocol core, with a simulated world in place of sockets, clock and disk. Needs
no event loop and no real time, so minutes of a cluster's life pass in less than a second.

    from clusterbus.sim import Simulation

    simulation = Simulation(seed=1, nodes=5)
    simulation.form()
    simulation.crash(2)
    simulation.run_until(lambda: simulation.state(0).find(simulation.node_id(2)).is_failed)
"""

from clusterbus.errors import InvariantError
from clusterbus.sim.simulation import Fault, Simulation

__all__ = ["Fault", "InvariantError", "Simulation"]
