"""The faults follow from the seed, and each kind comes as often as any other."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from soak.cast import CASTS, SLOTS, Kind, shards_of, slots_of
from soak.schedule import HEAVY, LIGHT, Fault, heavy_lane, light_lane
from soak.world.slow_clients import PATTERNS, patterns
from soak.world.words import LONG_EVERY, body, numbered

WHOLE = CASTS["whole"]
PARTS = {part.name: part for part in WHOLE}


def test_the_same_seed_gives_the_same_faults_and_another_one_others() -> None:
    for lane in (heavy_lane, light_lane):
        assert list(islice(lane(3, WHOLE), 200)) == list(islice(lane(3, WHOLE), 200))
        assert list(islice(lane(3, WHOLE), 200)) != list(islice(lane(4, WHOLE), 200))


def test_each_kind_comes_as_often_as_any_other() -> None:
    for lane, kinds in ((heavy_lane, HEAVY), (light_lane, LIGHT)):
        counts = Counter(planned.fault for planned in islice(lane(1, WHOLE), 10 * len(kinds)))
        assert counts == dict.fromkeys(kinds, 10)


def test_faults_are_only_what_their_target_can_bear() -> None:
    for planned in islice(heavy_lane(1, WHOLE), 300):
        if planned.fault in (Fault.TERM, Fault.KILL):
            assert not PARTS[planned.target].is_steady
        elif planned.fault in (Fault.CRASH, Fault.FAILOVER):
            assert planned.target in ("A", "B", "D", "E")
    for planned in islice(light_lane(1, WHOLE), 300):
        kind = PARTS[planned.target].kind
        assert planned.target != planned.other
        assert planned.fault is not Fault.DEBUG_KILL or kind is not Kind.REDIS
        assert planned.fault is not Fault.IO_THREADS or kind is not Kind.REDIS
        assert planned.fault is not Fault.CERTIFICATES or kind is not Kind.VALKEY
        assert planned.fault is not Fault.TLS_FILES or kind.is_ours


def test_a_cast_without_replicas_has_no_failovers() -> None:
    kinds = {planned.fault for planned in islice(heavy_lane(1, CASTS["small"]), 50)}
    assert kinds == set(HEAVY) - {Fault.CRASH, Fault.FAILOVER}


def test_the_shards_share_all_slots() -> None:
    for cast in CASTS.values():
        slots = [slot for shard in shards_of(cast) for slot in slots_of(cast, shard)]
        assert slots == list(range(SLOTS))


def test_a_message_is_read_back_and_a_damaged_one_is_not() -> None:
    for number in (1, LONG_EVERY):
        assert numbered(body("c1", number)) == ("c1", number)
        assert numbered(body("c1", number)[:-1]) is None
    assert len(body("c1", LONG_EVERY)) > len(body("c1", 1))
    assert numbered("something else") is None


def test_the_slow_subscriber_has_many_different_patterns() -> None:
    assert len(set(patterns())) == PATTERNS
