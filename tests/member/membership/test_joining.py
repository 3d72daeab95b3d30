"""Joining by seeds, with names that a test resolves and peers that a test speaks for."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial
from clusterbus.errors import ClusterBusError
from clusterbus.member.membership.joining import NOT_KNOWN_THERE, RETRY_MAX_MS, Joining, Seeding
from clusterbus.member.membership.seeds import parse_all
from clusterbus.member.ports import Errand, PeerAnswer, Place

from tests.cluster.solo import Puppet, Solo, node_id


class Resolved:
    """A name that is resolved already."""

    is_done = True

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    def result(self) -> tuple[str, ...]:
        if not self._addresses:
            raise ClusterBusError("can't resolve it")
        return self._addresses


class Names:
    """Errands whose names stand for what the test says at the time. Counts the look-ups."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.looked_up: list[str] = []

    def resolve(self, host: str) -> Resolved:
        self.looked_up.append(host)
        return Resolved(tuple(self.addresses.get(host, ())))

    def command(self, place: Place, *words: str) -> Errand[PeerAnswer]:
        raise AssertionError(f"no command is asked for: {place} {words}")

    def commands(self, place: Place, commands: Sequence[Sequence[str]]) -> Errand[PeerAnswer]:
        raise AssertionError(f"no commands are asked for: {place} {commands}")


