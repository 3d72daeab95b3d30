"""What a member says that lies: well-formed messages of every type, about itself and everybody else.

Owns the draw. Structures are drawn and encoded, not bytes: what is no packet never reaches the state. Ids, addresses
and epochs are mostly such as mean something to whoever hears them. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster.claims import letters
from clusterbus.wire import (
    Extension,
    Fail,
    GossipEntry,
    Header,
    HeaderOnly,
    Heartbeat,
    Message,
    ModuleMessage,
    Packet,
    Publish,
    Unknown,
    Update,
    encode,
    parse,
)

LIES: Final = 0.6
"""The probability that what the member was to send leaves as a lie."""
OWN_NAME: Final = 0.9
"""The probability that a lie is told under the liar's own id. Under another one it costs the link."""
PHANTOMS: Final = 24
"""So many nodes are made up. Nobody is at their addresses."""
WILD_EPOCHS: Final = (0, 1, 2**20, 2**34, 2**53, 2**63, c.EPOCH_MAX - 1, c.EPOCH_MAX)
FLAGS: Final = (c.FLAG_PRIMARY, c.FLAG_REPLICA, c.FLAG_PRIMARY | c.FLAG_PFAIL, c.FLAG_REPLICA | c.FLAG_FAIL, 0xFFFF, 0)
TIMES_S: Final = (0, 1, 2**31, 2**32 - 1)
FORGOTTEN_S: Final = (0, 1, 5)
"""A member may have others forgotten, for as long as FORGET_TTL_MAX_MS. A scenario cannot wait for that."""
CHANNEL: Final = b"channel"


