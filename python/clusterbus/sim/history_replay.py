"""The rule about the history of a simulated member: its changes lead to the owners of slots that the state has.

Owns what one member's changes amount to. Must never read the state's slots but to compare. One thread.
"""

from __future__ import annotations

from clusterbus.cluster.history.change import ChangeKind
from clusterbus.cluster.model.slots import bits_of_ranges
from clusterbus.cluster.state import ClusterState


class HistoryReplay:
    """The owners of slots by the changes since the process began."""

    def __init__(self, state: ClusterState) -> None:
        self._owners = _owners(state)
        self._number = state.history.last_number
        self._version = 0

    def fault(self, state: ClusterState) -> str:
        """What does not fit since the last call; "" if all does."""
        if state.version == self._version:
            return ""
        self._version = state.version
        changes = state.history.newer_than(self._number)
        if len(changes) != state.history.last_number - self._number:  # more than the ring holds
            self._owners = _owners(state)
        else:
            for change in changes:
                if not change.source:
                    return f"nobody said: {change}"
                if change.kind is ChangeKind.SLOTS and not self._move(change.old, change.new, change.slots):
                    return f"not its slots: {change}"
                if change.kind is ChangeKind.RENAMED and change.old in self._owners:
                    self._owners[change.new] = self._owners.pop(change.old)
        self._number = state.history.last_number
        return (
            "" if self._owners == _owners(state) else f"leads to other owners than the state at version {state.version}"
        )

    def _move(self, old: str, new: str, slots: tuple[tuple[int, int], ...]) -> bool:
        """Moves slots. False if `old` does not have them all, or if somebody has some of them and `old` is nobody."""
        bits = bits_of_ranges(slots)
        if old:
            before = self._owners.get(old, 0)
            if before & bits != bits:
                return False
            self._set(old, before & ~bits)
        elif any(owned & bits for owned in self._owners.values()):
            return False
        if new:
            self._set(new, self._owners.get(new, 0) | bits)
        return True

    def _set(self, node_id: str, bits: int) -> None:
        if bits:
            self._owners[node_id] = bits
        else:
            self._owners.pop(node_id, None)


def _owners(state: ClusterState) -> dict[str, int]:
    return {owner.node_id: owner.slot_bits for owner in state.slot_owners}