class World:
    """A state without peers that joins by seeds."""

    def __init__(self, *seeds: str, **addresses: Sequence[str]) -> None:
        self.solo = Solo(port=7001)
        self.names = Names(**addresses)
        self.seeds = parse_all("seeds", seeds)
        self.dials: list[Dial] = []
        self.logged: list[str] = []

    def now_ms(self) -> int:
        return self.solo.now_ms

    def monotonic_ns(self) -> int:
        return self.solo.now_ms * 1_000_000

    def now_us(self) -> int:
        return self.solo.now_ms * 1_000

    def joining(self) -> Joining:
        return Joining(self.seeds, state=self.solo.state, clock=self, errands=self.names, random=Random(1))

    def seeding(self) -> Seeding:
        return Seeding(
            self.seeds,
            state=self.solo.state,
            clock=self,
            errands=self.names,
            random=Random(1),
            log=lambda _level, text, _error=None: self.logged.append(text),
        )

    def run(self, joining: Joining | Seeding, duration_ms: int) -> list[str]:
        """Lets time pass; every dial is refused. Returns the addresses that were dialled."""
        dialled = []
        for _ in range(duration_ms // 100):
            effects = self.solo.tick()
            joining.tick()
            for dial in self.solo.of(Dial, effects):
                dialled.append(dial.ip)
                self.solo.state.handle_dial_failed(dial.node_id, "refused", self.solo.now_ms)
                self.solo.poll()
        return dialled

    def answer(self, joining: Joining | Seeding, letter: str, ip: str) -> Puppet:
        """The peer at an address answers our MEET, and dials us, but has not shown that it knows us."""
        joining.tick()
        dial = self.solo.only(Dial, [one for one in self.solo.tick() if isinstance(one, Dial) and one.ip == ip])
        puppet = Puppet(node_id(letter), ip, 7000, self.solo.open(dial), 0)
        self.solo.says(puppet, c.PONG, extensions=())
        return puppet


def test_names_are_resolved_again_at_each_try() -> None:
    world = World("db:7000", db=["10.0.0.1"])
    joining = world.joining()
    assert set(world.run(joining, 1_000)) == {"10.0.0.1"}
    world.names.addresses = {"db": ["10.0.0.2"]}
    assert "10.0.0.2" in world.run(joining, 10_000)


def test_each_address_of_a_name_has_its_turn() -> None:
    world = World("db:7000", db=["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    assert set(world.run(world.joining(), 20_000)) == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}


def test_the_rate_of_look_ups_is_bound() -> None:
    world = World("db:7000")
    world.run(world.joining(), 60_000)
    assert 60_000 // RETRY_MAX_MS <= len(world.names.looked_up) <= 2 * 60_000 // RETRY_MAX_MS + 6


def test_every_seed_has_its_reason() -> None:
    world = World("db:7000", "gone:7000", db=["10.0.0.1"])
    joining = world.joining()
    assert joining.reasons == {"db:7000": "not tried yet", "gone:7000": "not tried yet"}
    world.run(joining, 1_000)
    assert joining.reasons == {"db:7000": "refused", "gone:7000": "can't resolve it"}
    assert not joining.is_done


def test_a_handshake_that_is_done_here_alone_is_not_enough() -> None:
    world = World("db:7000", db=["10.0.0.1"])
    joining = world.joining()
    puppet = world.answer(joining, "a", "10.0.0.1")
    joining.tick()
    assert not joining.is_done
    assert joining.reasons == {"db:7000": NOT_KNOWN_THERE}
    puppet.inbound = world.solo.accept("10.0.0.1")
    world.solo.says(puppet, extensions=())  # the first packet of its handshake
    joining.tick()
    assert not joining.is_done
    world.solo.tick(1_000)
    world.solo.says(puppet, extensions=())
    joining.tick()
    assert joining.joined is not None


def test_extensions_in_an_answer_after_the_peers_dial_are_proof_too() -> None:
    world = World("db:7000", db=["10.0.0.1"])
    joining = world.joining()
    puppet = world.answer(joining, "a", "10.0.0.1")
    puppet.inbound = world.solo.accept("10.0.0.1")
    world.solo.says(puppet, extensions=())
    world.solo.tick()
    joining.tick()
    world.solo.poll()
    assert world.solo.sent(puppet.dialled, c.PING), "it is asked at once"
    world.solo.says(puppet, c.PONG)
    joining.tick()
    assert joining.is_done


def test_a_seed_that_is_known_already_is_joined() -> None:
    world = World("db:7000", db=["10.0.9.9"])
    known = world.solo.puppet("a")
    world.solo.tick(1_000)
    world.solo.says(known, extensions=())
    joining = world.joining()
    joining.tick()
    link = world.solo.open(world.solo.only(Dial, world.solo.tick()))
    world.solo.receive(link, world.solo.heartbeat(known, c.PONG, extensions=()))
    joining.tick()
    assert joining.is_done


@pytest.mark.parametrize("others", [(), ("gone:7000",)])
def test_our_own_address_is_skipped(others: tuple[str, ...]) -> None:
    world = World("me:7001", *others, me=["10.0.0.5"])
    joining = world.joining()
    joining.tick()
    solo = world.solo
    link = solo.open(solo.only(Dial, solo.tick()), local_ip="10.0.0.5")
    (own,) = solo.sent(link, c.MEET)
    solo.receive(solo.accept("10.0.0.5", local_ip="10.0.0.5"), own)
    world.run(joining, 300)
    assert joining.is_done is not bool(others)
    world.names.looked_up.clear()
    world.run(joining, 10_000)
    assert "me" not in world.names.looked_up
    assert joining.joined is None


def test_the_seeds_of_a_bus_are_tried_at_once_and_again_when_it_is_alone() -> None:
    world = World("db:7000", db=["10.0.0.1"])
    seeding = world.seeding()
    puppet = world.answer(seeding, "a", "10.0.0.1")
    puppet.inbound = world.solo.accept("10.0.0.1")
    world.solo.says(puppet, extensions=())
    world.solo.tick(1_000)
    world.solo.says(puppet, extensions=())
    seeding.tick()
    assert world.logged == ["Joined the cluster of the seed db:7000"]
    world.names.looked_up.clear()
    for _ in range(100):
        world.solo.tick()
        world.solo.says(puppet, c.PONG, extensions=())
        seeding.tick()
    assert world.names.looked_up == [], "it is not alone"
    for link in (puppet.dialled, puppet.inbound):
        world.solo.state.handle_link_closed(link, "eof", world.solo.now_ms)
    world.names.addresses = {"db": ["10.0.0.2"]}
    assert "10.0.0.2" in world.run(seeding, 5_000)
    assert world.logged[1:] == ["No other member is within reach: joining by the seeds"]
