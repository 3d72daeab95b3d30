"""`clusterbus demo`: six nodes over mutual TLS join, lose one, agree that it failed, and get it back.

Owns the steps of the demo and what the terminal shows of them; `demo_nodes` owns the processes. Must never show
anything that the nodes did not answer on their client ports. One thread, under a minute.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from clusterbus.cli.demo_nodes import (
    IO_THREADS,
    NODE_TIMEOUT_MS,
    Certificates,
    DemoError,
    DemoNode,
    stop_all,
)
from clusterbus.wire import CLUSTER_SLOTS

NODE_COUNT: Final = 6
PRIMARY_COUNT: Final = 3
STEP_DEADLINE_S: Final = 20.0
LOOK_PERIOD_S: Final = 0.2
CALM_PACKETS: Final = 60

COUNTERS: Final = {
    "reads": "cluster_threaded_reads_processed",
    "writes": "cluster_threaded_writes_processed",
    "accepts": "cluster_threaded_accepts_processed",
    "fallbacks": "cluster_io_main_thread_fallbacks",
}
"""Column of the table -> the counter of INFO that it shows."""


@dataclass
class Look:
    """What one node answered when it was last asked."""

    reachable: bool = False
    state: str = "-"
    links: int = 0
    slots: int = 0
    received: int = 0
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    members: dict[str, frozenset[str]] = field(default_factory=dict)
    """Node id -> its flags, with `connected` among them if the link to it is up."""


class Story:
    """The nodes, the last answers of each, and the lines of the story so far."""

    def __init__(self, console: Console, nodes: list[DemoNode]) -> None:
        self.console = console
        self.nodes = nodes
        self.looks = {node.name: Look() for node in nodes}
        self.lines: list[str] = []
        self.live: Live | None = None
        self._begun_s = time.monotonic()

    # ------------------------------------------------------------ looking

    def look(self) -> None:
        """Asks every running node again and shows the answers."""
        for node in self.nodes:
            self.looks[node.name] = _ask(node) if node.is_running else Look()
        if self.live is not None:
            self.live.update(self.picture(), refresh=True)

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Looks again and again until the condition holds. Raises DemoError at the deadline."""
        deadline = time.monotonic() + STEP_DEADLINE_S
        while True:
            self.look()
            if condition():
                return
            if time.monotonic() > deadline:
                raise DemoError(f"not within {STEP_DEADLINE_S:.0f} s: {what}")
            time.sleep(LOOK_PERIOD_S)

    def say(self, text: str) -> None:
        """Adds one line to the story, with the seconds since the start."""
        line = f"{time.monotonic() - self._begun_s:5.1f} s  {text}"
        self.lines.append(line)
        if self.live is None:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            self.live.update(self.picture(), refresh=True)

    # ------------------------------------------------------------ judging

    def running(self) -> list[DemoNode]:
        return [node for node in self.nodes if node.is_running]

    def count_flagged(self, node: DemoNode, flag: str) -> int:
        """How many of the other running nodes have the flag `fail?` (PFAIL) or `fail` on `node`."""
        return sum(
            flag in self.looks[other.name].members.get(node.node_id, frozenset())
            for other in self.running()
            if other is not node
        )

    def all_know_all(self) -> bool:
        ids = {node.node_id for node in self.nodes}
        return all(
            set(look.members) == ids and all(_is_well(flags) for flags in look.members.values())
            for look in self.looks.values()
        )

    def all_are_ok(self) -> bool:
        return all(look.state == "ok" for look in self.looks.values())

    def opinion(self, node: DemoNode) -> tuple[str, str]:
        """What the other nodes think of a node, and the colour to show it in."""
        others = len(self.running()) - node.is_running
        failed, suspected = self.count_flagged(node, "fail"), self.count_flagged(node, "fail?")
        if failed:
            return f"FAIL ({failed} of {others})", "red"
        if suspected:
            return f"PFAIL ({suspected} of {others})", "yellow"
        if not node.is_running:
            return "down", "yellow"
        if not self.looks[node.name].reachable:
            return "starting", "dim"
        return ("ok", "green") if len(self.looks[node.name].members) == len(self.nodes) else ("alone", "dim")

    # ------------------------------------------------------------ showing

    def rows(self) -> Iterator[tuple[list[str], str]]:
        for node in self.nodes:
            look = self.looks[node.name]
            role = "primary" if look.slots else "member"
            opinion, colour = self.opinion(node)
            figures = [look.slots, look.links, *look.counters.values()]
            yield [node.name, role, opinion, look.state, *map(str, figures)], colour

    def picture(self) -> Group:
        """What a terminal shows: the table of nodes, and below it the story so far."""
        # Padding and columns are chosen so that the table fits 80 columns.
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
        for column in ("node", "role", "seen as", "state"):
            table.add_column(column, no_wrap=True)
        for column in ("slots", "links", *COUNTERS):
            table.add_column(column, justify="right", no_wrap=True)
        for cells, colour in self.rows():
            table.add_row(*cells[:2], Text(cells[2], style=colour), *cells[3:])
        return Group(table, *(Text(line) for line in self.lines))


