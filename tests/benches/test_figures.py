"""The figures of the benchmark against other servers: medians, ratios within a round, verdicts, tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runner.cluster_file import make_cluster
from runner.figures import TARGETS, Rows, bytes_per_link, bytes_per_node, median, ratio, row_of, spread
from runner.output.report import report
from runner.servers import SERVERS
from runner.workloads import WORKLOADS


def window(**changes: int) -> dict[str, Any]:
    values = {
        "elapsed_ns": 2_000_000_000,
        "pongs": 1_000,
        "deliveries": 0,
        "handshakes": 0,
        "missed": 0,
        "late_p99_ns": 0,
        "latency_p50_ns": 50_000,
        "latency_p99_ns": 90_000,
        "server_main_ns": 10_000_000,
        "server_all_ns": 30_000_000,
        "server_rss_bytes": 50 * 2**20,
        "generator_ns": 500_000_000,
        "elsewhere_ns": 100_000_000,
    }
    return values | changes


def rows_of(name: str, **by_server: list[tuple[int, dict[str, int]]]) -> Rows:
    """Rows by server, made from (round, changed figures of its window). Underscores in a name stand for dashes."""
    workload = WORKLOADS[name]
    return {
        server.replace("_", "-"): [row_of(workload, [window(**changes)], number) for number, changes in rounds]
        for server, rounds in by_server.items()
    }


def test_cpu_time_is_divided_by_what_was_counted_in_the_window() -> None:
    row = row_of(WORKLOADS["tcp-201"], [window()], 1)
    assert (row["main_us"], row["all_us"], row["per_s"]) == (10.0, 30.0, 500.0)
    assert (row["generator_cores"], row["elsewhere_cores"], row["rss_mib"]) == (0.25, 0.05, 50.0)


def test_idle_time_is_percent_of_a_core() -> None:
    row = row_of(WORKLOADS["idle"], [window(pongs=0)], 1)
    assert row["main_percent"] == pytest.approx(0.5)
    assert row["all_percent"] == pytest.approx(1.5)


def test_a_storm_compares_heartbeats_in_it_with_calm_ones() -> None:
    calm, during = window(latency_p99_ns=1_000), window(latency_p99_ns=3_000, generator_ns=100_000_000)
    row = row_of(WORKLOADS["storm"], [calm, during, window(handshakes=100)], 1)
    assert (row["p99_ratio"], row["main_us"], row["per_s"]) == (3.0, 100.0, 50.0)
    assert row["elsewhere_cores"] == pytest.approx(0.0)


def test_a_busy_loop_is_compared_with_itself_without_pings_and_what_callbacks_burnt_costs_the_bus_nothing() -> None:
    calm = window(loop_ns=1_000_000_000, loop_burnt_ns=700_000_000, loop_bus_ns=10_000_000, loop_callbacks=14)
    busy = window(
        server_main_ns=1_460_000_000,
        server_all_ns=1_500_000_000,
        loop_ns=1_000_000_000,
        loop_burnt_ns=700_000_000,
        loop_bus_ns=30_000_000,
        loop_callbacks=7,
    )
    row = row_of(WORKLOADS["busy"], [calm, busy], 1)
    assert (row["main_us"], row["all_us"]) == (60.0, 100.0)
    assert (row["loop_calm_percent"], row["loop_busy_percent"]) == (1.0, 3.0)
    assert row["loop_lost_percent"] == pytest.approx(2.0)
    assert row["callbacks_ratio"] == pytest.approx(0.5)


def test_a_join_costs_what_was_spent_from_the_start_of_the_process() -> None:
    joined = window(pongs=7, dialled_ns=1_500_000_000, first_dial_ns=500_000_000, start_all_ns=20_000_000)
    row = row_of(WORKLOADS["join-2000"], [joined], 1)
    assert (row["all_us"], row["seconds"], row["start_ms"]) == (30_000.0, 2.0, 20.0)


def test_a_pace_says_how_late_its_pings_left_and_how_many_never_did() -> None:
    row = row_of(WORKLOADS["sparse-201"], [window(pongs=99, missed=1, late_p99_ns=70_000)], 1)
    assert (row["late_p99_us"], row["missed_percent"]) == (70.0, 1.0)
    text = report({"sparse-201": {"redis": [row]}})
    assert "| late p99 ms | missed % |" in text
    assert "|        0.07 |      1.0 |" in text


def test_every_figure_to_reach_is_measured_for_both_sides_of_its_comparison() -> None:
    for target in TARGETS:
        name, rest = target.text.split(": ", 1)
        server = rest.split(",")[0]
        assert server in WORKLOADS[name].servers, target.text
        for reference in ("redis", "floor"):
            if rest.endswith(f"x {reference}"):
                assert reference in WORKLOADS[name].servers, target.text


def test_a_window_without_a_single_unit_is_no_figure() -> None:
    with pytest.raises(ValueError, match="no deliveries at all"):
        row_of(WORKLOADS["publish"], [window()], 1)


def test_a_ratio_is_taken_within_a_round_and_a_missing_round_shifts_nothing() -> None:
    rows = rows_of(
        "tcp-201",
        redis=[(1, {"server_main_ns": 40_000_000}), (3, {"server_main_ns": 80_000_000})],
        clusterbus_3=[
            (1, {"server_main_ns": 10_000_000}),
            (2, {"server_main_ns": 99_000_000}),
            (3, {"server_main_ns": 40_000_000}),
        ],
    )
    assert ratio(rows, "clusterbus-3", "redis", "main_us") == pytest.approx((0.25 + 0.5) / 2)
    assert ratio(rows, "clusterbus-3", "floor", "main_us") is None
    assert median(rows["clusterbus-3"], "main_us") == 40.0
    assert spread(rows["clusterbus-3"], "main_us") == (10.0, 99.0)


def test_memory_of_links_and_nodes_is_the_difference_of_the_idle_workloads() -> None:
    tables = {
        name: rows_of(name, redis=[(1, {"server_rss_bytes": size})])
        for name, size in (("idle", 13_998_000), ("idle-unlinked", 6_002_000), ("idle-small", 2_010_000))
    }
    assert bytes_per_link(tables, "redis") == pytest.approx(2_000)
    assert bytes_per_node(tables, "redis") == pytest.approx(2_000)
    del tables["idle-unlinked"]
    assert bytes_per_link(tables, "redis") is None


def test_figures_to_reach_are_judged_by_their_side_of_the_bound() -> None:
    by_text = {target.text: target for target in TARGETS}
    faster = by_text["storm: clusterbus-3, a second >= 3 x redis"]
    assert faster.is_met(3)
    assert not faster.is_met(2.9)
    cheaper = by_text["tcp-2000: clusterbus-2, main thread <= 1/60 x redis"]
    assert cheaper.is_met(1 / 60)
    assert not cheaper.is_met(0.017)
    assert all(target.value({}) is None for target in TARGETS)


def test_the_report_shows_ratios_verdicts_and_a_busy_machine() -> None:
    busy = {"elsewhere_ns": 1_000_000_000}
    rows = rows_of("tcp-2000", redis=[(1, busy)], clusterbus_3=[(1, busy | {"server_main_ns": 1_000_000})])
    text = report({"tcp-2000": rows})
    assert "| clusterbus-3 |            1 |       1-1 |     0.1 |" in text
    assert "Other processes used 0.50 cores meanwhile: provisional." in text
    verdict = next(line for line in text.splitlines() if "clusterbus-3, main thread <= 1/60 x redis" in line)
    assert verdict.split("|")[2:5] == ["  1/60 ", "     0.1 ", " missed "]


def test_every_server_of_a_workload_exists_and_every_size_is_a_workload() -> None:
    for workload in WORKLOADS.values():
        assert set(workload.servers) <= SERVERS.keys()
        assert workload.links <= workload.nodes - 1
        assert not workload.tls or all(SERVERS[name].has_tls for name in workload.servers)
    assert {"tcp-4", "tcp-201", "tcp-1000", "tcp-2000", "tls-2000"} <= WORKLOADS.keys()


def test_nodes_conf_gives_all_slots_once_and_every_node_its_own_address_and_epoch(tmp_path: Path) -> None:
    cluster = make_cluster(2_000)
    *lines, variables = cluster.text.splitlines()
    words = [line.split() for line in lines]
    assert variables == "vars currentEpoch 2000 lastVoteEpoch 0"
    assert len({line[0] for line in words}) == len({line[1] for line in words}) == 2_000
    assert [int(line[6]) for line in words] == list(range(1, 2_001))
    owned = [range(int(first), int(last) + 1) for first, last in (line[8].split("-") for line in words)]
    assert [slot for slots in owned for slot in slots] == list(range(16_384))
    assert cluster.write(tmp_path, addresses=False).read_text().count(" :0@0 master,noaddr - ") == 1_999
    assert words[0][1] == f"127.0.0.1:{cluster.port}@{cluster.bus_port}"
    assert words[0][2] == "myself,master"
