"""What becomes of a sound packet: flipped bits, lies about lengths, splices, fields at their extremes.

Owns the kinds of damage. A damaged packet follows from the seed and its number alone, and from who throws it. It never
has the node dial an address beyond those of the attack, nor a member forget the good peer, which a member may. Any
thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from typing import Final

from tests.hostile.mutation import layout, originals

FLIPS_MAX, COPIES_MAX, KINDS_MAX = 16, 40, 3
TRUE_LENGTH = 0.75
"""With this probability the length is made true after the damage, so that it goes deep."""
OWN_SENDER = 0.8
"""With this probability the sender is who throws it, whatever the damage was."""
LENGTHS: Final = (0, 1, 8, 15, 16, 17, 2255, 2256, 2257, 2**16, 8 << 20, (8 << 20) + 1, 2**31 - 1, 2**31, 2**32 - 1)
NUMBERS: Final = (0, 1, 2, 7, 8, 16, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
TEXTS: Final = (b"\0", b"\n", b"\r\n", b",", b"=", b" ", b"\x01", b"\x7f", b"\xff\xfe", b"../..", b"%s%n", b'"', b"\\")
NO_IDS: Final = (b"\0" * 40, b"F" * 40, b"g" * 40, b"0" * 40, b"z" * 40, b"a" * 39 + b"\0", b"\n" * 40, b"\xff" * 40)
ATTACK_NET: Final = "127.99.0.0"
"""Nobody listens in this net. Whatever address a damaged packet names, the node finds nobody there."""


@dataclass(frozen=True)
class Thrower:
    """Who throws a packet: its id and ports, the node's id, and ids that a packet may also claim to be of."""

    node_id: str
    port: int
    cport: int
    target_id: str
    others: tuple[str, ...]


@dataclass(frozen=True)
class Damaged:
    """One packet to throw, and what was done to it."""

    number: int
    kinds: tuple[str, ...]
    data: bytes

    @property
    def ends_amid(self) -> bool:
        return layout.ends_amid(self.data)


def make(seed: int, number: int, thrower: Thrower, sound: tuple[bytes, ...]) -> Damaged:
    """The packet with this number, from one of the `sound` ones."""
    draw = Random(f"{seed}/{number}")
    packet = addressed(bytearray(draw.choice(sound)), thrower)
    names = draw.choices(list(WAYS), [weight for weight, _ in WAYS.values()], k=draw.choice((1, 1, 1, 2, KINDS_MAX)))
    true_length = draw.random() < TRUE_LENGTH
    for name in names:
        WAYS[name][1](draw, packet, thrower)
    if true_length and "length" not in names:
        layout.set_length(packet)
    if draw.random() < OWN_SENDER and not layout.is_light(packet):
        _put_id(packet, layout.SENDER, thrower.node_id.encode())
    stay_local(draw, packet)
    return Damaged(number, (*dict.fromkeys(names), "true length" if true_length else "as damaged"), bytes(packet))


def addressed(packet: bytearray, thrower: Thrower) -> bytearray:
    """A sound packet as that of the thrower: its id and its ports."""
    if not layout.is_light(packet):
        _put_id(packet, layout.SENDER, thrower.node_id.encode())
        layout.put(packet, layout.Field("port", 10, 2), thrower.port)
        layout.put(packet, layout.Field("cport", 2248, 2), thrower.cport)
    return packet


def stay_local(draw: Random, packet: bytearray) -> None:
    """No address that makes sense leads anywhere but to ATTACK_NET."""
    for at in layout.addresses(packet):
        raw = bytes(packet[at : at + layout.IP_LEN])
        try:
            known = ip_address(raw.split(b"\0")[0].decode("ascii"))
        except ValueError:
            continue
        if not str(known).startswith(ATTACK_NET.rsplit(".", 2)[0]):
            packet[at : at + layout.IP_LEN] = f"127.99.0.{draw.randint(1, 200)}".encode().ljust(layout.IP_LEN, b"\0")


# ---------------------------------------------------------------- kinds of damage


