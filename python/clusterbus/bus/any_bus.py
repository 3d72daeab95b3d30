"""The part that `Bus` and `BlockingBus` share: everything that does not wait.

Must never let a user touch the state itself. The owner's thread.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from clusterbus import arguments
from clusterbus.bus.slot_orders import SlotView
from clusterbus.cluster.history.change import Change
from clusterbus.cluster.pubsub import PAYLOAD_LEN_MAX_BYTES
from clusterbus.config import Config
from clusterbus.errors import StateError
from clusterbus.member.counters import cluster_info_lines
from clusterbus.member.member import Member
from clusterbus.member.membership.joining import Joining, members_within_reach
from clusterbus.member.membership.leaving import LeaveReport, Leaving
from clusterbus.member.membership.seeds import parse_all
from clusterbus.member.pubsub import ModuleCallback
from clusterbus.metrics.snapshot import take
from clusterbus.metrics.text import pieces
from clusterbus.streams.snapshots import (
    LinkSnapshot,
    NodeView,
    SlotRange,
    link_snapshots,
    node_view,
    node_views,
    slot_ranges,
)

TIMEOUT_MAX_S: Final = 7 * 24 * 3600.0
PUBLISH_LEN_MAX_BYTES: Final = PAYLOAD_LEN_MAX_BYTES
"""The most that one packet of the bus can carry: channel and message together, or the data of a module message."""


class AnyBus(SlotView):
    """A member that is open or not, and what can be asked of it without waiting."""

    _config: Config
    _known_id: str = ""
    """The node's id, known from the first opening on."""

    def __repr__(self) -> str:
        """Its id if that is known, its port, and whether it is open. Any thread may ask."""
        node_id = f" {self._known_id}" if self._known_id else ""
        port = self._config.port or self._config.tls_port
        return f"<clusterbus.{type(self).__name__}{node_id} port={port} {'open' if self._is_open else 'closed'}>"

    @property
    @abstractmethod
    def _is_open(self) -> bool:
        """Whether there is a node; asked from any thread."""

    @abstractmethod
    def _member(self) -> Member:
        """The member behind an open bus. Raises StateError if it is not open, or in another thread or process."""

    @property
    def node_id(self) -> str:
        """This node's id, 40 hex characters; nodes.conf keeps it over restarts."""
        return self._member().state.myself.node_id

    def metrics(self) -> str:
        """This node's metrics in Prometheus' text format 0.0.4; the reference of metrics lists them all.

        They are the numbers of one moment, of which `/metrics` gives the same at the port `metrics-port`.
        """
        return "".join(pieces(take(self._member())))

    def history(self, count: int | None = None, *, since: int = 0) -> list[Change]:
        """The last changes in this node's picture of the cluster, in the order in which they happened: who is in it,
        who owns what, who fails, and for each the cause and who said so.

        `count`: at most so many, the newest; None for all that are kept (`cluster-log-max-len`). `since`: only those
        with a greater `Change.number`, so what is new since the last call is `bus.history(since=last.number)`. If the
        first one's number is not the next one, those in between are no longer kept. Raises StateError for a negative
        number.
        """
        history = self._member().state.history
        count = None if count is None else arguments.integer("count", count, 0)
        changes = history.newer_than(arguments.integer("since", since, 0))
        return changes if count is None or count >= len(changes) else changes[len(changes) - count :]

    @property
    def me(self) -> NodeView:
        """A snapshot of this node, as it stands in `nodes`."""
        member = self._member()
        return node_view(member, member.state.myself)

    @property
    def port(self) -> int:
        """The client port: `port`, or `tls-port` where there is no other; with `port=0` the one that the bus took."""
        config = self._member().config
        return config.port or config.tls_port

    @property
    def bus_port(self) -> int:
        """The port of the cluster bus."""
        return self._member().config.bus_port

    @property
    def nodes(self) -> dict[str, NodeView]:
        """A snapshot of every known node by id, this one included."""
        return node_views(self._member())

    @property
    def slots(self) -> tuple[SlotRange, ...]:
        """A snapshot of the owned hash slots as ranges, ascending, each with its owner."""
        return slot_ranges(self._member())

    @property
    def is_ok(self) -> bool:
        """Whether the state of the cluster is ok (cluster_state of CLUSTER INFO)."""
        return self._member().state.is_ok

    @property
    def in_majority(self) -> bool:
        """Whether this node reaches more than half of the members that it knows, itself among both.

        In a partition this holds on one side at most, if all members know the same ones. It asks nothing about slots.
        """
        reached, known = self._member().state.census
        return reached > known // 2

    def links(self) -> list[LinkSnapshot]:
        """A snapshot of every link that is up."""
        return link_snapshots(self._member())

    def cluster_info(self) -> dict[str, str]:
        """CLUSTER INFO as a table; every value is text."""
        return {name: str(value) for name, value in cluster_info_lines(self._member().driver)}

    def _reaches(self, count: int) -> bool:
        """Whether so many members are within reach, this one included: their links are up, and they are not failing."""
        return members_within_reach(self._member().state) >= count

    @staticmethod
    def _nodes_text(count: int) -> str:
        return f"a cluster of {count} members within reach"

    def _begin_join(self, seeds: Iterable[str]) -> Joining:
        member = self._member()
        return member.join(parse_all("seeds", seeds))

    def _begin_leave(self, timeout_s: float, with_keys: bool) -> Leaving:
        timeout_ms = math.ceil(arguments.number("timeout_s", timeout_s, 0, TIMEOUT_MAX_S) * 1000)
        return self._member().leave(timeout_ms, with_keys=arguments.flag("with_keys", with_keys))

    @staticmethod
    def _report_of(leaving: Leaving) -> LeaveReport:
        if leaving.report is None:
            raise leaving.error or StateError("leaving was given up")
        return leaving.report

    @staticmethod
    def _joined(member: Member) -> int:
        """How many members this node knows, itself included."""
        return member.state.census.known

    def _meet(self, ip: str, port: int, bus_port: int | None) -> None:
        member = self._member()
        ip, port = arguments.text("ip", ip), arguments.integer("port", port)
        bus_port = None if bus_port is None else arguments.integer("bus_port", bus_port)
        member.state.meet(ip, port, bus_port, member.clock.now_ms())
        member.settle()

    def _forget(self, node_id: str) -> None:
        member = self._member()
        member.state.forget(arguments.text("node_id", node_id), member.clock.now_ms())
        member.settle()

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        member = self._member()
        given = arguments.texts_by_name("tags", tags)
        member.state.set_tags(given, member.clock.now_ms())
        member.settle()

    def on_message(self, callback: ModuleCallback) -> Callable[[], None]:
        """Calls `callback(ModuleReceived)` for every module message that another node sends to this one, in order.

        Call the returned function to stop. `events(ModuleReceived)` yields the same without any callback.
        The callback runs on the main loop, which waits for it, so it should only hand the work on. An exception out of
        it is logged and counted (`cluster_callback_errors`), and stops nothing.
        Raises StateError if the bus is not open. Source: `RedisModule_RegisterClusterMessageReceiver`.
        """
        return self._member().pubsub.on_message(arguments.function("callback", callback))

    def _publish(self, channel: bytes | str, message: bytes | str, sharded: bool) -> int:
        member = self._member()
        channel, message = arguments.payload("channel", channel), arguments.payload("message", message)
        if arguments.flag("sharded", sharded):
            member.pubsub.check_slot_is_ours(channel)
        _own, reached = member.pubsub.publish(channel, message, sharded=sharded)
        member.settle()
        return reached

    def _send(self, node_id: str | None, module_id: int, module_type: int, data: bytes | str) -> int:
        member = self._member()
        node_id = None if node_id is None else arguments.text("node_id", node_id)
        module_id = arguments.integer("module_id", module_id)
        module_type = arguments.integer("module_type", module_type)
        reached = member.pubsub.send(node_id, module_id, module_type, arguments.payload("data", data))
        member.settle()
        return reached
