"""`BlockingBus(thread=True)`: any thread may call anything, and two never work on the member at once."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import clusterbus
import pytest
from clusterbus import EventsLost, Message, MessagesLost, ModuleReceived, NodeJoined, NodeLeft, SlotsChanged
from clusterbus.bus.blocking_streams import BlockingEvents
from clusterbus.bus.turn_taking import NO_TURN
from clusterbus.errors import ClusterBusError, StateError

from tests.bus.harness import DEADLINE_S, settings, well
from tests.peers.ports import free_port

PUBLISHERS = 8
MESSAGES_EACH = 200


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that a test gives its calls; all of them have ended when the test has."""
    with ThreadPoolExecutor(PUBLISHERS + 2) as threads:
        yield threads


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[clusterbus.BlockingBus]:
    """A bus with a thread of its own."""
    with clusterbus.BlockingBus(**settings(tmp_path / "bus"), thread=True) as opened:
        yield opened


@pytest.fixture
def other(tmp_path: Path) -> Iterator[clusterbus.BlockingBus]:
    """Another one."""
    with clusterbus.BlockingBus(**settings(tmp_path / "other"), thread=True) as opened:
        yield opened


def meet(bus: clusterbus.BlockingBus, other: clusterbus.BlockingBus) -> None:
    bus.meet("127.0.0.1", other.port)
    bus.wait_until(lambda: well(bus) == well(other) == 2, DEADLINE_S)


def later_pong(bus: clusterbus.BlockingBus, node_id: str, than_ms: int) -> Callable[[], bool]:
    return lambda: bus.nodes[node_id].pong_received_ms > than_ms


def result(future: Future[Any]) -> Any:
    return future.result(DEADLINE_S)


# ---------------------------------------------------------------- calls of all threads


def test_every_public_method_and_property_works_in_another_thread(
    bus: clusterbus.BlockingBus, pool: ThreadPoolExecutor
) -> None:
    def wrapped(name: str) -> bool:
        member = vars(clusterbus.BlockingBus).get(name)
        return hasattr(member.fget if isinstance(member, property) else member, "__wrapped__")

    public = [name for name in dir(clusterbus.BlockingBus) if not name.startswith("_") and name != "slot_of"]
    assert [name for name in public if not wrapped(name)] == sorted(NO_TURN), "slot_of asks no member"
    for name in ("nodes", "slots", "is_ok", "me", "node_id", "in_majority"):
        assert result(pool.submit(getattr, bus, name)) == getattr(bus, name)
    assert result(pool.submit(bus.links)) == []
    assert result(pool.submit(bus.cluster_info))["cluster_known_nodes"] == "1"
    assert result(pool.submit(bus.wait_events, 0)) == []
    with pytest.raises(StateError, match="Unknown node"):
        result(pool.submit(bus.forget, "f" * 40))
    with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
        result(pool.submit(bus.wait_until, lambda: False, 0.1))
    with pytest.raises(ZeroDivisionError):
        result(pool.submit(bus.wait_until, lambda: 1 / 0, 5))


def test_it_is_driven_while_nobody_waits_and_several_may_wait_at_once(
    bus: clusterbus.BlockingBus, other: clusterbus.BlockingBus, pool: ThreadPoolExecutor
) -> None:
    waits = [pool.submit(bus.wait_until, lambda: well(bus) == 2, DEADLINE_S) for _ in range(4)]
    shorter = pool.submit(bus.wait_until, lambda: False, 0.05)
    with pytest.raises(TimeoutError):
        result(shorter)
    assert not any(wait.done() for wait in waits)
    meet(other, bus)
    for wait in waits:
        result(wait)
    threads = {thread.name for thread in threading.enumerate()}
    assert "clusterbus" in threads


