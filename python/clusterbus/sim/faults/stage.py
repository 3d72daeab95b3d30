"""The stage of one scenario: the cluster that suffers, and the draws of who suffers and how long.

Owns the choice of hosts that are in the right state for a fault, and the source of all draws of a scenario. Begins no
fault itself: `faults` and `orders` do. One thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from clusterbus.sim.host import Host
from clusterbus.sim.simulation import Simulation

Undo = Callable[[], None]
"""Ends a fault."""


@dataclass(slots=True)
class Stage:
    """`moves_left`: how many hosts may still change their address. `losses_left`: how many may still lose their disk or
    be forgotten.
    """

    simulation: Simulation
    draw: Random
    node_timeout_ms: int
    moves_left: int = 1
    losses_left: int = 1

    def length_ms(self) -> float:
        """How long a fault lasts."""
        shortest, longest = self.draw.choice(((0.05, 1.0), (1.0, 2.5), (2.5, 5.0), (4.0, 8.0)))
        return self.draw.uniform(shortest, longest) * self.node_timeout_ms

    def start(self, nodes: list[int]) -> None:
        """Starts those hosts that are down, and calls off the planned crashes of the others."""
        for node in nodes:
            if not self.simulation.spare(node):
                self.simulation.restart(node)

    def some(self, *, at_least: int = 1, at_most: int | None = None) -> list[int]:
        """The numbers of some hosts, up or not."""
        nodes = list(self.simulation.nodes)
        count = self.draw.randint(at_least, min(at_most or len(nodes), len(nodes)))
        return sorted(self.draw.sample(nodes, count))

    def active(self) -> int | None:
        """A host of the cluster that is up and does not hang; None if there is none."""
        nodes = [host.index for host in self.simulation.members if self.is_active(host)]
        return self.draw.choice(nodes) if nodes else None

    def mortal(self) -> int | None:
        """A host that may be crashed; None if there is none.

        It must be active, and must have saved all that it was to save. A crash after a failed save would lose what the
        disk refused, and no member can promise to keep that.
        """
        nodes = [host.index for host in self.simulation.members if is_mortal(host) and self.is_active(host)]
        return self.draw.choice(nodes) if nodes else None

    def is_active(self, host: Host) -> bool:
        """Whether a host is up and does not hang, with a member that the others may know."""
        return host.is_up and not host.is_hung and host.index not in self.simulation.outsiders

    def others(self, nodes: list[int]) -> list[int]:
        return [node for node in self.simulation.nodes if node not in nodes]


def is_mortal(host: Host) -> bool:
    """Whether a host may be crashed, see `Stage.mortal`."""
    return host.is_up and not (host.is_hung or host.owes_durable_save or host.disk.is_failing or host.planned_crash)
