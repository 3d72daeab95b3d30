"""CLUSTER's subcommands about slots: their owners, their moves between nodes, and their keys.

Owns their handlers, their rows of the command table, and Valkey's error texts. Must never change the state itself: a
handler gives an order to `ClusterState`, and the driver carries out the effects. Main thread. Source:
`clusterParseSetSlotCommand`, `clusterSlotStatsCommand`, and the answers of a running Valkey 9.1.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clusterbus.client_port.arguments import (
    SYNTAX_ERROR,
    integer,
    integer_or_none,
    slot,
    slot_list,
    slot_ranges,
    text_of,
)
from clusterbus.client_port.client import Client
from clusterbus.client_port.observation.slot_stats import SlotStats
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply
from clusterbus.cluster.constants import SLOTS
from clusterbus.member.member import Member

CANNOT_FLUSH: Final = "the data plane of this node does not delete the keys of a slot (DataPlane.flush_slot)"
NO_MIGRATIONS: Final = "slots are not migrated by this server: use CLUSTER SETSLOT, as redis-cli --cluster reshard does"
_SETSLOT_MISUSED: Final = "Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"
_STATS_MISUSED: Final = "unknown subcommand or wrong number of arguments for 'slot-stats'. Try CLUSTER HELP."
_LIMIT_WRONG: Final = f"Limit has to lie in between 1 and {SLOTS} (maximum number of slots)."
_STATE_CHANGES: Final = frozenset({"migrating", "importing", "node"})

# ---------------------------------------------------------------- keys of slots


def countkeysinslot(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER COUNTKEYSINSLOT: the number of keys in a slot on this node."""
    number = integer(arguments[0])
    if not 0 <= number < SLOTS:
        raise CommandError("Invalid slot")
    return member.data_plane.count_keys_in_slot(number)


