"""What memcheck watches: the extension's classes and functions, and two members of a cluster in one process.

Runs many times slower than elsewhere, so each thing is done a few times only. Raises what goes wrong.
"""

from __future__ import annotations

import contextlib
import gc
import tempfile
from pathlib import Path
from random import Random

import clusterbus
from clusterbus import wire
from clusterbus.errors import ConfigError, PeerError
from clusterbus.runtime.free_ports import reserve_pair

ROOT = Path(__file__).parent.parent
DAMAGED = 200
WAIT_S = 120.0


def packets() -> list[bytes]:
    """One captured packet of each type, length and set of flags."""
    seen: dict[tuple[int, int, int], bytes] = {}
    for capture in sorted((ROOT / "tests/data").glob("*.frames")):
        for packet in wire.parse(capture.read_bytes()):
            seen.setdefault((packet.type, len(packet), packet.flags), bytes(packet))
    return list(seen.values())


def read_and_write() -> None:
    """Parses, decodes and encodes sound and damaged packets, looks at every field, and keeps views of them."""
    draw = Random(1)
    sound = packets()
    views = []
    for data in sound:
        message = wire.decode(data)
        assert wire.encode(message) == data or message.type < 3
        (packet,) = wire.parse(data)
        views.append(memoryview(packet))
        assert bytes(views[-1]) == data
        for name in dir(packet):
            if not name.startswith("_") and name not in ("decode", "gossip_at"):
                getattr(packet, name)
        packet.gossip_at([0, 1, 99])
    for _ in range(DAMAGED):
        damaged = bytearray(draw.choice(sound))
        for _ in range(draw.randint(1, 8)):
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        with contextlib.suppress(PeerError):
            for packet in wire.parse(damaged):
                packet.decode()
                _ = packet.gossip, packet.extensions, packet.refused
    with contextlib.suppress(ConfigError):
        wire.Header(sender="no id")
    del views
    gc.collect()


def live(folder: Path, io_threads: int) -> None:
    """Two members meet, tell each other tags, publish; then one leaves."""
    (folder / "1").mkdir(parents=True)
    (folder / "2").mkdir()
    with reserve_pair() as one, reserve_pair() as other:
        ports = (one.port, other.port)
    with contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(
                clusterbus.BlockingBus(
                    port=port,
                    bind="127.0.0.1",
                    dir=str(folder / name),
                    cluster_node_timeout=60_000,
                    io_threads=io_threads,
                    thread=True,
                )
            )
            for name, port in zip("12", ports, strict=True)
        )
        first.meet("127.0.0.1", ports[1])
        for bus in (first, second):
            bus.wait_for_nodes(2, WAIT_S)
        second.set_tags({"a": "b"})
        first.wait_until(lambda: bool(first.nodes[second.node_id].tags), WAIT_S)
        first.publish("channel", b"message" * 1000)
        first.send(None, 1, 2, b"data")
        second.leave(WAIT_S)


if __name__ == "__main__":
    read_and_write()
    print("read and written")
    with tempfile.TemporaryDirectory() as place:
        for threads in (1, 3):
            live(Path(place) / str(threads), threads)
            print(f"lived with io-threads {threads}")
