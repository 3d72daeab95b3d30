"""The order in which the driver acts, on an engine and a file that only write down what is asked of them (R42, H47)."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from clusterbus import wire
from clusterbus._core import LinkAccepted, LinkConnected, LinkLost, PacketsReceived, QuietHeartbeats
from clusterbus.cluster.effects import BindLink, Broadcast, CloseLink, Dial, Effect, Notify, Save, Send, SendHeartbeat
from clusterbus.cluster.events import NodeSuspected
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.member.driver import FILTER_NOTHING, HELD_MAX, MESSAGES_QUEUED_MAX_BYTES, VIEW_SHARE, Driver
from clusterbus.member.faults import Faults
from clusterbus.member.ports import Engine, EngineEvent
from clusterbus.runtime.log import write_line
from clusterbus.view import NodeTimes

from tests.member.scripted import PEER_ID, ScriptedState, Writing, ping

NOW_MS = 1_700_000_000_000
PING, PONG = 0, 1
FULL_DISK = OSError("no space left on device")


class Scribe:
    """An engine, a file and a clock in one. `acts` are (name, arguments) of everything that the driver asked for."""

    def __init__(self) -> None:
        self.acts: list[tuple[Any, ...]] = []
        self.events: list[EngineEvent] = []
        self.save_errors: list[Exception | None] = []
        """What the next saves raise; once empty, saves work."""
        self.connect_error: OSError | None = None
        self.lease_ms = -1
        self.unsent_bytes: dict[int, int] = {}
        self.time_ms = NOW_MS
        self.time_ns = 0
        """The monotonic clock."""
        self.is_slow = False
        """What is begun ends only by `writing.end()`."""
        self.writing: Writing | None = None

    def did(self, *names: str) -> list[tuple[Any, ...]]:
        """The acts of these names so far, which are then forgotten with all others."""
        acts, self.acts = self.acts, []
        return [act for act in acts if act[0] in names]

    # The engine.

    def poll(self, _timeout_ms: int | None = None) -> Sequence[EngineEvent]:
        events, self.events = self.events, []
        return events

    def flush(self) -> bool:
        self.acts.append(("flush",))
        return False

    def connect(self, ip: str, port: int, *, owner: int = 0, tls: bool = False, times: NodeTimes | None = None) -> int:
        assert not tls
        self.acts.append(("connect", ip, port, owner))
        if self.connect_error is not None:
            raise self.connect_error
        return 1_000 + owner

    def send(self, link: int, data: bytes) -> bool:
        self.acts.append(("send", link, wire.parse(data)[0].current_epoch))
        return True

    def send_queue(self, link: int) -> tuple[int, int]:
        return 0, self.unsent_bytes.get(link, 0)

    def broadcast(self, links: Sequence[int], _data: bytes, *, unsent_max_bytes: int = -1) -> int:
        takers = [link for link in links if unsent_max_bytes < 0 or self.unsent_bytes.get(link, 0) <= unsent_max_bytes]
        self.acts.append(("broadcast", *takers))
        return len(links) - len(takers)

    def publish(self, view: Any) -> None:
        self.acts.append(("publish", view.version))

    def bind(self, link: int, node_id: str) -> None:
        self.acts.append(("bind", link, node_id))

    def send_heartbeat(self, link: int, message_type: int) -> bool:
        self.acts.append(("send heartbeat", link, message_type))
        return True

    def set_lease_ms(self, lease_ms: int) -> None:
        self.lease_ms = lease_ms

    def close(self, link: int | None = None) -> None:
        """Of a link, or of the file."""
        self.acts.append(("close", link))

    def shutdown(self) -> None:
        self.acts.append(("shutdown",))

    # The file.

    def save(self, _text: str, durable: bool) -> None:
        self.acts.append(("save", durable))
        error = self.save_errors.pop(0) if self.save_errors else None
        if error is not None:
            raise error

    def begin(self, text: str, durable: bool) -> Writing:
        self.writing = Writing(lambda: self.save(text, durable))
        if not self.is_slow:
            self.writing.end()
        return self.writing

    # The clock.

    def monotonic_ns(self) -> int:
        return self.time_ns

    def now_ms(self) -> int:
        return self.time_ms

    def now_us(self) -> int:
        return self.time_ms * 1_000


class State(ScriptedState):
    """A scripted state that has a view."""

    def __init__(self, scribe: Scribe) -> None:
        super().__init__()
        self._scribe = scribe
        self.view_ns = 0
        """How long making one takes."""

    def view(self) -> Any:
        self._scribe.time_ns += self.view_ns
        return SimpleNamespace(version=self.version)


class Rig:
    def __init__(self) -> None:
        self.scribe = Scribe()
        self.state = State(self.scribe)
        counters: Counter[str] = Counter()
        self.driver = Driver(
            config=Config.from_keywords(port=7000),
            engine=cast(Engine, self.scribe),
            state=cast(ClusterState, self.state),
            nodes_file=self.scribe,
            clock=self.scribe,
            log=write_line,
            counters=counters,
            faults=Faults(self.scribe, write_line, counters, strict=True),
        )

    def step(self, *events: EngineEvent) -> bool:
        self.scribe.events += events
        return self.driver.step()

    def accept(self, *links: int) -> None:
        """Links that are up before the test begins."""
        self.step(
            *(LinkAccepted(link=link, listener=0, ip="10.0.0.2", port=link, local_ip="10.0.0.1") for link in links)
        )
        self.scribe.acts.clear()

    def order(self, *effects: Effect) -> None:
        """An order of the operator's, whose effects these are."""
        self.state.effects += effects
        self.driver.settle()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def packet(kind: int = PING, *, epoch: int = 0) -> wire.Packet:
    return wire.parse(wire.encode(ping(kind, epoch=epoch)))[0]


