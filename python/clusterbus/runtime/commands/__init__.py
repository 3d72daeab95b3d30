"""The commands a node answers on its RESP port, beside those of a connection itself.

Owns the list of tables. One `CommandSpec` per command feeds dispatch, HELP and COMMAND. Main thread.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterbus.runtime.commands.cluster import CLUSTER
from clusterbus.runtime.commands.config import CONFIG
from clusterbus.runtime.commands.data import data_commands
from clusterbus.runtime.commands.debug import DEBUG
from clusterbus.runtime.commands.function import FUNCTION
from clusterbus.runtime.commands.pubsub import PUBSUB
from clusterbus.runtime.commands.server import SERVER
from clusterbus.runtime.resp import CommandSpec, Registry, standard_registry
from clusterbus.runtime.slot_routing import key_gate, shard_channel_gate


def command_table(commands: Iterable[CommandSpec] = ()) -> Registry:
    """Every command of a node: those of a connection (PING, HELLO, CLIENT ...), the node's own, and those given.

    Raises StateError for a command given that is there already.
    """
    registry = standard_registry()
    registry.add(CLUSTER, CONFIG, DEBUG, FUNCTION, *PUBSUB, *SERVER, *commands)
    registry.add(*data_commands(taken={spec.name for spec in registry}))
    registry.add_gate(shard_channel_gate)
    registry.add_gate(key_gate)
    return registry


__all__ = ["command_table"]
