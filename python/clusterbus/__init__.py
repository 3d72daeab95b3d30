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
"""

from clusterbus import wire
from clusterbus.bus import BlockingBus, BlockingMessages, Bus
from clusterbus.cluster.events import (
    AddressChanged,
    ElectionLost,
    ElectionStarted,
    ElectionWon,
    EpochChanged,
    Event,
    LinkDown,
    LinkUp,
    Message,
    ModuleReceived,
    NodeFailed,
    NodeJoined,
    NodeLeft,
    NodeRecovered,
    NodeSuspected,
    RoleChanged,
    SlotsChanged,
    StateChanged,
    WritesPaused,
    WritesResumed,
)
from clusterbus.command import OK, Command, ErrorReply, Status
from clusterbus.data_plane import DataPlane
from clusterbus.errors import ClusterBusError, ConfigError, PeerError, StateError
from clusterbus.streams.event_stream import EventsLost, EventStream
from clusterbus.streams.message_stream import MessagesLost, MessageStream, ShardChannelEnded
from clusterbus.streams.snapshots import LinkSnapshot, NodeSnapshot, SlotRange
from clusterbus.version import __version__

__all__ = [
    "OK",
    "AddressChanged",
    "BlockingBus",
    "BlockingMessages",
    "Bus",
    "ClusterBusError",
    "Command",
    "ConfigError",
    "DataPlane",
    "ElectionLost",
    "ElectionStarted",
    "ElectionWon",
    "EpochChanged",
    "ErrorReply",
    "Event",
    "EventStream",
    "EventsLost",
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
    "NodeRecovered",
    "NodeSnapshot",
    "NodeSuspected",
    "PeerError",
    "RoleChanged",
    "ShardChannelEnded",
    "SlotRange",
    "SlotsChanged",
    "StateChanged",
    "StateError",
    "Status",
    "WritesPaused",
    "WritesResumed",
    "__version__",
    "wire",
]
