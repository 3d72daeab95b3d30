"""The places that a node listens on, and how they move (P41)."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from clusterbus.config import Config
from clusterbus.config.listening import Place, Places
from clusterbus.errors import ConfigError


class Machine:
    """A machine with a few addresses. A wildcard and an address of the same port are in each other's way."""

    def __init__(self, *missing: str) -> None:
        self.missing = missing
        self.taken: set[tuple[str, int]] = set()
        self.open: list[Place] = []
        self.story: list[str] = []

    def listen(self, place: Place) -> Place:
        if place.ip in self.missing:
            raise OSError(errno.EADDRNOTAVAIL, "missing")
        others = {(other.ip, other.port) for other in self.open} | self.taken
        if any(port == place.port and (ip == place.ip or "0.0.0.0" in (ip, place.ip)) for ip, port in others):
            raise OSError(errno.EADDRINUSE, "in use")
        self.open.append(place)
        self.story.append(f"+{place.ip}:{place.port}{'s' if place.tls else ''}")
        return place

    def close(self, place: Place) -> None:
        self.open.remove(place)
        self.story.append(f"-{place.ip}:{place.port}{'s' if place.tls else ''}")

    def told(self) -> list[str]:
        story, self.story = self.story, []
        return story


def config(*bind: str) -> Config:
    return Config.from_keywords(bind=list(bind))


def setup(machine: Machine, *bind: str, ports: Any = ((7000, False),)) -> Places[Place]:
    places = Places(machine.listen, machine.close, " for tests")
    places.move(config(*bind), ports)
    machine.told()
    return places


def test_what_stays_is_left_alone_and_new_ones_open_before_old_ones_close_p41() -> None:
    machine = Machine()
    places = setup(machine, "10.0.0.1", "10.0.0.2")
    assert places.move(config("10.0.0.2", "10.0.0.3"), [(7000, False)]) == [Place("10.0.0.3", 7000, False)]
    assert machine.told() == ["+10.0.0.3:7000", "-10.0.0.1:7000"]
    places.move(config("10.0.0.2", "10.0.0.3"), [(7001, False), (7002, True)])
    assert machine.told()[:4] == ["+10.0.0.2:7001", "+10.0.0.3:7001", "+10.0.0.2:7002s", "+10.0.0.3:7002s"]
    assert list(places.listeners) == machine.open
    places.close()
    assert machine.open == []


def test_an_old_listener_in_the_way_of_a_new_one_closes_first_p41() -> None:
    machine = Machine()
    places = setup(machine, "*")
    places.move(config("10.0.0.1"), [(7000, False)])
    assert machine.told() == ["-0.0.0.0:7000", "+10.0.0.1:7000"]
    places.move(config("10.0.0.1"), [(7000, True)])
    assert machine.told() == ["-10.0.0.1:7000", "+10.0.0.1:7000s"]
    assert list(places.listeners) == [Place("10.0.0.1", 7000, True)]


@pytest.mark.parametrize("before", ["10.0.0.9", "*"])
def test_a_refused_move_leaves_all_as_it_was_p41(before: str) -> None:
    machine = Machine("10.0.0.2")
    places = setup(machine, before)
    listeners = dict(places.listeners)
    with pytest.raises(
        ConfigError, match=r"^can't listen on 10.0.0.2:7000 for tests: Cannot assign requested address$"
    ):
        places.move(config("10.0.0.1", "10.0.0.2"), [(7000, False)])
    assert places.listeners == listeners
    assert machine.open == list(listeners)
    machine.taken.add(("10.0.0.1", 7000))
    with pytest.raises(ConfigError, match=r"^can't listen on 10.0.0.1:7000 for tests: Address already in use$"):
        places.move(config("10.0.0.1"), [(7000, False)])
    assert len(places.listeners) == (before != "*"), "what another process took meanwhile is gone"


def test_optional_addresses_may_be_missing_but_not_all_p41() -> None:
    machine = Machine("10.0.0.2")
    places = setup(machine, "10.0.0.1", "-10.0.0.2")
    assert [place.ip for place in places.listeners] == ["10.0.0.1"]
    with pytest.raises(ConfigError, match=r"port 7000 for tests: no address of 'bind -10.0.0.2' can be listened on"):
        places.move(config("-10.0.0.2"), [(7000, False)])
    with pytest.raises(ConfigError, match="no address of 'bind ' can be listened on"):
        places.move(config(), [(7000, False)])
    assert [place.ip for place in places.listeners] == ["10.0.0.1"]
    places.move(config(), [])
    assert not places.listeners
