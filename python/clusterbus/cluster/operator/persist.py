"""The meaning of nodes.conf: text to records, records to state, state to text (S10).

Owns the parser, whose errors name the line at fault, and the decision which facts about a node survive a restart. The
runtime owns the file itself (lock, atomic replacement). Main thread. Source: `clusterLoadConfig`, `clusterSaveConfig`.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.core import Core
from clusterbus.cluster.heartbeats import extensions
from clusterbus.cluster.membership.admission import NO_PIN
from clusterbus.cluster.model.node import SAVED_TOGETHER, Node
from clusterbus.cluster.model.records import (
    AUX_FIELDS,
    FLAG_OF_NAME,
    PIN_PREFIX,
    NodeRecord,
    NodesConf,
    joined_line,
    joined_text,
    parts_of,
)
from clusterbus.cluster.model.slots import bits_of_ranges, ranges_of
from clusterbus.cluster.operator.describe import moves_of
from clusterbus.errors import ConfigError

FIELDS_MIN: Final = 8
CURRENT_EPOCH: Final = "currentEpoch"
LAST_VOTE_EPOCH: Final = "lastVoteEpoch"
_ADDRESS: Final = re.compile(r"(?P<ip>[^,\s]*):(?P<port>\d{1,5})(?:@(?P<cport>\d{1,5}))?\Z")
_SLOTS: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z")
_MOVING: Final = re.compile(r"\[(\d{1,5})-([<>])-([0-9a-f]{40})\]\Z")
_ID: Final = re.compile(r"[0-9a-f]{40}\Z")
"""Valkey reads other letters too and never writes them; no heartbeat of ours could name such a node."""
_TEXT: Final = re.compile(r"[^\x00-\x20\x7f,=\"'\\]*\Z")
_NUMBER: Final = re.compile(r"\d{1,20}\Z")
_PIN: Final = re.compile(r"(?:key|names):[0-9a-f]{64}\Z")
_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}\Z")
"""What `ip_address` takes too, and takes longer for. Nearly all addresses are such."""

_AUX_TEXTS: Final = (
    ("availability-zone", "availability_zone"),
    ("client-ipv6", "client_ipv6"),
    ("client-ipv4", "client_ipv4"),
    ("nodename", "nodename"),
)


_AUX_PORTS: Final = (
    ("client-tls-port", "client_tls_port"),
    ("client-tcp-port", "client_tcp_port"),
)


_PORTS: Final = ("tcp-port", "tls-port", *(name for name, _ in _AUX_PORTS))


class _DamagedError(Exception):
    """What is wrong with a line. `parse` adds the number of the line."""


# ---------------------------------------------------------------- text -> records


def parse(text: str) -> NodesConf:
    """Reads a whole nodes.conf. Raises ConfigError, which names the line and what is wrong with it."""
    records: dict[str, NodeRecord] = {}
    variables: dict[str, int] = {}
    pins: dict[str, str] = {}
    owned = 0
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            if fields[0] == "vars":
                variables |= _variables(fields[1:])
                pins |= _pins(fields[1:])
                continue
            record = _record(fields)
            if record.node_id in records:
                raise _DamagedError(f"node {record.node_id} is in the file twice")
            bits = bits_of_ranges(record.slots)
            if bits & owned:
                raise _DamagedError("a slot has two owners")
            owned |= bits
            records[record.node_id] = record
        except _DamagedError as damage:
            raise ConfigError(f"line {number}: {damage}") from None
    selves = [record for record in records.values() if record.flags & c.FLAG_MYSELF]
    if len(selves) != 1:
        raise ConfigError(f"{len(selves)} lines carry the flag 'myself', and exactly one should")
    return NodesConf(
        nodes=tuple(records.values()),
        current_epoch=variables.get(CURRENT_EPOCH, 0),
        last_vote_epoch=variables.get(LAST_VOTE_EPOCH, 0),
        pins=tuple(pins.items()),
    )


def _variables(fields: list[str]) -> dict[str, int]:
    """The epochs of the `vars` line. A variable of a newer server may have any value, and says nothing to us (P44)."""
    if len(fields) % 2:
        raise _DamagedError("'vars' without a value for each name")
    pairs = zip(fields[::2], fields[1::2], strict=True)
    return {name: _epoch(value) for name, value in pairs if name in (CURRENT_EPOCH, LAST_VOTE_EPOCH)}


def _pins(fields: list[str]) -> dict[str, str]:
    """The certificates pinned to node ids. A damaged one would let a stranger in, or keep a member out."""
    pins = {}
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if name.startswith(PIN_PREFIX):
            if not _PIN.match(value):
                raise _DamagedError(f"'{value}' is no pin of a certificate")
            pins[_id(name.removeprefix(PIN_PREFIX))] = value
    return pins


def _record(fields: list[str]) -> NodeRecord:
    if len(fields) < FIELDS_MIN:
        raise _DamagedError(f"a node's line has at least {FIELDS_MIN} fields, this one {len(fields)}")
    node_id, where, flag_names, primary, ping_sent, pong_received, epoch, connection = fields[:FIELDS_MIN]
    ip, port, cport, hostname, aux = _address_field(where)
    flags = _flags(flag_names)
    slots, migrating, importing = _slots(fields[FIELDS_MIN:])
    if connection not in ("connected", "disconnected"):
        raise _DamagedError(f"'{connection}' is neither connected nor disconnected")
    return NodeRecord(
        node_id=_id(node_id),
        ip=ip,
        port=port,
        cport=cport,
        flags=flags,
        hostname=hostname,
        aux=aux,
        primary_id=None if primary == "-" else _id(primary),
        ping_sent_ms=_number(ping_sent),
        pong_received_ms=_number(pong_received),
        config_epoch=_epoch(epoch),
        connected=connection == "connected",
        slots=slots,
        migrating=migrating,
        importing=importing,
    )


def _address_field(text: str) -> tuple[str, int, int, str, dict[str, str]]:
    """(ip, port, cport, hostname, aux fields) of `ip:port@cport,hostname,aux=value,...`."""
    where, *rest = text.split(",")
    match = _ADDRESS.match(where)
    if match is None:
        raise _DamagedError(f"'{where}' is no ip:port@cport")
    ip, port = match["ip"], _port(match["port"])
    if ip and not _IPV4.match(ip):
        try:
            ip_address(ip)
        except ValueError:
            raise _DamagedError(f"'{ip}' is no IP address") from None
    cport = _port(match["cport"]) if match["cport"] is not None else min(port + c.BUS_PORT_OFFSET, c.PORT_MAX)
    hostname = rest[0] if rest else ""
    if not _TEXT.match(hostname):
        raise _DamagedError(f"{hostname!r} is no hostname")
    aux: dict[str, str] = {}
    for item in rest[1:]:
        name, equals, value = item.partition("=")
        if not equals or not name or not _TEXT.match(name):
            raise _DamagedError(f"'{item}' is no name=value")
        if not _TEXT.match(value):
            raise _DamagedError(f"{value!r} cannot be the value of {name}")
        if name == "shard-id":
            _id(value)
        elif name in _PORTS:
            _port(value)
        aux[name] = value
    return ip, port, cport, hostname, aux


def _flags(names: str) -> int:
    flags = 0
    for name in names.split(","):
        if name not in FLAG_OF_NAME:
            raise _DamagedError(f"'{name}' is no flag of a node")
        flags |= FLAG_OF_NAME[name]
    return flags


def _slots(
    fields: list[str],
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, str], ...], tuple[tuple[int, str], ...]]:
    ranges: list[tuple[int, int]] = []
    moving: dict[str, list[tuple[int, str]]] = {">": [], "<": []}
    for field in fields:
        if match := _SLOTS.match(field):
            first = _slot(match[1])
            last = _slot(match[2]) if match[2] is not None else first
            if last < first:
                raise _DamagedError(f"'{field}' runs backwards")
            ranges.append((first, last))
        elif match := _MOVING.match(field):
            moving[match[2]].append((_slot(match[1]), match[3]))
        else:
            raise _DamagedError(f"'{field}' is no slot")
    if bits_of_ranges(ranges).bit_count() != sum(last - first + 1 for first, last in ranges):
        raise _DamagedError("a slot is twice in the line")
    return tuple(ranges), tuple(moving[">"]), tuple(moving["<"])


def _id(text: str) -> str:
    if not _ID.match(text):
        raise _DamagedError(f"'{text}' is no node id")
    return text


def _number(text: str) -> int:
    if not _NUMBER.match(text):
        raise _DamagedError(f"'{text}' is no number")
    return int(text)


def _epoch(text: str) -> int:
    epoch = _number(text)
    if epoch > c.EPOCH_MAX:
        raise _DamagedError(f"{text} is over the greatest epoch")
    return epoch


def _port(text: str) -> int:
    if not _NUMBER.match(text) or int(text) > c.PORT_MAX:
        raise _DamagedError(f"'{text}' is no port")
    return int(text)


def _slot(text: str) -> int:
    slot = int(text)
    if slot >= c.SLOTS:
        raise _DamagedError(f"{text} is no slot")
    return slot


# ---------------------------------------------------------------- records -> state


def myself_of(conf: NodesConf) -> NodeRecord:
    """The record of this node."""
    return next(record for record in conf.nodes if record.flags & c.FLAG_MYSELF)


def restore(core: Core, conf: NodesConf) -> None:
    """Fills a new state. `core.myself` exists already, under the id of `myself_of(conf)`."""
    nodes: dict[str, Node] = {}
    for record in conf.nodes:
        if record.flags & c.FLAG_HANDSHAKE:
            continue
        node = _restored_node(core, record)
        nodes[record.node_id] = node
        core.slots.give(node, bits_of_ranges(record.slots))
    for record in conf.nodes:
        if record.primary_id is None or record.node_id not in nodes:
            continue
        primary = _mentioned(core, nodes, record.primary_id)
        node = nodes[record.node_id]
        node.follow(primary)
        node.config_epoch = 0
        if node.shard_id != primary.shard_id:
            if "shard-id" in record.aux:
                told, counts = node.shard_id, primary.shard_id
                core.log("notice", f"Node {node.name} is in shard {told} in nodes.conf; its primary's {counts} counts")
            extensions.set_shard_id(core, node, primary.shard_id)
    own = myself_of(conf)
    for moves, restored in ((own.migrating, core.slots.migrating), (own.importing, core.slots.importing)):
        for slot, other_id in moves:
            restored[slot] = _mentioned(core, nodes, other_id)
    unknown = sorted({name for node in nodes.values() for name in node.unknown_aux})
    if unknown:
        core.log("warning", f"nodes.conf has fields of a newer server, which are kept: {', '.join(unknown)}")
    for node_id, pin in conf.pins:
        if node_id in nodes:
            nodes[node_id].pin = pin
    core.last_vote_epoch = conf.last_vote_epoch
    _look_at_epochs(core, conf, max(node.config_epoch for node in nodes.values()))
    core.current_epoch = max(conf.current_epoch, max(node.config_epoch for node in nodes.values()))


def _look_at_epochs(core: Core, conf: NodesConf, config_epoch: int) -> None:
    """Tells the operator of epochs that no honest cluster reaches. The node starts all the same: its file is its word,
    and to begin lower would let it vote twice in an epoch (H28).
    """
    jump_max = core.config.cluster_epoch_jump_max
    greatest = max(conf.current_epoch, config_epoch)
    if greatest > c.EPOCH_TOLD_MAX or (jump_max and greatest - config_epoch > jump_max):
        core.log(
            "warning",
            f"nodes.conf says epoch {greatest}, and its greatest config epoch is {config_epoch}: no honest cluster"
            " climbs so far. Members with lower epochs will not believe this node (cluster-epoch-jump-max)",
        )


def _mentioned(core: Core, nodes: dict[str, Node], node_id: str) -> Node:
    """The node that another line names. If it has no line of its own, nothing but its id is known."""
    node = nodes.get(node_id)
    if node is None:
        node = nodes[node_id] = Node(node_id, c.FLAG_NOADDR | c.FLAG_FAIL, core.new_id(), core.now_ms)
        node.fail_time_ms = core.now_ms
        core.table.add(node)
    return node


def _restored_node(core: Core, record: NodeRecord) -> Node:
    if record.flags & c.FLAG_MYSELF:
        node = core.myself
        node.flags = record.flags
    else:
        flags = record.flags & ~c.FLAG_PFAIL
        if flags & c.FLAG_NOADDR:
            flags |= c.FLAG_FAIL  # nobody dials it, so its silence would go unnoticed (P6)
        node = Node(record.node_id, flags, core.new_id(), core.now_ms)
    node.knows_us = True  # as far as we know: if it does not, it may have been told to forget us meanwhile (P40)
    node.ip, node.cport = record.ip, record.cport
    tls = core.config.tls_cluster and not {"tcp-port", "tls-port"} & record.aux.keys()
    node.port = int(record.aux.get("tcp-port", 0 if tls else record.port))
    node.tls_port = int(record.aux.get("tls-port", record.port if tls or "tcp-port" in record.aux else 0))
    node.hostname = record.hostname
    if record.aux:  # else they are as a new node has them
        for name, field in _AUX_TEXTS:
            setattr(node, field, record.aux.get(name, ""))
        for name, field in _AUX_PORTS:
            setattr(node, field, int(record.aux.get(name, 0)))
        node.unknown_aux = {name: value for name, value in record.aux.items() if name not in AUX_FIELDS}
    if "shard-id" in record.aux:
        node.shard_id = record.aux["shard-id"]
        node.sends_shard_id = True
    node.config_epoch = record.config_epoch
    if record.ping_sent_ms:
        node.ping_sent_ms = core.now_ms
    if record.pong_received_ms:
        node.pong_received_ms = core.now_ms
    if node.is_failed:
        node.fail_time_ms = core.now_ms
    if node is not core.myself:
        core.table.add(node)
    return node


# ---------------------------------------------------------------- state -> text


def nodes_conf_text(core: Core) -> str:
    """The text of nodes.conf for the state as it is now, without provisional nodes and those in handshake.

    A file is written for each change of one node among thousands, so it is put together from pieces of the last text,
    of which only those are made anew in which a line has changed.
    """
    nodes, pieces, unsaved = core.table.all_nodes, core.conf_pieces, core.version.unsaved
    count = -(-len(nodes) // SAVED_TOGETHER)
    del pieces[count:]
    pieces += [""] * (count - len(pieces))  # each of these is among the unsaved: its nodes were added
    for number in unsaved:
        if number < count:
            some = nodes[number * SAVED_TOGETHER : (number + 1) * SAVED_TOGETHER]
            pieces[number] = "".join([node.line or _kept_line(core, node) for node in some])
    unsaved.clear()
    keeps_pins = core.config.cluster_pin_certificates != NO_PIN
    pins = [(node.node_id, node.pin) for node in nodes if node.pin] if keeps_pins else []
    lines = [_line_of(core, core.myself), "\n", *pieces]
    return joined_text(lines, core.current_epoch, core.last_vote_epoch, pins)


def _kept_line(core: Core, node: Node) -> str:
    """Makes the line of a node anew, with its newline, and keeps it. That of this node is no part of any piece: it has
    the slots on the move, which are no fields of it.
    """
    if node is core.myself or node.flags & c.FLAG_HANDSHAKE or node.provisional:
        node.line = ""
    else:
        node.line = _line_of(core, node) + "\n"
    return node.line


def _line_of(core: Core, node: Node) -> str:
    """The node's line, without the newline. The parts of it that change seldom are kept."""
    parts = node.line_parts
    if parts is None:
        parts = parts_of(_record_of(core, node))
        if node is not core.myself:
            node.line_parts = parts
    primary = node.replicaof
    return joined_line(
        parts,
        primary.node_id if primary is not None else None,
        node.ping_sent_ms,
        node.pong_received_ms,
        (primary or node).config_epoch,
        node.link is not None or node is core.myself,
    )


def _record_of(core: Core, node: Node) -> NodeRecord:
    migrating, importing = moves_of(core, node)
    aux = {name: str(value) for name, field in (*_AUX_TEXTS, *_AUX_PORTS) if (value := getattr(node, field))}
    aux |= node.unknown_aux
    aux["tls-port"] = str(node.tls_port)
    aux["shard-id"] = node.shard_id
    return NodeRecord(
        node_id=node.node_id,
        ip=node.ip,
        port=node.port,
        cport=node.cport,
        flags=node.flags,
        hostname=node.hostname,
        aux=aux,
        primary_id=node.replicaof.node_id if node.replicaof is not None else None,
        ping_sent_ms=node.ping_sent_ms,
        pong_received_ms=node.pong_received_ms,
        config_epoch=node.primary.config_epoch,
        connected=node.link is not None or node is core.myself,
        slots=ranges_of(node.slot_bits),
        migrating=migrating,
        importing=importing,
    )
