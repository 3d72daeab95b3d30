"""What the clients of each slot cost: the columns of CLUSTER SLOT-STATS beside the number of keys (P28).

Owns the counters of slots that this node's shard owns. Only commands of the client port count; what the data plane
sends to its replicas is not known here. Main thread. Source: `cluster_slot_stats.c`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from clusterbus.client_port.registry import Call
from clusterbus.wire import key_slot

MULTI_LEN_BYTES: Final = 15
"""The length of MULTI, which names no slot and is counted with its EXEC."""


@dataclass(slots=True)
class SlotCost:
    """One slot since the start, the last CONFIG RESETSTAT, or since it was gained."""

    time_ns: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class SlotStats:
    """Counters by slot; at most one row for each of the CLUSTER_SLOTS slots."""

    def __init__(self) -> None:
        self.is_enabled = False
        self._rows: dict[int, SlotCost] = {}

    def cost(self, slot: int) -> SlotCost:
        """What a slot has cost."""
        return self._rows.get(slot) or SlotCost()

    def add_time(self, call: Call, time_ns: int) -> None:
        """Counts the time of a call, unless EXEC runs it: then EXEC has its time."""
        if (row := self._row(call)) is not None:
            row.time_ns += time_ns

    def add_sizes(self, call: Call, request_len_bytes: int, reply_len_bytes: int) -> None:
        """Counts the bytes of a request and its reply."""
        if (row := self._row(call)) is not None:
            row.bytes_in += request_len_bytes + (MULTI_LEN_BYTES if call.name == "exec" else 0)
            row.bytes_out += reply_len_bytes

    def _row(self, call: Call) -> SlotCost | None:
        slot = call.slot
        if slot is None:
            return None
        row = self._rows.get(slot)
        if row is None:
            row = self._rows[slot] = SlotCost()
        return row

    def forget(self, slots: Iterable[int]) -> None:
        """Slots that went to another shard, or came from one, begin anew."""
        for slot in slots:
            self._rows.pop(slot, None)

    def reset(self) -> None:
        self._rows.clear()


def slot_of(call: Call, transaction: Sequence[Call] | None) -> int | None:
    """The slot that a call names; None for a call without keys and shard channels. EXEC has that of its transaction."""
    if call.name == "exec":
        return next((queued.slot for queued in transaction or () if queued.slot is not None), None)
    words = call.key_arguments()
    return key_slot(words[0]) if words else None
