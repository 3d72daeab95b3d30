"""The process of `clusterbus node`: the log, signals, pid file and exit status around one node.

Owns everything that belongs to a whole process, and not to a node inside a user's program. Runs on the event loop's
thread, which is the main thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from clusterbus.config import Config
from clusterbus.errors import ClusterBusError, ConfigError
from clusterbus.member.member import Member
from clusterbus.runtime.log import ValkeyFormatter, close_log, logger, open_log, set_level
from clusterbus.runtime.node import EXIT_ERROR, AsyncioNode
from clusterbus.runtime.open_files import check_limit, raise_limit
from clusterbus.runtime.startup import opening
from clusterbus.runtime.supervision import Supervisor, run_detached, supervisor, tell_ready
from clusterbus.version import __version__


def run_node(config: Config) -> int:
    """Runs a node until SIGTERM, SIGINT or SHUTDOWN; returns the exit status of the process.

    If the node cannot start (port in use, damaged or locked nodes.conf, unreadable certificate), it logs one line with
    the reason, and the exit status is 1. With `daemonize` this returns 0 in the starting process as soon as the node
    serves in another; as in Valkey a supervisor keeps it in the foreground.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as valkey-server does: the end of a terminal is not the node's
    who = supervisor(config.supervised)
    if config.daemonize and who is Supervisor.NONE:
        log = config.path("logfile")
        hint = f"{log} says why" if log else "its log above says why"
        return run_detached(lambda leave_terminal: _run(config, leave_terminal), hint)
    return _run(config, lambda: tell_ready(who))


def _run(config: Config, on_ready: Callable[[], None]) -> int:
    lines = ValkeyFormatter()
    try:
        check_limit()
        handler = open_log(config.loglevel, config.path("logfile"), lines)
    except ConfigError as error:
        logger.error("%s", error)
        return EXIT_ERROR
    config.on_change(lambda changed, _names: set_level(changed.loglevel), "loglevel")
    try:
        raise_limit(config)
        with opening(), asyncio.Runner(loop_factory=event_loop_factory()) as runner:
            ended = runner.run(_serve(config, on_ready, lines))
    except ConfigError as error:
        logger.error("%s", error)
        return EXIT_ERROR
    finally:
        close_log(handler)
    if isinstance(ended, _Restart):
        ended.begin_again()
    return ended


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop if uvloop is installed, else None, which means asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(config: Config, on_ready: Callable[[], None], lines: ValkeyFormatter) -> int | _Restart:
    """The exit status, or what begins the process again."""
    node = AsyncioNode(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, node, number)
    logger.info("clusterbus is starting")
    logger.info("clusterbus version=%s, pid=%d, just started", __version__, os.getpid())
    await node.start()
    member = node.member
    lines.is_replica = lambda: member.state.myself.is_replica
    restart = _Restart(member)
    with _PidFile(config.path("pidfile")):
        _log_ready(member)
        on_ready()
        await node.stop_requested.wait()
        logger.info("Saving the cluster configuration file before exiting.")
        try:
            await node.stop()
        except (OSError, ClusterBusError) as error:
            logger.warning("nodes.conf could not be saved on exit: %s", error)
            return EXIT_ERROR
    if restart.delay_ms is not None:
        return restart
    logger.info("clusterbus is now ready to exit, bye bye...")
    return member.exit_code


class _Restart:
    """DEBUG RESTART: the node stops, then the process begins again with the same arguments (P43)."""

    def __init__(self, member: Member) -> None:
        self.delay_ms: int | None = None
        self._member = member
        member.on_restart_request = self._request

    def _request(self, delay_ms: int) -> None:
        self.delay_ms = delay_ms
        self._member.request_stop()

    def begin_again(self) -> NoReturn:
        """Replaces this process; it keeps its id. Everything that it had open is closed by then."""
        time.sleep((self.delay_ms or 0) / 1000)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _on_signal(node: AsyncioNode, number: signal.Signals) -> None:
    """The node goes as shutdown-on-sigterm or shutdown-on-sigint says. One that is still starting stops as soon as it
    has started: half of a start is never taken back.
    """
    logger.info("Received %s scheduling shutdown...", number.name)
    if not node.is_started:
        node.stop_requested.set()
        return
    config = node.config
    words = config.shutdown_on_sigterm if number == signal.SIGTERM else config.shutdown_on_sigint
    node.member.departure.begin(words)


def _log_ready(member: Member) -> None:
    config = member.config
    ports = [str(port) for port in (config.port, config.tls_port) if port]
    logger.info("Running mode=cluster, port=%s, bus port=%d.", "/".join(ports), config.bus_port)
    logger.info("Node %s, io-threads %d", member.state.myself.node_id, config.io_threads)
    logger.info("Ready to accept connections")


class _PidFile:
    """The file of the directive pidfile, which exists while the node runs. No file if `path` is empty."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None

    def __enter__(self) -> None:
        if self._path is not None:
            try:
                self._path.write_text(f"{os.getpid()}\n", encoding="ascii")
            except OSError as error:
                logger.warning("pidfile %s could not be written: %s", self._path, error.strerror)

    def __exit__(self, *_exception: object) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
