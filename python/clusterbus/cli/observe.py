"""`clusterbus observe`: joins a cluster as an observer, prints what happens, and leaves without a trace.

Owns the run: arguments, signals, the order of joining and leaving, the exit status. The way in and out is
`survey.observer`, the lines are `observe_lines`. Must never show a password. Main thread, with an event loop of its
own.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from clusterbus.cli.observe_lines import Lines
from clusterbus.cli.seed_arguments import EXIT_BAD_USAGE, Arguments, add_access, bus_tls, parsed
from clusterbus.cluster import events
from clusterbus.errors import ClusterBusError, ConfigError
from clusterbus.streams.event_stream import CLUSTER_KINDS
from clusterbus.survey.observer import JOIN_TIMEOUT_S, Observer

EXIT_LEFT: Final = 0
EXIT_STILL_KNOWN: Final = 1
EXIT_NOT_JOINED: Final = 3
EXIT_INTERRUPTED: Final = 130
TIMEOUT_MAX_S: Final = 86_400.0
SUMMARY: Final = """\
Joins a cluster as a member that only watches, prints what happens there until Ctrl-C or SIGTERM, and leaves.

It owns no slots, has no vote and changes no epoch; when it has left, no node knows it any more. A second Ctrl-C ends it
at once: then the others hold it failed until they are given CLUSTER FORGET. Exit status: 0 it has left without a trace,
1 somebody still knows it, 2 wrong usage, 3 it could not join.
"""
_UNSEEN: Final = (events.LinkUp, events.LinkDown)
"""They say what the observer's own connections do; --links shows them too."""


def main(arguments: Sequence[str]) -> int:
    """Runs the subcommand with the arguments of the command line; returns its exit status."""
    parser = Arguments("observe", SUMMARY)
    add_access(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object on each line")
    parser.add_argument("--links", action="store_true", help="show links that come up and end too")
    parser.add_argument("--port", type=int, default=0, help="client port to announce, the bus port is 10000 above it")
    parser.add_argument("--announce-ip", default="", metavar="IP", help="address at which the nodes reach this machine")
    parser.add_argument("--label", default="", help="the cluster's cluster-label")
    parser.add_argument("--node-timeout", type=int, metavar="MS", help="cluster-node-timeout, if no seed tells it")
    parser.add_argument("--timeout", type=_seconds, default=JOIN_TIMEOUT_S, metavar="SECONDS", help="to join in (30)")
    given, access = parsed(parser, arguments)
    logging.getLogger("clusterbus").addHandler(logging.NullHandler())
    try:
        observer = Observer(given.seeds, access, **_directives(given))
    except ConfigError as error:
        return _complain(str(error), EXIT_BAD_USAGE)
    try:
        return asyncio.run(_Run(observer, given).run())
    except ClusterBusError as error:
        return _complain(str(error), EXIT_NOT_JOINED)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _complain("ended at once; the others will hold this node failed", EXIT_INTERRUPTED)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= TIMEOUT_MAX_S:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds, above 0")
    return value


def _complain(text: str, status: int) -> int:
    print(f"clusterbus observe: {text}", file=sys.stderr)
    return status


def _directives(given: argparse.Namespace) -> dict[str, Any]:
    directives: dict[str, Any] = {
        "port": given.port,
        "cluster_announce_ip": given.announce_ip,
        "cluster_label": given.label,
        "cluster_node_timeout": given.node_timeout,
    }
    return directives | bus_tls(given)


class _Run:
    """One run: watches until the first signal, then leaves; a second signal ends it at once."""

    def __init__(self, observer: Observer, given: argparse.Namespace) -> None:
        self._observer = observer
        self._given = given
        self._ends = asyncio.Event()
        self._lines = Lines(as_json=given.json)
        self._has_joined = False

    async def run(self) -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def on_signal() -> None:
            if self._ends.is_set():
                task.cancel()
            self._ends.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        self._lines.start(lambda: loop.call_soon_threadsafe(self._ends.set))
        try:
            async with self._observer:
                return await self._watch_and_leave()
        finally:
            self._lines.close()

    async def _watch_and_leave(self) -> int:
        watch = asyncio.create_task(self._watch())
        stop = asyncio.create_task(self._ends.wait())
        try:
            await asyncio.wait((watch, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (watch, stop):
                task.cancel()
            await asyncio.gather(watch, stop, return_exceptions=True)
        status = await self._leave()
        if not watch.cancelled():
            watch.result()  # it could not join
        return status

    async def _watch(self) -> None:
        observer = self._observer
        await observer.join(self._given.timeout)
        bus = observer.bus
        self._has_joined = True
        self._lines.say("joined", f"joined as {bus.node_id}, which observes", node_id=bus.node_id)
        for seed, reason in observer.unheard.items():
            self._lines.say("not_seen", f"seed {seed} is not seen: {reason}", seed=seed, reason=reason)
        seen = bus.events(*(kind for kind in CLUSTER_KINDS if self._given.links or kind not in _UNSEEN))
        for node in sorted(bus.nodes.values(), key=lambda node: (node.shard_id, not node.is_primary, node.node_id)):
            if not node.is_myself:
                self._lines.member(node, observer.one_sided.get(node.node_id, ""))
        async for event in seen:
            self._lines.event(event, bus.nodes)

    async def _leave(self) -> int:
        node_id = self._observer.bus.node_id if self._has_joined else ""
        if self._has_joined:
            self._lines.say("leaving", "leaving", node_id=node_id)
        report = await self._observer.leave()
        if report is None:
            return EXIT_LEFT if self._has_joined else EXIT_NOT_JOINED
        for untold, reason in report.untold.items():
            self._lines.say("still_known", f"{untold} still knows this node: {reason}", node_id=untold, reason=reason)
        if report.untold:
            return EXIT_STILL_KNOWN
        self._lines.say("left", "left: nobody knows this node any more", node_id=node_id)
        return EXIT_LEFT
