"""`Simulation`: a whole cluster in one process, in virtual time, that does what its seed says.

Owns the members, the network and the faults in force, and what a script may do to them. The protocol is
`ClusterState`'s, unchanged; the rules are checked after every event (`checks`), and a broken one raises
`InvariantError` out of whatever call made time pass. One thread; no real clock, no socket, no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, TypeVar

from clusterbus.cluster.constants import SLOTS
from clusterbus.cluster.events import Event
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.errors import StateError
from clusterbus.sim.agreement import disagreements
from clusterbus.sim.host import Doom, Host, World
from clusterbus.sim.network import Dial, End, Impairment, Network
from clusterbus.sim.timeline import US_PER_MS, Timeline
from clusterbus.sim.trace import Trace
from clusterbus.wire import Packet

NODES_MAX: Final = 1_000
CLIENT_PORT: Final = 7_000
HOSTS_PER_NET: Final = 250
LOOK_PERIOD_MS: Final = 50
"""How often `run_until` looks at its condition."""
MEET_PERIOD_MS: Final = 3_000
"""How often `form` repeats the MEET of nodes that are not known yet."""
LIMIT_MS: Final = 600_000
"""`run_until` gives up after this much virtual time, unless told otherwise."""

Listener = Callable[[int, Event, float], None]
"""Called with the member's number, what it told, and the virtual time in milliseconds."""
MessageListener = Callable[[int, Sequence[int], Packet], None]
Result = TypeVar("Result")


