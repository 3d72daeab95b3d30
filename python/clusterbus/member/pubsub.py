"""The messages of one node: to the cluster, to its own subscribers, and from the cluster.

Owns the subscriptions and the callbacks for MODULE messages. Must never wait, and never let an error in a callback
reach the main loop. What is sent on the bus is decided by `cluster/pubsub.py`. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable

from clusterbus.cluster.events import Event, Message, ModuleReceived, RoleChanged, SlotsChanged
from clusterbus.errors import StateError
from clusterbus.member.driver import Driver
from clusterbus.member.subscriptions import Subscriptions
from clusterbus.member.topology import TOPOLOGY_CHANNEL
from clusterbus.wire import key_slot

ModuleCallback = Callable[[ModuleReceived], None]


class PubSub:
    """Listens to the events of a driver. Whoever calls a method settles the driver afterwards."""

    def __init__(self, driver: Driver) -> None:
        self.subscriptions = Subscriptions()
        self._driver = driver
        self._callbacks: list[ModuleCallback] = []
        driver.event_listeners.append(self._on_event)

    # ------------------------------------------------------------ out

    def publish(self, channel: bytes, message: bytes, *, sharded: bool = False) -> tuple[int, int]:
        """PUBLISH or SPUBLISH. Returns how many of our own subscribers got the message, and how many nodes.

        Raises StateError for a message longer than a packet of the bus may be.
        """
        if channel == TOPOLOGY_CHANNEL:
            raise StateError(f"the channel {channel.decode()} is this node's own: nobody else publishes on it")
        state = self._driver.state
        nodes = state.publish(channel, message, self._driver.clock.now_ms(), sharded=sharded)
        own = self.subscriptions.publish(Message(state.myself.node_id, channel, message, sharded))
        return own, nodes

    def send(self, node_id: str | None, module_id: int, module_type: int, data: bytes) -> int:
        """Sends a MODULE message to one node, or to all if `node_id` is None. Returns how many. Raises StateError."""
        now_ms = self._driver.clock.now_ms()
        return self._driver.state.send_module(node_id, module_id, module_type, data, now_ms)

    def check_slot_is_ours(self, channel: bytes) -> None:
        """Raises StateError unless our shard owns the slot of a shard channel. Other messages never arrive here."""
        slot = key_slot(channel)
        owner = self._driver.state.owner_of(slot)
        if owner is None:
            raise StateError(f"slot {slot} of the shard channel has no owner")
        if owner is not self._driver.state.myself.primary:
            raise StateError(f"slot {slot} of the shard channel belongs to the shard of node {owner.node_id}")

    # ------------------------------------------------------------ in

    def on_message(self, callback: ModuleCallback) -> Callable[[], None]:
        """Calls `callback` with every MODULE message that arrives, until the returned function is called."""
        self._callbacks.append(callback)

        def stop() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return stop

    def _on_event(self, event: Event) -> None:
        match event:
            case Message(channel=channel) if channel == TOPOLOGY_CHANNEL:
                self._driver.counters["topology_channel_refused"] += 1
            case Message():
                self.subscriptions.publish(event)
            case ModuleReceived():
                self._call(event)
            case SlotsChanged(lost=lost) if lost:
                self.subscriptions.lose_slots(lost)
            case RoleChanged(node_id=node_id) if node_id == self._driver.state.myself.node_id:
                self._leave_foreign_slots()
            case _:
                pass

    def _call(self, event: ModuleReceived) -> None:
        for callback in list(self._callbacks):
            try:
                callback(event)
            except BaseException as error:
                self._driver.faults.survive(error, "callback_errors", "on_message", "a callback failed")

    def _leave_foreign_slots(self) -> None:
        """Our role changed. Ends the subscriptions to shard channels whose slots our present primary does not own."""
        state = self._driver.state
        primary = state.myself.primary
        slots = self.subscriptions.shard_slots
        self.subscriptions.lose_slots((slot, slot) for slot in slots if state.owner_of(slot) is not primary)
