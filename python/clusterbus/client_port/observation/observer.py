"""Runs a call and notes what came of it: the one place where handlers are called.

Owns the notes of the port (statistics, logs, latency, monitors). A fault of a handler becomes an error reply here, so
nothing is raised to the connection. Main thread. Source: `call` in `src/server.c`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any, Final

from clusterbus.client_port.client import Client
from clusterbus.client_port.observation.command_log import CommandLogs
from clusterbus.client_port.observation.command_stats import CommandStats
from clusterbus.client_port.observation.latency import LatencyEvent, LatencyMonitor
from clusterbus.client_port.observation.login_log import LoginLog
from clusterbus.client_port.observation.monitors import Monitors
from clusterbus.client_port.observation.slot_stats import SlotStats
from clusterbus.client_port.registry import Call
from clusterbus.client_port.reply import ErrorReply, Reply, Status
from clusterbus.config import Config

NEVER: Final = 2**63
"""A threshold that nothing reaches. Thresholds are compared for every command, so they are kept ready here."""
_NEVER_AWAITABLE: Final = frozenset({Status, ErrorReply, bytes, str, int, list, dict, type(None)})


class Observer:
    """What a client port notes about its commands."""

    def __init__(self, config: Config) -> None:
        self.stats = CommandStats()
        self.logs = CommandLogs(config)
        self.latency = LatencyMonitor()
        self.monitors = Monitors()
        self.slots = SlotStats()
        self.logins = LoginLog()
        self.error_replies = 0
        self._tracks_times = True
        self._slow_ns = self._spike_ns = self._large_request_len_bytes = self._large_reply_len_bytes = NEVER
        self._follow(config, frozenset())
        self._stops = [
            config.on_change(
                self._follow,
                "latency-tracking",
                "latency-monitor-threshold",
                "cluster-slot-stats-enabled",
                "commandlog-execution-slower-than",
                "commandlog-request-larger-than",
                "commandlog-reply-larger-than",
            ),
            self.logs.follow(config),
        ]

    def close(self) -> None:
        """The observer no longer follows the configuration."""
        for stop in self._stops:
            stop()

    def _follow(self, config: Config, _changed: frozenset[str]) -> None:
        self._tracks_times = config.latency_tracking
        self.latency.threshold_ms = config.latency_monitor_threshold
        slow_us = config.commandlog_execution_slower_than
        self._slow_ns = slow_us * 1_000 if slow_us >= 0 else NEVER
        self._spike_ns = self.latency.threshold_ms * 1_000_000 or NEVER
        request_len_bytes, reply_len_bytes = config.commandlog_request_larger_than, config.commandlog_reply_larger_than
        self._large_request_len_bytes = request_len_bytes if request_len_bytes >= 0 else NEVER
        self._large_reply_len_bytes = reply_len_bytes if reply_len_bytes >= 0 else NEVER
        self.slots.is_enabled = config.cluster_slot_stats_enabled
        if not self._tracks_times:
            for row in self.stats.rows.values():
                row.times.clear()

    # ---------------------------------------------------------------- calls

    def run(self, member: Any, client: Client, call: Call, *, in_exec: bool = False) -> Reply | Awaitable[Reply]:
        """Runs the handler of a call. The reply may have to be awaited; it is noted when it is there.

        `in_exec`: the call is part of a transaction that runs.
        """
        begun_ns = time.perf_counter_ns()
        try:
            reply = call.handler(member, client, call.arguments)
        except (Exception, asyncio.CancelledError) as fault:
            reply = call.failed(fault)
        if type(reply) not in _NEVER_AWAITABLE and isawaitable(reply):
            return self._await(client, call, reply, begun_ns, in_exec)
        self._note(client, call, time.perf_counter_ns() - begun_ns, reply, in_exec)  # type: ignore[arg-type]
        return reply

    async def _await(
        self, client: Client, call: Call, pending: Awaitable[Reply], begun_ns: int, in_exec: bool
    ) -> Reply:
        called_ns = time.perf_counter_ns()
        try:
            reply = await pending
        except (Exception, asyncio.CancelledError) as fault:
            task = asyncio.current_task()
            if isinstance(fault, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # this call is to end; else the handler has awaited something that was cancelled
            reply = call.failed(fault)
        # A blocking command waits on purpose, so its waiting counts for nothing.
        ended_ns = called_ns if "blocking" in call.spec.flags else time.perf_counter_ns()
        self._note(client, call, ended_ns - begun_ns, reply, in_exec)
        return reply

    def _note(self, client: Client, call: Call, time_ns: int, reply: Reply, in_exec: bool) -> None:
        row = self.stats.rows.get(call.name) or self.stats.row(call.name)
        row.calls += 1
        row.time_ns += time_ns
        if self._tracks_times:
            row.times.add(time_ns)
        if isinstance(reply, ErrorReply):
            row.failed += 1
            self._count_error(reply)
        if self.slots.is_enabled and not in_exec:
            self.slots.add_time(call, time_ns)
        if time_ns >= self._slow_ns:
            self.logs.slow.add(client, call, time_ns // 1_000, int(time.time()))
        if time_ns >= self._spike_ns:
            event = LatencyEvent.FAST_COMMAND if "fast" in call.spec.flags else LatencyEvent.COMMAND
            self.latency.add(event, time_ns // 1_000_000, int(time.time()))
        if self.monitors:
            self.monitors.feed(client, call, time.time_ns() // 1_000)

    def refuse(self, name: str | None, reply: ErrorReply) -> None:
        """Notes a request that was refused before it ran; `name` is None if the table has no such command."""
        self._count_error(reply)
        if name is not None:
            self.stats.row(name).rejected += 1

    def _count_error(self, reply: ErrorReply) -> None:
        self.error_replies += 1
        self.stats.count_error(reply)

    def note_sizes(self, client: Client, call: Call, request_len_bytes: int, reply_len_bytes: int) -> None:
        """Notes how large a request and its reply were."""
        if request_len_bytes >= self._large_request_len_bytes:
            self.logs.large_request.add(client, call, request_len_bytes, int(time.time()))
        if reply_len_bytes >= self._large_reply_len_bytes:
            self.logs.large_reply.add(client, call, reply_len_bytes, int(time.time()))
        if self.slots.is_enabled:
            self.slots.add_sizes(call, request_len_bytes, reply_len_bytes)

    def reset(self) -> None:
        """CONFIG RESETSTAT."""
        self.stats.reset()
        self.slots.reset()
        self.error_replies = 0
