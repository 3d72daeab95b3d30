"""The table: what was thrown, what was lost and why, and what was found; as Markdown and as JSON, with all samples."""

from __future__ import annotations

import csv
import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any, Final

from soak.checks.vitals import (
    DESCRIPTOR_SLOPE_MAX_PER_MIN,
    RSS_SLOPE_MAX_KIB_PER_MIN,
    RSS_SWING_MAX_MIB,
    THREAD_SLOPE_MAX_PER_MIN,
)
from soak.schedule import Fault
from soak.story import Outcome

JSON_FILE: Final = "soak.json"
TABLE_FILE: Final = "soak.md"
SAMPLES_FILE: Final = "samples.csv"


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def figures(outcome: Outcome) -> dict[str, Any]:
    """Everything that the table shows, as plain data."""
    sums = outcome.account
    done = Counter(done.planned.fault.value for done in outcome.done if not done.outcome.startswith(("no ", "another")))
    planned = Counter(done.planned.fault.value for done in outcome.done)
    return {
        "seed": outcome.seed,
        "seconds": round(outcome.ended_s - outcome.begun_s, 1),
        "interrupted": outcome.is_interrupted,
        "nodes": {part.name: part.kind.value for part in outcome.cast},
        "starts": outcome.starts,
        "faults": {fault.value: done[fault.value] for fault in Fault},
        "faults_without_target": sum(planned.values()) - sum(done.values()),
        "links_opened": outcome.links_opened,
        "links_ended": dict(sums.links_ended.most_common()),
        "subscriptions_ended": dict(sums.sessions_ended.most_common()),
        "published": sums.published,
        "unanswered": sums.unanswered,
        "expected": sums.expected,
        "delivered": sums.delivered,
        "explained": dict(sums.explained.most_common()),
        "unexplained": len(sums.unexplained),
        "doubles": sums.doubles,
        "disordered": sums.disordered,
        "latency_ms": {
            "p50": round(_percentile(sums.latencies_s, 0.5) * 1000, 1),
            "p99": round(_percentile(sums.latencies_s, 0.99) * 1000, 1),
            "max": round(_percentile(sums.latencies_s, 1.0) * 1000, 1),
        },
        "keys_kept": outcome.keys_kept,
        "slow_clients_ended": outcome.slow_clients_ended,
        "longest_double_owner_s": round(outcome.longest_double_owner_s, 1),
        "longest_until_whole_s": round(outcome.longest_until_whole_s, 1),
        "agreed_after_s": None if outcome.agreed_after_s is None else round(outcome.agreed_after_s, 1),
        "slopes": [
            {
                "node": one.node,
                "life_s": round(one.life_s),
                "rss_kib_per_min": round(one.rss_kib_per_min, 2),
                "descriptors_per_min": round(one.descriptors_per_min, 3),
                "threads_per_min": round(one.threads_per_min, 3),
            }
            for one in outcome.slopes
        ],
        "rss_mib": {
            node: round(statistics.median(s.rss_bytes for s in outcome.samples if s.node == node) / 2**20, 1)
            for node in dict.fromkeys(sample.node for sample in outcome.samples)
        },
        "refused": {
            node: {
                name: int(value) for name, value in info.items() if "refused" in name and value.isdigit() and int(value)
            }
            for node, info in outcome.counters.items()
        },
        "findings": outcome.findings,
    }


def table(outcome: Outcome) -> str:
    """The Markdown of it."""
    told = figures(outcome)
    verdict = "nothing was found" if not told["findings"] else f"{len(told['findings'])} findings"
    lines = [
        f"# Soak, seed {told['seed']}: {verdict}",
        "",
        f"{told['seconds']:.0f} s{', ended early' if told['interrupted'] else ''}; {len(told['nodes'])} nodes: "
        + ", ".join(f"{count} {kind}" for kind, count in Counter(told["nodes"].values()).items())
        + f"; {told['starts']} processes started, {told['links_opened']:,} links opened.",
        "",
        "| Fault | Times |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in told["faults"].items()),
        f"| all | {sum(told['faults'].values())} |",
        "",
        "| Messages | |",
        "|---|---|",
        f"| published | {told['published']:,} |",
        f"| of these without an answer, since the client's connection ended | {told['unanswered']} |",
        f"| to be delivered, to each subscriber that listened all the while | {told['expected']:,} |",
        f"| delivered | {told['delivered']:,} |",
        *(f"| lost by: {name} | {count} |" for name, count in told["explained"].items()),
        f"| lost without a reason | {told['unexplained']} |",
        f"| twice, out of order | {told['doubles']}, {told['disordered']} |",
        "| ms until delivered: median, 99 %, longest | {p50}, {p99}, {max} |".format(**told["latency_ms"]),
        "",
        "| Links ended by | Links |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in told["links_ended"].items()),
        "",
        "| Check | |",
        "|---|---|",
        f"| keys acknowledged, all there at the end unless listed below | {told['keys_kept']:,} |",
        f"| slot claimed by two nodes, longest | {told['longest_double_owner_s']} s |",
        f"| until all were of one mind after a fault, longest | {told['longest_until_whole_s']} s |",
        f"| until all were of one mind at the end | {told['agreed_after_s']} s |",
        f"| slow subscribers ended at their output limit | {told['slow_clients_ended']} |",
        "",
        "| Process | Life s | RSS MiB | RSS KiB/min | Descriptors/min | Threads/min |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one['node']} | {one['life_s']} | {told['rss_mib'][one['node']]} | {one['rss_kib_per_min']} "
            f"| {one['descriptors_per_min']} | {one['threads_per_min']} |"
            for one in told["slopes"]
        ),
        f"| most allowed | | | {RSS_SLOPE_MAX_KIB_PER_MIN:.0f}, or {RSS_SWING_MAX_MIB:.0f} MiB in all "
        f"| {DESCRIPTOR_SLOPE_MAX_PER_MIN} | {THREAD_SLOPE_MAX_PER_MIN} |",
        "",
        *(["Findings:", "", *(f"- {text}" for text in told["findings"])] if told["findings"] else ["No findings."]),
        "",
    ]
    return "\n".join(lines)


def write(outcome: Outcome, folder: Path) -> str:
    """Writes the files, and returns the table."""
    text = table(outcome)
    (folder / TABLE_FILE).write_text(text)
    with (folder / SAMPLES_FILE).open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["node", "pid", "at_s", "rss_bytes", "descriptors", "threads", "io_threads"])
        for one in outcome.samples:
            at_s = round(one.at_s - outcome.begun_s, 1)
            rows.writerow([one.node, one.pid, at_s, one.rss_bytes, one.descriptors, one.threads, one.io_threads])
    (folder / JSON_FILE).write_text(json.dumps(figures(outcome), indent=2) + "\n")
    return text
