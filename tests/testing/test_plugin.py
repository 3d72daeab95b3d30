"""The pytest plugin: pytest finds it, it costs nothing at start, and its fixtures work without any other plugin."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent.parent
PLUGIN = "clusterbus.testing.plugin"
TESTS = """
    import asyncio
    import socket

    def test_a_cluster_in_plain_code(clusterbus_cluster):
        c = clusterbus_cluster(primaries=2, replicas=1)
        other = clusterbus_cluster(1)
        assert c.failover(1) == 3
        for host, port in c.addresses + other.addresses:
            socket.create_connection((host, port)).close()

    def test_a_coroutine(clusterbus_run):
        from clusterbus.testing import cluster

        async def scenario():
            async with cluster(3) as c:
                await c.fail(0)
                await c.wait_failed(0)
                return len(c.nodes)

        assert clusterbus_run(scenario()) == 3
        assert clusterbus_run(asyncio.sleep(0, 5)) == 5

    def test_ports(clusterbus_ports):
        ports = clusterbus_ports(3)
        assert len(set(ports)) == 3
        for number in [*ports, *(port + 10_000 for port in ports)]:
            socket.create_server(("127.0.0.1", number)).close()
"""


def run_pytest(folder: Path, tests: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs these tests with the plugin and none that is installed, in a project that allows no warning."""
    (folder / "test_it.py").write_text(textwrap.dedent(tests))
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-config\nfilterwarnings = error\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_pytest_finds_the_plugin_by_the_entry_point_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"clusterbus": PLUGIN}
    plugin = importlib.import_module(PLUGIN)
    assert {"clusterbus_cluster", "clusterbus_run", "clusterbus_ports"} <= vars(plugin).keys()


def test_the_fixtures_serve_plain_pytest(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, TESTS)
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    shown = run_pytest(tmp_path, TESTS, "--fixtures").stdout
    assert "clusterbus_cluster" in shown
    assert "A function that starts a cluster in a thread beside the test" in shown


def test_a_test_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        """
        import threading

        def test_fails(clusterbus_cluster):
            clusterbus_cluster(2)
            assert False, "on purpose"

        def test_nothing_is_left():
            assert threading.active_count() == 1
        """,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_loads_nothing_of_the_package_until_a_fixture_is_used(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        """
        import sys

        def test_what_is_loaded():
            loaded = {name for name in sys.modules if name.startswith("clusterbus")}
            assert loaded == {"clusterbus", "clusterbus.testing", "clusterbus.testing.plugin"}
        """,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
