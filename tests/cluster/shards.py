"""Puppets in shards: primaries with slots, their replicas and ours, and their messages in elections.

Owns the common beginning of the tests of votes, elections, replication and manual failover. No clock, no socket, as in
`solo`.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Broadcast, Effect
from clusterbus.cluster.model.slots import bits_of, bits_to_wire
from clusterbus.wire import Extension, HeaderOnly

from tests.cluster.solo import ABILITIES, Puppet, Solo

TICK_MS = 100


def shard_of(puppet: Puppet) -> str:
    """The shard id in the heartbeats of a puppet that has a shard of its own."""
    return puppet.node_id[::-1]


def make_replica(solo: Solo, letter: str, primary_id: str, *, flags: int = 0, offset: int = 0) -> Puppet:
    """A puppet that replicates a known primary."""
    primary = solo.node(primary_id)
    replica = solo.puppet(letter)
    replica.replicaof = primary_id
    replica.flags = c.FLAG_REPLICA | ABILITIES | flags
    replica.config_epoch = primary.config_epoch
    replica.slots = frozenset(slot for slot in range(300) if primary.slot_bits >> slot & 1)
    solo.says(replica, extensions=[Extension.shard_id_of(primary.shard_id)], offset=offset)
    return replica


def replicate(solo: Solo, primary: Puppet) -> None:
    """Our node becomes a replica of a puppet."""
    solo.state.replicate(primary.node_id, solo.now_ms)
    solo.poll()


def sends(solo: Solo, puppet: Puppet, kind: int, **changes: object) -> list[Effect]:
    """The puppet sends a message that is only a header, by default with the present epoch."""
    changes = {"current_epoch": solo.state.current_epoch, "mflags": 0} | changes
    return solo.receive(puppet.inbound, HeaderOnly(kind, solo.header(puppet, **changes)))


def asks_for_vote(solo: Solo, replica: Puppet, **changes: object) -> list[Effect]:
    """The replica asks for our vote in a new epoch."""
    return sends(solo, replica, c.AUTH_REQUEST, **({"current_epoch": solo.state.current_epoch + 1} | changes))


def promoted(solo: Solo, replica: Puppet, epoch: int, slots: Iterable[int]) -> None:
    """A replica announces that it is the primary now."""
    replica.replicaof, replica.flags = None, c.FLAG_PRIMARY | ABILITIES
    replica.config_epoch, replica.slots = epoch, frozenset(slots)
    shard_id = solo.node(replica).shard_id
    solo.says(replica, extensions=[Extension.shard_id_of(shard_id)])


def lives(solo: Solo, others: Iterable[Puppet], duration_ms: int) -> list[Effect]:
    """Time passes. The puppets in `others` answer, and the rest are silent."""
    others = list(others)
    effects: list[Effect] = []
    for _ in range(duration_ms // TICK_MS):
        effects += solo.tick()
        for other in others:
            shard_id = solo.node(other).shard_id
            effects += solo.says(other, c.PONG, extensions=[Extension.shard_id_of(shard_id)])
    solo.effects = effects
    return effects


def requests(effects: Iterable[Effect]) -> list[Broadcast]:
    """The broadcasts that request votes."""
    return [effect for effect in effects if isinstance(effect, Broadcast) and effect.message.type == c.AUTH_REQUEST]


def wire_slots(slots: Iterable[int]) -> bytes:
    return bits_to_wire(bits_of(slots))