def getkeysinslot(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER GETKEYSINSLOT: some keys of a slot."""
    number, count = integer(arguments[0]), integer(arguments[1])
    if not 0 <= number < SLOTS or count < 0:
        raise CommandError("Invalid slot or number of keys")
    return member.data_plane.keys_in_slot(number, count)


def slot_stats(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER SLOT-STATS: keys and costs of each slot of this shard, for a range of slots or in order of a column."""
    words = [text_of(argument).lower() for argument in arguments]
    owned = member.state.myself.primary.slot_bits
    stats: SlotStats = client.server.observer.slots
    metrics = _metrics(member, stats)
    if words[0] == "slotsrange" and len(words) == 3:
        first, last = slot(arguments[1]), slot(arguments[2])
        if first > last:
            raise CommandError(f"Start slot number {first} is greater than end slot number {last}")
        chosen = [number for number in range(first, last + 1) if owned >> number & 1]
    elif words[0] == "orderby" and len(words) >= 2:
        if words[1] not in metrics:
            raise CommandError("Unrecognized sort metric for ORDERBY.")
        limit, ascending = _order(words)
        chosen = [number for number in range(SLOTS) if owned >> number & 1]
        value = metrics[words[1]]
        chosen.sort(key=lambda number: value(number) if ascending else -value(number))
        chosen = chosen[:limit]
    else:
        raise CommandError(_STATS_MISUSED)
    return [[number, {name: value(number) for name, value in metrics.items()}] for number in chosen]


def _metrics(member: Member, stats: SlotStats) -> dict[str, Callable[[int], int]]:
    """The columns: those beside the number of keys only with cluster-slot-stats-enabled (P28)."""
    keys = member.data_plane.count_keys_in_slot
    if not stats.is_enabled:
        return {"key-count": keys}
    return {
        "key-count": keys,
        "cpu-usec": lambda number: stats.cost(number).time_ns // 1_000,
        "network-bytes-in": lambda number: stats.cost(number).bytes_in,
        "network-bytes-out": lambda number: stats.cost(number).bytes_out,
    }


def _order(words: list[str]) -> tuple[int, bool]:
    """Parses `orderby <metric> [limit N] [asc|desc]` into (limit, whether ascending)."""
    limits: list[int] = []
    orders: list[str] = []
    rest = iter(words[2:])
    for word in rest:
        value = next(rest, None) if word == "limit" else None
        if value is not None:
            limit = integer_or_none(value.encode())
            if limit is None or not 1 <= limit <= SLOTS:
                raise CommandError(_LIMIT_WRONG)
            limits.append(limit)
        elif word in ("asc", "desc"):
            orders.append(word)
        else:
            raise CommandError(SYNTAX_ERROR)
        if len(limits) > 1 or len(orders) > 1:
            raise CommandError("Multiple filters of the same type are disallowed.")
    return (limits or [SLOTS])[0], orders == ["asc"]


# ---------------------------------------------------------------- owners of slots


def addslots(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER ADDSLOTS: this node takes slots that have no owner."""
    member.state.add_slots(slot_list(arguments), member.clock.now_ms())
    member.settle()
    return OK


def addslotsrange(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER ADDSLOTSRANGE: the same for ranges of slots."""
    slots = slot_ranges(arguments, "cluster|addslotsrange")
    member.state.add_slots(slots, member.clock.now_ms())
    member.settle()
    return OK


def delslots(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER DELSLOTS: this node forgets the owners of slots."""
    member.state.del_slots(slot_list(arguments), member.clock.now_ms())
    member.settle()
    return OK


def delslotsrange(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER DELSLOTSRANGE: the same for ranges of slots."""
    slots = slot_ranges(arguments, "cluster|delslotsrange")
    member.state.del_slots(slots, member.clock.now_ms())
    member.settle()
    return OK


def flushslots(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTER FLUSHSLOTS: this node gives up all its slots."""
    member.state.flush_slots(member.clock.now_ms())
    member.settle()
    return OK


def setslot(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER SETSLOT: begins or ends the move of a slot, or sets its owner.

    A TIMEOUT is checked but has no effect: in Valkey it limits the wait for the replicas to do the same, and this
    server does not pass the order on to replicas.
    """
    state, now_ms = member.state, member.clock.now_ms()
    if state.myself.is_replica:
        raise CommandError("Please use SETSLOT only with masters.")
    number, action = slot(arguments[0]), text_of(arguments[1]).lower()
    if action == "stable":
        _check_timeout(arguments[2:])
        state.settle_slot(number, now_ms)
        member.settle()
        return OK
    if action not in _STATE_CHANGES or len(arguments) < 3:
        raise CommandError(_SETSLOT_MISUSED)
    orders = {"migrating": state.migrate_slot, "importing": state.import_slot, "node": state.assign_slot}
    _check_timeout(arguments[3:])
    orders[action](number, text_of(arguments[2]), now_ms)
    member.settle()
    return OK


def _check_timeout(arguments: list[bytes]) -> None:
    """Checks the optional `TIMEOUT milliseconds`. Other words are ignored, as in Valkey."""
    for index, word in enumerate(arguments):
        if word.lower() != b"timeout":
            continue
        if index + 1 == len(arguments):
            raise CommandError("Missing timeout value")
        timeout_ms = integer_or_none(arguments[index + 1])
        if timeout_ms is None:
            raise CommandError("timeout is not an integer or out of range")
        if timeout_ms < 0:
            raise CommandError("timeout is negative")


def flushslot(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """CLUSTER FLUSHSLOT: the data plane deletes all keys of a slot. It alone knows how long that takes (P28)."""
    number = slot(arguments[0])
    if len(arguments) > 1 and arguments[1].lower() not in (b"async", b"sync"):
        raise CommandError(SYNTAX_ERROR)
    if not member.data_plane.flush_slot(number):
        raise CommandError(CANNOT_FLUSH)
    return OK


def getslotmigrations(_member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """CLUSTER GETSLOTMIGRATIONS: an empty list, because there never are any (P28)."""
    return []


def no_migrations(_member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """Refuses: in a migration by the servers, these move the keys themselves, and the bus moves no keys."""
    raise CommandError(NO_MIGRATIONS)


# ---------------------------------------------------------------- the table

_READ: Final = ("loading", "stale")
_WRITE: Final = ("admin", "stale", "no_async_loading")
_RANGES: Final = "<first> <last> [<first> <last> ...]"

CLUSTER_SLOTS: Final = (
    CommandSpec("countkeysinslot", countkeysinslot, 3, ("stale",), "Number of keys in a slot.", "<slot>"),
    CommandSpec("getkeysinslot", getkeysinslot, 4, ("stale",), "Keys of a slot.", "<slot> <count>"),
    CommandSpec(
        "slot-stats",
        slot_stats,
        -4,
        _READ,
        "Keys in each slot of this shard, and what the slot costs.",
        "SLOTSRANGE <first> <last> | ORDERBY <metric> [LIMIT <count>] [ASC|DESC]",
        since="8.0.0",
    ),
    CommandSpec("addslots", addslots, -3, _WRITE, "Takes slots that have no owner.", "<slot> [<slot> ...]"),
    CommandSpec("addslotsrange", addslotsrange, -4, _WRITE, "Takes ranges of slots that have no owner.", _RANGES),
    CommandSpec("delslots", delslots, -3, _WRITE, "Forgets the owners of slots.", "<slot> [<slot> ...]"),
    CommandSpec("delslotsrange", delslotsrange, -4, _WRITE, "Forgets the owners of ranges of slots.", _RANGES),
    CommandSpec("flushslots", flushslots, 2, _WRITE, "Gives up every slot of this node."),
    CommandSpec(
        "setslot",
        setslot,
        -4,
        _WRITE,
        "Begins or ends the move of a slot, or sets its owner.",
        "<slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
    ),
    CommandSpec(
        "flushslot",
        flushslot,
        -3,
        ("write", "admin", "no_async_loading"),
        "Deletes the keys of a slot.",
        "<slot> [ASYNC|SYNC]",
        since="9.0.0",
        words_max=4,
        categories=("@keyspace",),
    ),
    CommandSpec("getslotmigrations", getslotmigrations, 2, _WRITE, "An empty list: servers here migrate no slots."),
    CommandSpec("syncslots", no_migrations, -3, _WRITE, "Refused: servers here migrate no slots."),
    CommandSpec("migrateslots", no_migrations, -4, _WRITE, "Refused: servers here migrate no slots."),
    CommandSpec("cancelslotmigrations", no_migrations, 2, _WRITE, "Refused: servers here migrate no slots."),
)