# ---------------------------------------------------------------- events


def test_the_effects_of_an_event_are_carried_out_before_the_next_event(rig: Rig) -> None:
    """The packet of one link makes the state close another, whose packets of the same step then find no link."""
    rig.accept(1, 2)
    rig.state.answers["packet"] = lambda link, _packet: [CloseLink(2, "replaced")] if link == 1 else []
    rig.step(*(PacketsReceived(link=link, packets=[packet()]) for link in (1, 2)))
    assert [link for link, _ in rig.state.heard("packet")] == [1]
    assert rig.scribe.did("close") == [("close", 2)]


def test_heartbeats_that_workers_took_are_noted_and_counted_r33(rig: Rig) -> None:
    rig.accept(1)
    rig.step(QuietHeartbeats(answered=2, noted=1, pongs=[(1, NOW_MS - 5)]))
    assert rig.state.heard("quiet") == [(2, 1, [(1, NOW_MS - 5)])]
    assert rig.driver.counters["quiet_heartbeats"] == 3


def test_a_tick_comes_after_the_answers_that_have_come_in_r33(rig: Rig) -> None:
    """Else a node that has answered a worker would be taken for silent."""
    rig.accept(1)
    rig.scribe.events = [QuietHeartbeats(answered=0, noted=1, pongs=[(1, NOW_MS)])]
    rig.driver.tick()
    assert [name for name, *_ in rig.state.inputs][-2:] == ["quiet", "tick"]


@pytest.mark.parametrize(("node_timeout_ms", "lease_ms"), [(15_000, 250), (2_000, 250), (800, 100)])
def test_the_lease_is_a_part_of_the_node_timeout_r33(rig: Rig, node_timeout_ms: int, lease_ms: int) -> None:
    rig.driver.config.set("cluster-node-timeout", str(node_timeout_ms))
    assert rig.scribe.lease_ms == lease_ms


def test_under_a_packet_filter_nobody_answers_for_the_main_loop(rig: Rig) -> None:
    """The filter has to see every packet."""
    rig.driver.packet_filter = PING
    assert rig.scribe.lease_ms == 0
    rig.driver.packet_filter = FILTER_NOTHING
    assert rig.scribe.lease_ms == 250


def test_a_link_of_a_dial_that_nobody_waits_for_is_closed(rig: Rig) -> None:
    rig.step(LinkConnected(link=7, owner=5, local_ip="10.0.0.1"))
    assert rig.state.inputs == []
    assert rig.scribe.did("close") == [("close", 7)]


def test_the_end_of_a_dial_is_told_once_r17(rig: Rig) -> None:
    rig.order(Dial(PEER_ID, "10.0.0.2", 17000))
    ((_, _, _, owner),) = rig.scribe.did("connect")
    for _ in range(2):
        rig.step(LinkLost(link=1_000 + owner, owner=owner, kind="connect", detail="refused"))
    assert rig.state.heard("dial failed") == [(PEER_ID, "connect: refused")]
    assert rig.driver.counters["dials_failed"] == 1


