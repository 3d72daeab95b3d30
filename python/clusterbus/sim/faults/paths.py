"""Paths that fail: partitions, loss, delay, connections that break.

Owns which paths suffer. What a failure does is up to `Simulation` and `network`. One thread.
"""

from __future__ import annotations

import contextlib
from typing import Final

from clusterbus.errors import StateError
from clusterbus.sim.faults.stage import Stage, Undo, is_mortal

CHATTERS_PER_TIMEOUT: Final = 8


def partition(stage: Stage) -> Undo | None:
    one = stage.some(at_most=len(stage.simulation.nodes) - 1)
    return stage.simulation.partition(one, stage.others(one)).heal


def one_way(stage: Stage) -> Undo | None:
    one = stage.some(at_most=len(stage.simulation.nodes) - 1)
    return stage.simulation.partition(one, stage.others(one), one_way=True).heal


def isolate(stage: Stage) -> Undo | None:
    return stage.simulation.isolate(stage.some(at_most=1)[0]).heal


def broken_path(stage: Stage) -> Undo | None:
    one, other = stage.some(at_least=2, at_most=2)
    return stage.simulation.partition([one], [other], one_way=stage.draw.random() < 0.5).heal


def loss(stage: Stage) -> Undo | None:
    return stage.simulation.degrade(stage.some(), loss=stage.draw.uniform(0.01, 0.5)).heal


def delay(stage: Stage) -> Undo | None:
    draw = stage.draw
    longest_ms = stage.node_timeout_ms * 0.6
    return stage.simulation.degrade(
        stage.some(), delay_ms=draw.uniform(0, longest_ms), jitter_ms=draw.uniform(0, longest_ms)
    ).heal


def half_dead_link(stage: Stage) -> Undo | None:
    """One direction of one connection carries nothing any more, and nobody is told. The node at its other end publishes
    messages, so that it is heard often on its own connection, and never stops: who dialled must notice all the same.
    """
    one, other = stage.draw.sample(list(stage.simulation.nodes), 2)
    if stage.simulation.members[one].is_older:  # it would never notice
        return None
    if not stage.simulation.mute_link(one, other, forth=stage.draw.random() < 0.5):
        return None
    _chatter(stage, other)
    return lambda: None


def _chatter(stage: Stage, node: int) -> None:
    with contextlib.suppress(StateError):
        stage.simulation.publish(node, b"news")
    stage.simulation.after(stage.node_timeout_ms / CHATTERS_PER_TIMEOUT, lambda: _chatter(stage, node))


def links_out_of_step(stage: Stage) -> Undo | None:
    """A primary dies while each connection has a lag of its own: votes, claims and FAIL come in any order."""
    simulation = stage.simulation
    primaries = [host.index for host in simulation.members if is_mortal(host) and host.state.myself.slot_bits]
    if not primaries:
        return None
    dying = stage.draw.choice(primaries)
    everybody = list(simulation.nodes)
    simulation.lag_links(everybody, stage.draw.uniform(0.1, 0.8) * stage.node_timeout_ms, stage.draw)
    simulation.crash(dying)

    def come_back() -> None:
        simulation.lag_links(everybody, 0, stage.draw)
        stage.start([dying])

    return come_back


def resets(stage: Stage) -> Undo | None:
    for node in stage.some():
        for other in stage.some():
            if node != other:
                stage.simulation.break_links(node, other)
    return lambda: None
