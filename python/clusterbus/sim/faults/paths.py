"""Paths that fail: partitions, loss, delay, connections that break.

Owns which paths suffer. What a failure does is up to `Simulation` and `network`. One thread.
"""

from __future__ import annotations

from clusterbus.sim.faults.stage import Stage, Undo


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


def resets(stage: Stage) -> Undo | None:
    for node in stage.some():
        for other in stage.some():
            if node != other:
                stage.simulation.break_links(node, other)
    return lambda: None
