"""Which clients are closed when all hold more than maxmemory-clients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from clusterbus.client_port.client import Client
from clusterbus.client_port.eviction import LEAST_BYTES, ClientMemory
from clusterbus.client_port.requests import RequestParser
from clusterbus.config import Config

LIMIT_BYTES = 1_000_000


class Held:
    """A client, as far as its weight goes."""

    def __init__(self, number: int, held_bytes: int, no_evict: bool = False) -> None:
        self.id = number
        self.held_bytes = held_bytes
        self.no_evict = no_evict
        self.transaction_len_bytes = 0
        self.connection = SimpleNamespace(memory_bytes=lambda: self.held_bytes)


def memory_of(*held: Held, limit: str = str(LIMIT_BYTES), **directives: Any) -> ClientMemory:
    clients = cast(dict[int, Client], {one.id: one for one in held})
    return ClientMemory(clients, Config.from_keywords(maxmemory_clients=limit, **directives))


def weigh(memory: ClientMemory, held: Held) -> bool:
    return memory.weigh(cast(Client, held))


def test_those_who_hold_most_go_until_the_others_fit() -> None:
    held = [Held(1, 300_000), Held(2, 400_000), Held(3, 300_000)]
    memory = memory_of(*held)
    assert [weigh(memory, one) for one in held] == [False, False, False], "all of the limit"
    held[0].held_bytes += 1
    assert weigh(memory, held[0])
    assert [one.id for one in memory.excess()] == [2]
    held[2].transaction_len_bytes = 600_000
    assert [one.id for one in memory.excess()] == [3], "900,000 of it and of its transaction"
    held[0].no_evict = held[2].no_evict = True
    assert [one.id for one in memory.excess()] == [2], "who may not be closed stays, whatever it holds"


def test_what_was_read_or_is_gone_counts_no_more() -> None:
    one, other = Held(1, 900_000), Held(2, 200_000)
    memory = memory_of(one, other)
    assert not weigh(memory, one)
    one.held_bytes = 0  # it has read, which nobody notes
    assert weigh(memory, other), "it seems so"
    assert memory.excess() == []
    assert not weigh(memory, other)
    one.held_bytes = 900_000
    assert weigh(memory, one)
    memory.forget(cast(Client, other))
    memory.forget(cast(Client, other))
    assert not weigh(memory, one)


@pytest.mark.parametrize(
    ("limit", "maxmemory", "bytes"),
    [("0", "0", 0), ("5%", "0", 0), ("5%", "100mb", 5 << 20), ("1", "0", LEAST_BYTES), ("1mb", "100mb", 1 << 20)],
)
def test_the_limit_is_a_number_or_a_part_of_maxmemory(limit: str, maxmemory: str, bytes: int) -> None:
    held = Held(1, 1 << 40)
    memory = memory_of(held, limit=limit, maxmemory=maxmemory)
    assert memory.limit_bytes == bytes
    assert weigh(memory, held) is bool(bytes)


def test_small_arguments_weigh_more_than_their_bytes() -> None:
    parser = RequestParser()
    parser.feed(b"*1000\r\n" + b"$2\r\nxx\r\n" * 999)
    assert parser.take() is None
    assert parser.memory_bytes() > 999 * 50
    parser.feed(b"$2\r\nxx\r\n")
    assert parser.take() is not None
    parser.feed(b"")
    assert parser.memory_bytes() == 0