def test_eight_publishers_and_a_consumer_lose_and_reorder_nothing(
    bus: clusterbus.BlockingBus, other: clusterbus.BlockingBus, pool: ThreadPoolExecutor
) -> None:
    meet(bus, other)
    start = threading.Barrier(PUBLISHERS)

    def publish(name: int) -> int:
        start.wait(DEADLINE_S)
        return sum(bus.publish("c", f"{name} {number}") for number in range(MESSAGES_EACH))

    def consume() -> list[tuple[int, int]]:
        heard = []
        for _ in range(PUBLISHERS * MESSAGES_EACH):
            message = messages.get(DEADLINE_S)
            assert isinstance(message, Message)
            name, number = message.message.split()
            heard.append((int(name), int(number)))
        return heard

    with other.subscribe("c") as messages:
        consumer = pool.submit(consume)
        sent = [pool.submit(publish, name) for name in range(PUBLISHERS)]
        assert [result(future) for future in sent] == [MESSAGES_EACH] * PUBLISHERS
        heard = result(consumer)
    for name in range(PUBLISHERS):
        assert [number for sender, number in heard if sender == name] == list(range(MESSAGES_EACH))
    assert well(bus) == well(other) == 2


def test_publishers_do_not_keep_the_ticks_from_coming(
    bus: clusterbus.BlockingBus, other: clusterbus.BlockingBus, pool: ThreadPoolExecutor
) -> None:
    meet(bus, other)
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            bus.publish("c", "m")

    publishers = [pool.submit(publish) for _ in range(PUBLISHERS)]
    try:
        for one, peer in ((bus, other.node_id), (other, bus.node_id)):
            pinged_ms = one.nodes[peer].pong_received_ms
            one.wait_until(later_pong(one, peer, pinged_ms), DEADLINE_S)
    finally:
        stop.set()
    for publisher in publishers:
        result(publisher)


# ---------------------------------------------------------------- streams


def test_messages_are_taken_as_from_a_queue(bus: clusterbus.BlockingBus, pool: ThreadPoolExecutor) -> None:
    with bus.subscribe("c", max_queued=2) as messages:
        with pytest.raises(queue.Empty):
            messages.get(timeout_s=0)
        with pytest.raises(queue.Empty):
            messages.get(timeout_s=0.05)
        assert messages.wait(0) == []
        waiting = pool.submit(messages.get)
        bus.publish("c", "hello")
        assert result(waiting) == Message(bus.node_id, b"c", b"hello", False)
        for number in range(5):
            bus.publish("c", b"%d" % number)
        assert messages.wait(DEADLINE_S) == [
            Message(bus.node_id, b"c", b"0", False),
            Message(bus.node_id, b"c", b"1", False),
            MessagesLost(3),
        ]
        rest = pool.submit(list, messages)
        bus.publish("c", "the last")
    assert [message.message for message in result(rest)] == [b"the last"]
    with pytest.raises(StateError, match="the subscription is closed"):
        messages.get()


def test_events_of_the_kinds_that_were_asked_for_come_to_any_thread(
    bus: clusterbus.BlockingBus, other: clusterbus.BlockingBus, pool: ThreadPoolExecutor
) -> None:
    joined: BlockingEvents[NodeJoined | NodeLeft] = bus.events(NodeJoined, NodeLeft)
    said = bus.events(ModuleReceived, backlog=1)
    waiting = pool.submit(joined.get, DEADLINE_S)
    meet(bus, other)
    assert result(waiting).node_id == other.node_id
    for number in range(3):
        other.send(bus.node_id, 1, 1, b"%d" % number)
    bus.wait_until(lambda: said._backlog._lost_last == 2, DEADLINE_S)
    assert said.wait(0) == [ModuleReceived(other.node_id, 1, 1, b"0"), EventsLost(2)]
    bus.forget(other.node_id)
    assert joined.get(DEADLINE_S) == NodeLeft(other.node_id, "forgotten")
    seen = bus.wait_events(0)
    assert not [event for event in seen if isinstance(event, Message | ModuleReceived)]
    with pytest.raises(TypeError, match="a kind of event must be"):
        bus.events(EventsLost)  # type: ignore[type-var]


# ---------------------------------------------------------------- the end


def test_closing_in_another_thread_ends_everything_that_waits(
    bus: clusterbus.BlockingBus, pool: ThreadPoolExecutor
) -> None:
    events = bus.events(SlotsChanged)
    with bus.subscribe("c") as messages:
        takers: list[Future[Any]] = [pool.submit(stream.get) for stream in (events, messages)]
        lists: list[Future[Any]] = [pool.submit(list, stream) for stream in (events, messages)]
        waits = [pool.submit(bus.wait_until, lambda: False, DEADLINE_S) for _ in range(2)]
        bus.wait_until(lambda: len(bus._open()._waiters) >= 2, DEADLINE_S)
        closing = [pool.submit(bus.close) for _ in range(2)]
        for future in closing:
            result(future)
        for taker in takers:
            with pytest.raises(StateError, match="the bus is closed"):
                result(taker)
        assert [result(future) for future in lists] == [[], []]
        for future in waits:
            with pytest.raises(StateError, match="the bus is closed"):
                result(future)
    assert "clusterbus" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(StateError, match="the bus is closed"):
        result(pool.submit(lambda: bus.nodes))