class Fault:
    """Something done to the network that lasts until `heal`."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._key: int | None = network.new_key()

    def impair(self, sources: Iterable[int], targets: Sequence[int], impairment: Impairment) -> None:
        """Adds the directions from each source to each target."""
        assert self._key is not None
        for source in sources:
            for target in targets:
                if source != target:
                    self._network.path(source, target).impair(self._key, impairment)

    def heal(self) -> None:
        """The network is as if this had not been; what was held up goes on. Idempotent."""
        if self._key is not None:
            self._network.restore(self._key)
            self._key = None


class Simulation:
    """A cluster of `nodes` members under one `seed`; same arguments and same calls, same run.

    Members are named by their number, 0 to nodes - 1; times are milliseconds of virtual time, which begins
    at 0 and passes only inside `run_for`, `run_until` and `form`. Members boot at once and know nobody.

        with_six = Simulation(seed=7, nodes=6)
        with_six.form()                                # slots, MEET, until all agree
        cut = with_six.partition([0], [1, 2, 3, 4, 5])
        with_six.run_until(lambda: not with_six.state(0).is_ok)
        cut.heal()
        with_six.run_until(with_six.agrees)

    `directives` are those of valkey.conf by underscore name. `skew_ms` and `drift_ppm` bound how far a
    node's wall clock is off and how many millionths its seconds are. `delay_ms` and `jitter_ms` are those of
    every path. Members in `without_views` look at every heartbeat in full and encode theirs in full; the others do
    both by the published view, as I/O workers do. `trace(line)` is called for every line of the trace, with heartbeats
    if `trace_heartbeats`. `state_class` may be a subclass of `ClusterState` whose rules are bent.
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
        self._world.network = Network(
            self._timeline,
            self._world.random("network"),
            self,
            hosts=nodes,
            delay_us=int(delay_ms * US_PER_MS),
            jitter_us=int(jitter_ms * US_PER_MS),
        )
        keywords = {"port": CLIENT_PORT, "cluster_node_timeout": node_timeout_ms} | (directives or {})
        for index in range(nodes):
            ip = f"10.0.{index // HOSTS_PER_NET}.{index % HOSTS_PER_NET + 1}"
            config = Config.from_keywords(None, **keywords)
            host = Host(self._world, index, config, ip, state_class, compares=index not in without_views)
            self._world.hosts.append(host)
        for host in self._world.hosts:
            self._boot(host)

    # ------------------------------------------------------------ looking

    @property
    def now_ms(self) -> float:
        """Virtual time."""
        return self._timeline.now_ms

    @property
    def nodes(self) -> range:
        """The numbers of all members."""
        return range(len(self._world.hosts))

    @property
    def members(self) -> Sequence[Host]:
        """All members, those that are down included."""
        return self._world.hosts

    @property
    def stats(self) -> Counter[str]:
        """What happened so far: events of the members by the name of their class, dials, saves, votes."""
        return self._world.stats

    def state(self, node: int) -> ClusterState:
        """The state of a member that is up, for reading. Raises StateError when it is down."""
        return self._up(node).state

    def node_id(self, node: int) -> str:
        """The cluster's name for a member."""
        return self._world.hosts[node].node_id

    def is_up(self, node: int) -> bool:
        """Whether the member's process runs (hanging or not)."""
        return self._world.hosts[node].is_up

    def living(self) -> list[int]:
        """The members that are up."""
        return [member.index for member in self._world.hosts if member.is_up]

    def agrees(self) -> bool:
        """Whether all members that are up see one and the same cluster (`disagreements` says what not)."""
        return not self.disagreements(at_most=1)

    def disagreements(self, *, at_most: int = 10) -> list[str]:
        """What the members do not agree on: members, roles, slots, epochs, failures, links, state."""
        return disagreements(self._world.hosts, at_most=at_most)

    def on_event(self, listener: Listener) -> None:
        """Calls `listener(node, event, now_ms)` for every typed event a member tells (`cluster.events`)."""

        def pass_on(host: Host, event: Event) -> None:
            listener(host.index, event, self.now_ms)

        self._world.listeners.append(pass_on)

    def on_message(self, listener: MessageListener) -> None:
        """Calls `listener(sender, receivers, packet)` for every message a member hands to its engine; an answer to a
        quiet heartbeat is told when it is encoded."""
        self._world.message_listeners.append(listener)

    # ------------------------------------------------------------ time

    def run_for(self, duration_ms: float) -> None:
        """Lets virtual time pass. Raises InvariantError when a rule is broken."""
        self._timeline.run_to(self._timeline.now_us + int(duration_ms * US_PER_MS))

    def run_until(self, goal: Callable[[], bool] | float, *, limit_ms: float = LIMIT_MS) -> bool:
        """Lets virtual time pass until `goal`: a moment in milliseconds, or a condition.

        A condition is looked at every LOOK_PERIOD_MS; False when it did not come true within `limit_ms`.
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
        """Calls `action` when so much virtual time has passed, between two events of the cluster."""
        self._timeline.after(int(delay_ms * US_PER_MS), lambda _: action(), None)

    # ------------------------------------------------------------ the operator

    def operate(self, node: int, order: Callable[[ClusterState, int], Result]) -> Result:
        """`order(state, now_ms)` on a member, as its client port would apply it. Raises its StateError."""
        member = self._up(node)
        if member.is_hung:
            raise StateError(f"node {node} hangs")
        return member.operate(order)

    def meet(self, node: int, other: int) -> None:
        """CLUSTER MEET on `node`."""
        peer = self._world.hosts[other]
        self._note("operator", f"n{node} CLUSTER MEET n{other}")
        self.operate(node, lambda state, now_ms: state.meet(peer.ip, peer.config.port, peer.cport, now_ms))

    def add_slots(self, node: int, first: int, last: int) -> None:
        """CLUSTER ADDSLOTSRANGE first last."""
        self._note("operator", f"n{node} CLUSTER ADDSLOTSRANGE {first} {last}")
        self.operate(node, lambda state, now_ms: state.add_slots(range(first, last + 1), now_ms))

    def claim_slots(self, node: int, first: int, last: int) -> None:
        """CLUSTER DELSLOTSRANGE, then ADDSLOTSRANGE: a member claims slots that others own, as an operator
        can do by mistake. The greater config epoch gets them.
        """
        self._note("operator", f"n{node} claims slots {first}-{last}")

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
        member = self._up(node)
        member.may_take_over = takeover
        try:
            self.operate(node, lambda state, now_ms: state.failover(now_ms, force=force, takeover=takeover))
        finally:
            member.may_take_over = False

    def move_slot(self, slot: int, source: int, target: int) -> None:
        """The SETSLOTs of `redis-cli --cluster reshard`: IMPORTING, MIGRATING, NODE on both, without keys."""
        self._note("operator", f"slot {slot} moves from n{source} to n{target}")
        source_id, target_id = self.node_id(source), self.node_id(target)
        self._up(target).importing |= 1 << slot
        self.operate(target, lambda state, now_ms: state.import_slot(slot, source_id, now_ms))
        self.operate(source, lambda state, now_ms: state.migrate_slot(slot, target_id, now_ms))
        self.operate(target, lambda state, now_ms: state.assign_slot(slot, target_id, now_ms))
        self.operate(source, lambda state, now_ms: state.assign_slot(slot, target_id, now_ms))

    def set_config_epoch(self, node: int, epoch: int) -> None:
        """CLUSTER SET-CONFIG-EPOCH, for a member that knows nobody yet."""
        self.operate(node, lambda state, now_ms: state.set_config_epoch(epoch, now_ms))

    def bump_epoch(self, node: int) -> bool:
        """CLUSTER BUMPEPOCH: whether there is a new config epoch."""
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
        """Makes one cluster of all members, as `redis-cli --cluster create` does; how long it took.

        All slots are dealt out to the first `primaries` members (default: all but the replicas), each with a
        config epoch of its own if `config_epochs`; member 0 meets the others, again when one is not known after
        a while; then the next `replicas` members replicate the primaries in turn. Members left over are
        primaries without slots. Raises StateError when they do not agree within `limit_ms`.
        """
        begun_ms = self.now_ms
        count = primaries if primaries is not None else len(self.nodes) - replicas
        if not 0 < count <= count + replicas <= len(self.nodes):
            raise StateError(f"{len(self.nodes)} nodes cannot be {count} primaries and {replicas} replicas")
        for node in self.nodes:
            if config_epochs:
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

    # ------------------------------------------------------------ faults of nodes

    def crash(self, node: int, *, power: bool = False, after_effects: int | None = None) -> None:
        """The process is killed: connections close, what was written stays. `power`: the host is off:
        nobody is told, and what was not synced may be lost. `after_effects`: not now, but after carrying
        out so many more effects, so that a step is cut in the middle.
        """
        member = self._up(node)
        if after_effects is not None:
            member.doom = Doom(after_effects, power)
            return
        self._note(member.name, "loses power" if power else "is killed")
        if power:
            member.cut_power()
        else:
            member.kill()

    def restart(self, node: int, *, ip: str | None = None) -> None:
        """A member that is down starts on what its disk has, at another address if `ip` is given."""
        member = self._world.hosts[node]
        if member.is_up:
            raise StateError(f"node {node} is up")
        if ip is not None:
            if (ip, member.cport) in self._world.addresses:
                raise StateError(f"{ip} is taken")
            self._world.addresses.pop((member.ip, member.cport), None)
            member.ip = ip
        self._note(member.name, f"starts at {member.ip}")
        self._boot(member)

    def spare(self, node: int) -> bool:
        """A death announced by `after_effects` is called off; whether the member is up."""
        member = self._world.hosts[node]
        member.doom = None
        return member.is_up

    def hang(self, node: int, *, reads: bool = False) -> None:
        """The main loop stops (SIGSTOP); with `reads` the I/O workers still read."""
        self._note(f"n{node}", "hangs")
        self._up(node).hang(reads=reads)

    def resume(self, node: int) -> None:
        """A member that hangs goes on."""
        member = self._up(node)
        if member.is_hung:
            self._note(member.name, "resumes")
            member.resume()

    def fail_disk(self, node: int, *, failing: bool = True) -> None:
        """Every write of nodes.conf fails, until called with `failing=False`."""
        self._note(f"n{node}", f"disk {'fails' if failing else 'works'}")
        self._world.hosts[node].disk.is_failing = failing

    def sync_disks(self) -> None:
        """What all members wrote so far is on their disks for good."""
        for member in self._world.hosts:
            member.disk.sync()

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
        """A member is cut off from all others."""
        return self.partition([node], [other for other in self.nodes if other != node])

    def degrade(
        self,
        nodes: Sequence[int] | None = None,
        *,
        loss: float = 0.0,
        delay_ms: float = 0.0,
        jitter_ms: float = 0.0,
    ) -> Fault:
        """Segments to and from these members (default: all) get lost with that chance or come later."""
        chosen = list(self.nodes) if nodes is None else list(nodes)
        self._note("net", f"{chosen} loss {loss:.2f} delay {delay_ms:.0f} ms jitter {jitter_ms:.0f} ms")
        impairment = Impairment(False, int(delay_ms * US_PER_MS), int(jitter_ms * US_PER_MS), loss)
        fault = self._new_fault()
        fault.impair(chosen, self.nodes, impairment)
        fault.impair(self.nodes, chosen, impairment)
        return fault

    def drop_packets(self, predicate: Callable[[int, int, Packet], bool] | None) -> None:
        """From now on packets for which `predicate(sender, receiver, packet)` is true are read and thrown away, as
        DEBUG DROP-CLUSTER-PACKET-FILTER does; None ends it.
        """
        self._world.drops = predicate

    def break_links(self, node: int, other: int) -> int:
        """Resets every connection between two members; how many there were."""
        self._note("net", f"resets the links of n{node} and n{other}")
        ends = [end for end in self._world.network.ends_of(node) if end.path.target == other]
        for end in ends:
            self._world.network.reset(end)
        return len(ends)

    def heal(self) -> None:
        """Every fault of the network is over."""
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
        """Whether a process on the host takes connections."""
        return self._world.hosts[host].is_up

    def dial_answered(self, dial: Dial, end: End) -> None:
        """A dial came up."""
        self._world.hosts[dial.owner].dial_answered(dial, end)

    def dial_failed(self, dial: Dial, error: str) -> None:
        """A dial did not."""
        self._world.hosts[dial.owner].dial_failed(dial, error)

    def arrived(self, end: End, item: Any) -> None:
        """Something reached an open end."""
        self._world.hosts[end.owner].arrived(end, item)

    def broken(self, end: End, reason: str) -> None:
        """The network closed an end."""
        self._world.hosts[end.owner].broken(end, reason)

    # ------------------------------------------------------------ small things

    def _up(self, node: int) -> Host:
        member = self._world.hosts[node]
        if not member.is_up:
            raise StateError(f"node {node} is down")
        return member

    def _boot(self, member: Host) -> None:
        member.boot(
            offset_ms=self._clocks.randint(-self._skew_ms, self._skew_ms),
            drift_ppm=self._clocks.randint(-self._drift_ppm, self._drift_ppm),
        )

    def _note(self, who: str, what: str) -> None:
        if self._world.trace is not None:
            self._world.trace.note(who, what)
