"""`Simulation`: a whole cluster in one process, in virtual time, that depends on nothing but its seed.

Owns the hosts, the network, the injected faults in force, and the actions that a script may take. The protocol is
`ClusterState`, unchanged. The rules are checked after every event (`checks`); if one is broken, the call that let time
pass raises `InvariantError`. One thread; no real clock, socket or file.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from typing import Any, Final, TypeVar

from clusterbus.cluster.constants import SLOTS
from clusterbus.cluster.events import Event
from clusterbus.cluster.model.slots import bits_of
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.errors import StateError
from clusterbus.sim.agreement import disagreements, still_hoped_for
from clusterbus.sim.host import Host, PlannedCrash, World
from clusterbus.sim.network import Dial, End, Impairment, Network
from clusterbus.sim.older import OlderConfig
from clusterbus.sim.timeline import US_PER_MS, Timeline
from clusterbus.sim.trace import Trace
from clusterbus.wire import Packet

NODES_MAX: Final = 1_000
CLIENT_PORT: Final = 7_000
NO_DATA: Final = {"cluster_replica_no_failover": "no"}
"""If no member keeps data, the operator says that empty replicas may be elected."""
HOSTS_PER_NET: Final = 250
FORGET_CLOCK_SLACK: Final = 0.02
"""By how much a forgotten node may be back too early by our clock: those of members may be that fast."""
LOOK_PERIOD_MS: Final = 50
"""How often `run_until` checks its condition."""
MEET_PERIOD_MS: Final = 3_000
"""How often `form` repeats the MEET of nodes that are not known yet."""
LIMIT_MS: Final = 600_000
"""`run_until` gives up after this much virtual time, unless it gets another limit."""

Listener = Callable[[int, Event, float], None]
"""Called with the number of the host, the event that its member reported, and the virtual time in milliseconds."""
MessageListener = Callable[[int, Sequence[int], Packet], None]
"""Called with the number of the sender, those of the receivers, and the message."""
Result = TypeVar("Result")


class Fault:
    """An injected fault of the network, which lasts until `heal`."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._key: int | None = network.new_key()

    def impair(self, sources: Iterable[int], targets: Sequence[int], impairment: Impairment) -> None:
        """Impairs the paths from each source to each target."""
        assert self._key is not None
        for source in sources:
            for target in targets:
                if source != target:
                    self._network.path(source, target).impair(self._key, impairment)

    def heal(self) -> None:
        """Ends the fault. Messages that it held up go on. Idempotent."""
        if self._key is not None:
            self._network.restore(self._key)
            self._key = None