def test_closing_while_others_publish_ends_each_of_them_with_an_error(
    bus: clusterbus.BlockingBus, other: clusterbus.BlockingBus, pool: ThreadPoolExecutor
) -> None:
    meet(bus, other)
    published = threading.Semaphore(0)

    def publish() -> None:
        while True:
            bus.publish("c", "m" * 1000)
            published.release()

    publishers = [pool.submit(publish) for _ in range(PUBLISHERS)]
    for _ in range(100):
        assert published.acquire(timeout=DEADLINE_S)
    bus.close()
    for publisher in publishers:
        with pytest.raises(StateError, match="the bus is closed"):
            result(publisher)


def test_what_a_thread_published_just_before_the_end_arrives(
    bus: clusterbus.BlockingBus, other: clusterbus.BlockingBus
) -> None:
    meet(bus, other)
    with other.subscribe("c") as messages:
        for number in range(8):
            bus.publish("c", b"%d" % number + bytes(1_000_000))
        bus.close()
        heard = [messages.get(DEADLINE_S) for _ in range(8)]
    assert [message.message[:1] for message in heard if isinstance(message, Message)] == [b"%d" % n for n in range(8)]


def test_a_callback_may_close_the_bus_and_cannot_wait_for_it(
    bus: clusterbus.BlockingBus, other: clusterbus.BlockingBus, pool: ThreadPoolExecutor
) -> None:
    meet(bus, other)
    raised: list[Exception] = []
    messages = bus.subscribe("c")

    def answer(event: ModuleReceived) -> None:
        for call in (lambda: bus.wait_until(lambda: False, 5), lambda: messages.get(5)):
            try:
                call()
            except Exception as error:
                raised.append(error)
        bus.publish("c", event.data)
        bus.close()

    bus.on_message(answer)
    with messages, other.subscribe("c") as heard:
        waiting = pool.submit(bus.wait_until, lambda: False, DEADLINE_S)
        other.send(bus.node_id, 1, 1, b"go")
        message = heard.get(DEADLINE_S)
        assert isinstance(message, Message)
        assert message.message == b"go"
        with pytest.raises(StateError, match="the bus is closed"):
            result(waiting)
    assert [str(error)[:40] for error in raised] == ["a callback of the bus cannot wait for th"] * 2
    bus.close()
    with pytest.raises(StateError, match="closed"):
        _ = bus.nodes


def test_a_node_that_broke_down_tells_every_thread(
    bus: clusterbus.BlockingBus, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_timeout_ms: int | None = 0) -> bool:
        raise RuntimeError("out of order")

    events = bus.events()
    taker, waiter = pool.submit(events.get), pool.submit(bus.wait_until, lambda: False, DEADLINE_S)
    bus.wait_until(lambda: bool(bus._open()._waiters), DEADLINE_S)
    bus._member().driver.step = broken  # type: ignore[method-assign, assignment]
    for future in (taker, waiter):
        with pytest.raises(ClusterBusError, match="out of order"):
            result(future)
    with pytest.raises(ClusterBusError, match="out of order"):
        _ = bus.nodes
    assert caplog.text.count("RuntimeError: out of order") >= 1


# ---------------------------------------------------------------- without a thread


