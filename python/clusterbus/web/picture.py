"""The picture of the cluster that the page shows and `/topology.json` gives, as JSON.

Owns its shape, and the one text that all pages share: it is made at most once in PICTURE_AGE_MIN_S. What is in it is
taken in one go, so no slot has two owners in it; the text is made in pieces, between which the main loop does other
things. Must never change the member. Main thread.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from clusterbus.cluster import constants as c
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.records import flags_text
from clusterbus.cluster.model.slots import ranges_of
from clusterbus.member.member import Member
from clusterbus.metrics.health import reasons_against

NODES_PER_PIECE: Final = 50
"""About half a millisecond of work."""
RANGES_PER_PIECE_MAX: Final = 512
"""A slot map in pieces can have 8,192 ranges, which take more than ten milliseconds."""
SLOTS_PER_WINDOW: Final = 2 * RANGES_PER_PIECE_MAX
PICTURE_AGE_MIN_S: Final = 1.0
"""A younger picture is given again, changes or not."""
PICTURE_AGE_MAX_S: Final = 5.0
"""An older one is made anew, though nothing but times has changed."""


class Moment(NamedTuple):
    """What a picture is made of. Who owns what is gathered in one go, in columns, which is several times faster than
    rows; what stands for one node alone (names, times) is read when its piece of the text is made.
    """

    head: dict[str, Any]
    moves: tuple[tuple[str, dict[Node, int]], ...]
    """The slots on the move by direction and the node at the other end, as bitmaps."""
    nodes: list[Node]
    flags: list[int]
    primaries: list[Node | None]
    shard_ids: list[str]
    slot_bits: list[int]


class Pictures:
    """The latest picture. `version` is that of the state of which it was made."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._pieces: tuple[bytes, ...] = ()
        self._made_s = 0.0
        self._making = asyncio.Lock()
        self.version = -1

    @property
    def is_stale(self) -> bool:
        """Whether the state has another version than the picture."""
        return self.version != self._member.state.version

    async def pieces(self) -> tuple[bytes, ...]:
        """The picture as JSON in UTF-8, no older than PICTURE_AGE_MAX_S. Who asks while it is made waits for it."""
        async with self._making:
            age_s = asyncio.get_running_loop().time() - self._made_s
            if not self._pieces or age_s > (PICTURE_AGE_MIN_S if self.is_stale else PICTURE_AGE_MAX_S):
                version, made_s, made = self._member.state.version, asyncio.get_running_loop().time(), []
                for piece in json_pieces(self._member, moment(self._member)):
                    made.append(piece)
                    await asyncio.sleep(0)
                # Not before: who asked may have gone meanwhile, and the next one makes it then.
                self._pieces, self.version, self._made_s = tuple(made), version, made_s
            return self._pieces


def moment(member: Member) -> Moment:
    """What is true now, taken in one go."""
    state = member.state
    nodes = [node for node in state.nodes if not node.flags & c.FLAG_HANDSHAKE]
    return Moment(
        head={
            "me": state.myself.node_id,
            "run": member.run_id,
            "at_ms": member.clock.now_ms(),
            "state": "ok" if state.is_ok else "fail",
            "reason": state.reason.value,
            "current_epoch": state.current_epoch,
        },
        moves=tuple(zip(("migrating", "importing"), state.open_slots_by_node, strict=True)),
        nodes=nodes,
        flags=[node.flags for node in nodes],
        primaries=[node.replicaof for node in nodes],
        shard_ids=[node.shard_id for node in nodes],
        slot_bits=[node.slot_bits for node in nodes],
    )


def json_pieces(member: Member, taken: Moment) -> Iterator[bytes]:
    """The JSON of a picture. Each piece is short work."""
    yield _encode(taken.head | {"not_ready": reasons_against(member)})[:-1].encode()
    for direction, by_node in taken.moves:
        moves = ([(*span, node.node_id) for span in spans] for node, bits in by_node.items() for spans in _spans(bits))
        yield f',"{direction}":['.encode()
        yield from _elements(moves)
        yield b"]"
    yield b',"nodes":['
    for begin in range(0, len(taken.nodes), NODES_PER_PIECE):
        yield from _nodes(list(_rows(member, taken, begin, begin + NODES_PER_PIECE)), is_first=begin == 0)
    yield b"]}"


_encode: Final[Callable[[object], str]] = json.JSONEncoder(separators=(",", ":")).encode


def _nodes(rows: list[tuple[dict[str, Any], int]], *, is_first: bool) -> Iterator[bytes]:
    """The rows of some nodes and their slots, together in one piece unless their slots are too many for that."""
    comma = "" if is_first else ","
    if sum((bits & ~(bits << 1)).bit_count() for _row, bits in rows) <= RANGES_PER_PIECE_MAX:
        yield f"{comma}{_encode([row | {'slots': ranges_of(bits)} for row, bits in rows])[1:-1]}".encode()
        return
    for row, bits in rows:
        yield f'{comma}{_encode(row)[:-1]},"slots":['.encode()
        yield from _elements(_spans(bits))
        yield b"]}"
        comma = ","


def _elements(parts: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """What stands in the brackets of one array, of which each part is some elements."""
    comma = ""
    for part in parts:
        yield f"{comma}{_encode(part)[1:-1]}".encode()
        comma = ","


def _spans(bits: int) -> Iterator[list[tuple[int, int]]]:
    """What `ranges_of` gives, a part at a time; none of them is empty."""
    held: tuple[int, int] | None = None
    for begin in range(0, c.SLOTS, SLOTS_PER_WINDOW):
        window = bits >> begin & ((1 << SLOTS_PER_WINDOW) - 1)
        spans = [(begin + first, begin + last) for first, last in ranges_of(window)]
        if held is not None and spans and spans[0][0] == held[1] + 1:
            spans[0] = (held[0], spans[0][1])
        elif held is not None:
            spans.insert(0, held)
        held = spans.pop() if spans else None  # it may go on in the next window
        if spans:
            yield spans
    if held is not None:
        yield [held]


def _rows(member: Member, taken: Moment, begin: int, end: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Some nodes of the picture, each with its slots as a bitmap."""
    nodes, myself = taken.nodes[begin:end], member.state.myself
    columns = (taken.flags, taken.primaries, taken.shard_ids, taken.slot_bits)
    owned = zip(*(column[begin:end] for column in columns), strict=True)
    for node, (flags, primary, shard_id, bits) in zip(nodes, owned, strict=True):
        rtt_us, rtt_max_us = node.times.round_trip_us or (None, None)
        row = {
            "id": node.node_id,
            "ip": node.ip,
            "port": node.port or node.tls_port,
            "bus_port": node.cport,
            "hostname": node.hostname,
            "name": node.nodename,
            "zone": node.availability_zone,
            "role": "replica" if flags & c.FLAG_REPLICA else "primary",
            "primary": primary.node_id if primary is not None else None,
            "shard": shard_id,
            "flags": flags_text(flags).split(",") if flags else [],
            "epoch": (primary or node).config_epoch,
            "up": node is myself or node.link is not None,
            "unreachable": node.is_unreachable,
            "rtt_us": rtt_us,
            "rtt_max_us": rtt_max_us,
            "tags": dict(node.tags),
        }
        yield row, bits
