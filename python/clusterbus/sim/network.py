"""The simulated network: hosts, the paths between them, and TCP connections with their failures.

Owns delay, loss, partitions, refused and unanswered dials, half-open connections. The bus runs on TCP: on one
connection everything that arrives does so whole and in order, a lost segment is a delay, and a path that stays dead
breaks the connection. Between connections there is no order. Knows no message and no state; the `Receiver` handles what
arrives. Draws only from its own random source. One thread.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Protocol

from clusterbus.sim.timeline import US_PER_MS, Timeline

RETRANSMIT_FIRST_US: Final = 200 * US_PER_MS
RETRANSMITS_MAX: Final = 6
"""A segment that is lost more often than this breaks its connection."""
RETRANSMIT_AFTER_HEAL_MAX_US: Final = 1_000_000
"""After a path has healed, what was held up goes on at the next retransmission, at most this much later."""
UNACKNOWLEDGED_MAX: Final = 6
"""This many messages go out while no acknowledgement can come back (an initial congestion window)."""
GIVE_UP_US: Final = (3_000_000, 20_000_000)
"""The sender gives up a connection that is held up for a random time between these limits."""
SYN_RETRY_US: Final = (1_000_000, 3_000_000)
KEEPALIVE_US: Final = 15_000_000
"""As in the engine: a connection is probed after this much silence, and reset if its peer is gone (H32)."""
DIAL_TIMEOUT_US: Final = 5_000_000
"""As the handshake timeout of the engine."""
DELAY_MIN_US: Final = 20


class Mark:
    """Something other than data in the stream of a connection."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


ACCEPT: Final = Mark("accept")
FIN: Final = Mark("fin")


@dataclass(frozen=True, slots=True)
class Impairment:
    """What a fault does to one direction between two hosts. Several at once add up."""

    blocked: bool = False
    delay_us: int = 0
    jitter_us: int = 0
    loss: float = 0.0


class Path:
    """One direction between two hosts; `back` is the other one. `loss` is the probability that a segment is lost."""

    __slots__ = (
        "_base_delay_us", "_base_jitter_us", "_impairments", "back", "blocked", "delay_us", "jitter_us",
        "loss", "stalled", "target",
    )  # fmt: skip

    def __init__(self, target: int, delay_us: int, jitter_us: int) -> None:
        self.target = target
        self.back = self
        self._base_delay_us = delay_us
        self._base_jitter_us = jitter_us
        self._impairments: dict[int, Impairment] = {}
        self.stalled: list[End] = []
        self._settle()

    def _settle(self) -> None:
        impairments = self._impairments.values()
        self.blocked = any(impairment.blocked for impairment in impairments)
        self.delay_us = self._base_delay_us + sum(impairment.delay_us for impairment in impairments)
        self.jitter_us = self._base_jitter_us + sum(impairment.jitter_us for impairment in impairments)
        self.loss = max((impairment.loss for impairment in impairments), default=0.0)

    def impair(self, key: int, impairment: Impairment) -> None:
        self._impairments[key] = impairment
        self._settle()

    def restore(self, key: int) -> bool:
        """Removes an impairment. Returns whether the path was blocked and is no longer."""
        if self._impairments.pop(key, None) is None:
            return False
        was_blocked = self.blocked
        self._settle()
        return was_blocked and not self.blocked


class End:
    """One end of a connection, and the stream from it to its peer.

    Invariant: `in_flight` arrivals are scheduled for `queue`. Whatever the queue holds beyond them is held up, and then
    the end is in `stalled` of its path. `heard_us` is the time of the last arrival or answered probe. What is sent from
    an end that `is_mute` is acknowledged by something on the way and never arrives. `lag_us`: what is sent from this
    end arrives later, whatever the path does.
    """

    __slots__ = (
        "heard_us", "in_flight", "is_inbound", "is_mute", "is_open", "is_stalled", "lag_us", "last_arrival_us",
        "last_read_us", "link", "owner", "path", "peer", "queue", "stalls", "unacknowledged",
    )  # fmt: skip

    def __init__(self, link: int, owner: int, path: Path, *, is_inbound: bool, now_us: int) -> None:
        self.link = link
        self.owner = owner
        self.path = path
        self.is_inbound = is_inbound
        self.peer = self
        self.is_open = True
        self.is_stalled = False
        self.is_mute = False
        self.lag_us = 0
        self.stalls = 0
        self.queue: deque[Any] = deque()
        self.in_flight = 0
        self.last_arrival_us = 0
        self.heard_us = now_us
        self.last_read_us: int | None = None
        self.unacknowledged = 0


class Dial:
    """A connection that host `owner` is making and that will be its link `link`.

    `is_over`: it has succeeded or failed, or its process no longer waits for it.
    """

    __slots__ = ("is_over", "link", "owner", "path", "tries")

    def __init__(self, owner: int, link: int, path: Path | None) -> None:
        self.owner = owner
        self.link = link
        self.path = path
        self.tries = 0
        self.is_over = False


