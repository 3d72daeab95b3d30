"""`make mutate`: throws damaged packets at a node with I/O workers and at one without, and prints what came of it.

Owns arguments, progress and the table at the end. Exit status 1 when something did not hold, with the command that does
it again.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.hostile.mutation import campaign, originals
from tests.hostile.mutation.damage import Thrower, make
from tests.hostile.mutation.positions import Outcome, Position, blocks

PACKETS = 100_000
IO_THREADS = (1, 3)
REFUSALS_SHOWN = 16


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutate", description="Throws damaged packets at running nodes.")
    parser.add_argument("packets", nargs="?", type=int, default=PACKETS, help="how many in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="what all packets follow from (default: drawn and printed)")
    parser.add_argument("--io-threads", type=int, choices=IO_THREADS, help="only the node with so many threads")
    parser.add_argument("--replay", metavar="FIRST[-LAST]", help="throws only the packets with these numbers")
    parser.add_argument("--show", metavar="NUMBER", type=int, help="prints one packet as hex, and throws nothing")
    return parser.parse_args()


def parts(wanted: argparse.Namespace) -> list[tuple[int, range]]:
    """The io-threads of each node and the numbers thrown at it."""
    if wanted.replay:
        first, _, last = wanted.replay.partition("-")
        numbers = range(int(first), int(last or first) + 1)
        return [(threads, numbers) for threads in IO_THREADS if wanted.io_threads in (None, threads)]
    if wanted.io_threads:
        return [(wanted.io_threads, range(wanted.packets))]
    half = wanted.packets // 2
    return [(IO_THREADS[0], range(half)), (IO_THREADS[1], range(half, wanted.packets))]


def show(seed: int, number: int) -> None:
    """Prints one packet. Ids and ports of who throws it are placeholders."""
    position = next(blocks(range(number, number + 1)))[0]
    sound = originals.light() if position is Position.LIGHT else originals.captured() + originals.encoded()
    if position in (Position.HANDSHAKE, Position.MET):
        sound = tuple(packet for packet in sound if len(packet) >= 2256)
    damaged = make(seed, number, Thrower("e" * 40, 7000, 17000, "0" * 40, ("a" * 40,)), sound)
    print(f"packet {number} of seed {seed}: {position}; {', '.join(damaged.kinds)}; {len(damaged.data)} bytes")
    print(damaged.data.hex(" ", 32).replace(" ", "\n"))


def table(reports: list[campaign.Report]) -> str:
    """What was thrown, and what was seen."""
    lines = [f"{'position':26} {'thrown':>8}" + "".join(f" {outcome.value:>12}" for outcome in Outcome)]
    tally: Counter[tuple[Position, Outcome]] = sum((report.attack.tally for report in reports), Counter())
    by_kind: Counter[tuple[str, Outcome]] = sum((report.attack.by_kind for report in reports), Counter())
    for position in Position:
        counts = [tally[position, outcome] for outcome in Outcome]
        lines.append(f"{position.value:26} {sum(counts):8}" + "".join(f" {count:12}" for count in counts))
    lines.append(f"\n{'damage':26} {'thrown':>8}" + "".join(f" {outcome.value:>12}" for outcome in Outcome))
    for kind in sorted({kind for kind, _ in by_kind}):
        counts = [by_kind[kind, outcome] for outcome in Outcome]
        lines.append(f"{kind:26} {sum(counts):8}" + "".join(f" {count:12}" for count in counts))
    rows = {
        "packets": [str(report.packets) for report in reports],
        "packets a second": [f"{report.packets / report.duration_s:.0f}" for report in reports],
        "looks": [str(report.watch.looks) for report in reports],
        "faults of ours": ["0" for _ in reports],
        "memory, first look, MiB": [f"{report.watch.memory_first_kib / 1024:.1f}" for report in reports],
        "memory, most, MiB": [f"{report.watch.memory_most_kib / 1024:.1f}" for report in reports],
        "descriptors, most": [str(report.watch.descriptors_most) for report in reports],
        "threads, most": [str(report.watch.threads_most) for report in reports],
        "nodes in the table, most": [str(report.watch.nodes_most) for report in reports],
        "forgotten by the operator": [str(report.watch.forgotten) for report in reports],
        "slowest answer, ms": [f"{report.watch.answer_worst_ms:.0f}" for report in reports],
        "restarts, same identity": ["2" for _ in reports],
    }
    lines.append("\n" + f"{'':26}" + "".join(f" io-threads {report.io_threads:<4}" for report in reports))
    lines += [f"{name:26}" + "".join(f" {value:>15}" for value in values) for name, values in rows.items()]
    refusals: Counter[str] = Counter()
    for report in reports:
        for name, value in report.watch.reached.items():
            if name.startswith(("cluster_refused_", "cluster_dropped_", "cluster_links_lost_")) and value != "0":
                refusals[name] += int(value)
    lines.append("\nthe counters that moved most:")
    lines += [f"  {name:44} {value}" for name, value in refusals.most_common(REFUSALS_SHOWN)]
    return "\n".join(lines)


def main() -> int:
    wanted = arguments()
    seed = random.SystemRandom().randrange(2**32) if wanted.seed is None else wanted.seed
    if wanted.show is not None:
        show(seed, wanted.show)
        return 0
    print(f"seed {seed}", flush=True)
    todo = parts(wanted)
    total, thrown, begun = sum(len(numbers) for _, numbers in todo), 0, time.monotonic()

    def progress(packets: int, _duration_s: float) -> None:
        nonlocal thrown
        thrown += packets
        rate = thrown / (time.monotonic() - begun)
        left_s = (total - thrown) / rate
        print(f"\r{thrown} of {total} packets, {rate:.0f} a second, {left_s:.0f} s left   ", end="", file=sys.stderr)

    reports = []
    folder = Path(tempfile.mkdtemp(prefix="mutate-"))
    for io_threads, numbers in todo:
        place = folder / str(io_threads)
        try:
            reports.append(campaign.run(place, seed=seed, numbers=numbers, io_threads=io_threads, progress=progress))
        except AssertionError as error:
            again = f"--seed {seed} --io-threads {io_threads} --replay {numbers.start}-{numbers.stop - 1}"
            print(f'\n{error}\nthe node\'s folder: {place}\nrepeat: make mutate MUTATE_ARGS="{again}"')
            return 1
    shutil.rmtree(folder)
    print(file=sys.stderr)
    print(table(reports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