def test_without_a_thread_others_may_publish_and_wake_and_are_told_what_else_they_can_do(
    tmp_path: Path, other: clusterbus.BlockingBus, pool: ThreadPoolExecutor
) -> None:
    with clusterbus.BlockingBus(**settings(tmp_path / "plain")) as bus:
        bus.meet("127.0.0.1", other.port)
        bus.wait_until(lambda: well(bus) == well(other) == 2, DEADLINE_S)
        work: queue.SimpleQueue[str] = queue.SimpleQueue()

        def elsewhere() -> None:
            for call in (lambda: bus.nodes, lambda: bus.wait_events(0), bus.close):
                with pytest.raises(StateError, match=r"publish, send and wake.*BlockingBus\(thread=True\)"):
                    call()
            assert bus.publish("c", "from another thread") == 1
            assert bus.send(None, 1, 1, b"too") == 1
            work.put("done")
            bus.wake()

        with other.subscribe("c") as heard, bus.subscribe("c") as own:
            bus.wait_events(0)
            task = pool.submit(elsewhere)
            begun_s = time.monotonic()
            while work.empty():
                bus.wait_events(int(DEADLINE_S * 1000))
            assert time.monotonic() - begun_s < DEADLINE_S
            result(task)
            assert bus.node_id == heard.get(DEADLINE_S).node_id  # type: ignore[union-attr]
            assert pool.submit(own.get, DEADLINE_S).result(DEADLINE_S).message == b"from another thread"  # type: ignore[union-attr]
            with pytest.raises(queue.Empty):
                own.get(0)
            bus.wake()  # before the wait, so that it cannot be missed
            bus.wait_events(int(DEADLINE_S * 1000))


def test_closing_in_a_callback_ends_the_call_that_drives(tmp_path: Path, other: clusterbus.BlockingBus) -> None:
    with clusterbus.BlockingBus(**settings(tmp_path / "plain")) as bus:
        bus.meet("127.0.0.1", other.port)
        bus.wait_until(lambda: well(bus) == well(other) == 2, DEADLINE_S)
        bus.on_message(lambda _event: bus.close())
        other.send(None, 1, 1, b"stop")
        begun_s = time.monotonic()
        with pytest.raises(StateError, match="the bus is closed"):
            bus.wait_until(lambda: False, DEADLINE_S)
        assert time.monotonic() - begun_s < DEADLINE_S
        with pytest.raises(StateError, match="closed"):
            bus.wait_events(0)


def test_what_was_published_just_before_the_end_arrives(tmp_path: Path, other: clusterbus.BlockingBus) -> None:
    with clusterbus.BlockingBus(**settings(tmp_path / "plain")) as bus, other.subscribe("c") as messages:
        bus.meet("127.0.0.1", other.port)
        bus.wait_until(lambda: well(bus) == well(other) == 2, DEADLINE_S)
        for _ in range(8):
            bus.publish("c", bytes(1_000_000))
        bus.close()
        assert len([messages.get(DEADLINE_S) for _ in range(8)]) == 8


# ---------------------------------------------------------------- whole programs

ENDING = """
import sys, clusterbus
bus = clusterbus.BlockingBus(port=int(sys.argv[1]), bind="127.0.0.1", dir=sys.argv[2], io_threads=2, thread=True)
messages = bus.subscribe("c").__enter__()
print(len(bus.nodes), flush=True)
if "interrupt" in sys.argv:
    messages.get()
if "fork" in sys.argv:
    import os, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
    if child == 0:
        try:
            bus.publish("c", "m")
        except clusterbus.StateError as error:
            print(error, flush=True)
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(bus.nodes), flush=True)
"""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ENDING, str(free_port()), str(folder), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.processes
def test_the_interpreter_ends_with_the_thread_running_and_nodes_conf_is_saved(tmp_path: Path) -> None:
    with start(tmp_path) as program:
        out, err = program.communicate(timeout=DEADLINE_S)
    assert (program.returncode, out, err) == (0, "1\n", "")
    assert "myself" in (tmp_path / "nodes.conf").read_text()


@pytest.mark.processes
def test_ctrl_c_ends_a_wait_in_the_main_thread(tmp_path: Path) -> None:
    with start(tmp_path, "interrupt") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "1\n"
        program.send_signal(signal.SIGINT)
        _out, err = program.communicate(timeout=DEADLINE_S)
    assert program.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.processes
def test_a_fork_is_refused_and_ends_as_it_likes(tmp_path: Path) -> None:
    with start(tmp_path, "fork") as program:
        out, err = program.communicate(timeout=DEADLINE_S)
    first, told, ended = out.splitlines()
    assert told.startswith("the bus stayed in process")
    assert (first, ended, err, program.returncode) == ("1", "7 1", "", 0)