class Receiver(Protocol):
    """The processes on the hosts."""

    def listens(self, host: int) -> bool:
        """Whether a process on the host accepts connections."""

    def dial_answered(self, dial: Dial, end: End) -> None:
        """A dial succeeded."""

    def dial_failed(self, dial: Dial, error: str) -> None:
        """A dial failed."""

    def arrived(self, end: End, item: Any) -> None:
        """Data, ACCEPT or FIN reached this open end."""

    def broken(self, end: End, reason: str) -> None:
        """The network closed this end: it was reset or given up."""


class Network:
    """All paths and connections. Hosts are numbered from zero."""

    def __init__(
        self,
        timeline: Timeline,
        random: Random,
        receiver: Receiver,
        *,
        hosts: int,
        delay_us: int,
        jitter_us: int,
    ) -> None:
        self._timeline = timeline
        self._random = random
        self._receiver = receiver
        self._impairments = 0
        self._links = 0
        self._ends: list[dict[int, End]] = [{} for _ in range(hosts)]
        self._paths = [[Path(target, delay_us, jitter_us) for target in range(hosts)] for _source in range(hosts)]
        for source in range(hosts):
            for target in range(hosts):
                self._paths[source][target].back = self._paths[target][source]

    @property
    def now_us(self) -> int:
        """Virtual time."""
        return self._timeline.now_us

    # ------------------------------------------------------------ the shape of the network

    def path(self, source: int, target: int) -> Path:
        """One direction between two hosts."""
        return self._paths[source][target]

    def new_key(self) -> int:
        """A new key, which names one fault on any number of paths."""
        self._impairments += 1
        return self._impairments

    def cut_off(self, host: int) -> int:
        """Blocks all paths to and from a host, until the returned key is restored."""
        key = self.new_key()
        for path in self._paths[host]:
            path.impair(key, Impairment(blocked=True))
            path.back.impair(key, Impairment(blocked=True))
        return key

    def restore(self, key: int) -> None:
        """Removes the impairments with that key. What they held up goes on at its next retransmission."""
        freed = [path for row in self._paths for path in row if path.restore(key)]
        for path in freed:
            self._resume(path.stalled)
            self._resume(path.back.stalled)

    def ends_of(self, host: int) -> list[End]:
        """The open ends on a host."""
        return list(self._ends[host].values())

    # ------------------------------------------------------------ dialling

    def dial(self, owner: int, target: int | None) -> Dial:
        """Begins a connection to a host, or for None to an address without a host."""
        path = self._paths[owner][target] if target is not None else None
        dial = Dial(owner, self._new_link(), path)
        self._timeline.after(DIAL_TIMEOUT_US, self._dial_timed_out, dial)
        self._syn(dial)
        return dial

    def _syn(self, dial: Dial) -> None:
        path = dial.path
        if dial.is_over or path is None:
            return
        there_us, back_us = self._crossing_us(path), self._crossing_us(path.back)
        if path.blocked or path.back.blocked or there_us is None or back_us is None:
            if dial.tries < len(SYN_RETRY_US):
                dial.tries += 1
                self._timeline.after(SYN_RETRY_US[dial.tries - 1], self._syn, dial)
            return
        self._timeline.after(there_us + back_us, self._syn_answered, dial)

    def _syn_answered(self, dial: Dial) -> None:
        if dial.is_over:
            return
        path = dial.path
        assert path is not None
        if path.blocked or path.back.blocked:
            self._syn(dial)
            return
        dial.is_over = True
        if not self._receiver.listens(path.target):
            self._receiver.dial_failed(dial, "connection refused")
            return
        near = self._new_end(dial.owner, dial.link, path, is_inbound=False)
        far = self._new_end(path.target, self._new_link(), path.back, is_inbound=True)
        near.peer, far.peer = far, near
        self.send(near, ACCEPT)
        self._receiver.dial_answered(dial, near)

    def _dial_timed_out(self, dial: Dial) -> None:
        if not dial.is_over:
            dial.is_over = True
            self._receiver.dial_failed(dial, "connection timed out")

    def _new_link(self) -> int:
        self._links += 1
        return self._links

    def _new_end(self, host: int, link: int, path: Path, *, is_inbound: bool) -> End:
        end = End(link, host, path, is_inbound=is_inbound, now_us=self._timeline.now_us)
        self._ends[host][end.link] = end
        self._timeline.after(KEEPALIVE_US, self._keep_alive, end)
        return end

    def _crossing_us(self, path: Path) -> int | None:
        """How long one segment takes; None if it is lost."""
        if path.loss and self._random.random() < path.loss:
            return None
        return DELAY_MIN_US + path.delay_us + int(self._random.random() * path.jitter_us)

    # ------------------------------------------------------------ data

    def send(self, end: End, item: Any) -> None:
        """Puts an item into the stream of an end."""
        if end.is_mute:
            return
        end.queue.append(item)
        path = end.path
        if path.back.blocked:
            end.unacknowledged += 1
        elif end.unacknowledged:
            end.unacknowledged = 0
        if end.is_stalled or path.blocked or end.unacknowledged > UNACKNOWLEDGED_MAX:
            self._stall(end)
            return
        delay_us = DELAY_MIN_US + path.delay_us + end.lag_us + int(self._random.random() * path.jitter_us)
        if path.loss and self._random.random() < path.loss:
            extra_us = self._retransmission_us(path)
            if extra_us is None:  # lost too often: nothing gets through any more, until the sender gives up
                self._stall(end)
                return
            delay_us += extra_us
        self._schedule(end, delay_us)

    def _retransmission_us(self, path: Path) -> int | None:
        """The delay that a lost segment costs; None if it never arrives."""
        total_us = wait_us = RETRANSMIT_FIRST_US
        for _ in range(RETRANSMITS_MAX):
            if self._random.random() >= path.loss:
                return total_us
            wait_us *= 2
            total_us += wait_us
        return None

    def _schedule(self, end: End, delay_us: int) -> None:
        arrival_us = max(self._timeline.now_us + delay_us, end.last_arrival_us + 1)
        end.last_arrival_us = arrival_us
        end.in_flight += 1
        self._timeline.at(arrival_us, self._arrive, end)

    def _arrive(self, end: End) -> None:
        end.in_flight -= 1
        if not end.queue or end.is_stalled:
            return
        if end.path.blocked:
            self._stall(end)
            return
        peer = end.peer
        if peer.is_open:
            peer.heard_us = self._timeline.now_us
            self._receiver.arrived(peer, end.queue.popleft())
        elif end.is_open:  # the peer is gone, so its host answers with a reset
            if end.path.back.blocked:
                self._stall(end)
            else:
                end.queue.clear()
                self._timeline.after(self._reset_us(end), self._reset, end)

    def _keep_alive(self, end: End) -> None:
        """Probes an idle connection. One that is held up is left to its sender, which gives it up."""
        if not end.is_open:
            return
        now_us = self._timeline.now_us
        if now_us - end.heard_us >= KEEPALIVE_US and not (end.path.blocked or end.path.back.blocked):
            if not end.peer.is_open:
                self._timeline.after(self._reset_us(end), self._reset, end)
                return
            end.heard_us = now_us
        self._timeline.at(max(end.heard_us, now_us - KEEPALIVE_US + 1_000_000) + KEEPALIVE_US, self._keep_alive, end)

    def _reset_us(self, end: End) -> int:
        return DELAY_MIN_US + end.path.back.delay_us

    def _reset(self, end: End) -> None:
        self._break(end, "connection reset by peer")

    # ------------------------------------------------------------ closing and breaking

    def close(self, end: End) -> None:
        """The process closes its end. What it sent before still arrives, then the peer reads the end of the stream."""
        if self.forget(end):
            self.send(end, FIN)

    def forget(self, end: End) -> bool:
        """Closes this end without a message to the peer. Returns whether it was open."""
        if not end.is_open:
            return False
        end.is_open = False
        del self._ends[end.owner][end.link]
        return True

    def reset(self, end: End) -> None:
        """Breaks both ends at once, as if something between them had sent resets."""
        peer = end.peer
        self._break(end, "connection reset by peer")
        self._break(peer, "connection reset by peer")

    def lose_host(self, host: int) -> None:
        """The host has no power: its ends are gone, and no peer is notified."""
        for end in self.ends_of(host):
            self.forget(end)
            end.queue.clear()
            self._unstall(end)

    def _break(self, end: End, reason: str) -> None:
        end.queue.clear()
        self._unstall(end)
        if self.forget(end):
            self._receiver.broken(end, reason)

    # ------------------------------------------------------------ stalled connections

    def _stall(self, end: End) -> None:
        if end.is_stalled:
            return
        end.is_stalled = True
        end.stalls += 1
        end.path.stalled.append(end)
        low_us, high_us = GIVE_UP_US
        patience_us = low_us + int(self._random.random() * (high_us - low_us))
        self._timeline.after(patience_us, self._give_up, (end, end.stalls))

    def _unstall(self, end: End) -> None:
        if end.is_stalled:
            end.is_stalled = False
            end.path.stalled.remove(end)

    def _resume(self, stalled: list[End]) -> None:
        for end in list(stalled):
            if end.path.blocked or end.path.back.blocked:
                continue
            self._unstall(end)
            end.unacknowledged = 0
            first_us = int(self._random.random() * RETRANSMIT_AFTER_HEAL_MAX_US)
            for _ in range(len(end.queue) - end.in_flight):
                self._schedule(end, first_us)

    def _give_up(self, stalled: tuple[End, int]) -> None:
        end, stalls = stalled
        if end.is_stalled and end.stalls == stalls:
            self._break(end, "connection timed out")
