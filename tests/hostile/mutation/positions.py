"""Where damaged packets are thrown from: a known node, a stranger, a handshake, with a light header.

Owns the liars that the node knows, and how each position is taken up again after the node has closed a link. After each
packet comes a sound PING: its PONG proves that the node has dealt with the packet and goes on. What ends in the middle
of a message is ended, and the node must close the link. Main thread.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import count

from clusterbus.cluster import constants as c

from tests.hostile.mutation import originals
from tests.hostile.mutation.damage import Damaged, Thrower, make
from tests.hostile.mutation.town import Link, Person, Town
from tests.peers.cluster import cluster_nodes, node_id, wait_until
from tests.peers.ports import free_port
from tests.peers.server import Server

ANSWER_S = 20.0
LIARS = 4
ANSWERERS = 8
"""So many speak only when they are dialled; beside that they are sound."""
HANDSHAKES = 24
STRANGERS_LINKS = 8
PACKETS_PER_STRANGER = 4
PACKETS_PER_HANDSHAKE = 4
GOOD_ID = "a" * 40
DIAL_S = 2.0
REDIAL_S = 1.0
HANDSHAKE_TRIES = 4
HANDSHAKE_ADDRESSES = 240
"""So many that none comes again before the node has given up what it began there."""


class Position(StrEnum):
    """Where a packet comes from."""

    KNOWN = "known, its own link"
    ANSWER = "known, our link to it"
    LIGHT = "known, light header"
    STRANGER = "unknown"
    HANDSHAKE = "in handshake, our dial"
    MET = "in handshake, its MEET"


class Outcome(StrEnum):
    """What the node did."""

    GOES_ON = "link goes on"
    CLOSED = "link closed"
    UNREACHED = "not reached"
    """The node did not dial, or the link ended before the packet was thrown."""


BLOCKS: tuple[tuple[Position, int], ...] = (
    (Position.KNOWN, 96),
    (Position.ANSWER, 32),
    (Position.STRANGER, STRANGERS_LINKS * PACKETS_PER_STRANGER),
    (Position.LIGHT, 48),
    (Position.KNOWN, 48),
    (Position.HANDSHAKE, HANDSHAKES * PACKETS_PER_HANDSHAKE),
    (Position.MET, 32),
)
"""Packets are thrown in blocks of these, again and again."""
ROUND = sum(size for _, size in BLOCKS)


class Attack:
    """The good peer, the liars and the strangers around one node."""

    def __init__(self, node: Server, seed: int) -> None:
        self.node = node
        self.seed = seed
        self.target_id = node_id(node)
        self.town = Town(("127.0.0.1", node.bus_port))
        self.tally: Counter[tuple[Position, Outcome]] = Counter()
        self.by_kind: Counter[tuple[str, Outcome]] = Counter()
        self._names = count(1)
        self._answered: dict[str, Link] = {}
        """The last links that the node has dialled, by the address that listens."""
        self._dialled: dict[str, Link] = {}
        self.good = self._settle(GOOD_ID, "127.88.0.1")
        self.liars = [self._settle(self._name(), f"127.88.0.{10 + number}") for number in range(LIARS)]
        self.answerers = [self._settle(self._name(), f"127.88.0.{50 + number}") for number in range(ANSWERERS)]
        self._turns = count()
        self._stranger_port = free_port() + c.BUS_PORT_OFFSET
        self._handshake_ips = [f"127.88.1.{number + 1}" for number in range(HANDSHAKE_ADDRESSES)]
        self._handshakes = count()
        for ip in self._handshake_ips:
            self.town.listen(Person("", ip, self._stranger_port), self._on_handshake)
        self.good_link = self._join(self.good)
        self.town.pinging.append(self.good_link)
        self.links = [self._join(liar) for liar in self.liars]
        for answerer in self.answerers:
            self.town.pinging.append(self._join(answerer))

    def close(self) -> None:
        self.town.close()

    # ------------------------------------------------------------ people

    def _name(self) -> str:
        return f"e{next(self._names):039x}"

    def _settle(self, name: str, ip: str) -> Person:
        person = Person(name, ip, free_port() + c.BUS_PORT_OFFSET)
        self.town.listen(person, lambda link: self._answered.__setitem__(link.person.ip, link))
        return person

    def _join(self, person: Person) -> Link:
        """Sends MEET, and waits until the node knows the person as a member."""
        self._answered.pop(person.ip, None)
        link = self.town.dial(person)
        link.send(person.heartbeat(c.MEET))
        wait_until(lambda: self.is_known(person), ANSWER_S, lambda: f"{person} is known:\n{self._nodes()}")
        return link

    def is_known(self, person: Person) -> bool:
        line = cluster_nodes(self.node).get(person.node_id)
        return line is not None and "handshake" not in line.flags

    def _nodes(self) -> str:
        return str(self.node.call("CLUSTER", "NODES"))

    def renew(self) -> None:
        """Those whom the node does not know any more, since one of them said so, come back under new names."""
        known = cluster_nodes(self.node)
        for place, liar in enumerate(self.liars):
            if liar.node_id not in known:
                self.town.hang_up(self.links[place])
                self.liars[place] = self._under_new_name(liar)
                self.links[place] = self._join(self.liars[place])
        for place, answerer in enumerate(self.answerers):
            if answerer.node_id not in known:
                gone = [link for link in self.town.pinging if link.person == answerer]
                self.answerers[place] = self._under_new_name(answerer)
                link = self._join(self.answerers[place])
                self.town.pinging = [*(other for other in self.town.pinging if other not in gone), link]
                for old in gone:
                    self.town.hang_up(old)

    def _under_new_name(self, person: Person) -> Person:
        return self._settle(self._name(), person.ip)

    def kept(self) -> set[str]:
        """The ids of those who play a part in the attack."""
        people = (self.good, *self.liars, *self.answerers)
        return {self.target_id, *(person.node_id for person in people)}

    # ------------------------------------------------------------ throwing

    def packet(self, number: int, person: Person, sound: tuple[bytes, ...]) -> Damaged:
        """The damaged packet of this number, thrown by a person."""
        others = (self.good.node_id, *(liar.node_id for liar in self.liars))
        thrower = Thrower(person.node_id, person.port, person.cport, self.target_id, others)
        return make(self.seed, number, thrower, sound)

    def throw(self, numbers: range) -> None:
        """Throws the packets with these numbers, each from its position."""
        for position, block in blocks(numbers):
            _THROWERS[position](self, position, block)
            assert self.town.failure is None, self.town.failure

    def _count(self, position: Position, damaged: Damaged, outcome: Outcome) -> None:
        self.tally[position, outcome] += 1
        for kind in damaged.kinds:
            self.by_kind[kind, outcome] += 1

    def _deliver(self, link: Link, damaged: Damaged) -> Callable[[], Outcome]:
        """Throws a packet. Who calls the result waits until the node has dealt with it."""
        before = link.pongs
        link.send(damaged.data)
        if damaged.ends_amid:
            link.end_sending()
        else:
            link.send(link.person.heartbeat(c.PING))

        def outcome() -> Outcome:
            if link.wait_pong(before, ANSWER_S):
                return Outcome.GOES_ON
            assert link.is_closed, f"no answer and no end within {ANSWER_S} s after packet {damaged.number}"
            return Outcome.CLOSED

        return outcome

    def _throw_as_known(self, position: Position, numbers: range) -> None:
        sound = originals.light() if position is Position.LIGHT else originals.captured() + originals.encoded()
        for start in range(numbers.start, numbers.stop, LIARS):
            waits = []
            for number in range(start, min(start + LIARS, numbers.stop)):
                place = number % LIARS
                if self.links[place].is_closed:
                    self.links[place] = self._claim(self.liars[place])
                damaged = self.packet(number, self.liars[place], sound)
                waits.append((damaged, self._deliver(self.links[place], damaged)))
            for damaged, wait in waits:
                self._count(position, damaged, wait())

    def _claim(self, liar: Person) -> Link:
        """A new link of a known node: a sound PING says whose it is."""
        link = self.town.dial(liar)
        link.send(liar.heartbeat(c.PING))
        link.wait_pong(0, ANSWER_S)
        return link

    def _throw_as_answer(self, position: Position, numbers: range) -> None:
        """On the links that the node has dialled. It dials again, after a while, when it has closed one."""
        sound = originals.captured() + originals.encoded()
        for number in numbers:
            answerer = self._dialled_answerer()
            damaged = self.packet(number, answerer or self.answerers[0], sound)
            if answerer is None:
                self._count(position, damaged, Outcome.UNREACHED)
            else:
                self._count(position, damaged, self._deliver(self._answered[answerer.ip], damaged)())

    def _dialled_answerer(self) -> Person | None:
        """One of those to whom the node has a link now, each in its turn."""

        def found() -> list[Person]:
            return [person for person in self.answerers if not self._answered[person.ip].is_closed]

        with contextlib.suppress(AssertionError):
            wait_until(found, REDIAL_S, "dialled again")
        people = found()
        return people[next(self._turns) % len(people)] if people else None

    def _throw_as_stranger(self, position: Position, numbers: range) -> None:
        """Some packets on each link, until the node closes it. Nobody listens where these say that they do."""
        sound = originals.captured() + originals.encoded()
        for start in range(numbers.start, numbers.stop, STRANGERS_LINKS):
            waits = []
            for number in range(start, min(start + STRANGERS_LINKS, numbers.stop)):
                stranger = Person(self._name(), "127.88.2.1", self._stranger_port)
                link = self.town.dial(stranger)
                damaged = self.packet(number, stranger, sound)
                waits.append((damaged, link, self._deliver(link, damaged)))
            for damaged, link, wait in waits:
                self._count(position, damaged, wait())
                self.town.hang_up(link)

    # ------------------------------------------------------------ handshakes

    def _on_handshake(self, link: Link) -> None:
        link.answers = False
        self._dialled[link.person.ip] = link

    def _throw_in_handshake(self, position: Position, numbers: range) -> None:
        """Sends MEETs. The node dials whoever sent one, and finds damaged packets in the place of a PONG."""
        pending = list(numbers)
        for _ in range(HANDSHAKE_TRIES):
            if pending:
                pending = self._throw_in_new_handshakes(position, pending)
        for number in pending:
            self._count(position, self.packet(number, self.good, originals.encoded()), Outcome.UNREACHED)

    def _throw_in_new_handshakes(self, position: Position, numbers: list[int]) -> list[int]:
        """Returns the numbers of those that were not thrown, since the handshake was over."""
        sound = tuple(packet for packet in originals.captured() + originals.encoded() if len(packet) >= 2256)
        met: list[tuple[Person, Link]] = []
        places = -(-len(numbers) // PACKETS_PER_HANDSHAKE)
        for _ in range(places):
            ip = self._handshake_ips[next(self._handshakes) % len(self._handshake_ips)]
            self._dialled.pop(ip, None)
            person = Person(self._name(), ip, self._stranger_port)
            link = self.town.dial(person)
            link.send(person.heartbeat(c.MEET))
            met.append((person, link))
        if position is Position.HANDSHAKE:
            with contextlib.suppress(AssertionError):
                wait_until(lambda: all(person.ip in self._dialled for person, _ in met), DIAL_S, "all are dialled")
        over = []
        for place, number in enumerate(numbers):
            person, inbound = met[place % places]
            dialled = self._dialled.get(person.ip)
            aim = dialled if position is Position.HANDSHAKE else inbound
            if aim is None or aim.is_closed:
                over.append(number)
                continue
            aim.person = person
            damaged = self.packet(number, person, sound)
            self._count(position, damaged, self._deliver(aim, damaged)())
        for person, inbound in met:
            self.town.hang_up(inbound)
            dialled = self._dialled.get(person.ip)
            if dialled is not None:
                self.town.hang_up(dialled)
        return over


_THROWERS: dict[Position, Callable[[Attack, Position, range], None]] = {
    Position.KNOWN: Attack._throw_as_known,
    Position.ANSWER: Attack._throw_as_answer,
    Position.LIGHT: Attack._throw_as_known,
    Position.STRANGER: Attack._throw_as_stranger,
    Position.HANDSHAKE: Attack._throw_in_handshake,
    Position.MET: Attack._throw_in_handshake,
}


def blocks(numbers: range) -> Iterator[tuple[Position, range]]:
    """The position of each packet follows from its number: block after block, round after round."""
    at = numbers.start - numbers.start % ROUND
    while at < numbers.stop:
        for position, size in BLOCKS:
            block = range(max(at, numbers.start), min(at + size, numbers.stop))
            if block:
                yield position, block
            at += size