class Simulation:
    """A cluster of `nodes` hosts under one `seed`. The same arguments and the same calls give the same run.

    Hosts, each with one member of the cluster, are named by number, 0 to nodes - 1. Times are milliseconds of virtual
    time, which begins at 0 and passes only inside `run_for`, `run_until` and `form`. All members start at once and know
    no other.

        with_six = Simulation(seed=7, nodes=6)
        with_six.form()                                # slots, MEET, until all agree
        cut = with_six.partition([0], [1, 2, 3, 4, 5])
        with_six.run_until(lambda: not with_six.state(0).is_ok)
        cut.heal()
        with_six.run_until(with_six.agrees)

    `directives` are those of valkey.conf, with underscores. `skew_ms` bounds how far the wall clock of a host is off,
    and `drift_ppm` by how many millionths its seconds are too short or too long. Every path has `delay_ms` and
    `jitter_ms`. The engines of the hosts in `without_views` use no published view: every heartbeat is applied and
    encoded in full. The others compare and encode heartbeats as I/O workers do. The hosts in `with_data` keep keys, and
    their offsets may move (`data`). Those in `older` follow older rules, inside `older.rules`. `trace(line)` is called
    for every line of the trace, with heartbeats if `trace_heartbeats`. `state_class` may be a subclass of
    `ClusterState`, for tests that break a rule on purpose.
    """

    def __init__(
        self,
        seed: int = 0,
        nodes: int = 6,
        *,
        node_timeout_ms: int = 2_000,
        delay_ms: float = 0.5,
        jitter_ms: float = 0.5,
        skew_ms: int = 0,
        drift_ppm: int = 0,
        directives: dict[str, object] | None = None,
        without_views: Collection[int] = (),
        with_data: Collection[int] = (),
        older: Collection[int] = (),
        observers: Collection[int] = (),
        trace: Callable[[str], None] | None = None,
        trace_heartbeats: bool = False,
        state_class: type[ClusterState] = ClusterState,
    ) -> None:
        if not 1 <= nodes <= NODES_MAX:
            raise StateError(f"a simulation has 1 to {NODES_MAX} nodes, not {nodes}")
        self._timeline = Timeline()
        lines = Trace(self._timeline, write=trace, verbose=trace_heartbeats) if trace is not None else None
        self._world = World(seed, self._timeline, trace=lines)
        self._skew_ms = skew_ms
        self._drift_ppm = drift_ppm
        self._clocks = self._world.random("clocks")
        self._faults: list[Fault] = []
        self.gone: set[str] = set()
        """The ids of nodes that are no more (`replace`) and that not every member was told to forget."""
        self.outsiders: set[int] = set()
        """The hosts whose members an operator has yet to make known to the others: replaced, or forgotten."""
        self._world.network = Network(
            self._timeline,
            self._world.random("network"),
            self,
            hosts=nodes,
            delay_us=int(delay_ms * US_PER_MS),
            jitter_us=int(jitter_ms * US_PER_MS),
        )
        keywords: dict[str, object] = {"port": CLIENT_PORT, "cluster_node_timeout": node_timeout_ms}
        keywords |= ({} if with_data else NO_DATA) | (directives or {})
        for index in range(nodes):
            ip = f"10.0.{index // HOSTS_PER_NET}.{index % HOSTS_PER_NET + 1}"
            words = keywords | ({"cluster_observer": True} if index in observers else {})
            config = (OlderConfig if index in older else Config).from_keywords(None, **words)
            host = Host(
                self._world,
                index,
                config,
                ip,
                state_class,
                compares=index not in without_views,
                keeps_data=index in with_data,
            )
            self._world.hosts.append(host)
        for host in self._world.hosts:
            self._boot(host)

    # ------------------------------------------------------------ reading

    @property
    def now_ms(self) -> float:
        """Virtual time."""
        return self._timeline.now_ms

    @property
    def nodes(self) -> range:
        """The numbers of all hosts."""
        return range(len(self._world.hosts))

    @property
    def members(self) -> Sequence[Host]:
        """All hosts, including those that are down."""
        return self._world.hosts

    @property
    def stats(self) -> Counter[str]:
        """What has happened so far: events of the members by the name of their class, dials, saves, votes."""
        return self._world.stats

    def state(self, node: int) -> ClusterState:
        """The state of a member, for reading. Raises StateError if its host is down."""
        return self._up(node).state

    def node_id(self, node: int) -> str:
        """The node id of a host's member, or of its last one."""
        return self._world.hosts[node].node_id

    def is_up(self, node: int) -> bool:
        """Whether the host runs a process, even one that hangs."""
        return self._world.hosts[node].is_up

    def living(self) -> list[int]:
        """The hosts that are up."""
        return [host.index for host in self._world.hosts if host.is_up]

    def agrees(self) -> bool:
        """Whether all members that are up see the same cluster. If not, `disagreements` says where they differ."""
        return not self.disagreements(at_most=1)

    def disagreements(self, *, at_most: int = 10) -> list[str]:
        """Where the members differ: members, roles, slots, epochs, failures, links, state. At most `at_most` lines."""
        return disagreements(self._world.hosts, self.gone, at_most=at_most)

    def on_event(self, listener: Listener) -> None:
        """Calls `listener(node, event, now_ms)` for every event that a member reports (`cluster.events`)."""

        def pass_on(host: Host, event: Event) -> None:
            listener(host.index, event, self.now_ms)

        self._world.listeners.append(pass_on)

    def on_message(self, listener: MessageListener) -> None:
        """Calls `listener(sender, receivers, packet)` for every message that a member hands to its engine.

        A heartbeat that is encoded from the view is reported when it is encoded.
        """
        self._world.message_listeners.append(listener)

    # ------------------------------------------------------------ time

    def run_for(self, duration_ms: float) -> None:
        """Lets virtual time pass. Raises InvariantError if a rule is broken."""
        self._timeline.run_to(self._timeline.now_us + int(duration_ms * US_PER_MS))

    def run_until(self, goal: Callable[[], bool] | float, *, limit_ms: float = LIMIT_MS) -> bool:
        """Lets virtual time pass until `goal`: a moment in milliseconds, or a condition.

        A condition is checked every LOOK_PERIOD_MS. Returns False if it did not come true within `limit_ms`.
        """
        if not callable(goal):
            self._timeline.run_to(int(goal * US_PER_MS))
            return True
        end_us = self._timeline.now_us + int(limit_ms * US_PER_MS)
        while not goal():
            if self._timeline.now_us >= end_us:
                return False
            self._timeline.run_to(min(self._timeline.now_us + LOOK_PERIOD_MS * US_PER_MS, end_us))
        return True

    def after(self, delay_ms: float, action: Callable[[], None]) -> None:
        """Calls `action` after this much virtual time, between two events of the cluster."""
        self._timeline.after(int(delay_ms * US_PER_MS), lambda _: action(), None)

    # ------------------------------------------------------------ the operator

    def operate(self, node: int, order: Callable[[ClusterState, int], Result]) -> Result:
        """Gives an order to a member, `order(state, now_ms)`, as its client port would. Raises StateError."""
        host = self._up(node)
        if host.is_hung:
            raise StateError(f"node {node} hangs")
        return host.operate(order)

    def meet(self, node: int, other: int) -> None:
        """CLUSTER MEET on `node`."""
        peer = self._world.hosts[other]
        self._note("operator", f"n{node} CLUSTER MEET n{other}")
        self._world.checker.met(peer.node_id)
        self.operate(node, lambda state, now_ms: state.meet(peer.ip, peer.config.port, peer.cport, now_ms))

    def forget(self, node: int, node_id: str) -> None:
        """CLUSTER FORGET on `node`. The forgotten one must then stay out."""
        self._note("operator", f"n{node} CLUSTER FORGET {node_id}")
        self.operate(node, lambda state, now_ms: state.forget(node_id, now_ms))
        host = self._up(node)
        slowest = 1 - FORGET_CLOCK_SLACK
        ttl_ms = host.config.cluster_blacklist_ttl * 1000
        until_us = self._timeline.now_us + int(ttl_ms * US_PER_MS * slowest)
        self._world.checker.forgot(host, node_id, until_us)

    def set_tags(self, node: int, tags: dict[str, str]) -> None:
        """The program that a member lives in sets its tags. A member that is about to crash may crash here."""
        with contextlib.suppress(StateError):
            self.operate(node, lambda state, now_ms: state.set_tags(tags, now_ms))

    def add_slots(self, node: int, first: int, last: int) -> None:
        """CLUSTER ADDSLOTSRANGE first last."""
        self._note("operator", f"n{node} CLUSTER ADDSLOTSRANGE {first} {last}")
        self.operate(node, lambda state, now_ms: state.add_slots(range(first, last + 1), now_ms))

    def claim_slots(self, node: int, first: int, last: int) -> None:
        """CLUSTER DELSLOTSRANGE, then ADDSLOTSRANGE: a member claims slots that others own, which an operator can do by
        mistake. The greatest config epoch wins them.
        """
        self._note("operator", f"n{node} claims slots {first}-{last}")
        self._world.shelf.void |= bits_of(range(first, last + 1))

        def claim(state: ClusterState, now_ms: int) -> None:
            slots = range(first, last + 1)
            taken = [slot for slot in slots if state.assigned_slots >> slot & 1]
            state.del_slots(taken, now_ms)
            state.add_slots(slots, now_ms)

        self.operate(node, claim)

    def replicate(self, node: int, primary: int) -> None:
        """CLUSTER REPLICATE on `node`, which has no slots."""
        self._note("operator", f"n{node} CLUSTER REPLICATE n{primary}")
        primary_id = self.node_id(primary)
        self.operate(node, lambda state, now_ms: state.replicate(primary_id, now_ms))

    def failover(self, node: int, how: str = "") -> None:
        """CLUSTER FAILOVER on a replica; `how` is "", "FORCE" or "TAKEOVER"."""
        self._note("operator", f"n{node} CLUSTER FAILOVER {how}")
        force, takeover = how == "FORCE", how == "TAKEOVER"
        host = self._up(node)
        host.may_take_over = takeover
        try:
            self.operate(node, lambda state, now_ms: state.failover(now_ms, force=force, takeover=takeover))
        finally:
            host.may_take_over = False

    def move_slot(self, slot: int, source: int, target: int) -> None:
        """The SETSLOTs of `redis-cli --cluster reshard`: IMPORTING, MIGRATING, then, once all keys have moved, NODE on
        both.
        """
        self.open_move(slot, source, target)
        self.finish_move(slot, source, target)

    def open_move(self, slot: int, source: int, target: int) -> None:
        """SETSLOT IMPORTING and MIGRATING: from now on keys move."""
        self._note("operator", f"slot {slot} begins to move from n{source} to n{target}")
        source_id, target_id = self.node_id(source), self.node_id(target)
        self._up(target).importing |= 1 << slot
        self._world.shelf.void |= 1 << slot
        self.operate(target, lambda state, now_ms: state.import_slot(slot, source_id, now_ms))
        self.operate(source, lambda state, now_ms: state.migrate_slot(slot, target_id, now_ms))

    def finish_move(self, slot: int, source: int, target: int) -> None:
        """SETSLOT NODE on both. A target that keeps no data has refused the keys of the source: then SETSLOT STABLE."""
        target_id = self.node_id(target)
        if self._up(target).data is None and not self._up(source).is_empty:
            self._note("operator", f"slot {slot} stays on n{source}")
            self.operate(target, lambda state, now_ms: state.settle_slot(slot, now_ms))
            self.operate(source, lambda state, now_ms: state.settle_slot(slot, now_ms))
            return
        self._note("operator", f"slot {slot} has moved from n{source} to n{target}")
        self.operate(target, lambda state, now_ms: state.assign_slot(slot, target_id, now_ms))
        self.operate(source, lambda state, now_ms: state.assign_slot(slot, target_id, now_ms))

    def take_slots(self, node: int, first: int, last: int, *, timeout_ms: int = 10_000, votes_min: int = 1) -> int:
        """`Bus.take_slots` on `node`: SlotOrderEnded with the returned number says how it went."""
        self._note("program", f"n{node} takes slots {first}-{last}")
        bits = bits_of(range(first, last + 1))
        return self.operate(node, lambda state, now_ms: state.take_slots(bits, timeout_ms, now_ms, votes_min=votes_min))

    def give_slots(self, node: int, first: int, last: int, heir: int, *, timeout_ms: int = 10_000) -> int:
        """`Bus.move_slots` on `node`, to another member."""
        self._note("program", f"n{node} gives slots {first}-{last} to n{heir}")
        bits, heir_id = bits_of(range(first, last + 1)), self.node_id(heir)
        return self.operate(node, lambda state, now_ms: state.move_slots(bits, heir_id, timeout_ms, now_ms))

    def holds(self, node: int, slot: int) -> bool:
        """`Bus.is_mine` on `node`, for a slot. False if the host is down."""
        host = self._world.hosts[node]
        return host.is_up and host.held_slots(1 << slot) != 0

    def publish(self, node: int, message: bytes) -> None:
        """PUBLISH on `node`: a message to every other member."""
        self.operate(node, lambda state, now_ms: state.publish(b"channel", message, now_ms))

    def set_config_epoch(self, node: int, epoch: int) -> None:
        """CLUSTER SET-CONFIG-EPOCH, for a member that knows no other node yet."""
        self.operate(node, lambda state, now_ms: state.set_config_epoch(epoch, now_ms))

    def bump_epoch(self, node: int) -> bool:
        """CLUSTER BUMPEPOCH. True if there is a new config epoch."""
        self._note("operator", f"n{node} CLUSTER BUMPEPOCH")
        return self.operate(node, lambda state, now_ms: state.bump_epoch(now_ms))

    def form(
        self,
        *,
        primaries: int | None = None,
        replicas: int = 0,
        config_epochs: bool = True,
        limit_ms: float = LIMIT_MS,
    ) -> float:
        """Makes one cluster of all members, as `redis-cli --cluster create` does. Returns how long it took.

        The first `primaries` members (default: all but the replicas) share all slots, each with its own config epoch if
        `config_epochs`. Member 0 meets the others, and after a while meets again those that it does not know yet. Then
        the next `replicas` members replicate the primaries in turn. The remaining members are primaries without slots.
        Raises StateError if the members do not agree within `limit_ms`.
        """
        begun_ms = self.now_ms
        count = primaries if primaries is not None else len(self.nodes) - replicas
        if not 0 < count <= count + replicas <= len(self.nodes):
            raise StateError(f"{len(self.nodes)} nodes cannot be {count} primaries and {replicas} replicas")
        for node in self.nodes:
            if config_epochs and not self._world.hosts[node].config.cluster_observer:
                self.set_config_epoch(node, node + 1)
            if node < count:
                self.add_slots(node, node * SLOTS // count, (node + 1) * SLOTS // count - 1)
        self._meet_until_all_agree(begun_ms + limit_ms)
        for number in range(replicas):
            self.replicate(count + number, number % count)
        if replicas and not self.run_until(self.agrees, limit_ms=begun_ms + limit_ms - self.now_ms):
            raise StateError(f"the nodes do not agree about replicas: {self.disagreements()}")
        return self.now_ms - begun_ms

    def _meet_until_all_agree(self, end_ms: float) -> None:
        while self.now_ms < end_ms:
            first = self.state(0)
            for node in self.nodes[1:]:
                if first.find(self.node_id(node)) is None:
                    self.meet(0, node)
            if self.run_until(self.agrees, limit_ms=MEET_PERIOD_MS):
                return
        raise StateError(f"the nodes do not agree: {self.disagreements()}")

    # ------------------------------------------------------------ faults of hosts

    def crash(self, node: int, *, power: bool = False, after_effects: int | None = None) -> None:
        """Kills the process of a host: its connections close, and what it wrote stays.

        With `power` the host is off: no peer is notified, and what was not synced may be lost. With `after_effects`
        this happens later, after so many more acts of the process that the world can see, so that a step is cut in the
        middle.
        """
        host = self._up(node)
        if after_effects is not None:
            host.planned_crash = PlannedCrash(after_effects, power)
            return
        self._note(host.name, "loses power" if power else "is killed")
        if power:
            host.cut_power()
        else:
            host.kill()

    def restart(self, node: int, *, ip: str | None = None) -> None:
        """Starts a member from the disk of a host that is down, at another address if `ip` is given: a new one, or that
        of another host that is down.
        """
        host = self._world.hosts[node]
        if host.is_up:
            raise StateError(f"node {node} is up")
        if ip is not None:
            addresses = self._world.addresses
            holder = addresses.get((ip, host.cport))
            if holder is not None and self._world.hosts[holder].is_up:
                raise StateError(f"{ip} is taken")
            if addresses.get((host.ip, host.cport)) == node:
                del addresses[host.ip, host.cport]
            host.ip = ip
        self._note(host.name, f"starts at {host.ip}")
        self._boot(host)

    def replace(self, node: int) -> None:
        """Starts a new member at the address of a host that is down, on an empty disk: with a new id, it knows nobody.

        The old id is `gone`, and the host an outsider until an operator has it met.
        """
        host = self._world.hosts[node]
        if host.is_up:
            raise StateError(f"node {node} is up")
        if host.node_id and node not in self.outsiders:
            self.gone.add(host.node_id)
        self.outsiders.add(node)
        self._note(host.name, "has lost its disk")
        host.lose_disk()
        self.restart(node)

    def still_hoped_for(self) -> list[str]:
        """Which members do not flag a node FAIL that is `gone`, one line each."""
        return still_hoped_for(self._world.hosts, self.gone)

    def misplace(self, node: int, shard_id: str) -> None:
        """The nodes.conf of a host that is down names another shard id for its own node."""
        self._note(f"n{node}", f"reads of shard {shard_id}")
        self._world.hosts[node].disk.misplace(shard_id)

    def spare(self, node: int) -> bool:
        """Calls off a crash that was to come after some effects. Returns whether the host is up."""
        host = self._world.hosts[node]
        host.planned_crash = None
        return host.is_up

    def hang(self, node: int, *, reads: bool = False) -> None:
        """The main loop stops, as by SIGSTOP. With `reads` the I/O workers go on reading."""
        self._note(f"n{node}", "hangs")
        self._up(node).hang(reads=reads)

    def resume(self, node: int) -> None:
        """The main loop of a member that hangs goes on."""
        host = self._up(node)
        if host.is_hung:
            self._note(host.name, "resumes")
            host.resume()

    def keep_away(self, node: int, longest_ms: float) -> None:
        """From now on the main loop is now and then away, for this long at most (0: no more). Its I/O workers go on."""
        self._note(f"n{node}", f"away for up to {longest_ms:.0f} ms")
        self._world.hosts[node].away_max_us = int(longest_ms * US_PER_MS)

    def fail_disk(self, node: int, *, failing: bool = True) -> None:
        """Every write of nodes.conf fails, until called with `failing=False`."""
        self._note(f"n{node}", f"disk {'fails' if failing else 'works'}")
        self._world.hosts[node].disk.is_failing = failing

    def slow_disk(self, node: int, slow_ms: float) -> None:
        """Every write of nodes.conf that is begun from now on takes this long, and 0 none at all."""
        self._note(f"n{node}", f"disk takes {slow_ms:.0f} ms")
        self._world.hosts[node].disk.slow_ms = slow_ms

    def sync_disks(self) -> None:
        """What all members have written so far is on disk for good."""
        for host in self._world.hosts:
            host.disk.sync()

    # ------------------------------------------------------------ faults of the network

    def partition(self, one: Sequence[int], other: Sequence[int], *, one_way: bool = False) -> Fault:
        """Nothing passes from `one` to `other`, nor back unless `one_way`, until the fault is healed."""
        self._note("net", f"{list(one)} {'-x->' if one_way else '<-x->'} {list(other)}")
        fault = self._new_fault()
        fault.impair(one, other, Impairment(blocked=True))
        if not one_way:
            fault.impair(other, one, Impairment(blocked=True))
        return fault

    def isolate(self, node: int) -> Fault:
        """Nothing passes between a host and all others."""
        return self.partition([node], [other for other in self.nodes if other != node])

    def degrade(
        self,
        nodes: Sequence[int] | None = None,
        *,
        loss: float = 0.0,
        delay_ms: float = 0.0,
        jitter_ms: float = 0.0,
    ) -> Fault:
        """Segments to and from these hosts (default: all) are lost with probability `loss`, or arrive later."""
        chosen = list(self.nodes) if nodes is None else list(nodes)
        self._note("net", f"{chosen} loss {loss:.2f} delay {delay_ms:.0f} ms jitter {jitter_ms:.0f} ms")
        impairment = Impairment(False, int(delay_ms * US_PER_MS), int(jitter_ms * US_PER_MS), loss)
        fault = self._new_fault()
        fault.impair(chosen, self.nodes, impairment)
        fault.impair(self.nodes, chosen, impairment)
        return fault

    def drop_packets(self, predicate: Callable[[int, int, Packet], bool] | None) -> None:
        """From now on, packets for which `predicate(sender, receiver, packet)` is true are read and thrown away, as by
        DEBUG DROP-CLUSTER-PACKET-FILTER. None ends it.
        """
        self._world.drops = predicate

    def damage(self, node: int, change: Callable[[Packet], Packet] | None) -> None:
        """From now on, what a host sends leaves as `change` makes it. None ends it."""
        self._note("net", f"n{node} {'damages its packets' if change is not None else 'sends sound packets again'}")
        self._world.hosts[node].damage = change

    def lie(self, node: int, lies: Callable[[Packet], Packet]) -> None:
        """From now on `node` is a liar: what it sends leaves as `lies` makes it, and no rule is held of itself. Of the
        others those rules are not held that rest on its word (`checks.RESTS_ON_WORDS`).
        """
        self._world.checker.liars.add(node)
        self.damage(node, lies)

    def throw(self, node: int, other: int, packet: Packet) -> bool:
        """A packet of nobody's making goes from `node` to another host, on the last connection between them. False if
        there is none.
        """
        ends = [end for end in self._world.network.ends_of(node) if end.path.target == other and end.is_open]
        if ends:
            self._world.network.send(ends[-1], packet)
        return bool(ends)

    def break_links(self, node: int, other: int) -> int:
        """Resets every connection between two hosts. Returns how many there were."""
        self._note("net", f"resets the links of n{node} and n{other}")
        ends = [end for end in self._world.network.ends_of(node) if end.path.target == other]
        for end in ends:
            self._world.network.reset(end)
        return len(ends)

    def mute_link(self, dialler: int, other: int, *, forth: bool) -> bool:
        """From now on one direction of the connection that `dialler` made to `other` carries nothing, until the
        connection ends: `forth` or back. Returns whether there is one.
        """
        self._note("net", f"the link from n{dialler} to n{other} is dead {'forth' if forth else 'back'}")
        ends = [end for end in self._world.network.ends_of(dialler) if end.path.target == other and not end.is_inbound]
        for end in ends:
            (end if forth else end.peer).is_mute = True
        return bool(ends)

    def lag_links(self, nodes: Sequence[int], longest_ms: float, random: Random) -> None:
        """From now on each direction of each connection of these hosts has a lag of its own, up to `longest_ms`: what
        two hosts send each other on two connections arrives in any order. 0 ends it.
        """
        self._note("net", f"the links of {list(nodes)} lag up to {longest_ms:.0f} ms, each by its own time")
        for node in nodes:
            for end in self._world.network.ends_of(node):
                for direction in (end, end.peer):
                    direction.lag_us = int(random.random() * longest_ms * US_PER_MS)

    def heal(self) -> None:
        """Ends every injected fault of the network."""
        faults, self._faults = self._faults, []
        if faults:
            self._note("net", "all healed")
        for fault in faults:
            fault.heal()

    def _new_fault(self) -> Fault:
        fault = Fault(self._world.network)
        self._faults.append(fault)
        return fault

    # ------------------------------------------------------------ what the network calls

    def listens(self, host: int) -> bool:
        """Whether a process on the host accepts connections."""
        return self._world.hosts[host].is_up

    def dial_answered(self, dial: Dial, end: End) -> None:
        """A dial succeeded."""
        self._world.hosts[dial.owner].dial_answered(dial, end)

    def dial_failed(self, dial: Dial, error: str) -> None:
        """A dial failed."""
        self._world.hosts[dial.owner].dial_failed(dial, error)

    def arrived(self, end: End, item: Any) -> None:
        """Something reached an open end."""
        self._world.hosts[end.owner].arrived(end, item)

    def broken(self, end: End, reason: str) -> None:
        """The network closed an end."""
        self._world.hosts[end.owner].broken(end, reason)

    # ------------------------------------------------------------ helpers
    def _up(self, node: int) -> Host:
        host = self._world.hosts[node]
        if not host.is_up:
            raise StateError(f"node {node} is down")
        return host

    def _boot(self, host: Host) -> None:
        host.boot(
            offset_ms=self._clocks.randint(-self._skew_ms, self._skew_ms),
            drift_ppm=self._clocks.randint(-self._drift_ppm, self._drift_ppm),
        )

    def _note(self, who: str, what: str) -> None:
        if self._world.trace is not None:
            self._world.trace.note(who, what)
