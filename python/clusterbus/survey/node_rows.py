"""CLUSTER NODES and CLUSTER LINKS as records.

Owns what of these replies is kept. In a cluster of n nodes there are n * n lines and hardly more than n different ones,
once their times are left out: `RowTable` makes each of these once, so views are compared by identity and cost a few
bytes a line. Must never raise but ValueError for what another server may write. Any thread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from clusterbus.cluster import constants as c
from clusterbus.cluster.model.records import FLAG_OF_NAME
from clusterbus.cluster.model.slots import bits_of_ranges
from clusterbus.config import address_text

ROWS_KEPT_MAX: Final = 200_000
"""So many different lines are kept to be met again; past that the table begins anew."""
_SLOTS: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z", re.ASCII)
_MOVING: Final = re.compile(r"\[(\d{1,5})-([<>])-([0-9a-zA-Z]{1,64})\]\Z", re.ASCII)


class Claim:
    """What views are compared by: that a node is a primary or a replica of whom, its epoch and its slots.

    A view is a set of them, and there may be thousands of these sets: the hash is made once.
    """

    __slots__ = ("_hash", "parts")

    def __init__(self, parts: tuple[str, bool, str | None, int, int]) -> None:
        self.parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Claim) and self.parts == other.parts


@dataclass(frozen=True, eq=False)
class NodeRow:
    """One line of CLUSTER NODES without its times. `flags` are bits, without that of MYSELF.

    `migrating` and `importing` are (slot, id of the other node); a server tells only its own.
    """

    node_id: str
    ip: str
    port: int
    cport: int
    hostname: str
    flags: int
    primary_id: str | None
    config_epoch: int
    is_connected: bool
    slot_bits: int
    migrating: tuple[tuple[int, str], ...] = ()
    importing: tuple[tuple[int, str], ...] = ()
    claim: Claim = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parts = (self.node_id, self.is_primary, self.primary_id, self.config_epoch, self.slot_bits)
        object.__setattr__(self, "claim", Claim(parts))

    @property
    def is_primary(self) -> bool:
        return bool(self.flags & c.FLAG_PRIMARY)

    @property
    def is_replica(self) -> bool:
        return bool(self.flags & c.FLAG_REPLICA)

    @property
    def is_failed(self) -> bool:
        """FAIL, on which nodes have agreed."""
        return bool(self.flags & c.FLAG_FAIL)

    @property
    def is_suspected(self) -> bool:
        """PFAIL, which one node holds alone."""
        return bool(self.flags & c.FLAG_PFAIL)

    @property
    def is_in_handshake(self) -> bool:
        return bool(self.flags & c.FLAG_HANDSHAKE)

    @property
    def has_address(self) -> bool:
        return bool(self.ip) and self.port > 0 and not self.flags & c.FLAG_NOADDR

    @property
    def address(self) -> str:
        return address_text(self.ip, self.port)


@dataclass(frozen=True)
class LinkRows:
    """The ids of the nodes that a node has a link to, and of those that have a link to it.

    On its `count` links `queue_len_bytes` wait to be sent. `rtts_us` are the round trips that it measured, by id; only
    clusterbus nodes tell them.
    """

    outbound: frozenset[str]
    inbound: frozenset[str]
    count: int = 0
    queue_len_bytes: int = 0
    rtts_us: Mapping[str, int] = field(default_factory=dict)


class NodeTable(NamedTuple):
    """A reply to CLUSTER NODES: its rows, the id of the node that says MYSELF, and since when each node that owes a
    PONG does, in unix milliseconds of that server's clock.
    """

    rows: tuple[NodeRow, ...]
    myself: str
    owed: dict[str, int]


class RowTable:
    """The rows of all views of one survey, and of later ones."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], NodeRow] = {}

    def trim(self) -> None:
        """Between two surveys; within one, a line met again is always the same row."""
        if len(self._rows) > ROWS_KEPT_MAX:
            self._rows.clear()

    def parse(self, text: str) -> NodeTable:
        """Raises ValueError for what is no CLUSTER NODES."""
        rows: list[NodeRow] = []
        owed: dict[str, int] = {}
        myself = ""
        for line in text.split("\n"):
            if not line.strip():
                continue
            head = line.rstrip("\r").split(" ", 6)
            if len(head) != 7:
                raise ValueError(f"a line of {len(head)} fields")
            node_id, where, flags, primary, sent, _received, rest = head
            key = (node_id, where, flags, primary, rest)
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = _row(node_id, where, flags, primary, rest)
            rows.append(row)
            if sent != "0":
                owed[node_id] = int(sent)
            if "myself" in flags:
                myself = node_id
        if not myself:
            raise ValueError("no line says 'myself'")
        return NodeTable(tuple(rows), myself, owed)


