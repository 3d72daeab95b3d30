"""The commands a node answers on its RESP port, beside those of a connection itself.

Owns the list of tables. One `CommandSpec` per command feeds dispatch, HELP and COMMAND. Main thread.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterbus.client_port.commands.cluster import CLUSTER
from clusterbus.client_port.commands.config import CONFIG
from clusterbus.client_port.commands.data import data_commands
from clusterbus.client_port.commands.debug import DEBUG
from clusterbus.client_port.commands.function import FUNCTION
from clusterbus.client_port.commands.introspection import standard_registry
from clusterbus.client_port.commands.pubsub import PUBSUB
from clusterbus.client_port.commands.server import SERVER
from clusterbus.client_port.registry import CommandSpec, Registry
from clusterbus.client_port.routing import key_gate, shard_channel_gate


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
