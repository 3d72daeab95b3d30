"""All faults that a scenario draws, with their weights.

Owns the table and nothing else. One thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clusterbus.sim.faults import damage, hosts, operators, paths
from clusterbus.sim.faults.stage import Stage, Undo

FAULTS: Final[dict[str, tuple[int, Callable[[Stage], Undo | None]]]] = {
    "process killed": (14, hosts.kill),
    "power cut": (12, hosts.cut_power),
    "several down": (5, hosts.blackout),
    "back elsewhere": (6, hosts.move),
    "back under a new id": (6, hosts.lose_disk),
    "another shard id": (5, hosts.misplace),
    "main loop hangs": (8, hosts.hang),
    "main loop away": (8, hosts.stay_away),
    "partition": (12, paths.partition),
    "one-way partition": (8, paths.one_way),
    "node cut off": (8, paths.isolate),
    "path dead": (6, paths.broken_path),
    "loss": (7, paths.loss),
    "delay": (7, paths.delay),
    "link half dead": (6, paths.half_dead_link),
    "links out of step": (6, paths.links_out_of_step),
    "links reset": (5, paths.resets),
    "disk fails or is slow": (3, hosts.bad_disk),
    "two elections at once": (8, hosts.rivals),
    "shards fail at once": (6, hosts.shards_fail),
    "epoch bumped": (4, operators.bump),
    "epoch bumped in isolation": (6, operators.bump_in_isolation),
    "power cut after a bump": (4, operators.bump_and_die),
    "manual failover": (8, operators.manual_failover),
    "takeover": (2, operators.takeover),
    "failover amid an election": (6, operators.failover_amid_election),
    "slot moved": (6, operators.reshard),
    "slots moved amid failures": (6, operators.reshard_amid_failures),
    "node forgotten": (5, operators.forget),
    "replica moved": (3, operators.move_replica),
    "slots claimed twice": (5, operators.claim_twice),
    "wild epochs": (5, damage.wild_epochs),
}
"""Name of a fault: its weight in the draw, and the function that begins it. That returns what ends the fault, or None
if the fault cannot begin now."""
