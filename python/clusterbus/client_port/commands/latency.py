"""LATENCY: spikes, the times of commands, and what to do about them.

Owns the handlers and their rows of the command table; the numbers are `observation`'s. Main thread. Source:
`latency.c`, and the answers of a running Valkey 9.1.2.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from clusterbus.client_port.arguments import text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.observation.command_stats import CommandRow
from clusterbus.client_port.observation.latency import LatencyEvent, LatencyMonitor, Spikes
from clusterbus.client_port.observation.observer import Observer
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import CommandError, Reply, Verbatim
from clusterbus.config import Config

NOT_DRAWN: Final = "no graphs are drawn here: LATENCY HISTORY has the samples"


def _monitor(client: Client) -> LatencyMonitor:
    observer: Observer = client.server.observer
    return observer.latency


def latest(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    """LATENCY LATEST: each event with time and length of its last spike, the worst, the sum and the number of all."""
    return [
        [event.value, *spikes.samples[-1], spikes.worst_ms, spikes.sum_ms, spikes.count]
        for event, spikes in _monitor(client).spikes.items()
    ]


def history(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """LATENCY HISTORY: the samples of an event."""
    spikes = _monitor(client).find(text_of(arguments[0]))
    return [list(sample) for sample in spikes.samples] if spikes is not None else []


def reset(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """LATENCY RESET: forgets events. The reply is how many."""
    return _monitor(client).reset([text_of(argument) for argument in arguments])


def histogram(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """LATENCY HISTOGRAM: of each command how many calls took at most so many microseconds. A container has them all."""
    observer: Observer = client.server.observer
    rows = observer.stats.rows
    if not arguments:
        return {name: _distribution(row) for name, row in rows.items() if row.times.count}
    names = [text_of(argument).lower() for argument in arguments]
    return {
        name: _distribution(row)
        for wanted in dict.fromkeys(names)
        for name, row in rows.items()
        if row.times.count and (name == wanted or name.startswith(f"{wanted}|"))
    }


def _distribution(row: CommandRow) -> Reply:
    return {"calls": row.times.count, "histogram_usec": row.times.cumulative_us()}


def graph(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """LATENCY GRAPH: refused."""
    event = text_of(arguments[0])
    if _monitor(client).find(event) is None:
        raise CommandError(f"No samples available for event '{event}'")
    raise CommandError(NOT_DRAWN)


def doctor(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    """LATENCY DOCTOR: the spikes in words, with advice."""
    return Verbatim("".join(f"{line}\n" for line in _report(_monitor(client), client.server.config)))


def _report(monitor: LatencyMonitor, config: Config) -> Iterator[str]:
    if not monitor.spikes:
        if monitor.threshold_ms:
            yield f"No command has taken {monitor.threshold_ms} milliseconds since the start or the last reset."
        else:
            yield "Spikes are not watched: set latency-monitor-threshold to a number of milliseconds first."
        return
    yield "There were spikes:"
    yield ""
    for number, (event, spikes) in enumerate(monitor.spikes.items(), 1):
        yield f"{number}. {event.value}: {_in_words(spikes)}"
    yield ""
    yield "What can be done:"
    yield ""
    threshold_us, slow_us = monitor.threshold_ms * 1_000, config.commandlog_execution_slower_than
    if slow_us < 0 or slow_us > threshold_us or not config.commandlog_slow_execution_max_len:
        yield f"- Set slowlog-log-slower-than to {threshold_us}, so that SLOWLOG names the commands of all spikes."
    if LatencyEvent.COMMAND in monitor.spikes:
        yield "- Look into SLOWLOG for the commands that take long. Their functions run on the main thread: what they"
        yield "  do at length belongs on a thread of its own."
    if LatencyEvent.FAST_COMMAND in monitor.spikes:
        yield "- Fast commands were slow, so the process did not get the processor. Look for other load on the machine"
        yield "  and for swapping; the bus needs the main thread too (INFO cpu)."


def _in_words(spikes: Spikes) -> str:
    return (
        f"{len(spikes.samples)} samples (average {spikes.average_ms()} ms, mean deviation {spikes.deviation_ms()} ms, "
        f"one every {spikes.period_s(int(time.time())):.2f} s). The worst of all took {spikes.worst_ms} ms."
    )


_FLAGS: Final = ("admin", "noscript", "loading", "stale")

LATENCY: Final = CommandSpec(
    "latency",
    None,
    -2,
    summary="Spikes, and the times of commands.",
    since="2.8.13",
    subcommands=(
        CommandSpec("doctor", doctor, 2, _FLAGS, "The spikes in words, with advice."),
        CommandSpec("graph", graph, 3, _FLAGS, "Refused: no graphs are drawn here.", "<event>"),
        CommandSpec(
            "histogram",
            histogram,
            -2,
            _FLAGS,
            "How many calls of commands took at most so many microseconds.",
            "[<command> ...]",
            since="7.0.0",
        ),
        CommandSpec("history", history, 3, _FLAGS, "The samples of an event: unix second, milliseconds.", "<event>"),
        CommandSpec("latest", latest, 2, _FLAGS, "The last spike of each event, and the worst."),
        CommandSpec("reset", reset, -2, _FLAGS, "Forgets the spikes of some events, or of all.", "[<event> ...]"),
    ),
)
