"""The process of a node: real configuration files, the background, supervisors, and signals at any moment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.config.stock import REDIS_ACTIVE, VALKEY_ACTIVE
from tests.peers.cluster import wait_until
from tests.peers.ports import free_port
from tests.peers.server import Server, clusterbus_command

DEADLINE_S = 60.0
SIGNALS_CAUGHT = "SigCgt:"

pytestmark = pytest.mark.processes


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "Z"  # nobody waits for an orphan where there is no init


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith(SIGNALS_CAUGHT))
    return bool(mask >> (number - 1) & 1)


@pytest.fixture
def loading(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A node that has just begun to load its modules."""
    words = ["--port", str(free_port()), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    with subprocess.Popen(
        clusterbus_command() + words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def written(folder: Path, text: str, **changes: str) -> Path:
    """A file with these lines, and after them some directives that a test cannot leave as they are."""
    path = folder / "server.conf"
    path.write_text(text + "".join(f"{name} {value}\n" for name, value in changes.items()))
    return path


def test_a_node_starts_on_valkeys_stock_file(tmp_path: Path) -> None:
    server = Server("clusterbus", tmp_path / "node", config_file=True)
    server.port = free_port()
    changes = {"port": str(server.port), "dir": str(server.folder), "pidfile": str(server.folder / "pid")}
    renamed = 'rename-command DEBUG ""\nrename-command INFO tell-all\nrename-command NO-SUCH-COMMAND ""\n'
    renamed += "user default on nopass ~* &* +@all\n"
    written(server.folder, VALKEY_ACTIVE + renamed, **changes)
    try:
        server.start()
        assert server.call("CONFIG", "GET", "repl-diskless-load") == ["repl-diskless-load", "disabled"]
        assert "cluster_enabled:1" in server.call("TELL-ALL", "cluster")
        for gone in ("INFO", "DEBUG"):
            with pytest.raises(redis.ResponseError, match="unknown command"):
                server.call(gone, "HELP")
        assert server.log_text().count("rename-command without effect, not served here: no-such-command") == 1
        told = [line for line in server.log_text().splitlines() if "Without effect here: " in line]
        assert len(told) == 1
        assert ", rdbchecksum, " in told[0]
        assert told[0].endswith(", user"), "in the order of the file"
        assert server.log_text().count("so user restricts nobody; requirepass does") == 1
        assert "tcp-keepalive" not in told[0]
    finally:
        assert server.stop() == 0


def test_a_node_starts_on_debians_redis_file_and_goes_to_the_background(tmp_path: Path) -> None:
    port, pid_file, log = free_port(), tmp_path / "pid", tmp_path / "node.log"
    changes = {"port": str(port), "dir": str(tmp_path), "pidfile": str(pid_file), "logfile": str(log)}
    moved = REDIS_ACTIVE.replace("/var/lib/redis", str(tmp_path)).replace("/var/log/redis", str(tmp_path))
    path = written(tmp_path, moved, **changes)
    result = subprocess.run(
        [*clusterbus_command(), str(path)], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    pid = int(pid_file.read_text())
    try:
        with redis.Redis(port=port) as client:
            assert client.ping()
        assert os.getsid(pid) == pid
        assert os.readlink(f"/proc/{pid}/fd/1") == os.devnull
        assert log.read_text().count("Without effect here: ") == 1
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: has_ended(pid), DEADLINE_S, log.read_text)
    assert not pid_file.exists()
    assert "bye bye" in log.read_text()


@pytest.mark.parametrize("logfile", ["", "node.log"])
def test_a_background_node_that_cannot_start_says_so(tmp_path: Path, logfile: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--daemonize", "yes"]
        words += ["--cluster-port", str(free_port()), "--logfile", logfile]
        result = subprocess.run(
            clusterbus_command() + words, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    log = str(tmp_path / logfile) if logfile else "its log above"
    assert result.returncode == 1
    assert result.stderr == f"clusterbus: the node did not start; {log} says why\n"
    said = (tmp_path / logfile).read_text() if logfile else result.stdout
    assert said.count(f"can't listen on 127.0.0.1:{port}: Address already in use") == 1


def test_systemd_is_told_and_the_node_stays_in_the_foreground(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    words = ["--port", str(free_port()), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    words += ["--daemonize", "yes", "--supervised", "auto"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(DEADLINE_S)
        environment = os.environ | {"NOTIFY_SOCKET": path}
        with subprocess.Popen(clusterbus_command() + words, env=environment, stdout=subprocess.DEVNULL) as process:
            try:
                assert notify.recv(1024).startswith(b"READY=1\n")
                assert process.poll() is None
            finally:
                process.terminate()
        assert process.returncode == 0


# ---------------------------------------------------------------- too few open files

OPENS_ON_LESS_AND_LESS = """
import asyncio, gc, os, resource, sys
import clusterbus

async def main():
    bus = clusterbus.Bus(port=int(sys.argv[1]), bind="127.0.0.1", dir=sys.argv[2])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    before = len(os.listdir("/proc/self/fd"))
    for more in range(1, 100):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + more, hard))
        try:
            async with bus:
                print(f"opens with {more} more, of {before}", flush=True)
                return
        except clusterbus.ConfigError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 100, hard))
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before, more

asyncio.run(main())
"""


def test_a_bus_with_too_few_open_files_says_so_and_leaves_none_open(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENS_ON_LESS_AND_LESS, str(free_port()), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *errors, opened = done.stdout.splitlines()
    assert opened.startswith("opens with ")
    assert len(errors) > 5
    assert all(": Too many open files" in error for error in errors), errors
    assert sum("cannot open what it needs: Too many open files; ulimit -n is " in error for error in errors) > 3


def test_a_node_with_too_few_open_files_ends_with_one_line(tmp_path: Path) -> None:
    words = ["--port", str(free_port()), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    for files in (16, 31):
        limited = ["bash", "-c", f'ulimit -n {files} && exec "$@"', "bash", *clusterbus_command(), *words]
        done = subprocess.run(limited, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == f"ulimit -n is {files}, and a node needs at least 32 open files to start\n"


# ---------------------------------------------------------------- signals


def test_a_hangup_does_not_end_a_node_p39(tmp_path: Path) -> None:
    server = Server("clusterbus", tmp_path / "node").start()
    try:
        server.signal(signal.SIGHUP)
        assert server.call("PING") == "PONG"
        assert server.exit_code() is None
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_modules_load_ends_the_node_with_0_p39(
    loading: subprocess.Popen[str], number: signal.Signals
) -> None:
    wait_until(lambda: catches(loading.pid, signal.SIGTERM), DEADLINE_S, "the program takes signals")
    loading.send_signal(number)
    output, _ = loading.communicate(timeout=DEADLINE_S)
    assert (loading.returncode, output) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_the_node_with_0_and_a_whole_file_p39(
    loading: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    assert loading.stdout is not None
    assert "clusterbus is starting" in loading.stdout.readline()
    loading.send_signal(number)
    output, _ = loading.communicate(timeout=DEADLINE_S)
    assert loading.returncode == 0, output
    assert f"Received {number.name} scheduling shutdown..." in output
    assert "Traceback" not in output
    assert output.rstrip().endswith("bye bye...")
    assert (tmp_path / "nodes.conf").read_text().splitlines()[-1].startswith("vars currentEpoch")


def test_the_package_loads_nothing_until_it_is_asked_p39() -> None:
    """Otherwise the program would take no signals until all of it is loaded."""
    program = (
        "import sys, clusterbus; before = [m for m in sys.modules if m.startswith('clusterbus.')]; "
        "print(before, clusterbus.wire.__name__, clusterbus.Bus.__name__, 'Bus' in dir(clusterbus))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[] clusterbus.wire Bus True\n"