def _is_well(flags: frozenset[str]) -> bool:
    return "connected" in flags and not flags & {"fail", "fail?", "handshake", "noaddr"}


def _ask(node: DemoNode) -> Look:
    try:
        lines = node.call("CLUSTER", "NODES").splitlines()
        text = node.call("INFO") + "\n" + node.call("CLUSTER", "INFO")
        links = len(node.call("CLUSTER", "LINKS"))
    except OSError:
        return Look()
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    members = {}
    slots = 0
    for words in (line.split() for line in lines):
        flags = frozenset(words[2].split(",") + ([words[7]] if words[7] == "connected" else []))
        members[words[0]] = flags
        if "myself" in flags:
            slots = sum(_width(word) for word in words[8:])
    return Look(
        reachable=True,
        state=info["cluster_state"],
        links=links,
        slots=slots,
        received=int(info["cluster_stats_messages_received"]),
        counters={column: int(info[name]) for column, name in COUNTERS.items()},
        members=members,
    )


def _width(slots: str) -> int:
    """The number of slots in a range such as `0-5461` or `7`."""
    first, _, last = slots.partition("-")
    return int(last or first) - int(first) + 1


# ---------------------------------------------------------------- the story


def _start(story: Story) -> None:
    for node in story.nodes:
        node.spawn()
    for node in story.nodes:
        node.wait_ready()
        story.look()
    story.say(f"{NODE_COUNT} nodes are up, io-threads {IO_THREADS}, mutual TLS, fresh certificates")


def _join(story: Story) -> None:
    first, *others = story.nodes
    for index, node in enumerate(story.nodes[:PRIMARY_COUNT]):
        lowest = CLUSTER_SLOTS * index // PRIMARY_COUNT
        highest = CLUSTER_SLOTS * (index + 1) // PRIMARY_COUNT - 1
        node.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        node.call("CLUSTER", "ADDSLOTSRANGE", lowest, highest)
    for node in others:
        first.call("CLUSTER", "MEET", "127.0.0.1", node.port)
    story.wait("every node lists every node as connected", story.all_know_all)
    story.say(f"every node lists all {NODE_COUNT} as connected; {PRIMARY_COUNT} own all the slots")
    story.wait("the cluster state is ok everywhere", story.all_are_ok)
    story.say("the cluster state is ok on every node")


def _be_calm(story: Story) -> None:
    least = {name: look.received + CALM_PACKETS for name, look in story.looks.items()}
    story.wait(
        "heartbeats go round",
        lambda: all(look.received >= least[name] for name, look in story.looks.items()),
    )
    work = {column: sum(look.counters[column] for look in story.looks.values()) for column in COUNTERS}
    story.say(
        f"calm: {work['reads']} reads, {work['writes']} writes, {work['accepts']} TLS accepts on workers; "
        f"{work['fallbacks']} fallbacks to the main thread"
    )


