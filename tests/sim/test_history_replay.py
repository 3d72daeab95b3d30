"""The history of simulated members leads where their states are, and a seed gives the same one each time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clusterbus.cluster.history.change import Cause, Origin
from clusterbus.cluster.history.recorder import History
from clusterbus.cluster.model.node import Node
from clusterbus.sim import InvariantError, Simulation, checks

NODES = 5


def histories(seed: int) -> list[str]:
    simulation = Simulation(seed, NODES)
    simulation.form()
    return [str(change) for node in simulation.nodes for change in simulation.state(node).history.newer_than(0)]


def test_a_seed_gives_the_same_history_each_time() -> None:
    first = histories(3)
    assert len(first) > NODES * NODES
    assert first == histories(3)
    assert first != histories(4)


def live_and_move_a_slot() -> None:
    simulation = Simulation(7, 4)
    simulation.form()
    simulation.move_slot(0, 0, 1)
    simulation.run_for(5_000)


def test_a_sound_history_leads_where_the_state_is() -> None:
    live_and_move_a_slot()


def _is_deaf_to_slots(patch: pytest.MonkeyPatch) -> None:
    """A field that is not watched: the history never hears of slots."""
    note = History.note

    def note_others(self: History, node: Node, name: str, value: object) -> None:
        if name != "slots":
            note(self, node, name, value)

    patch.setattr(History, "note", note_others)


def _mistakes_the_owner(patch: pytest.MonkeyPatch) -> None:
    """Slots come from nobody, whoever had them."""
    record = History._record_slots

    def from_nobody(self: History, node_id: str, old: str, new: str, bits: int, origin: Origin) -> None:
        record(self, node_id, "", new, bits, origin)

    patch.setattr(History, "_record_slots", from_nobody)


def _names_no_source(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(History, "_make_origin", lambda self: Origin(Cause.HEADER, ""))


@pytest.mark.parametrize("breaks", [_is_deaf_to_slots, _mistakes_the_owner, _names_no_source])
def test_a_history_that_leads_elsewhere_is_found(
    breaks: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)
    with pytest.raises(InvariantError, match=checks.HISTORY):
        live_and_move_a_slot()
