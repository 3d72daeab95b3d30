"""`clusterbus simulate` and the example: what the terminal shows, and exit statuses (R38)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from clusterbus.cli.simulate import OPTIONS_OF_MODES, histogram, replay_command, simulate
from clusterbus.sim import scenario
from clusterbus.sim.measure import measure

from tests.peers.cluster import wait_until

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "simulate_partition.py"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(simulate, arguments)


def test_times_of_a_cluster_are_shown_with_histograms_r38() -> None:
    result = run("--nodes", "5", "--seed", "3", "--fail", "1")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "5 nodes, seed 3, node timeout 2,000 ms; virtual time"
    assert any(line.startswith("a node knows all others: ") for line in lines)
    assert any(line.startswith("a survivor sees a dead node as FAIL: ") for line in lines)
    assert any("####" in line for line in lines)
    assert run("--nodes", "5", "--seed", "3", "--fail", "1").output == result.output


def test_times_as_json_are_those_of_the_api_r38() -> None:
    result = json.loads(run("--nodes", "7", "--seed", "3", "--fail", "2", "--json").output)
    assert result == measure(7, 3, 2, 2_000).as_dict()
    assert len(result["joined_ms"]) == 7
    assert len(result["failed_ms"]) == 10
    assert result["unseen"] == 0
    assert 1_000 < min(result["suspected_ms"]) <= max(result["failed_ms"]) < 6_000
    assert 0 < result["returned_ms"] < 20_000
    assert result["messages"]["ping"] > 100


def test_a_failure_that_no_majority_can_see_is_shown_as_unseen_s3() -> None:
    result = run("--nodes", "5", "--fail", "3")
    assert result.exit_code == 0
    assert "FAIL not reached for 6 pairs" in result.output
    assert "all agree again" in result.output


def test_the_time_until_a_replica_is_elected_is_shown_s5() -> None:
    result = json.loads(run("--nodes", "6", "--replicas", "3", "--json").output)
    assert len(result["elected_ms"]) == 1
    assert result["served_ms"] is not None
    assert max(result["failed_ms"]) <= result["elected_ms"][0] + 1_000
    assert result["elected_ms"][0] < result["served_ms"] < 2 * 2_000 + 3_000
    output = run("--nodes", "6", "--replicas", "3").output
    assert "a replica is elected: " in output
    assert "all slots are served again " in output


def test_slots_of_a_dead_node_without_replica_are_no_longer_served_s4() -> None:
    output = run("--nodes", "6", "--replicas", "1", "--fail", "2").output
    assert "all slots are served no more" in output


def test_without_a_failure_only_the_join_is_shown() -> None:
    output = run("--nodes", "3", "--fail", "0").output
    assert "knows all others" in output
    assert "power cut" not in output


def test_an_impossible_cluster_is_refused() -> None:
    result = run("--nodes", "3", "--fail", "3")
    assert result.exit_code == 1
    assert "at least one has to see it" in result.output
    result = run("--nodes", "5", "--replicas", "3", "--fail", "3")
    assert result.exit_code == 1
    assert "of 2 primaries 3 cannot fail" in result.output


def test_many_seeds_end_in_a_table_and_status_0_r38() -> None:
    result = run("--seeds", "6", "--processes", "1")
    assert result.exit_code == 0, result.output
    assert "fault: " in result.output
    assert "6 clusters of" in result.output
    assert "every rule held after every event" in result.output


def test_a_broken_rule_prints_its_seed_and_the_command_that_replays_it_r38(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(seed: int) -> scenario.Outcome:
        return scenario.Outcome(seed, nodes=5, failure="at 1.000 ms: some rule" if seed == 12 else "")

    outcomes = map(broken, range(10, 14))
    monkeypatch.setattr("clusterbus.cli.simulate.run_seeds", lambda seeds, processes, play: outcomes)
    result = run("--seeds", "4", "--first-seed", "10")
    assert result.exit_code == 1
    assert "seed 12: at 1.000 ms: some rule" in result.output
    assert replay_command(12) in result.output


def test_a_replay_prints_the_trace_and_how_it_ended_r38() -> None:
    result = run("--replay", "3")
    assert result.exit_code == 0
    assert "operator n0 CLUSTER MEET n1" in result.output
    assert result.output.rstrip().endswith("every rule held")
    with_heartbeats = run("--replay", "3", "--heartbeats").output
    assert len(with_heartbeats) > len(result.output)
    assert " ping " in with_heartbeats


def test_a_replay_of_a_broken_rule_ends_with_it_and_status_1_r38(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterbus.cluster.failover.election.quorum", lambda core: 1)
    seed = next(seed for seed in range(60) if scenario.play(seed).failure)
    result = run("--replay", str(seed))
    assert result.exit_code == 1
    assert f"seed {seed}: " in result.output.splitlines()[-1]
    assert scenario.play(seed).failure in result.output


def test_a_histogram_of_nothing_and_of_one_moment() -> None:
    assert histogram("a thing", []) == ["a thing: never"]
    assert histogram("a thing", [5.0, 5.0]) == ["a thing: 5 / 5 / 5 ms (min / median / max)"]


def test_a_histogram_counts_every_time_once() -> None:
    lines = histogram("a thing", [float(number) for number in range(100)])
    assert len(lines) == 11
    assert sum(int(line.split()[-1]) for line in lines[1:]) == 100


@pytest.mark.processes
def test_the_example_shows_both_sides_of_a_partition_and_the_same_each_time_r38() -> None:
    def output(*arguments: str) -> str:
        command = [sys.executable, str(EXAMPLE), *arguments]
        return subprocess.run(command, capture_output=True, check=True, timeout=60, text=True).stdout

    first = output()
    assert "node 0: the cluster is fail" in first
    assert "the majority has given up node 0 and node 1" in first
    assert "all agree again" in first
    assert output() == first
    assert output("--seed", "8") != first


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--seeds 3 --nodes 5", "--nodes means nothing with --seeds"),
        ("--seeds 3 --json", "--json means nothing with --seeds"),
        ("--seeds 3 --seed 1", "--seed means nothing with --seeds"),
        ("--seeds 3 --heartbeats", "--heartbeats means nothing with --seeds"),
        ("--replay 3 --seeds 2", "means nothing with --"),
        ("--replay 3 --node-timeout 500", "--node-timeout means nothing with --replay"),
        ("--heartbeats", "--heartbeats means nothing without --seeds or --replay"),
        ("--first-seed 3", "--first-seed means nothing without --seeds or --replay"),
        ("--processes 3", "--processes means nothing without --seeds or --replay"),
    ],
)
def test_an_option_without_meaning_is_refused(arguments: str, text: str) -> None:
    result = run(*arguments.split())
    assert result.exit_code == 2
    assert text in result.output


def test_every_option_has_a_meaning_in_one_mode_and_liar_in_both_that_play_scenarios() -> None:
    names = [str(option.name) for option in simulate.params if option.name != "help"]
    assert sorted(name for mode in OPTIONS_OF_MODES.values() for name in mode) == sorted([*names, "liar"])
    assert "--liar means nothing without --seeds or --replay" in CliRunner().invoke(simulate, ["--liar"]).output
    assert replay_command(3, liar=True).endswith("simulate --replay 3 --liar")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Sends Ctrl-C, which reaches every process of a terminal's group. Returns status, output and errors."""
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