@pytest.mark.parametrize(("code", "lines"), [(errno.EMFILE, 1), (errno.ENFILE, 1), (errno.ENETUNREACH, 0)])
def test_want_of_descriptors_is_told_once_and_names_the_limit(
    rig: Rig, caplog: pytest.LogCaptureFixture, code: int, lines: int
) -> None:
    rig.scribe.connect_error = OSError(code, "Too many open files")
    for _ in range(3):
        rig.order(Dial(PEER_ID, "10.0.0.2", 17000))
    assert sum("ulimit -n" in line for line in caplog.messages) == lines
    assert rig.driver.counters["dials_failed"] == 3


def test_the_effects_of_a_failed_dial_are_carried_out_in_the_same_step(rig: Rig) -> None:
    """The state dials again at once: that makes more to do, not a loop without end."""
    rig.scribe.connect_error = OSError("no route")
    rig.state.answers["dial failed"] = lambda node_id, _error: [Dial(node_id, "10.0.0.2", 17000)]
    rig.state.answers["tick"] = lambda: [Dial(PEER_ID, "10.0.0.2", 17000)]
    rig.driver.tick()
    assert len(rig.scribe.did("connect")) == 2
    assert rig.step(), "the second dial has failed too, and the state does not know yet"
    rig.scribe.connect_error = None
    assert not rig.step()
    assert len(rig.state.heard("dial failed")) == 3


# ---------------------------------------------------------------- saves


def test_a_step_saves_then_publishes_then_sends_r33(rig: Rig) -> None:
    rig.state.version = 1
    rig.state.answers["tick"] = lambda: [Send(1, ping(epoch=4)), Save(durable=False)]
    rig.driver.tick()
    assert [name for name, *_ in rig.scribe.acts] == ["send", "save", "publish", "flush"]


def test_an_order_saves_before_it_is_answered_s10(rig: Rig) -> None:
    rig.order(Save(durable=False))
    assert rig.scribe.acts == [("save", False)]


def test_a_save_on_demand_is_durable_s10(rig: Rig) -> None:
    rig.driver.save()
    assert rig.scribe.acts == [("save", True)]


def test_the_last_effects_are_carried_out_before_the_end(rig: Rig) -> None:
    rig.accept(1)
    rig.state.effects.append(CloseLink(1, "the node was forgotten"))
    rig.driver.close()
    assert rig.scribe.acts == [("close", 1), ("save", True), ("shutdown",), ("close", None)]


def test_a_failed_durable_save_withholds_messages_and_nothing_else_h47(rig: Rig) -> None:
    """What only concerns this process, or ends a link, announces nothing."""
    heard: list[object] = []
    rig.driver.event_listeners.append(heard.append)
    rig.accept(1, 2)
    rig.scribe.save_errors = [FULL_DISK]
    suspected = NodeSuspected(PEER_ID)
    rig.order(
        Send(1, ping(epoch=1)),
        Save(durable=True),
        Send(1, ping(epoch=2)),
        SendHeartbeat(1, PING),
        Broadcast((1, 2), ping(epoch=3)),
        BindLink(1, PEER_ID),
        Notify(suspected),
        Dial(PEER_ID, "10.0.0.2", 17000),
        CloseLink(2, "replaced"),
    )
    assert heard == [suspected]
    assert [name for name, *_ in rig.scribe.acts] == ["send", "save", "bind", "connect", "close"]
    assert rig.driver.counters["messages_withheld"] == 3


def test_a_durable_save_that_works_lets_messages_out_again_h47(rig: Rig) -> None:
    rig.scribe.save_errors = [FULL_DISK, None]
    rig.order(Save(durable=True), Send(1, ping(epoch=1)), Save(durable=True), Send(1, ping(epoch=2)))
    assert rig.scribe.acts == [("save", True), ("save", True), ("send", 1, 2)]


def test_what_follows_a_save_that_takes_long_waits_for_it_and_heartbeats_do_not_h47(rig: Rig) -> None:
    rig.scribe.is_slow = True
    rig.order(Save(durable=True), Send(1, ping(epoch=1)), Broadcast((1,), ping(epoch=1)), SendHeartbeat(1, PING))
    rig.step()
    assert [name for name, *_ in rig.scribe.did("save", "send", "broadcast", "send heartbeat")] == ["send heartbeat"]
    rig.order(Send(1, ping(epoch=2)))
    rig.step()
    assert rig.scribe.did("send") == [("send", 1, 2)], "what does not depend on the save"
    assert rig.scribe.writing is not None
    rig.scribe.writing.end()
    rig.step()
    assert rig.scribe.acts[:3] == [("save", True), ("send", 1, 1), ("broadcast", 1)]
    assert (rig.driver.counters["messages_held"], rig.driver.counters["messages_withheld"]) == (2, 0)


