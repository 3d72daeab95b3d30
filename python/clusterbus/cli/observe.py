"""`clusterbus observe`: joins a cluster as an observer, prints what happens, and leaves without a trace.

Owns the run: arguments, the folder that goes with it, the lines, the order of joining and leaving, the exit status.
Must never own, vote or stand (`cluster-observer yes` sees to it), nor show a password. Main thread, with an event loop
of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from clusterbus.bus.bus import Bus
from clusterbus.cli.seed_arguments import Arguments, add_access, parsed
from clusterbus.cluster import events
from clusterbus.errors import ClusterBusError
from clusterbus.streams.event_stream import CLUSTER_KINDS
from clusterbus.streams.snapshots import NodeView
from clusterbus.survey.access import Access

EXIT_LEFT: Final = 0
EXIT_STILL_KNOWN: Final = 1
EXIT_NOT_JOINED: Final = 3
EXIT_INTERRUPTED: Final = 130
JOIN_TIMEOUT_S: Final = 30.0
LEAVE_TIMEOUT_S: Final = 10.0
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
    parser.add_argument("--timeout", type=float, default=JOIN_TIMEOUT_S, metavar="SECONDS", help="to join in (30)")
    given, access = parsed(parser, arguments)
    logging.getLogger("clusterbus").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(prefix="clusterbus-observe-") as folder:
        try:
            bus = Bus(resp=False, **_directives(given, access, folder))
            return asyncio.run(_observe(bus, given))
        except ClusterBusError as error:
            print(f"clusterbus observe: {error}", file=sys.stderr)
            return EXIT_NOT_JOINED
        except KeyboardInterrupt:
            print("clusterbus observe: ended at once; the others will hold this node failed", file=sys.stderr)
            return EXIT_INTERRUPTED


def _directives(given: argparse.Namespace, access: Access, folder: str) -> dict[str, Any]:
    directives: dict[str, Any] = {
        "port": given.port,
        "dir": folder,
        "cluster_observer": True,
        "cluster_announce_ip": given.announce_ip,
        "cluster_label": given.label,
        "primaryauth": access.password,
        "primaryuser": access.user,
    }
    if given.tls:
        directives |= {
            "tls_cluster": True,
            "tls_cert_file": given.cert,
            "tls_key_file": given.key,
            "tls_ca_cert_file": given.cacert,
            "tls_ca_cert_dir": given.cacertdir,
        }
    return {name: value for name, value in directives.items() if value != ""}


async def _observe(bus: Bus, given: argparse.Namespace) -> int:
    """Watches until the first signal, then leaves; a second one ends it at once."""
    loop, main_task = asyncio.get_running_loop(), asyncio.current_task()
    assert main_task is not None
    ends = asyncio.Event()

    def on_signal() -> None:
        if ends.is_set():
            main_task.cancel()
        ends.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    lines = Lines(as_json=given.json)
    kinds = [kind for kind in CLUSTER_KINDS if given.links or kind not in _UNSEEN]
    try:
        async with bus:
            seen = bus.events(*kinds)
            watch = asyncio.create_task(_watch(bus, seen, given, lines))
            stop = asyncio.create_task(ends.wait())
            try:
                await asyncio.wait((watch, stop), return_when=asyncio.FIRST_COMPLETED)
                if watch.done():
                    watch.result()
            finally:
                for task in (watch, stop):
                    task.cancel()
                await asyncio.gather(watch, stop, return_exceptions=True)
            return await _leave(bus, lines)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _watch(bus: Bus, seen: Any, given: argparse.Namespace, lines: Lines) -> None:
    await bus.join(given.seeds, timeout_s=given.timeout)
    lines.say("joined", f"joined as {bus.node_id}, which observes", node_id=bus.node_id)
    async for event in seen:
        lines.event(event, bus.nodes)


async def _leave(bus: Bus, lines: Lines) -> int:
    node_id = bus.node_id
    lines.say("leaving", "leaving", node_id=node_id)
    report = await bus.leave(timeout_s=LEAVE_TIMEOUT_S)
    for untold, reason in report.untold.items():
        lines.say("still_known", f"{untold} still knows this node: {reason}", node_id=untold, reason=reason)
    if report.untold:
        return EXIT_STILL_KNOWN
    lines.say("left", "left: nobody knows this node any more", node_id=node_id)
    return EXIT_LEFT


class Lines:
    """What happens, a line each on stdout: for people, or as JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def say(self, kind: str, text: str, **fields: object) -> None:
        """Something about the observer itself."""
        self._print(kind, text, fields)

    def event(self, event: object, nodes: dict[str, NodeView]) -> None:
        """Something in the cluster. A node is shown by its address too, where that is known."""
        fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}  # type: ignore[arg-type]
        words = " ".join(f"{name}={shown(value, nodes)}" for name, value in fields.items())
        self._print(type(event).__name__, f"{type(event).__name__:<16} {words}", fields)

    def _print(self, kind: str, text: str, fields: dict[str, Any]) -> None:
        now_s = time.time()
        if self._as_json:
            text = json.dumps({"at_ms": int(now_s * 1e3), "kind": kind, **fields}, default=str)
        else:
            clock = time.strftime("%H:%M:%S", time.localtime(now_s))
            text = f"{clock}.{int(now_s * 1e3) % 1_000:03} {text}"
        print(text, flush=True)


def shown(value: object, nodes: dict[str, NodeView]) -> str:
    """One field for people: a node's id short and with its address, ranges of slots as CLUSTER NODES has them."""
    if isinstance(value, str) and (node := nodes.get(value)) is not None:
        return f"{value[:8]}@{node.ip}:{node.port}"
    if isinstance(value, tuple):
        return ",".join(_ranges(value)) or "-"
    return "-" if value in (None, "") else str(value)


def _ranges(pairs: Sequence[tuple[int, int]]) -> Iterator[str]:
    for first, last in pairs:
        yield str(first) if first == last else f"{first}-{last}"
