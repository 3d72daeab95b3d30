"""Hosts that fail: processes that die or hang, power cuts, full disks.

Owns which host suffers and when it is well again. What a failure does is up to `Simulation`. One thread.
"""

from __future__ import annotations

from clusterbus.sim.faults.stage import Stage, Undo, is_mortal


def kill(stage: Stage) -> Undo | None:
    return _crash(stage, power=False)


def cut_power(stage: Stage) -> Undo | None:
    return _crash(stage, power=True)


def _crash(stage: Stage, *, power: bool) -> Undo | None:
    node = stage.mortal()
    if node is None:
        return None
    if stage.draw.random() < 0.5:
        stage.simulation.crash(node, power=power)
    else:
        stage.simulation.crash(node, power=power, after_effects=stage.draw.randint(0, 12))
    return lambda: stage.start([node])


def blackout(stage: Stage) -> Undo | None:
    hosts = stage.simulation.members
    nodes = [node for node in stage.some(at_least=2) if is_mortal(hosts[node])]
    for node in nodes:
        stage.simulation.crash(node, power=stage.draw.random() < 0.7)
    return lambda: stage.start(nodes)


def move(stage: Stage) -> Undo | None:
    node = stage.mortal()
    if node is None or not stage.moves_left:
        return None
    stage.moves_left -= 1
    stage.simulation.crash(node)

    def come_back_elsewhere() -> None:
        if not stage.simulation.is_up(node):
            stage.simulation.restart(node, ip=f"10.255.0.{node + 1}")

    return come_back_elsewhere


def lose_disk(stage: Stage) -> Undo | None:
    """A host dies and comes back with an empty disk: at its address is a node with a new id, which knows nobody."""
    node = stage.mortal()
    if node is None or not stage.losses_left:
        return None
    stage.losses_left -= 1
    stage.simulation.crash(node)

    def come_back_as_another() -> None:
        if not stage.simulation.is_up(node):
            stage.simulation.replace(node)

    return come_back_as_another


def misplace(stage: Stage) -> Undo | None:
    """A host dies, and somebody gives its own node another shard id in nodes.conf."""
    node = stage.mortal()
    if node is None:
        return None
    stage.simulation.crash(node)
    stage.simulation.misplace(node, f"{stage.draw.getrandbits(160):040x}")
    return lambda: stage.start([node])


def shards_fail(stage: Stage) -> Undo | None:
    """The primaries of several shards die at once. A majority is left."""
    hosts = stage.simulation.members
    owners = [host for host in hosts if host.is_up and host.state.myself.slot_bits]
    primaries = [host.index for host in owners if is_mortal(host)]
    most = min(len(primaries), (len(owners) - 1) // 2)
    if most < 2:
        return None
    dying = stage.draw.sample(primaries, stage.draw.randint(2, most))
    for node in dying:
        stage.simulation.crash(node, power=stage.draw.random() < 0.7)
    return lambda: stage.start(dying)


def hang(stage: Stage) -> Undo | None:
    node = stage.active()
    if node is None:
        return None
    stage.simulation.hang(node, reads=stage.draw.random() < 0.5)
    return lambda: stage.simulation.resume(node) if stage.simulation.is_up(node) else None


def stay_away(stage: Stage) -> Undo | None:
    """The main loop of a host is away again and again, for shorter and longer than its lease. Its workers are there."""
    node = stage.active()
    if node is None:
        return None
    stage.simulation.keep_away(node, stage.node_timeout_ms / 4)
    return lambda: stage.simulation.keep_away(node, 0)


def bad_disk(stage: Stage) -> Undo | None:
    node = stage.mortal()
    if node is None:
        return None
    return _spoil_disk(stage, node)


def _spoil_disk(stage: Stage, node: int) -> Undo:
    """The disk of a host takes nothing, or takes its time."""
    if stage.draw.random() < 0.5:
        stage.simulation.fail_disk(node)
        return lambda: stage.simulation.fail_disk(node, failing=False)
    stage.simulation.slow_disk(node, stage.draw.uniform(0, 1.5) * stage.node_timeout_ms)
    return lambda: stage.simulation.slow_disk(node, 0)


def rivals(stage: Stage) -> Undo | None:
    """Two primaries die at once while messages are slow, so their replicas may ask for votes in one epoch. Meanwhile
    the disks of some voters fail or are slow, so they must withhold their votes.
    """
    simulation = stage.simulation
    primaries = [host.index for host in simulation.members if is_mortal(host) and host.state.myself.slot_bits]
    if len(primaries) < 2:
        return None
    dying = stage.draw.sample(primaries, 2)
    voters = [node for node in stage.others(dying) if is_mortal(simulation.members[node])]
    mends = [_spoil_disk(stage, node) for node in voters if stage.draw.random() < 0.3]
    slow = simulation.degrade(delay_ms=stage.draw.uniform(0, 0.3) * stage.node_timeout_ms)
    for node in dying:
        simulation.crash(node)

    def repair() -> None:
        slow.heal()
        for mend in mends:
            mend()
        stage.start(dying)

    return repair
