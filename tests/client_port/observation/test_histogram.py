"""The buckets of times: how exact they are, what is read of them, and how many there can be."""

from __future__ import annotations

from random import Random

import pytest
from clusterbus.client_port.observation.histogram import BUCKETS_MAX, TIME_MAX_NS, Histogram


def of(*times_ns: int) -> Histogram:
    histogram = Histogram()
    for time_ns in times_ns:
        histogram.add(time_ns)
    return histogram


@pytest.mark.parametrize("time_ns", [1, 127, 128, 255, 256, 1_000, 31_000, 5_734_000, TIME_MAX_NS - 1])
def test_a_bucket_is_as_exact_as_two_digits(time_ns: int) -> None:
    shown_us = of(time_ns).percentile_us(100)
    assert time_ns / 1_000 <= shown_us <= time_ns * (1 + 1 / 128) / 1_000


def test_percentiles_are_those_of_the_times() -> None:
    histogram = of(*(1_000 * number for number in range(1, 1_001)))
    for percent, expected_us in ((50, 500), (99, 990), (99.9, 999), (100, 1_000), (0, 1)):
        assert histogram.percentile_us(percent) == pytest.approx(expected_us, rel=0.01)
    assert Histogram().percentile_us(50) == 0


def test_the_distribution_is_that_of_a_running_valkey() -> None:
    # A SET of 33 us and one of 8.4 ms gave these buckets in Valkey 9.1.2.
    assert of(33_000, 8_400_000).cumulative_us() == {33: 1, 8454: 2}
    assert of(10, 1_024, 2_000, 2_000).cumulative_us() == {1: 2, 2: 4}
    assert Histogram().cumulative_us() == {}


def test_there_are_only_so_many_buckets_whatever_the_times_are() -> None:
    random = Random(1)
    histogram = of(*(int(random.random() * 10 ** random.randint(0, 14)) for _ in range(50_000)), -5, 0)
    assert histogram.bucket_count() <= BUCKETS_MAX
    assert histogram.percentile_us(100) == pytest.approx(TIME_MAX_NS / 1_000, rel=0.01), (
        "longer ones are counted as this"
    )