def flip(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    for _ in range(draw.randint(1, FLIPS_MAX)):
        packet[_anywhere(draw, packet)] ^= 1 << draw.randrange(8)


def overwrite(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    at = _anywhere(draw, packet)
    length = min(draw.choice((1, 4, 8, 40, 200)), len(packet) - at)
    packet[at : at + length] = draw.choice((bytes(length), b"\xff" * length, draw.randbytes(length)))


def lie_about_length(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    near = (len(packet) - 1, len(packet) + 1, len(packet) - 8, len(packet) + 8)
    layout.put(packet, layout.Field("totlen", layout.TOTLEN, 4), draw.choice((*LENGTHS, *near)))


def cut(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    del packet[draw.randint(layout.LIGHT_LEN, max(layout.LIGHT_LEN, len(packet) - 1)) :]


def append(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    packet += draw.choice((bytes, draw.randbytes))(draw.choice((1, 7, 8, 40, 104, 3000)))


def splice(draw: Random, packet: bytearray, thrower: Thrower) -> None:
    """The head of one packet and the tail of another one, at the same place or at any."""
    other = addressed(bytearray(draw.choice(originals.captured() + originals.encoded())), thrower)
    at = draw.choice((layout.HEADER_LEN, _anywhere(draw, packet), _anywhere(draw, packet)))
    from_at = min(at, len(other)) if draw.random() < 0.7 else draw.randrange(len(other))
    packet[at:] = other[from_at:]


def extremes(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    """Numbers at 0, 1, the greatest, the one below it, or any between."""
    found = layout.fields(packet)
    for field in draw.sample(found, min(len(found), draw.choice((1, 1, 2, 5)))):
        top = (1 << 8 * field.size) - 1
        before = layout.number(packet, field.offset, field.size)
        values = (0, 1, top, top - 1, top >> 1, before + 1, before - 1, draw.choice(NUMBERS), draw.randint(0, top))
        layout.put(packet, field, draw.choice(values))


def epochs(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    """Epochs near the greatest, near 2^32 and 2^63, or a little above those in use."""
    near = draw.choice((0, 10, 2**32, 2**53, 2**63, 2**64 - 1))
    for offset in draw.choice(((16,), (24,), (16, 24), (16, 24, 32))):
        value = min(max(0, near + draw.randint(-3, 3)), 2**64 - 1)
        layout.put(packet, layout.Field("epoch", offset, 8), value)


def flags(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    places = [2250, *(at + 98 for at in layout.gossip_at(packet))]
    for offset in draw.sample(places, min(len(places), 3)):
        bits = draw.choice((0, 0xFFFF, 1 << draw.randrange(16), draw.getrandbits(16)))
        layout.put(packet, layout.Field("flags", offset, 2), bits)


def slots(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    for at in layout.bitmaps(packet):
        few = bytearray(layout.SLOTS_LEN)
        few[draw.randrange(layout.SLOTS_LEN)] = 1 << draw.randrange(8)
        wholes = (bytes(layout.SLOTS_LEN), b"\xff" * layout.SLOTS_LEN, bytes(few), draw.randbytes(layout.SLOTS_LEN))
        packet[at : at + layout.SLOTS_LEN] = draw.choice(wholes)


def swap_ids(draw: Random, packet: bytearray, thrower: Thrower) -> None:
    """Other ids for the sender, its primary and whom the packet is about: known, unknown, the node's own, none."""
    places = layout.ids(packet)
    forgotten = {at + layout.EXTENSION_HEAD_LEN for at, _ in layout.extensions_at(packet)}
    pool = [node_id.encode() for node_id in (*originals.POOL, thrower.target_id, thrower.node_id)]
    for at in draw.sample(places, min(len(places), draw.choice((1, 1, 2, 9)))):
        known = [] if at in forgotten else [node_id.encode() for node_id in thrower.others]
        _put_id(packet, at, draw.choice([*pool, *known, *NO_IDS, draw.randbytes(20).hex().encode()]))


def texts(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    """A byte that no text may have, in an address or in an extension."""
    places = [*layout.addresses(packet), *(at + layout.EXTENSION_HEAD_LEN for at, _ in layout.extensions_at(packet))]
    for at in places[:3] if draw.random() < 0.3 else places[-1:]:
        evil = draw.choice(TEXTS)
        start = at + draw.randrange(12)
        if start + len(evil) <= len(packet):
            packet[start : start + len(evil)] = evil


def shuffle_extensions(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    """Extensions doubled, in another order, or gone; the count true or not."""
    found = layout.extensions_at(packet)
    if not found:
        return
    parts = [bytes(packet[at:end]) for at, end in found]
    parts += draw.choices(parts, k=draw.choice((0, 1, 5, COPIES_MAX)))
    draw.shuffle(parts)
    del parts[: draw.choice((0, 0, 1, len(parts)))]
    packet[found[0][0] :] = b"".join(parts)
    if draw.random() < 0.7:
        layout.put(packet, layout.Field("extensions", layout.EXTENSIONS, 2), len(parts))


def lie_in_extensions(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    found = layout.extensions_at(packet)
    if found:
        at, end = draw.choice(found)
        lengths = (0, 1, 4, 7, 8, 9, 15, 16, end - at - 8, end - at + 8, 65_528, 65_536, 2**31, 2**32 - 8, 2**32 - 1)
        layout.put(packet, layout.Field("length", at, 4), draw.choice(lengths))


def shuffle_gossip(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    """Gossip entries doubled, in another order, or gone; the count true or not."""
    found = layout.gossip_at(packet)
    if not found:
        return
    parts = [bytes(packet[at : at + layout.GOSSIP_LEN]) for at in found]
    parts += draw.choices(parts, k=draw.choice((0, 1, 5, COPIES_MAX)))
    draw.shuffle(parts)
    del parts[: draw.choice((0, 0, 1))]
    packet[found[0] : found[-1] + layout.GOSSIP_LEN] = b"".join(parts)
    if draw.random() < 0.7:
        layout.put(packet, layout.Field("count", layout.COUNT, 2), len(parts))


def lie_in_body(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    """Lengths of channel, message and module data, and numbers in what they hold."""
    body, kind = layout.body_at(packet), layout.kind_of(packet)
    lengths = {4: (0, 4), 10: (0, 4), layout.MODULE: (8,)}.get(kind, ())
    value = draw.choice((0, 1, len(packet), len(packet) - body, 2**31, 2**32 - 9, 2**32 - 1))
    for offset in lengths:
        if draw.random() < 0.6:
            layout.put(packet, layout.Field("len", body + offset, 4), value)
    if kind == layout.MODULE and len(packet) > body + 13 and draw.random() < 0.8:
        at = draw.randrange(body + 12, len(packet))
        packet[at : at + 8] = draw.choice((b"\xff", b"\0", draw.randbytes(1))) * min(8, len(packet) - at)


def another_type(draw: Random, packet: bytearray, _thrower: Thrower) -> None:
    bit = layout.LIGHT_BIT if draw.random() < 0.3 else 0
    layout.put(packet, layout.Field("type", layout.TYPE, 2), draw.randrange(14) | bit)


def _anywhere(draw: Random, packet: bytearray) -> int:
    """A place in a packet: in its head, its tail or any. The slots are most of it, and matter least."""
    low, high = draw.choice(((0, 80), (layout.REPLICAOF, 2256), (2256, len(packet)), (0, len(packet))))
    high = min(high, len(packet))
    return draw.randrange(low, high) if low < high else draw.randrange(len(packet))


def _put_id(packet: bytearray, at: int, node_id: bytes) -> None:
    if at + layout.ID_LEN <= len(packet):
        packet[at : at + layout.ID_LEN] = node_id


WAYS: Final[dict[str, tuple[int, Callable[[Random, bytearray, Thrower], None]]]] = {
    "flips": (14, flip),
    "overwrite": (6, overwrite),
    "length": (5, lie_about_length),
    "cut": (6, cut),
    "append": (4, append),
    "splice": (8, splice),
    "extremes": (14, extremes),
    "epochs": (5, epochs),
    "flags": (6, flags),
    "slots": (4, slots),
    "ids": (7, swap_ids),
    "texts": (5, texts),
    "extensions": (5, shuffle_extensions),
    "extension length": (4, lie_in_extensions),
    "gossip": (4, shuffle_gossip),
    "body": (6, lie_in_body),
    "type": (4, another_type),
}
"""Name of a kind of damage: its weight in the draw, and what it does."""
