"""A node on asyncio (or uvloop): the driver stepped by `Engine.fileno()`, ticks, RESP port, signals.

Owns the event loop's hooks and the order of starting and stopping. Must never block the loop (DEBUG SLEEP
does so on purpose) nor decide anything of the protocol. Main thread, which is the event loop's.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from clusterbus._core import __version__
from clusterbus.config import Config
from clusterbus.data_plane import DataPlane
from clusterbus.errors import ClusterBusError, ConfigError
from clusterbus.runtime.clock import Clock, TickSchedule
from clusterbus.runtime.commands import command_table
from clusterbus.runtime.driver import TICK_PERIOD_MS, Driver
from clusterbus.runtime.guarded_data_plane import GuardedDataPlane
from clusterbus.runtime.info import COMPATIBLE_VALKEY_VERSION, SERVER_NAME
from clusterbus.runtime.log import close_log, logger, open_log, set_level
from clusterbus.runtime.pubsub import PubSub
from clusterbus.runtime.resp import CommandSpec, Reply, RespServer
from clusterbus.runtime.startup import open_driver

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1


class Node:
    """One member of a cluster inside an asyncio event loop.

    `resp=False` leaves the client port closed: the bus alone runs. `start` raises ConfigError when the
    node cannot start, with everything it had opened closed again. `commands` are answered beside the node's own.
    """

    def __init__(
        self,
        config: Config,
        *,
        resp: bool = True,
        data_plane: DataPlane | None = None,
        commands: Iterable[CommandSpec] = (),
    ) -> None:
        self.config = config
        self.clock = Clock()
        self.data_plane = GuardedDataPlane(data_plane if data_plane is not None else DataPlane(), self.clock.now_ms)
        self._commands = tuple(commands)
        self.started_ms = self.clock.now_ms()
        self.run_id = secrets.token_hex(20)
        self.stop_requested = asyncio.Event()
        self.save_on_stop = True
        self.exit_code = EXIT_OK
        self._with_resp = resp
        self._driver: Driver | None = None
        self._pubsub: PubSub | None = None
        self._resp: RespServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._schedule: TickSchedule | None = None
        self._step_is_scheduled = False
        self._is_broken = False
        self.on_fault: Callable[[Exception], None] = lambda _error: None

    @property
    def driver(self) -> Driver:
        """The driver of a started node."""
        if self._driver is None:
            raise ClusterBusError("the node is not started")
        return self._driver

    @property
    def pubsub(self) -> PubSub:
        """The messages of a started node."""
        if self._pubsub is None:
            raise ClusterBusError("the node is not started")
        return self._pubsub

    @property
    def event_loop_name(self) -> str:
        """`uvloop` or `asyncio`."""
        return type(self._loop).__module__.partition(".")[0]

    def client_stats(self) -> dict[str, int]:
        """Counters of the client port by INFO's names; empty without one."""
        return self._resp.stats() if self._resp is not None else {}

    def reset_stats(self) -> None:
        """CONFIG RESETSTAT (R24)."""
        self.driver.reset_stats()
        if self._resp is not None:
            self._resp.reset_stats()

    def _greeting(self) -> dict[str, Reply]:
        """What HELLO says of the node."""
        is_replica = self.driver.state.myself.is_replica
        return {
            "server": SERVER_NAME,
            "version": COMPATIBLE_VALKEY_VERSION,
            "mode": "cluster",
            "role": "replica" if is_replica else "master",
        }

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Reads nodes.conf, opens the bus and the client port, and begins to tick. Raises ConfigError."""
        self._loop = asyncio.get_running_loop()
        self._driver = driver = open_driver(self.config, self.clock, self.data_plane)
        self._pubsub = PubSub(driver)
        self.data_plane.attach(driver)
        try:
            if self._with_resp:
                self._resp = RespServer(self, self.config, command_table(self._commands), greeting=self._greeting)
                await self._resp.start()
            _save_first(driver)
            self._loop.add_reader(driver.engine.fileno(), self._on_readable)
            self._schedule = TickSchedule(TICK_PERIOD_MS / 1000, self._loop.time())
            self._arm_tick()
            self._schedule_step()
        except BaseException:
            await self._close(save=False)
            raise

    async def stop(self) -> None:
        """Stops ticking, saves nodes.conf (unless told otherwise), closes every socket. Idempotent.

        Raises ClusterBusError when nodes.conf could not be saved; everything is closed then all the same.
        """
        await self._close(save=self.save_on_stop)

    async def _close(self, *, save: bool) -> None:
        driver, self._driver = self._driver, None
        if driver is None or self._loop is None:
            return
        self._stop_stepping(driver)
        try:
            if self._resp is not None:
                await self._resp.close()
        finally:
            driver.close(save=save)

    def _stop_stepping(self, driver: Driver) -> None:
        assert self._loop is not None
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._loop.remove_reader(driver.engine.fileno())

    def request_stop(self, *, save: bool = True, exit_code: int = EXIT_OK) -> None:
        """Asks whoever runs the node to stop it; returns at once."""
        self.save_on_stop = save
        self.exit_code = exit_code
        self.stop_requested.set()

    # ------------------------------------------------------------ the loop

    def settle(self) -> None:
        """Carries out what an operator's command asked of the state; every command ends with it.

        What is to be sent leaves at the end of the event loop's round, so that the commands of one read, or of
        many clients, share their system calls.
        """
        self.driver.carry_out()
        self._schedule_step()

    def _schedule_step(self) -> None:
        if not self._step_is_scheduled and self._loop is not None:
            self._step_is_scheduled = True
            self._loop.call_soon(self._run_scheduled_step)

    def _run_scheduled_step(self) -> None:
        self._step_is_scheduled = False
        self._step()

    def _on_readable(self) -> None:
        if not self._step_is_scheduled:  # otherwise that step does it
            self._step()

    def _step(self) -> None:
        if self._driver is None or self._is_broken:
            return
        try:
            more = self._driver.step(0)
        except Exception as error:
            self._fail("the main loop's step failed", error)
            return
        if more:
            self._schedule_step()

    def _on_tick(self) -> None:
        if self._driver is None or self._loop is None or self._schedule is None or self._is_broken:
            return
        if self._schedule.take(self._loop.time()):
            try:
                self._driver.tick()
            except Exception as error:
                self._fail("the main loop's tick failed", error)
                return
            self._schedule_step()
        self._arm_tick()

    def _arm_tick(self) -> None:
        assert self._loop is not None
        assert self._schedule is not None
        self._tick_timer = self._loop.call_at(self._schedule.next_s, self._on_tick)

    def _fail(self, what: str, error: Exception) -> None:
        """Our own fault, not a peer's: the node says so, once, and steps no more rather than run half broken."""
        logger.error("%s; the node stops", what, exc_info=error)
        self._is_broken = True
        if self._driver is not None:
            self._stop_stepping(self._driver)
        self.request_stop(exit_code=EXIT_ERROR)
        self.on_fault(error)