class Liar:
    """The lies of one member. `ids` are those of all members, `ips` their addresses, `port` the client port of all."""

    def __init__(self, draw: Random, own_id: str, ids: Sequence[str], ips: Sequence[str], port: int) -> None:
        self._draw = draw
        self._own_id = own_id
        self._phantoms = [draw.randbytes(20).hex() for _ in range(PHANTOMS)]
        self._ids = [*ids, *ids, *self._phantoms]
        self._ips = [*ips, *(f"10.66.0.{number}" for number in range(1, PHANTOMS))]
        self._port = port
        self._epoch = 1

    def instead_of(self, packet: Packet) -> Packet:
        """What leaves in the place of a packet: that packet, or a lie of its type or any."""
        if not packet.is_light:
            self._epoch = max(1, packet.current_epoch)
        if self._draw.random() >= LIES:
            return packet
        return self.lie(packet.type if self._draw.random() < 0.7 else None)

    def lie(self, kind: int | None = None) -> Packet:
        """One message that is not true, of this type or of any."""
        if kind is None:
            kind = self._draw.choice(list(_MAKERS))
        (packet,) = parse(encode(_MAKERS.get(kind, Liar._unknown)(self, kind)))
        return packet

    # ------------------------------------------------------------ parts

    def _id(self) -> str:
        return self._draw.choice(self._ids)

    def _an_epoch(self) -> int:
        near = self._epoch + self._draw.randint(-2, 6)
        return max(0, near) if self._draw.random() < 0.7 else self._draw.choice(WILD_EPOCHS)

    def _some_slots(self) -> bytes:
        draw = self._draw
        first = draw.randrange(c.SLOTS // 8)
        few = bytes(first) + bytes([draw.randrange(256)]) + bytes(c.SLOTS // 8 - first - 1)
        return draw.choice((c.EMPTY_SLOTS, few, few, draw.randbytes(c.SLOTS // 8), b"\xff" * (c.SLOTS // 8)))

    def _flags(self) -> int:
        draw = self._draw
        flags = draw.choice(FLAGS) if draw.random() < 0.5 else draw.getrandbits(16)
        return flags | (c.FLAG_EXTENSIONS if draw.random() < 0.8 else 0)

    def _header(self) -> Header:
        draw = self._draw
        moved = draw.random() < 0.1
        return Header(
            sender=self._own_id if draw.random() < OWN_NAME else self._id(),
            port=draw.randrange(c.PORT_MAX) if moved else self._port,
            cport=draw.randrange(c.PORT_MAX) if moved else self._port + c.BUS_PORT_OFFSET,
            current_epoch=self._an_epoch(),
            config_epoch=self._an_epoch(),
            offset=draw.choice((0, 1, draw.getrandbits(40), 2**64 - 1)),
            myslots=self._some_slots(),
            replicaof=self._id() if draw.random() < 0.3 else None,
            myip=draw.choice(self._ips) if draw.random() < 0.1 else "",
            flags=self._flags(),
            state=draw.randrange(2),
            mflags=draw.choice((0, c.MFLAG_EXTENSIONS, c.MFLAG_PAUSED, c.MFLAG_FORCE_ACK, 7)),
        )

    def _entry(self) -> GossipEntry:
        draw = self._draw
        return GossipEntry(
            node_id=self._id(),
            ip=draw.choice(self._ips),
            port=draw.choice((self._port, 0, c.PORT_MAX)),
            cport=draw.choice((self._port + c.BUS_PORT_OFFSET, 0, 1)),
            flags=self._flags(),
            ping_sent_s=draw.choice(TIMES_S),
            pong_received_s=draw.choice(TIMES_S),
        )

    def _extension(self) -> Extension:
        draw = self._draw
        makers: tuple[Callable[[], Extension], ...] = (
            lambda: Extension.hostname_of("liar.local"),
            lambda: Extension.nodename_of(f"liar-{draw.randrange(9)}"),
            lambda: Extension.shard_id_of(self._id()),
            lambda: Extension.client_ipv4_of("10.66.0.1"),
            lambda: Extension.client_port_of(draw.randrange(c.PORT_MAX)),
            lambda: Extension.availability_zone_of("nowhere"),
            lambda: Extension(draw.randrange(100, 60_000), draw.randbytes(16)),
            lambda: Extension.forgotten_node_of(self._id(), draw.choice(FORGOTTEN_S)),
        )
        return draw.choice(makers)()

    # ------------------------------------------------------------ messages

    def _heartbeat(self, kind: int) -> Message:
        draw = self._draw
        gossip = [self._entry() for _ in range(draw.choice((0, 1, 3, 12)))]
        extensions = [self._extension() for _ in range(draw.choice((0, 0, 1, 4)))]
        return Heartbeat(kind, self._header(), gossip, extensions)

    def _fail(self, _kind: int) -> Message:
        return Fail(self._header(), self._id())

    def _update(self, _kind: int) -> Message:
        return Update(self._header(), self._an_epoch(), self._id(), self._some_slots())

    def _header_only(self, kind: int) -> Message:
        return HeaderOnly(kind, self._header())

    def _publish(self, kind: int) -> Message:
        header = self._header() if self._draw.random() < 0.5 else None
        return Publish(header, CHANNEL, self._draw.randbytes(9), sharded=kind == c.PUBLISHSHARD)

    def _module(self, _kind: int) -> Message:
        draw = self._draw
        header = self._header() if draw.random() < 0.5 else None
        module_id = draw.choice([*sorted(c.OWN_MODULE_IDS), c.SLOT_CLAIMS_MODULE_ID, 12_345])
        if module_id == c.SLOT_CLAIMS_MODULE_ID and draw.random() < 0.9:
            kind = draw.choice(list(letters.Kind))
            letter = letters.Letter(
                kind,
                draw.random() < 0.5,
                number=draw.choice((0, 1, 2, draw.getrandbits(63))),
                epoch=self._an_epoch(),
                other_epoch=self._an_epoch(),
                count=draw.choice((0, 1, 5, 2_000, 2**32 - 1)),
                slots=draw.choice((0, 0b1111, c.ALL_SLOTS)),
                living=draw.choice((0, c.ALL_SLOTS)),
                text="because" if kind is letters.Kind.GAVE else "",
            )
            return ModuleMessage(header, module_id, kind, letters.encode(letter))
        data = draw.choice((b"", draw.randbytes(9), self._id().encode(), (3).to_bytes(8, "big") + b"\0\1a\0\1b"))
        return ModuleMessage(header, module_id, draw.randrange(6), data)

    def _unknown(self, _kind: int) -> Message:
        return Unknown(self._draw.randrange(20, 1_000), self._header(), b"what is this")


_MAKERS: Final[dict[int, Callable[[Liar, int], Message]]] = {
    c.PING: Liar._heartbeat,
    c.PONG: Liar._heartbeat,
    c.MEET: Liar._heartbeat,
    c.FAIL: Liar._fail,
    c.UPDATE: Liar._update,
    c.AUTH_REQUEST: Liar._header_only,
    c.AUTH_ACK: Liar._header_only,
    c.MFSTART: Liar._header_only,
    c.PUBLISH: Liar._publish,
    c.PUBLISHSHARD: Liar._publish,
    c.MODULE: Liar._module,
}
