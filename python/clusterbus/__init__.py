"""The Valkey/Redis cluster bus as a Python package: Rust moves bytes, Python decides.

A process that enters a `Bus` is a full member of a live Valkey or Redis cluster: it joins by MEET, gossips, detects
failures and receives typed events.

    import clusterbus

    async with clusterbus.Bus(port=7000, io_threads=3, cluster_node_timeout=2000) as bus:
        await bus.meet("10.0.0.1", 7000)
        async for event in bus.events():
            print(event, len(bus.nodes))

`BlockingBus` is the same without an event loop. `clusterbus.wire` reads and writes the packets of the bus. The
program `clusterbus node` runs a node with the arguments of valkey-server. Every error that the package raises on
purpose is a `ClusterBusError`.

A name is imported when it is first asked for. So the program can take signals before its modules are loaded, which
takes a second on a busy machine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clusterbus import wire
    from clusterbus.bus.blocking_bus import BlockingBus
    from clusterbus.bus.blocking_streams import BlockingEvents, BlockingMessages
    from clusterbus.bus.bus import Bus
    from clusterbus.cluster.events import (
        AddressChanged,
        ClusterEvent,
        DataDropped,
        ElectionLost,
        ElectionStarted,
        ElectionWon,
        EpochChanged,
        Event,
        HandoverEnded,
        HandshakeFailed,
        LinkDown,
        LinkUp,
        Message,
        ModuleReceived,
        NodeFailed,
        NodeJoined,
        NodeLeft,
        NodeReachable,
        NodeRecovered,
        NodeSuspected,
        NodeUnreachable,
        PeerRefused,
        RoleChanged,
        SlotOrdered,
        SlotOrderEnded,
        SlotsChanged,
        SlotsTaken,
        StateChanged,
        TagsChanged,
        WritesPaused,
        WritesResumed,
    )
    from clusterbus.cluster.history.change import Cause, Change, ChangeKind
    from clusterbus.command import OK, Command, ErrorReply, Status
    from clusterbus.config.typed import Directives
    from clusterbus.data_plane import DataPlane
    from clusterbus.errors import ClusterBusError, ConfigError, JoinError, PeerError, StateError
    from clusterbus.member.membership.leaving import LeaveReport
    from clusterbus.streams.event_stream import EventsLost, EventStream
    from clusterbus.streams.message_stream import MessagesLost, MessageStream, ShardChannelEnded
    from clusterbus.streams.snapshots import LinkSnapshot, NodeView, SlotRange
    from clusterbus.version import __version__

__all__ = [
    "OK",
    "AddressChanged",
    "BlockingBus",
    "BlockingEvents",
    "BlockingMessages",
    "Bus",
    "Cause",
    "Change",
    "ChangeKind",
    "ClusterBusError",
    "ClusterEvent",
    "Command",
    "ConfigError",
    "DataDropped",
    "DataPlane",
    "Directives",
    "ElectionLost",
    "ElectionStarted",
    "ElectionWon",
    "EpochChanged",
    "ErrorReply",
    "Event",
    "EventStream",
    "EventsLost",
    "HandoverEnded",
    "HandshakeFailed",
    "JoinError",
    "LeaveReport",
    "LinkDown",
    "LinkSnapshot",
    "LinkUp",
    "Message",
    "MessageStream",
    "MessagesLost",
    "ModuleReceived",
    "NodeFailed",
    "NodeJoined",
    "NodeLeft",
    "NodeReachable",
    "NodeRecovered",
    "NodeSuspected",
    "NodeUnreachable",
    "NodeView",
    "PeerError",
    "PeerRefused",
    "RoleChanged",
    "ShardChannelEnded",
    "SlotOrderEnded",
    "SlotOrdered",
    "SlotRange",
    "SlotsChanged",
    "SlotsTaken",
    "StateChanged",
    "StateError",
    "Status",
    "TagsChanged",
    "WritesPaused",
    "WritesResumed",
    "__version__",
    "wire",
]

_NAMES_OF = {
    "clusterbus.bus.blocking_bus": ("BlockingBus",),
    "clusterbus.bus.blocking_streams": (
        "BlockingEvents",
        "BlockingMessages",
    ),
    "clusterbus.bus.bus": ("Bus",),
    "clusterbus.cluster.events": (
        "AddressChanged",
        "ClusterEvent",
        "DataDropped",
        "ElectionLost",
        "ElectionStarted",
        "ElectionWon",
        "EpochChanged",
        "Event",
        "HandoverEnded",
        "HandshakeFailed",
        "LinkDown",
        "LinkUp",
        "Message",
        "ModuleReceived",
        "NodeFailed",
        "NodeJoined",
        "NodeLeft",
        "NodeReachable",
        "NodeRecovered",
        "NodeSuspected",
        "NodeUnreachable",
        "PeerRefused",
        "RoleChanged",
        "SlotOrderEnded",
        "SlotOrdered",
        "SlotsChanged",
        "SlotsTaken",
        "StateChanged",
        "TagsChanged",
        "WritesPaused",
        "WritesResumed",
    ),
    "clusterbus.cluster.history.change": (
        "Cause",
        "Change",
        "ChangeKind",
    ),
    "clusterbus.command": (
        "OK",
        "Command",
        "ErrorReply",
        "Status",
    ),
    "clusterbus.config.typed": ("Directives",),
    "clusterbus.data_plane": ("DataPlane",),
    "clusterbus.errors": (
        "ClusterBusError",
        "ConfigError",
        "JoinError",
        "PeerError",
        "StateError",
    ),
    "clusterbus.member.membership.leaving": ("LeaveReport",),
    "clusterbus.streams.event_stream": (
        "EventsLost",
        "EventStream",
    ),
    "clusterbus.streams.message_stream": (
        "MessagesLost",
        "MessageStream",
        "ShardChannelEnded",
    ),
    "clusterbus.streams.snapshots": (
        "LinkSnapshot",
        "NodeView",
        "SlotRange",
    ),
    "clusterbus.version": ("__version__",),
}
"""Module -> the names of `__all__` that it owns. `wire` is a module itself."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "wire":
            return importlib.import_module("clusterbus.wire")
        for module, names in _NAMES_OF.items():
            if name in names:
                value = globals()[name] = getattr(importlib.import_module(module), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
