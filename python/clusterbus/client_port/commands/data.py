"""Valkey's data commands with the positions of their keys, for a node that keeps no data.

With this table cluster clients can use such a node as their first node: COMMAND and COMMAND GETKEYS show the keys, and
a request is redirected by MOVED to the owner of its slot. Runs no command; a RESTORE ends the import of its slot. Main
thread. Source: COMMAND of a running Valkey 9.1.2.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.key_specs import KeySpec, first_last_step
from clusterbus.client_port.registry import CommandSpec, Handler
from clusterbus.client_port.reply import Reply, error
from clusterbus.member.member import Member
from clusterbus.wire import key_slot

NO_DATA_PLANE: Final = error("this node keeps no data: its program has not added a command of that name")
NOT_ADDED: Final = error("the program of this node has not added a command of that name")
SUMMARY: Final = "Answered by the node that serves the slot of the keys."
GROUPS_OF_FLAGS: Final = (("write", "@write"), ("readonly", "@read"), ("blocking", "@blocking"))
UNREAD_GROUP: Final = "scripting"
"""Commands of this group are not in the category @read, even if they have the flag readonly."""

_ROWS: Final = """
append 3 write,denyoom,fast string RW.insert@1
bitcount -2 readonly bitmap RO.access@1
bitfield -2 write,denyoom bitmap RW.access.update.variable_flags@1
bitfield_ro -2 readonly,fast bitmap RO.access@1
bitop -4 write,denyoom bitmap OW.update@2 RO.access@3..-1
bitpos -3 readonly bitmap RO.access@1
blmove 6 write,denyoom,blocking list RW.access.delete@1 RW.insert@2
blmpop -5 write,blocking list RW.access.delete@2#
blpop -3 write,blocking list RW.access.delete@1..-2
brpop -3 write,blocking list RW.access.delete@1..-2
brpoplpush 4 write,denyoom,blocking list RW.access.delete@1 RW.insert@2
bzmpop -5 write,blocking sortedset RW.access.delete@2#
bzpopmax -3 write,blocking,fast sortedset RW.access.delete@1..-2
bzpopmin -3 write,blocking,fast sortedset RW.access.delete@1..-2
copy -3 write,denyoom keyspace RO.access@1 OW.update@2
decr 2 write,denyoom,fast string RW.access.update@1
decrby 3 write,denyoom,fast string RW.access.update@1
del -2 write keyspace RM.delete@1..-1
delifeq 3 write,fast string RM.delete@1
dump 2 readonly keyspace RO.access@1
eval -3 noscript,stale,skip_monitor,no_mandatory_keys scripting RW.access.update@2#
eval_ro -3 readonly,noscript,stale,skip_monitor,no_mandatory_keys scripting RO.access@2#
evalsha -3 noscript,stale,skip_monitor,no_mandatory_keys scripting RW.access.update@2#
evalsha_ro -3 readonly,noscript,stale,skip_monitor,no_mandatory_keys scripting RO.access@2#
exists -2 readonly,fast keyspace RO@1..-1
expire -3 write,fast keyspace RW.update@1
expireat -3 write,fast keyspace RW.update@1
expiretime 2 readonly,fast keyspace RO.access@1
fcall -3 noscript,stale,skip_monitor,no_mandatory_keys scripting RW.access.update@2#
fcall_ro -3 readonly,noscript,stale,skip_monitor,no_mandatory_keys scripting RO.access@2#
geoadd -5 write,denyoom geo RW.update@1
geodist -4 readonly geo RO.access@1
geohash -2 readonly geo RO.access@1
geopos -2 readonly geo RO.access@1
georadius -6 write,denyoom geo RO.access@1 OW.update.variable_flags@STORE+6 OW.update.variable_flags@STOREDIST+6
georadius_ro -6 readonly geo RO.access@1
georadiusbymember -5 write,denyoom geo RO.access@1 OW.update.variable_flags@STORE+5 OW.update.variable_flags@STOREDIST+5
georadiusbymember_ro -5 readonly geo RO.access@1
geosearch -7 readonly geo RO.access@1
geosearchstore -8 write,denyoom geo OW.update@1 RO.access@2
get 2 readonly,fast string RO.access@1
getbit 3 readonly,fast bitmap RO.access@1
getdel 2 write,fast string RW.access.delete@1
getex -2 write,fast string RW.access.update@1
getrange 4 readonly string RO.access@1
getset 3 write,denyoom,fast string RW.access.update@1
hdel -3 write,fast hash RW.delete@1
hexists 3 readonly,fast hash RO@1
hexpire -6 write,fast hash RW.update@1
hexpireat -6 write,fast hash RW.update@1
hexpiretime -5 readonly,fast hash RO.access@1
hget 3 readonly,fast hash RO.access@1
hgetall 2 readonly hash RO.access@1
hgetdel -5 write,fast hash RW.access.delete@1
hgetex -5 write,fast hash RW.access.update@1
hincrby 4 write,denyoom,fast hash RW.access.update@1
hincrbyfloat 4 write,denyoom,fast hash RW.access.update@1
hkeys 2 readonly hash RO.access@1
hlen 2 readonly,fast hash RO@1
hmget -3 readonly,fast hash RO.access@1
hmset -4 write,denyoom,fast hash RW.update@1
hpersist -5 write,fast hash RW.update@1
hpexpire -6 write,fast hash RW.update@1
hpexpireat -6 write,fast hash RW.update@1
hpexpiretime -5 readonly,fast hash RO.access@1
hpttl -5 readonly,fast hash RO.access@1
hrandfield -2 readonly hash RO.access@1
hscan -3 readonly hash RO.access@1
hset -4 write,denyoom,fast hash RW.update@1
hsetex -6 write,denyoom,fast hash RW.insert@1
hsetnx 4 write,denyoom,fast hash RW.insert@1
hstrlen 3 readonly,fast hash RO@1
httl -5 readonly,fast hash RO.access@1
hvals 2 readonly hash RO.access@1
incr 2 write,denyoom,fast string RW.access.update@1
incrby 3 write,denyoom,fast string RW.access.update@1
incrbyfloat 3 write,denyoom,fast string RW.access.update@1
lcs -3 readonly string RO.access@1..1
lindex 3 readonly list RO.access@1
linsert 5 write,denyoom list RW.insert@1
llen 2 readonly,fast list RO@1
lmove 5 write,denyoom list RW.access.delete@1 RW.insert@2
lmpop -4 write list RW.access.delete@1#
lpop -2 write,fast list RW.access.delete@1
lpos -3 readonly list RO.access@1
lpush -3 write,denyoom,fast list RW.insert@1
lpushx -3 write,denyoom,fast list RW.insert@1
lrange 4 readonly list RO.access@1
lrem 4 write list RW.delete@1
lset 4 write,denyoom list RW.update@1
ltrim 4 write list RW.delete@1
mget -2 readonly,fast string RO.access@1..-1
migrate -6 write keyspace,dangerous RW.access.delete@3 RW.access.delete.incomplete@KEYS-2..-1
move 3 write,fast keyspace RW.access.update@1
mset -3 write,denyoom string OW.update@1..-1/2
msetex -4 write,denyoom string OW.update@1#/2
msetnx -3 write,denyoom string OW.insert@1..-1/2
object|encoding 3 readonly keyspace RO@2
object|freq 3 readonly keyspace RO@2
object|idletime 3 readonly keyspace RO@2
object|refcount 3 readonly keyspace RO@2
persist 2 write,fast keyspace RW.update@1
pexpire -3 write,fast keyspace RW.update@1
pexpireat -3 write,fast keyspace RW.update@1
pexpiretime 2 readonly,fast keyspace RO.access@1
pfadd -2 write,denyoom,fast hyperloglog RW.insert@1
pfcount -2 readonly hyperloglog RW.access@1..-1
pfdebug 3 write,denyoom,admin hyperloglog,admin,dangerous RW.access@2
pfmerge -2 write,denyoom hyperloglog RW.access.insert@1 RO.access@2..-1
psetex 4 write,denyoom string OW.update@1
pttl 2 readonly,fast keyspace RO.access@1
rename 3 write keyspace RW.access.delete@1 OW.update@2
renamenx 3 write,fast keyspace RW.access.delete@1 OW.insert@2
restore -4 write,denyoom keyspace,dangerous OW.update@1
restore-asking -4 write,denyoom,asking keyspace,dangerous OW.update@1
rpop -2 write,fast list RW.access.delete@1
rpoplpush 3 write,denyoom list RW.access.delete@1 RW.insert@2
rpush -3 write,denyoom,fast list RW.insert@1
rpushx -3 write,denyoom,fast list RW.insert@1
sadd -3 write,denyoom,fast set RW.insert@1
scard 2 readonly,fast set RO@1
sdiff -2 readonly set RO.access@1..-1
sdiffstore -3 write,denyoom set OW.update@1 RO.access@2..-1
set -3 write,denyoom string RW.access.update.variable_flags@1
setbit 4 write,denyoom bitmap RW.access.update@1
setex 4 write,denyoom string OW.update@1
setnx 3 write,denyoom,fast string OW.insert@1
setrange 4 write,denyoom string RW.update@1
sinter -2 readonly set RO.access@1..-1
sintercard -3 readonly set RO.access@1#
sinterstore -3 write,denyoom set OW.update@1 RO.access@2..-1
sismember 3 readonly,fast set RO@1
smembers 2 readonly set RO.access@1
smismember -3 readonly,fast set RO.access@1
smove 4 write,fast set RW.access.delete@1 RW.insert@2
sort -2 write,denyoom set,sortedset,list,dangerous RO.access@1 RO.access@? OW.update@?
sort_ro -2 readonly set,sortedset,list,dangerous RO.access@1 RO.access@?
spop -2 write,fast set RW.access.delete@1
srandmember -2 readonly set RO.access@1
srem -3 write,fast set RW.delete@1
sscan -3 readonly set RO.access@1
strlen 2 readonly,fast string RO@1
substr 4 readonly string RO.access@1
sunion -2 readonly set RO.access@1..-1
sunionstore -3 write,denyoom set OW.update@1 RO.access@2..-1
touch -2 readonly,fast keyspace RO@1..-1
ttl 2 readonly,fast keyspace RO.access@1
type 2 readonly,fast keyspace RO@1
unlink -2 write,fast keyspace RM.delete@1..-1
xack -4 write,fast stream RW.update@1
xadd -5 write,denyoom,fast stream RW.update@1
xautoclaim -6 write,fast stream RW.delete@1
xclaim -6 write,fast stream RW.update@1
xdel -3 write,fast stream RW.delete@1
xgroup|create -5 write,denyoom stream RW.insert@2
xgroup|createconsumer 5 write,denyoom stream RW.insert@2
xgroup|delconsumer 5 write stream RW.delete@2
xgroup|destroy 4 write stream RW.delete@2
xgroup|setid -5 write stream RW.update@2
xinfo|consumers 4 readonly stream RO.access@2
xinfo|groups 3 readonly stream RO.access@2
xinfo|stream -3 readonly stream RO.access@2
xlen 2 readonly,fast stream RO@1
xpending -3 readonly stream RO.access@1
xrange -4 readonly stream RO.access@1
xread -4 readonly,blocking stream RO.access@STREAMS+1..-1%2
xreadgroup -7 write,blocking stream RO.access@STREAMS+4..-1%2
xrevrange -4 readonly stream RO.access@1
xsetid -3 write,denyoom,fast stream RW.update@1
xtrim -4 write stream RW.delete@1
zadd -4 write,denyoom,fast sortedset RW.update@1
zcard 2 readonly,fast sortedset RO@1
zcount 4 readonly,fast sortedset RO.access@1
zdiff -3 readonly sortedset RO.access@1#
zdiffstore -4 write,denyoom sortedset OW.update@1 RO.access@2#
zincrby 4 write,denyoom,fast sortedset RW.access.update@1
zinter -3 readonly sortedset RO.access@1#
zintercard -3 readonly sortedset RO.access@1#
zinterstore -4 write,denyoom sortedset OW.update@1 RO.access@2#
zlexcount 4 readonly,fast sortedset RO.access@1
zmpop -4 write sortedset RW.access.delete@1#
zmscore -3 readonly,fast sortedset RO.access@1
zpopmax -2 write,fast sortedset RW.access.delete@1
zpopmin -2 write,fast sortedset RW.access.delete@1
zrandmember -2 readonly sortedset RO.access@1
zrange -4 readonly sortedset RO.access@1
zrangebylex -4 readonly sortedset RO.access@1
zrangebyscore -4 readonly sortedset RO.access@1
zrangestore -5 write,denyoom sortedset OW.update@1 RO.access@2
zrank -3 readonly,fast sortedset RO.access@1
zrem -3 write,fast sortedset RW.delete@1
zremrangebylex 4 write sortedset RW.delete@1
zremrangebyrank 4 write sortedset RW.delete@1
zremrangebyscore 4 write sortedset RW.delete@1
zrevrange -4 readonly sortedset RO.access@1
zrevrangebylex -4 readonly sortedset RO.access@1
zrevrangebyscore -4 readonly sortedset RO.access@1
zrevrank -3 readonly,fast sortedset RO.access@1
zscan -3 readonly sortedset RO.access@1
zscore 3 readonly,fast sortedset RO.access@1
zunion -3 readonly sortedset RO.access@1#
zunionstore -4 write,denyoom sortedset OW.update@1 RO.access@2#
"""
"""Columns: name, arity, flags, groups, then the runs of keys in the notation of `KeySpec.parse`."""


def no_data(member: Member, _client: Client, _arguments: list[bytes]) -> Reply:
    """The handler of nearly all data commands. It is reached only if this node serves the slot, but keeps no data, or
    keeps some and has no such command.
    """
    return NOT_ADDED if member.keeps_data else NO_DATA_PLANE


def restore(member: Member, client: Client, arguments: list[bytes]) -> Reply:
    """RESTORE and RESTORE-ASKING, with which the MIGRATE of another node offers a key. If its slot is being imported,
    that cannot succeed any more, so the slot stays with its owner (P5).
    """
    slot = key_slot(arguments[0])
    if member.state.importing_from(slot) is None:
        return no_data(member, client, arguments)
    member.state.give_up_import(slot, member.clock.now_ms())
    member.settle()
    reason = "the program of this node has not added RESTORE" if member.keeps_data else "this node keeps no data"
    return error(f"{reason}: it no longer imports slot {slot}, whose keys stay where they are")


_HANDLERS: Final[dict[str, Handler]] = {"restore": restore, "restore-asking": restore}


def data_commands(taken: Collection[str] = ()) -> list[CommandSpec]:
    """The specs of all data commands except those whose names are in `taken`."""
    containers: dict[str, list[CommandSpec]] = {}
    specs: list[CommandSpec] = []
    for row in _ROWS.split("\n"):
        if not row:
            continue
        name = row.split(maxsplit=1)[0]
        container, _, subcommand = name.partition("|")
        if container in taken:
            continue
        if subcommand:
            containers.setdefault(container, []).append(_spec(row, subcommand))
        else:
            specs.append(_spec(row, name))
    specs += [
        CommandSpec(name, None, -2, summary=SUMMARY, group="generic", subcommands=tuple(subs))
        for name, subs in containers.items()
    ]
    return specs


def _spec(row: str, name: str) -> CommandSpec:
    _, arity, flag_names, group_names, *notations = row.split()
    flags, groups = flag_names.split(","), group_names.split(",")
    where = tuple(KeySpec.parse(notation) for notation in notations)
    if not all(spec.is_fixed for spec in where):
        flags.append("movablekeys")
    by_flags = [
        group for flag, group in GROUPS_OF_FLAGS if flag in flags and (group, UNREAD_GROUP) != ("@read", groups[0])
    ]
    return CommandSpec(
        name,
        _HANDLERS.get(name, no_data),
        int(arity),
        tuple(flags),
        SUMMARY,
        group=groups[0],
        keys=first_last_step(where),
        categories=(*by_flags, *(f"@{group}" for group in groups), "@fast" if "fast" in flags else "@slow"),
        key_specs=where,
    )