def _row(node_id: str, where: str, flags: str, primary: str, rest: str) -> NodeRow:
    epoch, link, *slots = rest.split()
    address, *names = where.split(",")
    client, _, cport = address.partition("@")
    ip, _, port = client.rpartition(":")
    bits, migrating, importing = _slots(slots)
    known = [FLAG_OF_NAME.get(name, 0) for name in flags.split(",")]  # a newer server may have more of them
    return NodeRow(
        node_id=node_id,
        ip=ip.strip("[]"),
        port=int(port or 0),
        cport=int(cport or 0),
        hostname=names[0] if names and "=" not in names[0] else "",
        flags=sum(set(known)) & ~c.FLAG_MYSELF,
        primary_id=None if primary == "-" else primary,
        config_epoch=int(epoch),
        is_connected=link == "connected",
        slot_bits=bits,
        migrating=migrating,
        importing=importing,
    )


def _slots(words: Sequence[str]) -> tuple[int, tuple[tuple[int, str], ...], tuple[tuple[int, str], ...]]:
    ranges: list[tuple[int, int]] = []
    moves: dict[str, list[tuple[int, str]]] = {">": [], "<": []}
    for word in words:
        if found := _SLOTS.match(word):
            first = int(found[1])
            last = int(found[2] or first)
            if not first <= last < c.SLOTS:
                raise ValueError(f"{word!r} are no slots")
            ranges.append((first, last))
        elif (moving := _MOVING.match(word)) and int(moving[1]) < c.SLOTS:
            moves[moving[2]].append((int(moving[1]), moving[3]))
        else:
            raise ValueError(f"{word!r} are no slots")
    return bits_of_ranges(ranges), tuple(moves[">"]), tuple(moves["<"])


def parse_links(reply: object) -> LinkRows:
    """Raises ValueError for what is no reply to CLUSTER LINKS."""
    if not isinstance(reply, list):
        raise ValueError("no list of links")
    ends: dict[bytes, set[str]] = {b"to": set(), b"from": set()}
    rtts_us: dict[str, int] = {}
    queue_len_bytes = 0
    for link in reply:
        if not isinstance(link, list) or len(link) % 2:
            raise ValueError("a link is no map")
        pairs = dict(zip(map(_plain, link[::2]), link[1::2], strict=True))
        direction, node = _plain(pairs.get(b"direction")), _plain(pairs.get(b"node"))
        if direction not in ends or not node:
            raise ValueError("a link without direction and node")
        node_id = node.decode(errors="replace")
        ends[direction].add(node_id)
        queued, rtt_us = pairs.get(b"send-buffer-used"), pairs.get(b"rtt-usec")
        queue_len_bytes += queued if isinstance(queued, int) else 0
        if isinstance(rtt_us, int) and rtt_us >= 0:
            rtts_us[node_id] = rtt_us
    return LinkRows(frozenset(ends[b"to"]), frozenset(ends[b"from"]), len(reply), queue_len_bytes, rtts_us)


def _plain(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""
