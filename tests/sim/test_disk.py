"""What a crash leaves of nodes.conf (R38, S10)."""

from __future__ import annotations

from random import Random

import pytest
from clusterbus.sim.disk import WRITEBACK_MS, Disk, SavedEpochs, epochs_in
from clusterbus.sim.timeline import Timeline


def text(epoch: int) -> str:
    return f"a line\nvars currentEpoch {epoch} lastVoteEpoch {epoch - 1}\n"


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


@pytest.fixture
def disk(timeline: Timeline) -> Disk:
    return Disk(timeline)


def outcomes_of_a_power_cut(disk: Disk) -> set[str | None]:
    """What a power cut may leave, over many draws."""
    left = set()
    for seed in range(20):
        copy = Disk(disk._timeline)
        copy.__dict__.update(disk.__dict__)
        copy.cut_power(Random(seed))
        left.add(copy.text)
    return left


def test_a_power_cut_leaves_what_was_durable_or_by_luck_what_was_written(disk: Disk) -> None:
    disk.save(text(1), durable=True)
    disk.save(text(2), durable=False)
    assert disk.text == text(2)
    assert outcomes_of_a_power_cut(disk) == {text(1), text(2)}
    assert disk.durable == SavedEpochs(1, 0)


def test_a_durable_save_survives_every_power_cut(disk: Disk) -> None:
    disk.save(text(1), durable=False)
    disk.save(text(2), durable=True)
    assert outcomes_of_a_power_cut(disk) == {text(2)}
    assert disk.durable == SavedEpochs(2, 1)


def test_what_was_written_long_ago_is_durable(disk: Disk, timeline: Timeline) -> None:
    disk.save(text(1), durable=False)
    assert outcomes_of_a_power_cut(disk) == {None, text(1)}
    timeline.run_to(WRITEBACK_MS * 1000)
    assert outcomes_of_a_power_cut(disk) == {text(1)}
    disk.save(text(2), durable=False)
    assert outcomes_of_a_power_cut(disk) == {text(1), text(2)}


def test_after_a_power_cut_what_is_left_stays(disk: Disk) -> None:
    disk.save(text(1), durable=True)
    disk.save(text(2), durable=False)
    disk.cut_power(Random(0))
    left = disk.text
    assert outcomes_of_a_power_cut(disk) == {left}


def test_a_failing_disk_keeps_the_old_file_h47(disk: Disk) -> None:
    assert disk.save(text(1), durable=True)
    disk.is_failing = True
    assert not disk.save(text(2), durable=True)
    assert disk.text == text(1)


def test_epochs_are_read_from_the_last_line() -> None:
    assert epochs_in(text(9)) == SavedEpochs(9, 8)
    assert epochs_in("") == SavedEpochs()
