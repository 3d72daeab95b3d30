"""`Member`: one node of a cluster, put together: state, driver, messages and data, over the ports of some world.

Owns the order in which the parts are made and ended. Commands of the client port and both buses work on it. Must
never know the world it lives in: that is in the ports it is given, and in the two hooks whoever runs it may set,
`schedule_step` and `on_stop_request`. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from clusterbus.cluster.events import Event
from clusterbus.cluster.model.records import NodesConf
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.data_plane import DataPlane
from clusterbus.member.driver import Driver
from clusterbus.member.faults import Faults
from clusterbus.member.guarded_data_plane import GuardedDataPlane
from clusterbus.member.ports import ClientPort, Clock, Engine, Log, NodesFile
from clusterbus.member.pubsub import PubSub

EXIT_OK: Final = 0


class Member:
    """A member that is ready to be stepped; it has been told of no event yet.

    `saved` is a parsed nodes.conf, None for a new node; `random` the only source of chance. `strict`: faults are
    raised instead of survived (`faults`). `state_class` may be a subclass of `ClusterState` whose rules are bent.
    """

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
        faults = Faults(clock, log, strict=strict)
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
            faults=faults,
        )
        self.pubsub = PubSub(self.driver)
        self.data_plane.attach(self.driver)
        self.client_port: ClientPort | None = None
        """Set by whoever opens one."""
        self.event_loop_name = ""
        """What drives the member, for INFO."""
        self.schedule_step: Callable[[], object] = self.driver.settle
        """Has what was queued sent: at once, unless whoever runs the member does it at the end of its round."""
        self.on_stop_request: Callable[[], None] = lambda: None
        self.save_on_stop = True
        self.exit_code = EXIT_OK

    # ------------------------------------------------------------ what may be asked of it

    def settle(self) -> None:
        """Carries out what an order asked of the state; every order ends with it.

        What is to be sent may leave later in the same round (`schedule_step`), so that the commands of one
        read, or of many clients, share their system calls.
        """
        self.driver.carry_out()
        self.schedule_step()

    def listen(self, listener: Callable[[Event], None]) -> None:
        """From now on `listener` is called with every typed event of the state."""
        self.driver.event_listeners.append(listener)

    def client_stats(self) -> dict[str, int]:
        """Counters of the client port by INFO's names; empty without one."""
        return self.client_port.stats() if self.client_port is not None else {}

    def reset_stats(self) -> None:
        """CONFIG RESETSTAT (R24)."""
        self.driver.reset_stats()
        if self.client_port is not None:
            self.client_port.reset_stats()

    def request_stop(self, *, save: bool = True, exit_code: int = EXIT_OK) -> None:
        """Asks whoever runs the member to stop it; returns at once. `save`: nodes.conf too."""
        self.save_on_stop = save
        self.exit_code = exit_code
        self.on_stop_request()

    def close(self, *, save: bool = True) -> None:
        """As `Driver.close`."""
        self.driver.close(save=save)
