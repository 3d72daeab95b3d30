"""A small part of `make mutate`: some hundreds of damaged packets at a real process, with workers and without (H48)."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from clusterbus import wire
from clusterbus.errors import PeerError

from tests.hostile.mutation import campaign, damage, layout, originals
from tests.hostile.mutation.positions import ROUND, Outcome, Position, blocks
from tests.hostile.mutation.watch import check_file, check_table

PACKETS = ROUND
SEED = 42
THROWER = damage.Thrower("e" * 40, 7000, 17000, "b" * 40, ("a" * 40,))
LOOPBACK = "127."


@pytest.mark.processes
@pytest.mark.parametrize("io_threads", [1, 3])
def test_damaged_packets_do_a_running_node_no_harm_h48(tmp_path: Path, io_threads: int) -> None:
    numbers = range((io_threads - 1) * PACKETS, io_threads * PACKETS)[:PACKETS]
    report = campaign.run(
        tmp_path / "node", seed=SEED, numbers=numbers, io_threads=io_threads, progress=lambda _packets, _s: None
    )
    tally = report.attack.tally
    assert sum(tally.values()) == PACKETS
    for position in Position:
        assert tally[position, Outcome.GOES_ON] > 0, f"{position}: every link was closed: {tally}"
        assert tally[position, Outcome.CLOSED] > 0, f"{position}: no link was closed: {tally}"
    assert sum(tally[position, Outcome.UNREACHED] for position in Position) < PACKETS // 10, tally


def sound() -> tuple[bytes, ...]:
    return originals.captured() + originals.encoded()


def test_originals_are_sound_and_hold_every_type_and_extension() -> None:
    messages = [wire.decode(packet) for packet in sound()]
    assert {message.type for message in messages} >= set(wire.MessageType)
    kinds = {
        extension.type
        for message in messages
        if isinstance(message, wire.Heartbeat)
        for extension in message.extensions
    }
    assert kinds >= set(wire.ExtensionType)
    assert {layout.is_light(packet) for packet in sound()} == {True, False}


def test_a_damaged_packet_follows_from_seed_and_number() -> None:
    first, again = (damage.make(SEED, number, THROWER, sound()) for number in (7, 7))
    assert first == again
    assert len({damage.make(SEED, number, THROWER, sound()).data for number in range(200)}) > 190


def test_every_kind_of_damage_is_done_and_most_of_it_goes_deep() -> None:
    found = [damage.make(SEED, number, THROWER, sound()) for number in range(2_000)]
    assert {kind for packet in found for kind in packet.kinds} >= set(damage.WAYS)
    deep = 0
    for packet in found:
        try:
            deep += len(wire.parse(packet.data)) == 1
        except PeerError:
            continue
    assert 500 < deep < 1_700, "neither all refused at the door nor all sound"


def test_no_damaged_packet_names_an_address_beyond_the_attack() -> None:
    for number in range(3_000):
        try:
            (packet,) = wire.parse(damage.make(SEED, number, THROWER, sound()).data)
        except (PeerError, ValueError):
            continue
        if not packet.is_light:
            for ip in (packet.myip, *(entry.ip for entry in packet.gossip)):
                assert not ip or ip.startswith("127.99."), ip


@pytest.mark.parametrize("name", damage.WAYS)
def test_damage_takes_a_packet_of_any_shape(name: str) -> None:
    """Kinds are combined: each meets what another one has left."""
    draw = Random(SEED)
    for length in (16, 17, 40, 2255, 2256, 2257, 2300, 2400):
        for packet in sound():
            cut = bytearray((packet * 2)[:length])
            damage.WAYS[name][1](draw, cut, THROWER)
            layout.ends_amid(bytes(cut))


def test_positions_follow_from_numbers_wherever_one_begins() -> None:
    whole = {number: position for position, block in blocks(range(2 * ROUND)) for number in block}
    assert set(whole) == set(range(2 * ROUND))
    for start in (1, 95, 96, ROUND - 1, ROUND + 5):
        for position, block in blocks(range(start, start + 50)):
            assert {whole[number] for number in block if number in whole} <= {position}


GOOD_LINE = "b" * 40 + " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-99"
OTHER_LINE = "c" * 40 + " 127.99.0.1:7000@17000,host,zone=a slave,fail? " + "b" * 40 + " 0 0 1 disconnected"


def test_a_sound_table_passes_the_watch() -> None:
    check_table(f"{GOOD_LINE}\n{OTHER_LINE}\n", "b" * 40)


@pytest.mark.parametrize(
    "text",
    [
        f"{GOOD_LINE}\n{GOOD_LINE}\n",
        f"{GOOD_LINE}\n{OTHER_LINE} 99-100\n",
        f"{GOOD_LINE}\n{OTHER_LINE.replace('host', 'ho st')}\n",
        f"{GOOD_LINE}\n{OTHER_LINE.replace('host', 'ho=st')}\n",
        f"{GOOD_LINE}\n{OTHER_LINE} 16384\n",
        f"{GOOD_LINE}\n{OTHER_LINE}\x01\n",
        f"{OTHER_LINE}\n",
        f"{GOOD_LINE.replace('b' * 40, 'd' * 40)}\n",
    ],
)
def test_the_watch_sees_a_table_that_is_not_well_formed(text: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check_table(text, "b" * 40)


def test_the_watch_sees_a_file_of_another_node(tmp_path: Path) -> None:
    path = tmp_path / "nodes.conf"
    path.write_text(f"{GOOD_LINE}\nvars currentEpoch 1 lastVoteEpoch 0\n")
    check_file(path, "b" * 40)
    with pytest.raises(AssertionError):
        check_file(path, "c" * 40)
