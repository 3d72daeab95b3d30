"""CLUSTER's subcommands about slots: who owns which, which are on the move, and what is in them.

Owns their handlers and error texts, which are Valkey's. Must never change the state itself: an order goes to
`ClusterState`, and the node carries out what it asks for. Main thread. Source: `clusterParseSetSlotCommand`,
`clusterSlotStatsCommand`, and what a running 9.1.2 answers.
"""

from __future__ import annotations

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
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply
from clusterbus.cluster.constants import SLOTS
from clusterbus.member.member import Member

NO_MIGRATIONS: Final = "slots are not migrated by this server: use CLUSTER SETSLOT, as redis-cli --cluster reshard does"
_SETSLOT_MISUSED: Final = "Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"
_STATS_MISUSED: Final = "unknown subcommand or wrong number of arguments for 'slot-stats'. Try CLUSTER HELP."
_LIMIT_WRONG: Final = f"Limit has to lie in between 1 and {SLOTS} (maximum number of slots)."
_STATE_CHANGES: Final = frozenset({"migrating", "importing", "node"})

# ---------------------------------------------------------------- what is in them


def countkeysinslot(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """How many keys of a slot are here."""
    number = integer(arguments[0])
    if not 0 <= number < SLOTS:
        raise CommandError("Invalid slot")
    return member.data_plane.count_keys_in_slot(number)


def getkeysinslot(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """Some keys of a slot."""
    number, count = integer(arguments[0]), integer(arguments[1])
    if not 0 <= number < SLOTS or count < 0:
        raise CommandError("Invalid slot or number of keys")
    return member.data_plane.keys_in_slot(number, count)


def slot_stats(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """The number of keys of each slot of this shard: of a range, or the fullest first."""
    words = [text_of(argument).lower() for argument in arguments]
    owned = member.state.myself.primary.slot_bits
    if words[0] == "slotsrange" and len(words) == 3:
        first, last = slot(arguments[1]), slot(arguments[2])
        if first > last:
            raise CommandError(f"Start slot number {first} is greater than end slot number {last}")
        chosen = [number for number in range(first, last + 1) if owned >> number & 1]
        counts = [(number, member.data_plane.count_keys_in_slot(number)) for number in chosen]
    elif words[0] == "orderby" and len(words) >= 2:
        limit, ascending = _order(words)
        chosen = [number for number in range(SLOTS) if owned >> number & 1]
        counts = [(number, member.data_plane.count_keys_in_slot(number)) for number in chosen]
        counts.sort(key=lambda row: row[1] if ascending else -row[1])
        counts = counts[:limit]
    else:
        raise CommandError(_STATS_MISUSED)
    return [[number, {"key-count": count}] for number, count in counts]


def _order(words: list[str]) -> tuple[int, bool]:
    """(limit, whether ascending) of `orderby key-count [limit N] [asc|desc]`."""
    if words[1] != "key-count":
        raise CommandError("Unrecognized sort metric for ORDERBY.")
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


# ---------------------------------------------------------------- whose they are


def addslots(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """Takes unassigned slots."""
    member.state.add_slots(slot_list(arguments), member.clock.now_ms())
    return settled(member)


def addslotsrange(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """Takes unassigned slots, given as ranges."""
    slots = slot_ranges(arguments, "cluster|addslotsrange")
    member.state.add_slots(slots, member.clock.now_ms())
    return settled(member)


def delslots(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """Forgets who owns slots."""
    member.state.del_slots(slot_list(arguments), member.clock.now_ms())
    return settled(member)


def delslotsrange(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """Forgets who owns slots, given as ranges."""
    slots = slot_ranges(arguments, "cluster|delslotsrange")
    member.state.del_slots(slots, member.clock.now_ms())
    return settled(member)


def flushslots(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """Gives up every slot of this node."""
    member.state.flush_slots(member.clock.now_ms())
    return settled(member)


def setslot(member: Member, _client: Client, arguments: list[bytes]) -> Reply:
    """Puts a slot on the move, ends that, or says whose it is. A TIMEOUT is checked and has no use here: it is for
    replicas, to which this order does not go."""
    state, now_ms = member.state, member.clock.now_ms()
    if state.myself.is_replica:
        raise CommandError("Please use SETSLOT only with masters.")
    number, action = slot(arguments[0]), text_of(arguments[1]).lower()
    if action == "stable":
        _check_timeout(arguments[2:])
        state.settle_slot(number, now_ms)
        return settled(member)
    if action not in _STATE_CHANGES or len(arguments) < 3:
        raise CommandError(_SETSLOT_MISUSED)
    orders = {"migrating": state.migrate_slot, "importing": state.import_slot, "node": state.assign_slot}
    _check_timeout(arguments[3:])
    orders[action](number, text_of(arguments[2]), now_ms)
    return settled(member)


def _check_timeout(arguments: list[bytes]) -> None:
    """The optional `TIMEOUT milliseconds`; what else stands there is ignored, as Valkey does."""
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


def no_migrations(_member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """Slot migration by the servers themselves moves keys from process to process, which the bus does not."""
    raise CommandError(NO_MIGRATIONS)


def settled(member: Member) -> Reply:
    """OK, once what the state asks for in consequence is on its way."""
    member.settle()
    return OK


# ---------------------------------------------------------------- the table

_READ: Final = ("loading", "stale")
_WRITE: Final = ("admin", "stale", "no_async_loading")
_RANGES: Final = "<first> <last> [<first> <last> ...]"

CLUSTER_SLOTS: Final = (
    CommandSpec("countkeysinslot", countkeysinslot, 3, ("stale",), "How many keys a slot has.", "<slot>"),
    CommandSpec("getkeysinslot", getkeysinslot, 4, ("stale",), "Keys of a slot.", "<slot> <count>"),
    CommandSpec(
        "slot-stats",
        slot_stats,
        -4,
        _READ,
        "How many keys the slots of this shard have.",
        "SLOTSRANGE <first> <last> | ORDERBY key-count [LIMIT <count>] [ASC|DESC]",
        since="8.0.0",
    ),
    CommandSpec("addslots", addslots, -3, _WRITE, "Takes unassigned slots.", "<slot> [<slot> ...]"),
    CommandSpec("addslotsrange", addslotsrange, -4, _WRITE, "Takes unassigned slots, given as ranges.", _RANGES),
    CommandSpec("delslots", delslots, -3, _WRITE, "Forgets who owns slots.", "<slot> [<slot> ...]"),
    CommandSpec("delslotsrange", delslotsrange, -4, _WRITE, "Forgets who owns slots, given as ranges.", _RANGES),
    CommandSpec("flushslots", flushslots, 2, _WRITE, "Gives up every slot of this node."),
    CommandSpec(
        "setslot",
        setslot,
        -4,
        _WRITE,
        "Puts a slot on the move, ends that, or says whose it is.",
        "<slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
    ),
    CommandSpec("getslotmigrations", no_migrations, 2, _READ, "Refused: servers here migrate no slots."),
    CommandSpec("migrateslots", no_migrations, -4, _WRITE, "Refused: servers here migrate no slots."),
    CommandSpec("cancelslotmigrations", no_migrations, 2, _WRITE, "Refused: servers here migrate no slots."),
)
