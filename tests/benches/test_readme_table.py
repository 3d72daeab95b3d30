"""README's short table says what the JSON file of the last run says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runner.output import readme

REPOSITORY = Path(__file__).parents[2]


def run_with(**main_us: list[float]) -> dict[str, Any]:
    measurements = [
        {"server": server, "figures": {"main_us": value, "all_us": 2 * value, "p99_us": 1_500.0}}
        for server, values in main_us.items()
        for value in values
    ]
    machine = {"cpu": "A processor", "cores": 2, "kernel": "6.1", "python": "3.11"}
    versions = {"redis": "Redis server v=7.0.15 sha=00000000:0"}
    workloads = {"sparse-201": {"measurements": measurements}}
    return {"machine": machine, "rounds": 3, "versions": versions, "workloads": workloads}


def test_the_readme_shows_the_run_of_docs_peers_json() -> None:
    text = (REPOSITORY / readme.README_FILE).read_text()
    _, _, rest = text.partition(readme.BEGIN + "\n")
    shown, mark, _ = rest.partition(readme.END)
    assert mark
    assert shown == readme.short_table(json.loads((REPOSITORY / readme.RUN_FILE).read_text())), (
        "write it again: PYTHONPATH=benches/peers .venv/bin/python -m runner.output.readme"
    )


def test_a_table_has_medians_versions_and_the_machine_and_no_workload_that_was_not_run() -> None:
    table = readme.short_table(run_with(redis=[50.0, 70.0, 60.0], floor=[10.0]))
    assert table == (
        "| Server | calm, 201 nodes: main thread | all threads | p99 ms |\n"
        "| --- | --- | --- | --- |\n"
        "| bare epoll loop | 10 | 20 | 1.5 |\n"
        "| Redis 7.0.15 | 60 | 120 | 1.5 |\n"
        "\n"
        "Medians of up to 3 rounds on A processor, 2 cores, Linux 6.1, Python 3.11.\n"
    )


def test_a_run_replaces_what_stands_between_the_marks_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    run = run_with(redis=[50.0])
    readme.write(run, file)
    assert file.read_text() == f"before\n{readme.BEGIN}\n{readme.short_table(run)}{readme.END}\nafter\n"
    file.write_text("no marks")
    with pytest.raises(ValueError, match="marks of the table are missing"):
        readme.write(run, file)