def _save_first(driver: Driver) -> None:
    """A node whose nodes.conf cannot be written must not start: it would come back as somebody else."""
    try:
        driver.save()
    except ClusterBusError as error:
        raise ConfigError(str(error)) from error


# ---------------------------------------------------------------- the process


def run_node(config: Config) -> int:
    """Runs a node until SIGTERM, SIGINT or SHUTDOWN; returns the exit status of the process.

    A node that cannot start (port in use, damaged or locked nodes.conf, unreadable certificate) logs one
    line saying why and gives 1.
    """
    try:
        handler = open_log(config.loglevel, config.path("logfile"))
    except ConfigError as error:
        logger.error("%s", error)
        return EXIT_ERROR
    config.on_change(lambda changed, _names: set_level(changed.loglevel), "loglevel")
    try:
        with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
            return runner.run(_serve(config))
    except ConfigError as error:
        logger.error("%s", error)
        return EXIT_ERROR
    finally:
        close_log(handler)


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop when it is installed, None (asyncio's own) otherwise."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(config: Config) -> int:
    node = Node(config)
    logger.info("clusterbus is starting")
    logger.info("clusterbus version=%s, pid=%d, just started", __version__, os.getpid())
    await node.start()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, node, number)
    _log_ready(node)
    with _PidFile(config.path("pidfile")):
        await node.stop_requested.wait()
        logger.info("Saving the cluster configuration file before exiting.")
        try:
            await node.stop()
        except (OSError, ClusterBusError) as error:
            logger.warning("nodes.conf could not be saved on exit: %s", error)
            return EXIT_ERROR
    logger.info("clusterbus is now ready to exit, bye bye...")
    return node.exit_code


def _on_signal(node: Node, number: signal.Signals) -> None:
    logger.info("Received %s scheduling shutdown...", number.name)
    node.request_stop()


def _log_ready(node: Node) -> None:
    config = node.config
    ports = [str(port) for port in (config.port, config.tls_port) if port]
    logger.info("Running mode=cluster, port=%s, bus port=%d.", "/".join(ports), config.bus_port)
    logger.info("Node %s, io-threads %d", node.driver.state.myself.node_id, config.io_threads)
    logger.info("Ready to accept connections")


class _PidFile:
    """The file of the directive pidfile, there while the node runs; nothing when `path` is empty."""

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