def _lose_one(story: Story, victim: DemoNode) -> None:
    victim.kill()
    story.look()
    killed_s = time.monotonic()
    others = len(story.running())
    story.say(f"{victim.name} is killed (SIGKILL); cluster-node-timeout is {NODE_TIMEOUT_MS} ms")
    story.wait(f"a node suspects {victim.name}", lambda: story.opinion(victim)[0] != "down")
    story.say(f"{victim.name} is seen as {story.opinion(victim)[0]}")
    story.wait(f"all agree that {victim.name} failed", lambda: story.count_flagged(victim, "fail") == others)
    story.say(f"{victim.name} is FAIL on all {others} nodes, {time.monotonic() - killed_s:.1f} s after its end")


def _bring_back(story: Story, victim: DemoNode) -> None:
    old_id = victim.node_id
    victim.spawn()
    victim.wait_ready()
    if victim.node_id != old_id:
        raise DemoError(f"{victim.name} came back with another id")
    story.say(f"{victim.name} is started again from its nodes.conf, with the id it had")
    story.wait(f"{victim.name} is a member again", lambda: story.all_know_all() and story.all_are_ok())
    story.say(f"every node lists all {NODE_COUNT} as connected again, and is ok")


def _tell(story: Story) -> None:
    _start(story)
    _join(story)
    _be_calm(story)
    _lose_one(story, story.nodes[-1])
    _bring_back(story, story.nodes[-1])


def _print_table(story: Story) -> None:
    """The table as plain lines, for output that is not a terminal."""
    rows = [["node", "role", "seen as", "state", "slots", "links", *COUNTERS]]
    rows += [cells for cells, _ in story.rows()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        story.console.print("  ".join(cells).rstrip(), markup=False, highlight=False, soft_wrap=True)


def _finish(story: Story) -> int:
    """Stops all nodes and reports it; returns 0 if every one of them saved its state and ended with status 0."""
    statuses = stop_all(story.nodes)
    ended = sum(status == 0 for status in statuses)
    story.say(f"{ended} of {len(statuses)} nodes saved nodes.conf and ended with 0")
    return 0 if ended == len(statuses) else 1


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Makes SIGTERM end the demo as Ctrl-C does: the nodes are stopped first."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_demo(console: Console) -> int:
    """Runs the demo on `console`: a live table on a terminal, plain lines elsewhere.

    Returns the exit status: 0, 1 if something did not happen in time or a node ended badly, 130 after Ctrl-C. Every
    process is stopped in any case.
    """
    with tempfile.TemporaryDirectory(prefix="clusterbus-demo-") as name, _terminate_as_interrupt():
        folder = Path(name)
        nodes: list[DemoNode] = []
        try:
            certificates = Certificates.generate(folder)
            nodes += [DemoNode(f"n{n}", folder / f"n{n}", certificates) for n in range(1, NODE_COUNT + 1)]
            story = Story(console, nodes)
            if not console.is_terminal:
                _tell(story)
                _print_table(story)
                return _finish(story)
            with Live(story.picture(), console=console, auto_refresh=False) as live:
                story.live = live
                _tell(story)
            story.live = None
            return _finish(story)
        except DemoError as error:
            console.print(f"demo failed: {error}", markup=False, highlight=False)
            return 1
        except KeyboardInterrupt:
            console.print("interrupted; stopping the nodes")
            return 130
        finally:
            stop_all(nodes)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def demo() -> None:
    """Six nodes lose one and get it back."""
    raise SystemExit(run_demo(Console()))


def main(arguments: Sequence[str]) -> NoReturn:
    """Runs the subcommand with the arguments of the command line and ends the process."""
    demo.main(list(arguments), prog_name="clusterbus demo")
