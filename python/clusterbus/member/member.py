"""`Member`: one node of a cluster, assembled from state, driver, messages and data, over the ports of some world.

Owns the order in which the parts are made and ended. The commands of the client port and both buses work on it. Must
never know which world it lives in: the world is behind the ports, and behind two hooks that the runner of the member
may set, `schedule_step` and `on_stop_request`. Main thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from clusterbus.cluster.events import Event
from clusterbus.cluster.model.records import NodesConf
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.data_plane import DataPlane
from clusterbus.errors import StateError
from clusterbus.member.departure import Departure
from clusterbus.member.driver import Driver
from clusterbus.member.faults import Faults
from clusterbus.member.guarded_data_plane import GuardedDataPlane
from clusterbus.member.membership.joining import Joining, Seeding
from clusterbus.member.membership.leaving import Leaving
from clusterbus.member.membership.seeds import Seed
from clusterbus.member.ports import Certificates, ClientPort, Clock, Engine, Errands, Log, NodesFile
from clusterbus.member.pubsub import PubSub
from clusterbus.member.topology import Topology

EXIT_OK: Final = 0
EXIT_NOT_SAVED: Final = 1


class Member:
    """A member that is ready for its first step.

    `saved` is a parsed nodes.conf, None for a new node; `random` is the only source of randomness. `strict`: errors in
    our own or the user's code are raised instead of survived (`faults`). `state_class` may be a subclass of
    `ClusterState`, for tests that break a rule on purpose.
    """

    _seeding: Seeding | None = None
    _leaving: Leaving | None = None
    certificates: Certificates | None = None
    """Set where TLS may be spoken."""

    def __init__(
        self,
        *,
        config: Config,
        engine: Engine,
        nodes_file: NodesFile,
        clock: Clock,
        log: Log,
        random: Random,
        saved: NodesConf | None = None,
        data_plane: DataPlane | None = None,
        strict: bool = False,
        state_class: type[ClusterState] = ClusterState,
    ) -> None:
        self.config = config
        self.engine = engine
        self.clock = clock
        self.started_ms = clock.now_ms()
        self.run_id = f"{random.getrandbits(160):040x}"
        counters: Counter[str] = Counter()
        faults = Faults(clock, log, counters, strict=strict)
        self.keeps_data = data_plane is not None
        """Whether keys are kept here: there is a data plane, or the client port serves commands with keys."""
        self.data_plane = GuardedDataPlane(data_plane if data_plane is not None else DataPlane(), faults)
        self.state = state_class(
            config=config,
            random=random,
            now_ms=self.started_ms,
            read_age_ms=engine.last_read_ms,
            saved=saved,
            data_plane=self.data_plane,
        )
        self.driver = Driver(
            config=config,
            engine=engine,
            state=self.state,
            nodes_file=nodes_file,
            clock=clock,
            log=log,
            counters=counters,
            faults=faults,
        )
        self.pubsub = PubSub(self.driver)
        self.topology = Topology(self.driver, self.pubsub.subscriptions, self.run_id)
        self.data_plane.attach(self.driver)
        self.client_port: ClientPort | None = None
        """Set when a client port is opened."""
        self.errands: Errands | None = None
        """Set where there are names to resolve and other nodes' client ports."""
        self._random = random
        self.event_loop_name = ""
        """The event loop that drives the member, for INFO."""
        self.schedule_step: Callable[[], object] = self.driver.finish_step
        """Sends what was queued: at once, unless the runner of the member postpones it to the end of its round."""
        self.on_stop_request: Callable[[], None] = lambda: None
        self.on_restart_request: Callable[[int], None] | None = None
        """Stops the member, and begins its process again after so many milliseconds. None where nobody can."""
        self.save_on_stop = True
        self.exit_code = EXIT_OK
        self.departure = Departure(
            state=self.state,
            config=config,
            clock=clock,
            log=log,
            go=lambda save: self.request_stop(save=save),
            settle=self.settle,
        )
        self.listen(self.departure.handle_event)
        self.driver.on_save_failed = self._on_save_failed
        self.driver.at_close.append(config.on_change(self._on_config_change))

    def settle(self) -> None:
        """Carries out what an order asked of the state. Every order ends with it.

        Messages may leave later in the same round (`schedule_step`), so that the commands of one read, or of many
        clients, share system calls.
        """
        self.driver.settle()
        self.schedule_step()

    def _on_config_change(self, _config: Config, _names: frozenset[str]) -> None:
        self.state.handle_config_changed(self.clock.now_ms())
        self.settle()

    def _on_save_failed(self) -> None:
        self.driver.log("warning", "cluster-config-save-behavior is sync, so the node stops")
        self.request_stop(save=False, exit_code=EXIT_NOT_SAVED)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """From now on calls `listener` with every event of the state."""
        self.driver.event_listeners.append(listener)

    def join(self, seeds: Sequence[Seed]) -> Joining:
        """Begins to join the cluster of any of these seeds. It goes on with each tick until `end_join`."""
        joining = Joining(seeds, state=self.state, clock=self.clock, errands=self._world_errands(), random=self._random)
        self.driver.tick_listeners.append(joining.tick)
        joining.tick()
        self.settle()
        return joining

    def end_join(self, joining: Joining) -> None:
        """Goes on with it no more. Handshakes that are under way end by themselves."""
        if joining.tick in self.driver.tick_listeners:
            self.driver.tick_listeners.remove(joining.tick)

    def keep_joined(self, seeds: Sequence[Seed]) -> None:
        """Joins by these seeds from now on, whenever this node is alone."""
        self._seeding = Seeding(
            seeds,
            state=self.state,
            clock=self.clock,
            errands=self._world_errands(),
            random=self._random,
            log=self.driver.log,
        )
        self.driver.tick_listeners.append(self._seeding.tick)

    def leave(self, timeout_ms: int, *, with_keys: bool) -> Leaving:
        """Begins to leave the cluster. It goes on with each tick until `end_leave`. Raises StateError if the node is
        leaving or going already.
        """
        if self._leaving is not None or self.departure.is_waiting:
            raise StateError("this node is leaving already")
        self._leaving = Leaving(
            state=self.state,
            data_plane=self.data_plane,
            clock=self.clock,
            errands=self._world_errands(),
            log=self.driver.log,
            tls_cluster=self.config.tls_cluster,
            forget_seeds=self._forget_seeds,
            timeout_ms=timeout_ms,
            with_keys=with_keys,
        )
        self.driver.event_listeners.append(self._leaving.handle_event)
        self.driver.tick_listeners.append(self._leaving.tick)
        self.settle()
        return self._leaving

    def end_leave(self) -> None:
        """Goes on with it no more. If that is not over, the node stays, or leaves at once if others were told."""
        leaving, self._leaving = self._leaving, None
        if leaving is None or self.driver.closed:
            return
        self.driver.event_listeners.remove(leaving.handle_event)
        self.driver.tick_listeners.remove(leaving.tick)
        leaving.give_up()
        self.settle()

    def _forget_seeds(self) -> None:
        seeding, self._seeding = self._seeding, None
        if seeding is not None:
            self.driver.tick_listeners.remove(seeding.tick)

    def _world_errands(self) -> Errands:
        if self.errands is None:
            raise StateError("no names can be resolved here")
        return self.errands

    def client_stats(self) -> dict[str, int]:
        """Counters of the client port under INFO's names; empty without a client port."""
        return self.client_port.stats() if self.client_port is not None else {}

    def reset_stats(self) -> None:
        """CONFIG RESETSTAT (R24)."""
        self.driver.reset_stats()
        if self.client_port is not None:
            self.client_port.reset_stats()

    def request_stop(self, *, save: bool = True, exit_code: int = EXIT_OK) -> None:
        """Asks the runner of the member to stop it, and returns at once. `save`: nodes.conf is saved first."""
        self.save_on_stop = save
        self.exit_code = exit_code
        self.on_stop_request()

    def close(self, *, save: bool = True) -> None:
        """Ends the member, as `Driver.close` does. One that has begun to tell others that it leaves has left then."""
        try:
            self.end_leave()
        finally:
            self.driver.close(save=save)
