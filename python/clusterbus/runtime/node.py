"""A member on asyncio (or uvloop): steps of the driver, ticks, and the client port.

Owns the callbacks on the event loop and the order of starting and stopping. A step runs when `Engine.fileno()` is
readable, after a tick, or when something was queued. Must never block the event loop (DEBUG SLEEP does so on purpose)
nor decide anything of the protocol. Runs on the event loop's thread, which is the main thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from clusterbus._core import Engine
from clusterbus.client_port.commands import command_table
from clusterbus.client_port.info import greeting
from clusterbus.client_port.registry import CommandSpec, Registry
from clusterbus.client_port.server import RespServer
from clusterbus.config import Config
from clusterbus.config.listening import PortInUseError
from clusterbus.data_plane import DataPlane
from clusterbus.errors import ClusterBusError, ConfigError, StateError
from clusterbus.member.driver import FLUSH_AT_CLOSE_MAX_MS, TICK_PERIOD_MS
from clusterbus.member.member import Member
from clusterbus.runtime.free_ports import openings
from clusterbus.runtime.log import logger
from clusterbus.runtime.open_files import files_for_clients
from clusterbus.runtime.startup import open_member, opening
from clusterbus.runtime.ticks import ticks_of

if TYPE_CHECKING:
    from clusterbus.web.server import WebServer  # needs aiohttp, which most nodes do without

EXIT_ERROR: Final = 1
FLUSH_PAUSE_S: Final = 0.002


class AsyncioNode:
    """A member inside an asyncio event loop.

    With `resp=False` the client port stays closed and only the bus runs. `commands` are answered beside the node's own.
    If `start` raises ConfigError, everything that it had opened is closed again.
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
        self.stop_requested = asyncio.Event()
        self._data_plane = data_plane
        self._commands = tuple(commands)
        self._with_resp = resp
        self._member: Member | None = None
        self._engine: Engine | None = None
        self._resp: RespServer | None = None
        self._web: WebServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_ticking: Callable[[], None] | None = None
        self._step_is_scheduled = False
        self._is_broken = False
        self._life = asyncio.Lock()
        """Held by a start and by a stop, so that neither sees half of the other."""
        self._is_stopping = False
        self.on_fault: Callable[[Exception], None] = lambda _error: None
        self.on_step: Callable[[], None] = lambda: None
        """Called after each step and each tick."""

    @property
    def member(self) -> Member:
        """The member of a started node."""
        if self._member is None:
            raise ClusterBusError("the node is not started")
        return self._member

    @property
    def is_started(self) -> bool:
        """Whether the node has begun to serve, and has not been stopped."""
        return self._stop_ticking is not None and self._member is not None

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Reads nodes.conf, opens the bus and the client port, and starts to tick.

        Raises ConfigError, and StateError if `stop` was called meanwhile; everything is closed again then.
        """
        async with self._life:
            with opening():
                await self._start_on_free_ports()
            if self._is_stopping:
                await self._close(save=False)
                raise StateError("the node was stopped while it started")

    async def _start_on_free_ports(self) -> None:
        for ports, is_last in openings(self.config):
            with ports:
                try:
                    await self._start()
                    return
                except PortInUseError:
                    if is_last:
                        raise

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._member, self._engine = member, engine = open_member(self.config, self._data_plane)
        member.event_loop_name = type(self._loop).__module__.partition(".")[0]
        member.schedule_step = self._schedule_step
        member.topology.schedule = self._loop.call_soon
        member.on_stop_request = self.stop_requested.set
        try:
            if self._with_resp:
                member.keeps_data = member.keeps_data or any(spec.has_keys for spec in self._commands)
                commands = command_table(self._commands)
                _rename(commands, self.config)
                self._resp = RespServer(
                    member,
                    self.config,
                    commands,
                    greeting=lambda: greeting(member),
                    certificates=member.certificates,
                    files_max=lambda: files_for_clients(member),
                )
                await self._resp.start()
                member.client_port = self._resp
                member.listen(self._resp.on_event)
            if self.config.metrics_port:
                self._web = _web_server(member, self.config)
                await self._web.start()
            _save_first(member)
            self._loop.add_reader(engine.fileno(), self._on_readable)
            self._stop_ticking = ticks_of(self._loop, TICK_PERIOD_MS / 1000).add(self._on_tick)
            self._schedule_step()
        except BaseException:
            await self._close(save=False)
            raise

    async def stop(self) -> None:
        """Stops ticking, saves nodes.conf (except after SHUTDOWN NOSAVE), closes every socket. Idempotent. A start that
        is under way is ended first.

        Raises ClusterBusError if nodes.conf could not be saved; everything is closed nevertheless.
        """
        self._is_stopping = True
        try:
            async with self._life:
                await self._close(save=self._member is not None and self._member.save_on_stop)
        finally:
            self._is_stopping = False

    async def _close(self, *, save: bool) -> None:
        try:
            if save:
                await self._send_rest()
        finally:
            member, self._member = self._member, None
            if member is not None:
                self._stop_stepping()
                try:
                    if self._web is not None:
                        await self._web.close()
                    if self._resp is not None:
                        await self._resp.close()
                finally:
                    member.close(save=save)

    async def _send_rest(self) -> None:
        """Waits a little for messages that are not sent yet; steps and ticks go on meanwhile."""
        if not self.is_started or self._is_broken:
            return
        assert self._loop is not None
        driver = self.member.driver
        driver.finish_step()
        end_s = self._loop.time() + FLUSH_AT_CLOSE_MAX_MS / 1000
        while driver.has_unsent and self._loop.time() < end_s and not driver.closed:
            await asyncio.sleep(FLUSH_PAUSE_S)

    def _stop_stepping(self) -> None:
        assert self._loop is not None
        assert self._engine is not None
        if self._stop_ticking is not None:
            self._stop_ticking()
        self._loop.remove_reader(self._engine.fileno())

    # ------------------------------------------------------------ the loop

    def _schedule_step(self) -> None:
        """Schedules one step at the end of this round of the event loop."""
        if not self._step_is_scheduled and self._loop is not None:
            self._step_is_scheduled = True
            self._loop.call_soon(self._run_scheduled_step)

    def _run_scheduled_step(self) -> None:
        self._step_is_scheduled = False
        self._step()

    def _on_readable(self) -> None:
        if not self._step_is_scheduled:  # the scheduled step will poll the engine
            self._step()

    def _step(self) -> None:
        if self._member is None or self._is_broken:
            return
        try:
            more = self._member.driver.step(0)
        except Exception as error:
            self._fail("the main loop's step failed", error)
            return
        if more:
            self._schedule_step()
        self.on_step()

    def _on_tick(self) -> None:
        if self._member is None or self._is_broken:
            return
        try:
            if self._member.driver.tick():
                self._schedule_step()
            self.on_step()
        except Exception as error:
            self._fail("the main loop's tick failed", error)

    def _fail(self, what: str, error: Exception) -> None:
        """A fault of this package, not of a peer: the node logs it once and takes no more steps, because it might be
        half broken."""
        logger.error("%s; the node stops", what, exc_info=error)
        self._is_broken = True
        if self._member is not None:
            self._stop_stepping()
            self._member.request_stop(exit_code=EXIT_ERROR)
        self.on_fault(error)


def _rename(commands: Registry, config: Config) -> None:
    """Carries out rename-command. Commands of Valkey that are not served here need no renaming."""
    unknown = []
    for old, new in config.renamed_commands:
        try:
            if not commands.rename(old, new):
                unknown.append(old)
        except StateError as error:
            raise ConfigError(f"rename-command {old} {new}: {error}") from error
    if unknown:
        logger.info("rename-command without effect, not served here: %s", ", ".join(unknown))


def _web_server(member: Member, config: Config) -> WebServer:
    """The server of `metrics-port`. Raises ConfigError if its package is not installed."""
    try:
        from clusterbus.web.server import WebServer
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise ConfigError("metrics-port needs the package aiohttp: pip install 'clusterbus[metrics]'") from None
    return WebServer(member, config)


def _save_first(member: Member) -> None:
    """A node that cannot write its nodes.conf must not start: after a restart it would have another id."""
    try:
        member.driver.save()
    except ClusterBusError as error:
        raise ConfigError(str(error)) from error
