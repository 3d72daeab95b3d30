"""Members whose packets are damaged, or that lie: what they say must not cost the others anything (H28).

Owns the draw of what is changed in a packet. The packets stay well-formed: what is none is the wire layer's business.
One thread.
"""

from __future__ import annotations

from random import Random
from typing import Final

from clusterbus.cluster.constants import EMPTY_SLOTS, EPOCH_MAX
from clusterbus.sim.faults.stage import Stage, Undo
from clusterbus.wire import Packet, parse

CURRENT_EPOCH_AT: Final = 16
CONFIG_EPOCH_AT: Final = 24
SLOTS_AT: Final = 80
"""Where the fields stand in a full header."""
EPOCH_LEN_BYTES: Final = 8
WILD_EPOCHS: Final = (2**34, 2**50, 2**63, EPOCH_MAX - 1, EPOCH_MAX)
CLAIMS_ALL: Final = 0.5
DAMAGED: Final = 0.8
"""The probability that a packet is damaged."""


def wild_epochs(stage: Stage) -> Undo | None:
    """A member announces epochs that no cluster reaches, in most of its packets, and often all slots under them."""
    node = stage.active()
    if node is None:
        return None
    damage = _Damage(Random(stage.draw.random()))
    stage.simulation.damage(node, damage)

    def repair() -> None:
        stage.simulation.damage(node, None)

    return repair


class _Damage:
    """Changes the epochs of full packets, and now and then the slots."""

    def __init__(self, draw: Random) -> None:
        self._draw = draw

    def __call__(self, packet: Packet) -> Packet:
        draw = self._draw
        if packet.is_light or draw.random() >= DAMAGED:
            return packet
        data = bytearray(bytes(memoryview(packet)))
        fields = draw.choice(((CURRENT_EPOCH_AT,), (CONFIG_EPOCH_AT,), (CURRENT_EPOCH_AT, CONFIG_EPOCH_AT)))
        for at in fields:
            data[at : at + EPOCH_LEN_BYTES] = draw.choice(WILD_EPOCHS).to_bytes(EPOCH_LEN_BYTES, "big")
        if draw.random() < CLAIMS_ALL and packet.replicaof is None:
            data[SLOTS_AT : SLOTS_AT + len(EMPTY_SLOTS)] = b"\xff" * len(EMPTY_SLOTS)
        (changed,) = parse(bytes(data))
        return changed
