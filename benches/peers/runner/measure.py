"""One measurement: a generator, a new server, their links, a warm-up, and the window that the generator measures.

Owns the processes, which it always stops by pid. Ports are free ones, and files go to a temporary folder.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.cluster_file import SERVER_IP, ClusterFile, make_cluster
from runner.errors import MeasurementError
from runner.loop_share import add_loop_share
from runner.nodes_table import wait_until_known
from runner.servers import Server, Start
from runner.workloads import Workload

START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 10.0
POLL_INTERVAL_S = 0.005
LOG_TAIL_LINES = 12
UPDATES_SHARE_MIN = 0.9

Window = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """The options that all measurements of a run share."""

    binaries: Path
    certificates: Path
    # A factor for the lengths of warm-ups and windows.
    scale: float


def measure(setup: Setup, workload: Workload, server: Server) -> list[Window] | None:
    """Runs `workload` once against `server`; returns None if the server is not installed.

    Otherwise returns the windows that the generator printed. The last window of a storm is that of the storm itself.
    """
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as name:
        folder = Path(name)
        cluster = make_cluster(workload.nodes)
        # The server rewrites its nodes.conf, so the generator reads a copy of the original.
        original = folder / "original"
        original.mkdir()
        nodes_conf = cluster.write(original)
        cluster.write(folder, addresses=workload.addresses)
        certificates = setup.certificates if workload.tls else None
        start = Start(cluster, folder, setup.binaries, certificates, workload.node_timeout_ms, workload.is_busy)
        words = server.start_words(start)
        if words is None:
            return None
        expect_file = folder / "expected"
        with _generator(setup, workload, server, cluster, nodes_conf, expect_file=expect_file) as load:
            _next_record(load, "listening")
            # A join is measured from the first moment of the server's process.
            joins = workload.mode == "join"
            with _server(words, folder, cluster, lambda pid: _go(load, pid) if joins else None) as process:
                if not joins:
                    _go(load, process.pid)
                windows = [_next_record(load, "window") for _ in range(workload.windows)]
                if workload.is_busy:
                    notes = (folder / "busy.log").read_text()
                    for window in windows:
                        add_loop_share(window, notes)
                if workload.news and server.is_node:
                    check_that_news_was_answered(windows[-1], workload.links)
                if workload.churn_every and server.is_node:
                    _next_record(load, "expected")
                    wait_until_known(cluster.port, expect_file.read_text())
                if workload.storm_links:
                    windows += _storm(setup, workload, server, cluster, nodes_conf, process.pid, load)
                return windows


def _storm(
    setup: Setup,
    workload: Workload,
    server: Server,
    cluster: ClusterFile,
    nodes_conf: Path,
    server_pid: int,
    calm: subprocess.Popen[str],
) -> list[Window]:
    """Makes connections as fast as the server accepts them while the generator `calm` goes on. Returns the window of
    `calm` and that of the storm.
    """
    with _generator(setup, workload, server, cluster, nodes_conf, storm=True) as storm:
        _next_record(storm, "listening")
        _go(storm, server_pid)
        during = _next_record(calm, "window")
        return [during, _next_record(storm, "window")]


def check_that_news_was_answered(window: Window, links: int) -> None:
    """A server that looks at each heartbeat answers each outdated claim with an UPDATE.

    Those in flight at the ends of the window may be counted on one side only. Raises MeasurementError.
    """
    in_flight = links * 2
    if window["updates"] < UPDATES_SHARE_MIN * window["pongs"] - in_flight:
        raise MeasurementError(f"{window['updates']} UPDATEs to {window['pongs']} outdated claims")


# ---------------------------------------------------------------- processes


@contextlib.contextmanager
def _generator(
    setup: Setup,
    workload: Workload,
    server: Server,
    cluster: ClusterFile,
    nodes_conf: Path,
    *,
    storm: bool = False,
    expect_file: Path | None = None,
) -> Iterator[subprocess.Popen[str]]:
    arguments = workload.generator_arguments(server.is_node and workload.addresses, setup.scale, storm=storm)
    arguments |= {"nodes-conf": str(nodes_conf), "client-port": str(cluster.port)}
    if workload.churn_every:
        arguments["expect-file"] = str(expect_file)
    if workload.tls:
        arguments["certificates"] = str(setup.certificates)
    words = [word for name, value in arguments.items() for word in (f"--{name}", value)]
    process = subprocess.Popen(
        [str(setup.binaries / "bus-load"), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with _stopped_at_the_end(process):
        yield process


@contextlib.contextmanager
def _server(
    words: list[str], folder: Path, cluster: ClusterFile, at_start: Callable[[int], None]
) -> Iterator[subprocess.Popen[bytes]]:
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    with _stopped_at_the_end(process):
        at_start(process.pid)
        deadline = time.monotonic() + START_DEADLINE_S
        while not _listens(cluster.bus_port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise MeasurementError(f"the server did not start\n{_tail(log_file)}")
            time.sleep(POLL_INTERVAL_S)
        try:
            yield process
        except MeasurementError as error:
            state = "runs" if process.poll() is None else f"ended with {process.returncode}"
            raise MeasurementError(f"{error}\nthe server {state}\n{_tail(log_file)}") from None


@contextlib.contextmanager
def _stopped_at_the_end(process: subprocess.Popen[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            # Nothing that it does at its end is needed, so it need not close thousands of links.
            process.kill()
        process.wait(STOP_DEADLINE_S)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _listens(port: int) -> bool:
    """Whether a process listens on the port. Does not connect: the server must see only the generator's links."""
    wanted = f"{int.from_bytes(socket.inet_aton(SERVER_IP), 'little'):08X}:{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(fields[1] == wanted and fields[3] == "0A" for fields in map(str.split, table))


def _go(load: subprocess.Popen[str], server_pid: int) -> None:
    assert load.stdin is not None
    load.stdin.write(f"{server_pid}\n")
    load.stdin.flush()


def _next_record(load: subprocess.Popen[str], kind: str) -> Window:
    """The next record of this kind; others are skipped."""
    assert load.stdout is not None
    assert load.stderr is not None
    for line in load.stdout:
        record: Window = json.loads(line)
        if record["record"] == kind:
            return record
    raise MeasurementError(load.stderr.read().strip() or "the load generator ended early")


def _tail(log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").splitlines()
    return "\n".join(lines[-LOG_TAIL_LINES:])