@pytest.mark.parametrize("says_more", [False, True])
def test_what_waited_for_a_save_is_withheld_if_that_fails_or_we_say_something_else_by_then_h47(
    rig: Rig, says_more: bool
) -> None:
    rig.scribe.is_slow = True
    rig.scribe.save_errors = [None if says_more else FULL_DISK]
    rig.order(Save(durable=True), Send(1, ping(epoch=1)))
    rig.state.own_claims = rig.state.own_claims._replace(config_epoch=int(says_more))
    assert rig.scribe.writing is not None
    rig.scribe.writing.end()
    rig.step()
    assert not rig.scribe.did("send")
    assert rig.driver.counters["messages_withheld"] == 1


def test_a_vote_that_waits_for_a_save_is_sent_though_the_replication_offset_moves_h47(rig: Rig) -> None:
    """It does so with every write of users, so a primary with a slow disk would never vote."""
    rig.scribe.is_slow = True
    rig.order(Save(durable=True), Send(1, ping(epoch=1)))
    rig.state.own_header_version += 1
    assert rig.scribe.writing is not None
    rig.scribe.writing.end()
    rig.step()
    assert rig.scribe.did("send") == [("send", 1, 1)]
    assert rig.driver.counters["messages_withheld"] == 0


def test_no_more_messages_wait_for_a_save_than_the_limit_h47(rig: Rig) -> None:
    rig.scribe.is_slow = True
    rig.order(Save(durable=True), *[Send(1, ping(epoch=1))] * (HELD_MAX + 1))
    assert (rig.driver.counters["messages_held"], rig.driver.counters["messages_withheld"]) == (HELD_MAX, 1)


def test_a_peer_that_does_not_read_gets_no_more_messages_of_users_h40(rig: Rig) -> None:
    rig.scribe.unsent_bytes = {1: MESSAGES_QUEUED_MAX_BYTES + 1, 2: MESSAGES_QUEUED_MAX_BYTES}
    rig.order(Broadcast((1, 2), wire.Publish(None, b"news", b"text")), Broadcast((1, 2), ping()))
    assert rig.scribe.acts == [("broadcast", 2), ("broadcast", 1, 2)]
    assert rig.driver.counters["messages_dropped_slow_link"] == 1


# ---------------------------------------------------------------- views


def test_a_view_is_published_in_the_step_in_which_the_version_moved_r33(rig: Rig) -> None:
    rig.step()
    assert rig.scribe.did("publish") == [], "the state has not moved"
    for version in (1, 2, 3):
        rig.state.version = version
        rig.step()
        rig.step()
    assert rig.scribe.did("publish") == [("publish", version) for version in (1, 2, 3)]


def test_a_view_that_took_long_is_followed_by_the_next_after_a_while_r33(rig: Rig) -> None:
    """However much changes with every step, making views takes no more than its share of the main loop."""
    took_ns = 1000
    rig.state.view_ns = took_ns
    rig.state.version = 1
    rig.step()
    rig.state.version = 2
    rig.scribe.time_ns += took_ns * (VIEW_SHARE - 1) - 1
    rig.step()
    assert rig.scribe.did("publish") == [("publish", 1)]
    rig.scribe.time_ns += 1
    rig.step()
    assert rig.scribe.did("publish") == [("publish", 2)]


def test_heartbeats_are_encoded_from_the_view_only_while_it_says_the_same_of_us_r34(rig: Rig) -> None:
    rig.state.version = rig.state.own_header_version = 1
    rig.step()
    rig.scribe.acts.clear()
    rig.order(SendHeartbeat(1, PING))
    rig.step()
    rig.state.own_header_version, rig.state.epoch = 2, 9
    rig.order(SendHeartbeat(1, PONG))
    rig.step()
    assert [act for act in rig.scribe.acts if act[0].startswith("send")] == [
        ("send heartbeat", 1, PING),
        ("send", 1, 9),
    ]


def test_heartbeats_of_a_step_come_last_so_none_says_less_than_one_before_it_r34_h27(rig: Rig) -> None:
    """Found by simulation: an epoch rose twice in a step. The first heartbeat, to be encoded from the next view, then
    said more than the second, which was encoded at once.
    """
    rig.state.version = rig.state.own_header_version = 1
    rig.step()
    rig.scribe.acts.clear()
    rig.order(SendHeartbeat(1, PING))
    for epoch in (2, 3):
        rig.state.own_header_version = rig.state.epoch = epoch
        rig.order(SendHeartbeat(1, PONG))
    assert not rig.scribe.acts
    rig.step()
    assert [act for act in rig.scribe.acts if act[0].startswith("send")] == [("send", 1, 3)] * 3
