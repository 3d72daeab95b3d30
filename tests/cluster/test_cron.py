"""The tick looks only at what is due, and does what a walk over all nodes would do (S1, S2, S3)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster import cron
from clusterbus.cluster.core import Core
from clusterbus.cluster.effects import CloseLink, Dial, Effect, SendHeartbeat
from clusterbus.cluster.model.node import Node
from clusterbus.errors import StateError
from clusterbus.wire import Extension, Heartbeat, encode, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster.plain_walk import PlainState
from tests.cluster.shards import make_replica, replicate
from tests.cluster.solo import START_MS, Puppet, Solo, entry, node_id

LETTERS = "abcde"


class Twins:
    """Two states with the same inputs: one walks over all nodes in every tick, the other looks at those due."""

    def __init__(self, primary: str, **directives: Any) -> None:
        self.walks = Solo(state_class=PlainState, **directives)
        self.looks = Solo(**directives)
        self.puppets: dict[str, Puppet] = {}
        self.dials: list[Dial] = []
        self.strangers: list[int] = []
        for solo in self.both:
            solo.encodes = False
            for number, letter in enumerate("abcd"):
                self.puppets[letter] = solo.puppet(letter, slots=[number] if letter in "abc" else ())
            self.puppets["e"] = make_replica(solo, "e", self.puppets["a"].node_id)
            if primary:
                replicate(solo, self.puppets[primary])
            solo.tick()

    @property
    def both(self) -> tuple[Solo, Solo]:
        return self.walks, self.looks

    def agree(self) -> list[Effect]:
        """Both had the same effects, have drawn the same numbers, and are the same by now."""
        left, right = (solo.poll() for solo in self.both)
        assert list(map(repr, left)) == list(map(repr, right))
        one, other = self.walks.state._core, self.looks.state._core
        assert one.random.getstate() == other.random.getstate()
        assert one.counters == other.counters
        assert list(one.links) == list(other.links)
        assert list(one.table.nodes) == list(other.table.nodes)
        for walked, looked in zip(one.table.all_nodes, other.table.all_nodes, strict=True):
            assert _fields_of(walked) == _fields_of(looked)
        self.dials = [dial for dial in self.dials if self._is_wanted(dial)]
        self.dials += [effect for effect in right if isinstance(effect, Dial)]
        return right

    def _is_wanted(self, dial: Dial) -> bool:
        node = self.looks.state.find(dial.node_id)
        return node is not None and node.dialing == (dial.ip, dial.cport)

    # ------------------------------------------------------------ what may happen

    def tick(self, after_ms: int, times: int) -> None:
        for _ in range(times):
            for solo in self.both:
                solo.now_ms += after_ms
                solo.state.tick(solo.now_ms)
            self.agree()

    def answer(self, letters: str, kind: int) -> None:
        """Some puppets send a heartbeat; those that were dialled anew use their new links."""
        for letter in letters:
            puppet = self.puppets[letter]
            node = self.looks.state.find(puppet.node_id)
            link = None if node is None else node.link if kind == c.PONG else node.inbound_link
            if link is not None:
                for solo in self.both:
                    self._receive(solo, link.link_id, solo.heartbeat(puppet, kind))
                self.agree()

    def _receive(self, solo: Solo, link: int, message: Heartbeat) -> None:
        solo.last_read_ms[link] = solo.now_ms
        (packet,) = parse(encode(message))
        solo.state.handle_packet(link, packet, solo.now_ms)

    def gossip(self, letter: str, about: str, flags: int, extensions: list[Extension] | None = None) -> None:
        puppet = self.puppets[letter]
        node = self.looks.state.find(puppet.node_id)
        if node is None or node.inbound_link is None:
            return
        subject = self.puppets[about].node_id if about in self.puppets else node_id(about)
        for solo in self.both:
            told = entry(subject, flags=flags, pong_received_s=solo.now_ms // 1000, ip="10.0.3.3", cport=17300)
            if about in self.puppets:
                told = entry(self.puppets[about], flags=flags, pong_received_s=solo.now_ms // 1000)
            self._receive(solo, node.inbound_link.link_id, solo.heartbeat(puppet, c.PING, [told], extensions))
        self.agree()

    def hear_quietly(self, letter: str, about: str) -> None:
        """A worker notes that a quiet heartbeat has gossiped the PONG time of a node."""
        node = self.looks.state.find(self.puppets[letter].node_id)
        if node is None or node.inbound_link is None:
            return
        for solo in self.both:
            view, puppet = solo.state.view(), self.puppets[letter]
            told = entry(self.puppets[about], flags=self.puppets[about].flags, pong_received_s=solo.now_ms // 1000)
            (packet,) = parse(encode(solo.heartbeat(puppet, c.PING, [told])))
            verdict = view.compare(packet, puppet.ip, solo.now_ms) if view is not None else None
            if view is not None and verdict is not None and verdict.is_quiet:
                link = node.inbound_link.link_id
                solo.last_read_ms[link] = solo.now_ms
                view.note_offset(packet)
        self.agree()

    def pong(self, letter: str, ago_ms: int) -> None:
        """The main loop hears of a quiet PONG that a worker took some time ago."""
        node = self.looks.state.find(self.puppets[letter].node_id)
        if node is not None and node.link is not None:
            for solo in self.both:
                solo.state.handle_quiet(0, 1, [(node.link.link_id, solo.now_ms - ago_ms)], solo.now_ms)
            self.agree()

    def read(self, letter: str, *, inbound: bool) -> None:
        """Bytes come on a link, but no whole packet."""
        node = self.looks.state.find(self.puppets[letter].node_id)
        link = None if node is None else node.inbound_link if inbound else node.link
        if link is not None:
            for solo in self.both:
                solo.last_read_ms[link.link_id] = solo.now_ms

    def lose(self, letter: str, reason: str, *, inbound: bool) -> None:
        node = self.looks.state.find(self.puppets[letter].node_id)
        link = None if node is None else node.inbound_link if inbound else node.link
        if link is not None:
            for solo in self.both:
                solo.state.handle_link_closed(link.link_id, reason, solo.now_ms)
            self.agree()

    def end_dials(self, *, succeed: bool) -> None:
        dials, self.dials = self.dials, []
        for dial in dials:
            for solo in self.both:
                if succeed:
                    solo.state.handle_link_opened(dial.node_id, next(solo._links), "10.0.0.5", solo.now_ms)
                else:
                    solo.state.handle_dial_failed(dial.node_id, "connect: refused", solo.now_ms)
            self.agree()

    def accept(self, letter: str, kind: int) -> None:
        """A puppet, or for "z" a stranger, dials us; with a kind it sends a heartbeat at once."""
        puppet = self.puppets.get(letter) or Puppet(node_id("9"), "10.0.4.4", 7400, 0, 0)
        gossip = [entry(node_id("8"), ip="10.0.4.5", cport=17401)] if kind == c.MEET else []
        for solo in self.both:
            link = next(solo._links)
            solo.state.handle_link_accepted(link, puppet.ip, "10.0.0.5", solo.now_ms)
            if kind != c.PONG:
                self._receive(solo, link, solo.heartbeat(puppet, kind, gossip))
        self.agree()

    def order(self, what: str) -> None:
        for solo in self.both:
            state, now_ms = solo.state, solo.now_ms
            with suppress(StateError):
                if what == "meet":
                    state.meet("10.0.5.5", 7500, None, now_ms)
                elif what == "forget":
                    state.forget(self.puppets["d"].node_id, now_ms)
                elif what == "failover":
                    state.failover(now_ms, force=True)
                elif what == "replicate":
                    state.replicate(self.puppets["b"].node_id, now_ms)
                elif what == "reset":
                    state.reset(now_ms)
                elif what == "reconnects":
                    state.switches.reconnects = not state.switches.reconnects
                elif what == "random":
                    state.switches.pings_at_random = not state.switches.pings_at_random
        self.agree()

    def configure(self, name: str, value: int) -> None:
        for solo in self.both:
            solo.config.set(name, str(value))
            solo.state.handle_config_changed(solo.now_ms)
        self.agree()


NOT_COMPARED = {"times", "version", "viewed_as", "agenda", "fail_reports"}


def _fields_of(node: Node) -> dict[str, object]:
    fields = {name: getattr(node, name) for name in Node.__slots__ if name not in NOT_COMPARED}
    plain = {name: repr(value) for name, value in fields.items()}
    return plain | {"reports": {reporter.node_id: told_ms for reporter, told_ms in node.fail_reports.items()}}


letters = st.sampled_from(LETTERS)
some = st.sampled_from([LETTERS, LETTERS, "abcd", "ab", "e"])
FLAGS = (c.FLAG_PRIMARY, c.FLAG_PRIMARY | c.FLAG_PFAIL, c.FLAG_PRIMARY | c.FLAG_FAIL, c.FLAG_REPLICA)
TIMINGS = [
    *(("cluster-node-timeout", timeout_ms) for timeout_ms in (300, 2_000, 6_000, 60_000)),
    *(("cluster-ping-interval", interval_ms) for interval_ms in (0, 500, 5_000)),
]
ticks = st.tuples(
    st.just("tick"), st.sampled_from([100, 100, 100, 101, 137, 700, 5_000]), st.sampled_from([1, 3, 11, 25])
)
steps = st.one_of(
    ticks,
    ticks,
    ticks,
    st.tuples(st.just("answer"), some, st.sampled_from([c.PING, c.PONG, c.PONG])),
    st.tuples(st.just("answer"), some, st.sampled_from([c.PING, c.PONG, c.PONG])),
    st.tuples(st.just("end_dials"), st.booleans()),
    st.tuples(st.just("end_dials"), st.just(True)),
    st.tuples(st.just("gossip"), letters, st.sampled_from("abcdef"), st.sampled_from(FLAGS)),
    st.tuples(st.just("hear_quietly"), letters, letters),
    st.tuples(st.just("pong"), letters, st.sampled_from([0, 1, 250, 900, 3_000])),
    st.tuples(st.just("read"), letters, st.booleans()),
    st.tuples(st.just("lose"), letters, st.sampled_from(["eof", "bad-signature: x"]), st.booleans()),
    st.tuples(st.just("accept"), st.sampled_from("abcdez"), st.sampled_from([c.PING, c.PONG, c.MEET])),
    st.tuples(
        st.just("order"),
        st.sampled_from(["meet", "forget", "failover", "replicate", "reset", "reconnects", "random"]),
    ),
    st.tuples(st.just("configure"), st.sampled_from(TIMINGS)),
)


@settings(max_examples=200, deadline=None)
@given(script=st.lists(steps, max_size=40), primary=st.sampled_from(["", "a", "b"]))
def test_a_tick_does_what_a_walk_over_all_nodes_does_s3(script: list[tuple[Any, ...]], primary: str) -> None:
    twins = Twins(primary)
    for name, *arguments in script:
        if name == "configure":
            twins.configure(*arguments[0])
        elif name == "end_dials":
            twins.end_dials(succeed=arguments[0])
        elif name == "read":
            twins.read(arguments[0], inbound=arguments[1])
        elif name == "lose":
            twins.lose(arguments[0], arguments[1], inbound=arguments[2])
        else:
            getattr(twins, name)(*arguments)
    twins.tick(100, 30)


# ---------------------------------------------------------------- each rule by itself


@pytest.mark.parametrize(
    "field",
    [
        ("link", None),
        ("dialing", ("10.9.9.9", 19999)),
        ("next_dial_ms", START_MS),
        ("flags", c.FLAG_REPLICA),
    ],
    ids=lambda field: field[0],
)
def test_the_next_tick_looks_at_a_node_with_a_change_that_matters_s3(field: tuple[str, object]) -> None:
    solo = Solo()
    node = solo.node(solo.puppet("a"))
    solo.tick()
    agenda = solo.state._core.table.agenda
    assert node not in agenda.due(solo.now_ms)
    setattr(node, *field)
    assert node in agenda.due(solo.now_ms)


def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    """The nodes that ticks look at from now on."""
    seen = []
    watch = cron._watch

    def note(core: Core, node: Node) -> None:
        seen.append(node)
        watch(core, node)

    monkeypatch.setattr(cron, "_watch", note)
    return seen


def test_a_calm_node_is_looked_at_twice_in_a_node_timeout_s2(monkeypatch: pytest.MonkeyPatch) -> None:
    solo = Solo(cluster_node_timeout=15_000)
    solo.encodes = False
    puppets = [solo.puppet(letter) for letter in "abcd"]
    solo.state.switches.pings_at_random = False
    seen = looked_at(monkeypatch)
    for _ in range(10 * 150):
        for ping in [effect for effect in solo.tick() if isinstance(effect, SendHeartbeat)]:
            answering = next(puppet for puppet in puppets if puppet.dialled == ping.link)
            solo.says(answering, c.PONG)
    assert 18 * len(puppets) <= len(seen) <= 25 * len(puppets)


def test_a_new_node_timeout_counts_for_nodes_that_were_not_due_yet_s3() -> None:
    solo = Solo(cluster_node_timeout=600_000)
    solo.encodes = False
    solo.state.switches.pings_at_random = False
    puppet = solo.puppet("a")
    assert not solo.of(SendHeartbeat, solo.ticks(5_000))
    solo.config.set("cluster-node-timeout", "2000")
    assert puppet.dialled in [ping.link for ping in solo.of(SendHeartbeat, solo.ticks(1_500))]


def test_a_new_node_timeout_counts_for_idle_inbound_links_h32() -> None:
    solo = Solo(cluster_node_timeout=600_000)
    link = solo.accept()
    solo.ticks(20_000)
    solo.config.set("cluster-node-timeout", "2000")
    assert link in [close.link for close in solo.of(CloseLink, solo.ticks(2_000))]


def test_a_node_is_looked_at_again_after_a_tick_that_failed_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    solo = Solo()
    node = solo.node(solo.puppet("a"))
    seen = looked_at(monkeypatch)
    watch = cron._watch

    def fail(core: Core, looked_at: Node) -> None:
        raise RuntimeError("a rule fails")

    node.next_dial_ms = START_MS
    monkeypatch.setattr(cron, "_watch", fail)
    with pytest.raises(RuntimeError):
        solo.tick()
    monkeypatch.setattr(cron, "_watch", watch)
    solo.tick()
    assert node in seen


def test_a_link_that_is_gone_is_not_kept_until_its_time_h32() -> None:
    solo = Solo()
    for _ in range(3):
        link = solo.accept()
        solo.state.handle_link_closed(link, "eof", solo.now_ms)
    assert not len(solo.state._core.inbound_agenda)
