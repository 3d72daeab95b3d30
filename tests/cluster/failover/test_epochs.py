"""Config epochs of other nodes: which of them are on disk at once (S5, H28)."""

from __future__ import annotations

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Save

from tests.cluster.solo import Solo


@pytest.mark.parametrize(("slots", "durable"), [([], False), ([7], True)])
def test_the_epoch_of_a_node_is_on_disk_at_once_only_if_it_says_who_owns_slots(slots: list[int], durable: bool) -> None:
    solo = Solo()
    puppet = solo.puppet("a", slots=slots, config_epoch=3)
    puppet.config_epoch = 9
    effects = solo.says(puppet, c.PING)
    assert solo.of(Save, effects) == [Save(durable=durable)]


def test_slots_that_a_node_gets_later_are_on_disk_with_its_epoch() -> None:
    solo = Solo()
    puppet = solo.puppet("a", slots=[], config_epoch=3)
    puppet.config_epoch, puppet.slots = 9, frozenset({7})
    assert solo.of(Save, solo.says(puppet, c.PING)) == [Save(durable=True)]
