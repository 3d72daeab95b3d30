"""Memory, descriptors and threads: a leak is found, and what is flat or only has peaks is not."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable

from soak.checks.vitals import (
    DESCRIPTOR_SLOPE_MAX_PER_MIN,
    JUDGED_LIFE_MIN_S,
    RSS_SLOPE_MAX_KIB_PER_MIN,
    RSS_SWING_MAX_MIB,
    WARM_UP_S,
    Sample,
    read,
    slope_per_min,
    slopes,
)

LIFE_S = 1200
EVERY_S = 3
RSS_BYTES = 50 * 2**20


def life(
    rss_bytes: Callable[[float], float] = lambda _at_s: RSS_BYTES,
    descriptors: Callable[[float], int] = lambda _at_s: 30,
    threads: Callable[[float], int] = lambda _at_s: 4,
    io_threads: Callable[[float], int] = lambda _at_s: 1,
    length_s: float = LIFE_S,
) -> list[Sample]:
    draw = random.Random(1)
    return [
        Sample(
            "c1",
            7,
            at_s,
            int(rss_bytes(at_s) + draw.uniform(-1, 1) * 2**18),
            descriptors(at_s),
            threads(at_s),
            io_threads(at_s),
        )
        for at_s in range(0, int(length_s), EVERY_S)
    ]


def found(samples: list[Sample]) -> list[str]:
    return [text for one in slopes(samples) for text in one.findings()]


def test_a_process_that_is_flat_after_its_warm_up_is_well() -> None:
    assert found(life(rss_bytes=lambda at_s: RSS_BYTES + min(at_s, WARM_UP_S) * 2**17)) == []


def test_a_leak_of_memory_is_found_and_a_smaller_one_than_the_bound_is_not() -> None:
    def growing(kib_per_min: float, length_s: float) -> list[Sample]:
        return life(rss_bytes=lambda at_s: RSS_BYTES + kib_per_min * 1024 * at_s / 60, length_s=length_s)

    swing = RSS_SWING_MAX_MIB * 1024 / ((LIFE_S - WARM_UP_S) / 60)
    assert "more RSS" in found(growing(swing * 1.1, LIFE_S))[0]
    assert found(growing(swing * 0.9, LIFE_S)) == []
    hours_s = 4 * 3600
    assert "more RSS" in found(growing(RSS_SLOPE_MAX_KIB_PER_MIN * 1.3, hours_s))[0]
    assert found(growing(RSS_SLOPE_MAX_KIB_PER_MIN * 0.6, hours_s)) == []


def test_a_leak_of_descriptors_is_found_and_peaks_are_not() -> None:
    per_s = DESCRIPTOR_SLOPE_MAX_PER_MIN * 1.5 / 60
    assert "more descriptors" in found(life(descriptors=lambda at_s: 30 + int(at_s * per_s)))[0]
    assert found(life(descriptors=lambda at_s: 60 if at_s % 60 < 15 else 30)) == []


def test_a_leak_of_threads_is_found_and_a_resize_is_none() -> None:
    assert "more threads" in found(life(threads=lambda at_s: 4 + int(at_s // 200)))[0]
    resized = life(threads=lambda at_s: 4 + int(at_s // 300), io_threads=lambda at_s: 1 + int(at_s // 300))
    assert found(resized) == []


def test_a_short_life_is_not_judged() -> None:
    short = life(rss_bytes=lambda at_s: RSS_BYTES + at_s * 2**20, length_s=WARM_UP_S + JUDGED_LIFE_MIN_S - EVERY_S)
    assert slopes(short) == []
    assert slope_per_min([(0.0, 1.0)]) == 0.0


def test_a_look_at_this_process_tells_what_it_has() -> None:
    before = read("me", os.getpid(), 0.0, 1)
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait)
    thread.start()
    pipe = os.pipe()
    try:
        after = read("me", os.getpid(), 1.0, 1)
    finally:
        ends.set()
        thread.join()
        for descriptor in pipe:
            os.close(descriptor)
    assert before is not None
    assert after is not None
    assert (after.threads - before.threads, after.descriptors - before.descriptors) == (1, 2)
    assert after.rss_bytes > 2**20
    assert read("nobody", 2**22 + 1, 0.0, 1) is None
