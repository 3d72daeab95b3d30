"""`clusterbus simulate`: clusters in virtual time. It measures convergence, looks for broken rules, replays a seed.

Owns what the terminal shows: tables, histograms, progress, JSON. What happens to a simulated cluster, and the rules it
must keep, are in `clusterbus.sim`. One thread; `--seeds` uses one process for each core.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NoReturn

import click
from click.core import ParameterSource
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from clusterbus.errors import ClusterBusError
from clusterbus.sim import hostile
from clusterbus.sim.measure import Measurement, measure
from clusterbus.sim.runner import Summary, run_seeds
from clusterbus.sim.scenario import play, replay

HISTOGRAM_ROWS: Final = 10
HISTOGRAM_COLUMNS: Final = 40
FAILURES_SHOWN_MAX: Final = 10

EVENTS_SHOWN: Final = {
    "quiet heartbeats": "quiet heartbeats",
    "NodeJoined": "nodes joined",
    "NodeSuspected": "PFAIL",
    "NodeFailed": "FAIL",
    "NodeRecovered": "recovered",
    "StateChanged": "cluster state changed",
    "SlotsChanged": "slots changed",
    "EpochChanged": "config epoch changed",
    "RoleChanged": "role changed",
    "AddressChanged": "address changed",
    "LinkDown": "links lost",
    "dials failed": "dials failed",
    "deaths between effects": "deaths in the middle of a step",
    "saves failed": "saves failed",
    "ElectionStarted": "elections started",
    "votes": "votes given",
    "ElectionWon": "elections won",
    "ElectionLost": "elections lost",
    "WritesPaused": "writes paused",
}
"""Name of a counter of the simulation -> the words for it in the table."""


OPTIONS_OF_MODES: Final = {
    "": ("nodes", "seed", "fail", "replicas", "node_timeout", "as_json"),
    "seeds": ("seeds", "first_seed", "processes", "liar"),
    "replayed": ("replayed", "heartbeats", "liar"),
}
"""The option that chooses what is done, "" for none -> the options that have a meaning then."""
EXIT_INTERRUPTED: Final = 130


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
@click.option("--nodes", type=click.IntRange(2, 500), default=6, show_default=True, help="Size of the cluster.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same run.")
@click.option("--fail", type=click.IntRange(0), default=1, show_default=True, help="Nodes that crash together.")
@click.option("--replicas", type=click.IntRange(0), default=0, show_default=True, help="Replicas among the nodes.")
@click.option(
    "--node-timeout",
    type=click.IntRange(100),
    default=2000,
    show_default=True,
    help="cluster-node-timeout, ms.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the times as JSON.")
@click.option("--seeds", type=click.IntRange(1), help="Play that many clusters in trouble and check every rule.")
@click.option("--first-seed", type=int, default=0, show_default=True, help="The first seed of --seeds.")
@click.option("--processes", type=click.IntRange(1), help="Processes for --seeds; default: one for each core.")
@click.option("--replay", "replayed", type=int, metavar="SEED", help="Play one seed of --seeds and print its trace.")
@click.option("--liar", is_flag=True, help="One member of each cluster lies, with --seeds or --replay.")
@click.option("--heartbeats", is_flag=True, help="Show PING, PONG and debug lines in the trace.")
def simulate(
    context: click.Context,
    nodes: int,
    seed: int,
    fail: int,
    replicas: int,
    node_timeout: int,
    as_json: bool,
    seeds: int | None,
    first_seed: int,
    processes: int | None,
    replayed: int | None,
    liar: bool,
    heartbeats: bool,
) -> None:
    """Simulate whole clusters in virtual time, reproducibly from a seed.

    Without --seeds or --replay: measures how long a cluster of --nodes takes to form, to agree that --fail of them have
    failed, and to agree again after their restart. With --seeds: clusters of 5 to 12 nodes suffer crashes, partitions,
    loss, skewed clocks and more; the exit status is 1 if a rule of the protocol was broken. With --replay: plays one of
    those clusters and prints every event. With --liar in place of the other troubles: one member says what is not so,
    is expelled, lies on as a stranger, and is gone; the rules that do not rest on its word must hold, and the others
    must agree when an operator has mended what it did. An option that means nothing then is refused.
    """
    _refuse_options_of_other_modes(context)
    try:
        if replayed is not None:
            sys.exit(_replay(replayed, heartbeats=heartbeats, liar=liar))
        if seeds is not None:
            sys.exit(_play_many(range(first_seed, first_seed + seeds), processes, liar=liar))
        result = measure(nodes, seed, fail, node_timeout, replicas)
    except ClusterBusError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    if as_json:
        click.echo(json.dumps(result.as_dict()))
    else:
        click.echo(_story(result), nl=False)


def _refuse_options_of_other_modes(context: click.Context) -> None:
    given = [
        option
        for option in context.command.params
        if option.name is not None and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    mode = next((option for option in given if option.name in OPTIONS_OF_MODES), None)
    with_meaning = OPTIONS_OF_MODES[mode.name if mode is not None and mode.name is not None else ""]
    for option in given:
        if option.name not in with_meaning:
            where = f"with {mode.opts[0]}" if mode is not None else "without --seeds or --replay"
            raise click.UsageError(f"{option.opts[0]} means nothing {where}", context)


def main(arguments: Sequence[str]) -> NoReturn:
    """Runs the subcommand with the arguments of the command line and ends the process."""
    simulate.main(list(arguments), prog_name="clusterbus simulate")


# ---------------------------------------------------------------- measuring one cluster


def _story(result: Measurement) -> str:
    replicas = f" ({result.replicas} replicas)" if result.replicas else ""
    timeout = f"node timeout {result.node_timeout_ms:,} ms"
    lines = [
        f"{result.nodes} nodes{replicas}, seed {result.seed}, {timeout}; virtual time",
        "",
        f"all agree {result.agreed_ms:,.0f} ms after the first MEET",
        *histogram("a node knows all others", result.joined_ms),
    ]
    if result.fail:
        crashed = ", ".join(str(node) for node in result.crashed)
        lines += ["", f"power cut of node {crashed}"]
        lines += histogram("a survivor sees a dead node as PFAIL", result.suspected_ms)
        lines += histogram("a survivor sees a dead node as FAIL", result.failed_ms)
        if result.unseen:
            lines.append(f"FAIL not reached for {result.unseen} pairs: no majority of primaries was left")
        if result.replicas:
            lines += histogram("a replica is elected", result.elected_ms)
            served = f"again {result.served_ms:,.0f} ms after the power cut" if result.served_ms else "no more"
            lines.append(f"all slots are served {served}")
        if result.returned_ms is not None:
            lines += ["", f"all agree again {result.returned_ms:,.0f} ms after the restart"]
        else:
            lines += ["", "no agreement after the restart"]
    sent = ", ".join(f"{name} {count:,}" for name, count in result.messages.items())
    return "\n".join([*lines, "", f"messages sent: {sent}"]) + "\n"


def histogram(title: str, times_ms: Sequence[float]) -> list[str]:
    """Lines of text: the title with minimum, median and maximum, then one bar for each range of times."""
    if not times_ms:
        return [f"{title}: never"]
    low, high = min(times_ms), max(times_ms)
    lines = [f"{title}: {low:,.0f} / {median(times_ms):,.0f} / {high:,.0f} ms (min / median / max)"]
    if high - low < 1:
        return lines
    width = (high - low) / HISTOGRAM_ROWS
    counts = [0] * HISTOGRAM_ROWS
    for time_ms in times_ms:
        counts[min(int((time_ms - low) / width), HISTOGRAM_ROWS - 1)] += 1
    for row, count in enumerate(counts):
        bar = "#" * -(-count * HISTOGRAM_COLUMNS // max(counts))
        lines.append(f"  {low + row * width:>9,.0f} ms  {bar:<{HISTOGRAM_COLUMNS}} {count}")
    return lines


# ---------------------------------------------------------------- many clusters in trouble


def _play_many(seeds: range, processes: int | None, *, liar: bool) -> int:
    console = Console()
    summary = Summary()
    begun_s = time.monotonic()
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("clusters simulated", total=len(seeds))
        for outcome in run_seeds(seeds, processes=processes, play=hostile.play if liar else play):
            summary.add(outcome)
            progress.advance(task)
            if outcome.failure and summary.failed <= FAILURES_SHOWN_MAX:
                progress.console.print(f"[red]seed {outcome.seed}[/red]: {escape(outcome.failure)}")
                if outcome.traceback:
                    progress.console.print(outcome.traceback, markup=False, highlight=False)
                progress.console.print(f"repeat: {replay_command(outcome.seed, liar=liar)}", highlight=False)
    _print_summary(console, summary, time.monotonic() - begun_s, liar=liar)
    return 1 if summary.failed else 0


def replay_command(seed: int, *, liar: bool = False) -> str:
    """What to type to see one seed again, with the program as it was started."""
    program = sys.argv[0] if Path(sys.argv[0]).name == "clusterbus" else "clusterbus"
    return f"{program} simulate --replay {seed}{' --liar' if liar else ''}"


def _print_summary(console: Console, summary: Summary, took_s: float, *, liar: bool) -> None:
    table = Table(title="what happened", title_justify="left")
    table.add_column("")
    table.add_column("times", justify="right")
    for name, count in summary.faults.most_common():
        table.add_row(f"fault: {name}", f"{count:,}")
    table.add_section()
    for name, words in EVENTS_SHOWN.items():
        if summary.stats[name]:
            table.add_row(words, f"{summary.stats[name]:,}")
    console.print(table)
    sizes = f"{min(summary.nodes)} to {max(summary.nodes)}"
    lived = f"{summary.lived_ms / 3_600_000:.1f} hours in {took_s:.0f} s"
    lines = [f"{summary.played:,} clusters of {sizes} nodes lived {lived}"]
    for words, times_ms in (("formed", summary.formed_ms), ("agreed after the faults", summary.agreed_ms)):
        if times_ms:
            middle_s, longest_s = median(times_ms) / 1000, max(times_ms) / 1000
            lines.append(f"{words} within {middle_s:.1f} s (median), {longest_s:.1f} s (longest)")
    console.print("\n".join(lines), highlight=False)
    if summary.failed:
        console.print(f"[red]{summary.failed} of them broke a rule; the first:")
        console.print(f"  {replay_command(summary.failures[0].seed, liar=liar)}", highlight=False)
    else:
        console.print("[green]every rule held after every event")


def _replay(seed: int, *, heartbeats: bool, liar: bool) -> int:
    outcome = (hostile.replay if liar else replay)(seed, click.echo, heartbeats=heartbeats)
    click.echo()
    if outcome.failure:
        click.echo(f"seed {seed}: {outcome.failure}")
        click.echo(outcome.traceback, nl=False)
        return 1
    click.echo(f"seed {seed}: {outcome.nodes} nodes, {outcome.lived_ms:,.0f} ms: every rule held")
    return 0