@pytest.fixture
def simulating(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """`clusterbus simulate` with the parameter as arguments, in a process group of its own."""
    command = [sys.executable, "-m", "clusterbus", "simulate", *request.param.split()]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process
        process.kill()


@pytest.mark.processes
@pytest.mark.parametrize("simulating", ["--seeds 100000 --processes 2"], indirect=True)
def test_ctrl_c_ends_many_clusters_with_130_and_no_process_stays(simulating: subprocess.Popen[str]) -> None:
    """The workers are still loading their modules: what Ctrl-C interrupts there would print the longest tracebacks."""
    wait_until(lambda: len(children(simulating.pid)) >= 3, 60, "two workers and a tracker")
    started = children(simulating.pid)
    status, output, errors = interrupted(simulating)
    assert (status, errors) == (130, "interrupted\n")
    assert "Traceback" not in output
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 60, "all have ended")


@pytest.mark.processes
@pytest.mark.parametrize("simulating", ["--replay 7 --heartbeats"], indirect=True)
def test_ctrl_c_ends_a_replay_with_130(simulating: subprocess.Popen[str]) -> None:
    assert simulating.stdout is not None
    assert simulating.stdout.readline()
    status, _trace, errors = interrupted(simulating)
    assert (status, errors) == (130, "interrupted\n")
