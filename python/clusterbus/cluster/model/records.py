"""The lines of nodes.conf as data, and their text: `NodeRecord`, `NodesConf`, `text_of`.

Owns the format, with the aux fields of newer servers, the names of the flags and the notation of slots. Must never read
or write the file (the runtime does) or look at live state (`persist` does). Plain data, any thread.

A line: `id ip:port@cport,hostname,aux=value,... flags primary|- ping_sent pong_received epoch link slots...`, then
`vars currentEpoch N lastVoteEpoch N`. Source: `clusterGenNodeDescription`, `clusterSaveConfig`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from clusterbus.cluster import constants as c

FLAG_NAMES: Final = (
    (c.FLAG_MYSELF, "myself"),
    (c.FLAG_PRIMARY, "master"),
    (c.FLAG_REPLICA, "slave"),
    (c.FLAG_PFAIL, "fail?"),
    (c.FLAG_FAIL, "fail"),
    (c.FLAG_HANDSHAKE, "handshake"),
    (c.FLAG_NOADDR, "noaddr"),
    (c.FLAG_NOFAILOVER, "nofailover"),
)
NO_FLAGS: Final = "noflags"
FLAG_OF_NAME: Final = {name: flag for flag, name in FLAG_NAMES} | {
    "primary": c.FLAG_PRIMARY,
    "replica": c.FLAG_REPLICA,
    NO_FLAGS: 0,
}
"""The flag of each name that may occur in a file. `primary` and `replica` are other spellings of `master` and `slave`.
"""

AUX_FIELDS: Final = (
    "availability-zone", "client-tls-port", "client-tcp-port", "client-ipv6", "client-ipv4", "tls-port", "tcp-port",
    "nodename", "shard-id",
)  # fmt: skip
"""The names of the aux fields, in the order in which they are written; those of newer servers come after them. A file
may have any of them in any order."""


PIN_PREFIX: Final = "pin:"
"""Before the node id, the name of a variable with the certificate that is pinned to it."""
Moves: TypeAlias = tuple[tuple[int, str], ...]
"""Slots that move to or from this node: (slot, id of the node at the other end)."""


LineParts: TypeAlias = tuple[str, str]
"""What stands in a line before the primary's id, and what stands after the state of the link."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """The line of one node.

    `aux` holds the aux fields by name (see AUX_FIELDS), those of newer servers too. `flags` is a number, made of the
    flags in FLAG_OF_NAME. `slots` are inclusive (first, last) ranges; `migrating` and `importing` are (slot, id of the
    other node). Times are unix milliseconds, 0 for none.
    """

    node_id: str
    ip: str
    port: int
    cport: int
    flags: int
    hostname: str = ""
    aux: dict[str, str] = field(default_factory=dict)
    primary_id: str | None = None
    ping_sent_ms: int = 0
    pong_received_ms: int = 0
    config_epoch: int = 0
    connected: bool = False
    slots: tuple[tuple[int, int], ...] = ()
    migrating: Moves = ()
    importing: Moves = ()


@dataclass(frozen=True, slots=True)
class NodesConf:
    """A whole nodes.conf. Invariant: exactly one record has the flag MYSELF."""

    nodes: tuple[NodeRecord, ...]
    current_epoch: int = 0
    last_vote_epoch: int = 0
    pins: tuple[tuple[str, str], ...] = ()
    """The certificates that are pinned to node ids: id and pin. Servers of another kind skip them."""


def flags_text(flags: int) -> str:
    """The names of the flags, joined by commas, or `noflags`."""
    return ",".join(name for flag, name in FLAG_NAMES if flags & flag) or NO_FLAGS


def ranges_text(ranges: Iterable[tuple[int, int]]) -> str:
    """` 5 10-20` for ((5, 5), (10, 20)): each range after one space, "" for none."""
    return "".join(f" {first}" if first == last else f" {first}-{last}" for first, last in ranges)


def moves_text(migrating: Moves, importing: Moves) -> str:
    """` [5->-id] [7-<-id]`: moving slots in ascending order. A slot that is in both lists is shown as migrating."""
    if not (migrating and importing):  # all of a reshard go the same way, thousands perhaps
        arrow = "->-" if migrating else "-<-"
        return "".join([f" [{slot}{arrow}{other}]" for slot, other in sorted(migrating or importing)])
    ends = {slot: f" [{slot}-<-{other}]" for slot, other in importing}
    ends |= {slot: f" [{slot}->-{other}]" for slot, other in migrating}
    return "".join(ends[slot] for slot in sorted(ends))


def parts_of(record: NodeRecord) -> LineParts:
    """The two parts of the record's line that change seldom, and take most of the time to write."""
    names: list[str] = [name for name in AUX_FIELDS if name in record.aux]
    names += [name for name in record.aux if name not in AUX_FIELDS]
    aux = "".join(f",{name}={record.aux[name]}" for name in names)
    address = f"{record.ip}:{record.port}@{record.cport},{record.hostname}{aux}"
    return (
        f"{record.node_id} {address} {flags_text(record.flags)}",
        f"{ranges_text(record.slots)}{moves_text(record.migrating, record.importing)}",
    )


def joined_line(
    parts: LineParts, primary_id: str | None, ping_sent_ms: int, pong_received_ms: int, epoch: int, connected: bool
) -> str:
    """A line of nodes.conf, without the newline."""
    first, last = parts
    state = "connected" if connected else "disconnected"
    return f"{first} {primary_id or '-'} {ping_sent_ms} {pong_received_ms} {epoch} {state}{last}"


def line_of(record: NodeRecord) -> str:
    """The record's line in nodes.conf, without the newline."""
    return joined_line(
        parts_of(record),
        record.primary_id,
        record.ping_sent_ms,
        record.pong_received_ms,
        record.config_epoch,
        record.connected,
    )


def text_of(conf: NodesConf) -> str:
    """The text of nodes.conf, with a newline at the end."""
    lines = [f"{line_of(record)}\n" for record in conf.nodes]
    return joined_text(lines, conf.current_epoch, conf.last_vote_epoch, conf.pins)


def joined_text(
    lines: Iterable[str], current_epoch: int, last_vote_epoch: int, pins: Iterable[tuple[str, str]] = ()
) -> str:
    """The text of nodes.conf with these lines of nodes, each of which ends with a newline."""
    pinned = "".join([f" {PIN_PREFIX}{node_id} {pin}" for node_id, pin in pins])
    return "".join([*lines, f"vars currentEpoch {current_epoch} lastVoteEpoch {last_vote_epoch}{pinned}\n"])
