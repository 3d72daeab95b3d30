"""The commands of Valkey that mean nothing on a node of this package, each with its reason.

An operator who types one learns in one line why it does nothing here, instead of that nobody knows it. A program may
add commands of these names. Runs nothing. Main thread. Source: COMMAND of a running Valkey 9.1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.commands.data import NO_DATA_PLANE, NOT_ADDED, no_data
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import ErrorReply, Reply, error

NO_SCRIPTS: Final = error("this node runs no scripts and functions: its program adds commands (clusterbus.Command)")
NO_MODULES: Final = error("this node loads no modules: its program adds commands (clusterbus.Command)")
NO_DATA_FILES: Final = error("the bus keeps no data set, so there is none to write; nodes.conf is always saved")
NO_REPLICATION: Final = error("the bus replicates no data, so it neither feeds replicas nor waits for them")

_ROWS: Final[tuple[tuple[ErrorReply, str], ...]] = (
    (
        NO_DATA_PLANE,
        """
        clusterscan -2 readonly keyspace
        flushall -1 write keyspace,dangerous
        flushdb -1 write keyspace,dangerous
        keys 2 readonly keyspace,dangerous
        pfselftest 1 admin hyperloglog
        randomkey 1 readonly keyspace
        scan -2 readonly keyspace
        """,
    ),
    (error("SWAPDB is not allowed in cluster mode"), "swapdb 3 write,fast keyspace,dangerous"),
    (
        NO_SCRIPTS,
        """
        script|debug -3 noscript scripting
        script|exists -3 noscript,stale scripting
        script|flush -2 noscript,stale scripting
        script|kill 2 noscript,allow_busy scripting
        script|load 3 noscript,stale scripting
        script|show 3 noscript,stale scripting
        """,
    ),
    (
        NO_MODULES,
        """
        module|load -3 admin,noscript,no_async_loading -
        module|loadex -3 admin,noscript,no_async_loading -
        module|unload 3 admin,noscript,no_async_loading -
        """,
    ),
    (
        NO_DATA_FILES,
        """
        bgrewriteaof 1 admin,noscript,no_async_loading -
        bgsave -1 admin,noscript,no_async_loading -
        save 1 admin,noscript,no_async_loading,no_multi -
        """,
    ),
    (
        NO_REPLICATION,
        """
        psync -3 admin,noscript,no_async_loading,no_multi -
        replconf -1 admin,noscript,loading,stale,allow_busy -
        sync 1 admin,noscript,no_async_loading,no_multi -
        wait 3 blocking connection
        waitaof 4 blocking connection
        """,
    ),
    (
        error("FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead."),
        "failover -1 admin,noscript,stale -",
    ),
    (error("REPLICAOF not allowed in cluster mode."), "replicaof 3 admin,noscript,stale,no_async_loading -"),
    (error("REPLICAOF not allowed in cluster mode."), "slaveof 3 admin,noscript,stale,no_async_loading -"),
)
"""Reason, then lines of name, arity, flags and categories beside those that follow from flags."""


def module_list(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    """MODULE LIST: an empty list."""
    return []


_ANSWERED: Final = {
    "module": (CommandSpec("list", module_list, 2, ("admin", "noscript"), "An empty list: there are no modules."),)
}
"""Subcommands of containers above that are answered nevertheless."""


def declined_commands(taken: Collection[str] = ()) -> list[CommandSpec]:
    """The specs of all such commands except those whose names are in `taken`."""
    specs: list[CommandSpec] = []
    containers: dict[str, list[CommandSpec]] = {}
    for reason, rows in _ROWS:
        for row in filter(None, map(str.strip, rows.split("\n"))):
            name, arity, flags, categories = row.split()
            container, _, subcommand = name.partition("|")
            if container in taken:
                continue
            is_missing = reason is NO_DATA_PLANE
            spec = CommandSpec(
                subcommand or name,
                no_data if is_missing else _decline(reason),
                int(arity),
                tuple(flags.split(",")),
                f"Refused: {(NOT_ADDED if is_missing else reason).removeprefix('ERR ')}",
                categories=tuple(f"@{word}" for word in categories.split(",") if word != "-"),
            )
            if subcommand:
                containers.setdefault(container, list(_ANSWERED.get(container, ()))).append(spec)
            else:
                specs.append(spec)
    for name, subcommands in containers.items():
        specs.append(CommandSpec(name, None, -2, summary="Not on this node.", subcommands=tuple(subcommands)))
    return specs


def _decline(reason: ErrorReply) -> Callable[[object, Client, list[bytes]], Reply]:
    def handler(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
        return reason

    return handler
