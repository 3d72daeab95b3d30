"""`make bench-slots`: three nodes of each kind in turn, round after round; prints the table and what was missed."""

from __future__ import annotations

import argparse
import sys
import time

from moves.figures import Runs, missed, table
from moves.measure import Case, measure
from moves.nodes import NodeError

CASES = (Case("valkey", 0), Case("clusterbus", 0), Case("kv_node", 0), Case("valkey", 3), Case("kv_node", 3))
ROUNDS = 5
SLOTS = 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench-slots", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--slots", type=int, default=SLOTS, help="open slots that redis-cli has to mend")
    parser.add_argument("--only", help="kinds, such as valkey,kv_node")
    options = parser.parse_args()
    cases = [case for case in CASES if options.only is None or case.kind in options.only.split(",")]
    runs: Runs = {case: [] for case in cases}
    failures = 0
    for number in range(1, options.rounds + 1):
        for case in cases:
            begun = time.monotonic()
            try:
                runs[case].append(measure(case, options.slots))
            except NodeError as error:
                failures += 1
                runs[case].append({})
                print(f"round {number}, {case.name}: {error}", file=sys.stderr, flush=True)
                continue
            fix_s = runs[case][-1]["fix"] / 1000
            taken_s = time.monotonic() - begun
            print(f"round {number}, {case.name}: fix {fix_s:.2f} s, all {taken_s:.0f} s", file=sys.stderr, flush=True)
    print(table(runs))
    lines = missed(runs)
    if failures:
        lines.append(f"{failures} measurements failed")
    print("\n".join(lines) if lines else "all figures to reach are met")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
