"""The handlers of all commands on the client port, and their rows of the command table: more than a dozen modules,
since each group of commands has one.

Its files in reading order:

    connection     PING, HELLO, AUTH, and READONLY, ASKING
    clients        CLIENT
    introspection  COMMAND and its subcommands
    server         INFO, SHUTDOWN, ROLE ...
    config         CONFIG
    cluster        CLUSTER: questions and orders about nodes
    cluster_slots  CLUSTER: its subcommands about slots
    pubsub         SUBSCRIBE, PUBLISH, PUBSUB ...
    data           Valkey's data commands, which a node without data only redirects
    function       FUNCTION, as a server without functions answers it
    debug          DEBUG: faults on purpose
    command_log    SLOWLOG, COMMANDLOG
    cluster_log    CLUSTERLOG
    latency        LATENCY
    memory         MEMORY
    acl            ACL, as a server with one user answers it
    declined       commands of Valkey that mean nothing here, each with its reason

Owns the one table of them all. Main thread.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterbus.client_port.commands.acl import acl_command
from clusterbus.client_port.commands.cluster import CLUSTER
from clusterbus.client_port.commands.cluster_log import CLUSTER_LOG, as_clients_orders
from clusterbus.client_port.commands.command_log import COMMAND_LOG
from clusterbus.client_port.commands.config import CONFIG
from clusterbus.client_port.commands.data import data_commands
from clusterbus.client_port.commands.debug import DEBUG
from clusterbus.client_port.commands.declined import declined_commands
from clusterbus.client_port.commands.function import FUNCTION
from clusterbus.client_port.commands.introspection import standard_registry
from clusterbus.client_port.commands.latency import LATENCY
from clusterbus.client_port.commands.memory import MEMORY
from clusterbus.client_port.commands.pubsub import PUBSUB
from clusterbus.client_port.commands.server import SERVER
from clusterbus.client_port.observation.monitors import monitor_gate, monitor_gate_in_exec
from clusterbus.client_port.registry import CommandSpec, Registry
from clusterbus.client_port.routing import lost_slot_gate, slot_gate


def command_table(commands: Iterable[CommandSpec] = ()) -> Registry:
    """Every command of a node: the node's own, those in `commands`, and the data commands that are not among these.

    Raises StateError if one of `commands` has the name of a command of the node.
    """
    registry = standard_registry()
    registry.add(*(as_clients_orders(spec) for spec in (CLUSTER, CONFIG, DEBUG, *SERVER)))
    registry.add(CLUSTER_LOG, FUNCTION, LATENCY, MEMORY, acl_command(registry), *COMMAND_LOG)
    registry.add(*PUBSUB, *commands)
    for fallbacks in (data_commands, declined_commands):
        registry.add(*fallbacks(taken={spec.name for spec in registry}))
    registry.add_gate(monitor_gate, in_exec=monitor_gate_in_exec)
    registry.add_gate(slot_gate, in_exec=lost_slot_gate)
    return registry


__all__ = ["command_table"]
