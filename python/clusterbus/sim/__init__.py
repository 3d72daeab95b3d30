"""A cluster in a box: many members, virtual time, a network with faults, all from one seed (R38).

Stands beside `runtime/`: the same `Member` on ports that a simulated world fills. It needs no event loop and no real
time, so minutes of a cluster's life pass in less than a second.

    from clusterbus.sim import Simulation

    simulation = Simulation(seed=1, nodes=5)
    simulation.form()
    simulation.crash(2)
    simulation.run_until(lambda: simulation.state(0).find(simulation.node_id(2)).is_failed)

A `Host` has a disk, a clock and one process after another. A process is a `Member` whose engine is a `SimEngine`; the
engines of all hosts are joined by one `Network`. Everything that the world can see of a process, a packet, a dial, a
write, is an act, and before any act the process may die. All chance comes from the seed, by a source of its own for
each purpose, so that one more draw for one purpose changes nothing for the others. After every step the rules of
`checks` must hold; when all faults are over and it was quiet for a while, those of `agreement` too.

Its files in reading order, more than a dozen because each is one part of the one world:

    timeline    virtual time, and the clocks of hosts
    network     paths, TCP connections and their failures
    disk        nodes.conf: what is written, and what a power cut leaves
    data        the keys: who has any, and how far replication is
    engine      the engine's port over the network
    host        the life of a process
    older       the rules of older servers, for some of the members
    simulation  `Simulation`: what a script may do to a cluster
    checks      the rules that hold after every event
    agreement   what must hold when it is quiet again
    faults      what a scenario makes a cluster suffer
    scenario    the story of one seed: a cluster, faults, quiet
    lies        what a member says that lies
    hostile     the story of one seed with a liar
    runner      many seeds, over all cores
    measure     how long a healthy cluster takes to form, to see a failure, to take a node back
    trace       what happened, line by line
"""

from clusterbus.errors import InvariantError
from clusterbus.sim.simulation import Fault, Simulation

__all__ = ["Fault", "InvariantError", "Simulation"]
