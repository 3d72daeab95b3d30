"""Free ports for the servers of a test."""

from __future__ import annotations

import socket

import pytest
from clusterbus.errors import StateError
from clusterbus.testing import free_port_pair, free_ports


def test_no_port_is_given_twice_and_each_can_be_bound() -> None:
    pairs = [free_port_pair() for _ in range(20)]
    numbers = [*pairs, *(port + 10_000 for port in pairs), *free_ports(20)]
    assert len(set(numbers)) == 60
    for number in numbers:
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", number))


def test_a_count_below_zero_is_refused() -> None:
    assert free_ports(0) == []
    with pytest.raises(StateError, match="count is -1, and cannot be negative"):
        free_ports(-1)
