"""`Member`: what commands and both buses ask of it, on the ports of a simulated host (R42)."""

from __future__ import annotations

import pytest
from clusterbus.cluster.events import Event, Message, SlotsChanged
from clusterbus.config import Config
from clusterbus.errors import ConfigError
from clusterbus.member.member import Member
from clusterbus.sim import Simulation


class Port:
    """A `ClientPort` with one counter."""

    def __init__(self) -> None:
        self.served = 7

    def stats(self) -> dict[str, int]:
        return {"total_commands_processed": self.served}

    def section(self, name: str) -> list[tuple[str, object]]:
        return [(name, self.served)]

    def reset_stats(self) -> None:
        self.served = 0


@pytest.fixture
def simulation() -> Simulation:
    return Simulation(seed=1, nodes=2)


@pytest.fixture
def member(simulation: Simulation) -> Member:
    return simulation.members[0].member


def test_an_order_is_on_disk_and_heard_of_before_what_it_sends_leaves(simulation: Simulation, member: Member) -> None:
    heard: list[Event] = []
    scheduled: list[str | None] = []
    member.listen(heard.append)
    member.schedule_step = lambda: scheduled.append(simulation.members[0].disk.text)
    member.state.add_slots([5], member.clock.now_ms())
    assert heard == []
    member.settle()
    assert [type(event) for event in heard] == [SlotsChanged]
    (text,) = scheduled
    assert text is not None
    assert " 5\n" in text


def test_what_is_announced_follows_config_set_at_once_p34(member: Member) -> None:
    before = member.state.nodes_text()
    member.config.set_many(
        [
            ("cluster-announce-ip", "10.9.9.9"),
            ("cluster-announce-port", "7999"),
            ("cluster-announce-bus-port", "17999"),
            ("cluster-announce-hostname", "new.example"),
        ]
    )
    assert " 10.9.9.9:7999@17999,new.example myself" in member.state.nodes_text()
    member.config.set_many([("cluster-announce-port", "0"), ("cluster-announce-bus-port", "0")])
    member.config.set("cluster-announce-hostname", "")
    assert member.state.nodes_text().replace("10.9.9.9", before.split()[1].partition(":")[0]) == before
    member.config.set("cluster-announce-ip", "")
    assert f" :{member.config.port}@" in member.state.nodes_text(), "the next link shows the address again"


def test_a_refused_change_is_not_announced_p34(member: Member) -> None:
    def refuse(_config: Config, _names: frozenset[str]) -> None:
        raise ConfigError("no")

    before = member.state.nodes_text()
    member.config.on_change(refuse, "cluster-announce-hostname")
    with pytest.raises(ConfigError):
        member.config.set("cluster-announce-hostname", "new.example")
    assert member.state.nodes_text() == before


@pytest.mark.parametrize(("behavior", "stops"), [("best-effort", False), ("sync", True)])
def test_a_failed_save_stops_the_node_only_where_that_is_wanted_p30(
    simulation: Simulation, member: Member, behavior: str, stops: bool
) -> None:
    stopped: list[bool] = []
    member.on_stop_request = lambda: stopped.append(member.save_on_stop)
    member.config.set("cluster-config-save-behavior", behavior)
    simulation.members[0].disk.is_failing = True
    member.state.bump_epoch(member.clock.now_ms())
    member.settle()
    assert stopped == ([False] if stops else [])
    assert member.exit_code == (1 if stops else 0)


def test_without_a_host_that_schedules_an_order_is_sent_at_once(simulation: Simulation, member: Member) -> None:
    peer = simulation.members[1]
    member.state.meet(peer.ip, peer.config.port, None, member.clock.now_ms())
    member.driver.tick()
    simulation.run_for(1_000)
    received: list[Event] = []
    peer.member.listen(received.append)
    member.pubsub.publish(b"news", b"hello")
    member.settle()
    simulation.run_for(10)
    assert [event.message for event in received if isinstance(event, Message)] == [b"hello"]


def test_a_member_counts_its_client_port_where_it_has_one_r24(member: Member) -> None:
    assert member.client_stats() == {}
    member.reset_stats()
    port = Port()
    member.client_port = port
    member.driver.counters["dials_failed"] = 3
    assert member.client_stats() == {"total_commands_processed": 7}
    member.reset_stats()
    assert member.client_stats() == {"total_commands_processed": 0}
    assert member.driver.counters["dials_failed"] == 0


@pytest.mark.parametrize(("save", "exit_code"), [(True, 0), (False, 3)])
def test_a_stop_is_asked_of_whoever_runs_the_member(member: Member, save: bool, exit_code: int) -> None:
    asked: list[tuple[bool, int]] = []
    member.on_stop_request = lambda: asked.append((member.save_on_stop, member.exit_code))
    member.request_stop(save=save, exit_code=exit_code)
    assert asked == [(save, exit_code)]
    assert not member.driver.closed, "asked only"


def test_closing_may_leave_nodes_conf_as_it_is(simulation: Simulation, member: Member) -> None:
    disk = simulation.members[0].disk
    writes = disk.writes
    member.close(save=False)
    assert disk.writes == writes
    other = simulation.members[1]
    writes = other.disk.writes
    other.member.close()
    assert other.disk.writes == writes + 1
    assert other.disk.text == other.member.state.nodes_conf_text()


def test_every_run_has_an_id_of_its_own_and_the_same_seed_the_same(member: Member) -> None:
    assert len(member.run_id) == 40
    again = Simulation(seed=1, nodes=2)
    assert again.members[0].member.run_id == member.run_id
    assert again.members[1].member.run_id != member.run_id
    again.crash(0)
    again.restart(0)
    assert again.members[0].member.run_id != member.run_id
