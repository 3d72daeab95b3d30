"""The program `clusterbus`: arguments as in valkey-server, errors in one line, exit statuses (S11)."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import clusterbus
import pytest
from clusterbus.cli import SUBCOMMANDS, main
from clusterbus.config import BY_NAME, WITH_EFFECT, Config

from tests.peers.ports import free_port
from tests.peers.server import Server

RUN_DEADLINE_S = 60.0
PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
LOG_LINE = re.compile(r"\d+:M \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\.\d{3} [.\-*#] .+")


class Result(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


Invoke = Callable[..., Result]


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Runs the program in this process with some arguments."""

    def call(*arguments: str) -> Result:
        try:
            status = main(arguments)
        except SystemExit as ended:  # click's way to return
            status = ended.code if isinstance(ended.code, int) else 1
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the program in a process of its own until it ends."""
    command = [sys.executable, "-m", "clusterbus", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=RUN_DEADLINE_S, check=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that nodes were to be started with. No node is started."""
    configs: list[Config] = []

    def run_node(config: Config) -> int:
        configs.append(config)
        return 7

    monkeypatch.setattr("clusterbus.runtime.process.run_node", run_node)
    return configs


@pytest.mark.parametrize("arguments", [["--version"], ["-v"], ["node", "--version"], ["node", "-v"]])
def test_version(invoke: Invoke, arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (0, f"clusterbus, version {clusterbus.__version__}\n")


def test_help_lists_the_commands(invoke: Invoke) -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert re.search(r"^  node  .*\n  demo  ", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_node_documents_every_directive(invoke: Invoke, flag: str) -> None:
    result = invoke("node", flag)
    assert result.exit_code == 0
    for directive in WITH_EFFECT:
        names = ", ".join(f"--{name}" for name in (directive.name, *directive.aliases))
        text = f"{names} {directive.kind.syntax()}{' *' if directive.mutable else ''}\n"
        assert text in result.stdout
        assert directive.doc.split(".")[0][:60] in " ".join(result.stdout.split())
    assert all(f"--{name}" in result.stdout for name in BY_NAME)


def test_arguments_reach_the_node_untouched_and_its_status_comes_back(invoke: Invoke, started: list[Config]) -> None:
    result = invoke("node", "--port", "7000", "--bind", "127.0.0.1", "::1", "--save", "", "--logfile", "--help")
    assert result.exit_code == 7
    assert [(c.port, c.bind, c.text("save"), c.logfile) for c in started] == [
        (7000, ("127.0.0.1", "::1"), "", "--help")
    ]


def test_a_config_file_and_directives_over_it(invoke: Invoke, started: list[Config], tmp_path: Path) -> None:
    path = tmp_path / "node.conf"
    path.write_text("port 7001\nio-threads 3\n")
    invoke("node", str(path), "--port", "7002")
    assert [(c.port, c.io_threads) for c in started] == [(7002, 3)]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--prot", "1"], "command line: unknown directive 'prot' (nearest: port)"),
        (["--io-thread", "1"], "command line: unknown directive 'io-thread' (nearest: io-threads)"),
        (["--port", "x"], "command line: port 'x': argument couldn't be parsed into an integer"),
        (["/no/such.conf"], "can't open config file '/no/such.conf': No such file or directory"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_1(
    invoke: Invoke, started: list[Config], arguments: list[str], text: str
) -> None:
    result = invoke("node", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"clusterbus: {text}\n")
    assert started == []


@pytest.mark.processes
def test_the_package_runs_as_a_module_and_shows_no_traceback() -> None:
    result = run("node", "--tls-cluster", "yes")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "clusterbus: tls-cluster yes needs tls-cert-file, tls-key-file, tls-ca-cert-file\n"


@pytest.mark.processes
def test_standard_input_is_read_for_a_dash() -> None:
    result = run("node", "-", stdin="port 7000\nbogus 1\n")
    assert result.returncode == 1
    assert result.stderr.startswith("clusterbus: standard input:2: unknown directive 'bogus'")


def test_an_unknown_command_is_refused_in_one_line(invoke: Invoke) -> None:
    result = invoke("nodes")
    assert result == (2, "", f"clusterbus: no such command 'nodes'; there are {', '.join(SUBCOMMANDS)}\n")


@pytest.mark.parametrize("name", ["demo", "simulate"])
def test_the_other_commands_have_a_help(invoke: Invoke, name: str) -> None:
    result = invoke(name, "-h")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: clusterbus {name} [OPTIONS]")


@pytest.mark.parametrize(("name", "package"), [("demo", "hiredis"), ("demo", "trustme"), ("simulate", "rich")])
def test_a_command_without_its_packages_says_in_one_line_what_to_install(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    for module in [loaded for loaded in sys.modules if loaded.startswith(("clusterbus.cli.", f"{package}."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    result = invoke(name)
    assert result == (1, "", f"clusterbus: {name} needs the package {package}: pip install 'clusterbus[{name}]'\n")


def test_the_extra_of_a_command_brings_what_it_imports() -> None:
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    for name, subcommand in SUBCOMMANDS.items():
        wanted = {requirement.partition(">")[0] for requirement in extras.get(name, ())}
        assert wanted == {*subcommand.packages}


@pytest.mark.processes
def test_a_node_and_a_bus_import_no_other_package() -> None:
    others = {package for subcommand in SUBCOMMANDS.values() for package in subcommand.packages}
    program = (
        "import sys, clusterbus, clusterbus.cli.node, clusterbus.runtime.process; "
        "clusterbus.Bus, clusterbus.BlockingBus; clusterbus.cli.main(['nodes']); "
        f"print({others} & {{*sys.modules}}, 'clusterbus.cli.demo' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "set() False\n"


@pytest.mark.processes
@pytest.mark.parametrize("taken", ["port", "cluster-port"])
def test_a_port_in_use_is_one_clear_line_and_exit_1(tmp_path: Path, taken: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ports = {"port": str(free_port()), "cluster-port": str(free_port()), taken: str(port)}
        words = [word for name, value in ports.items() for word in (f"--{name}", value)]
        result = run("node", *words, "--bind", "127.0.0.1", "--dir", str(tmp_path))
    assert result.returncode == 1
    output = (result.stdout + result.stderr).splitlines()
    assert sum(f"127.0.0.1:{port}" in line and "Address already in use" in line for line in output) == 1
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_answers_and_ends_with_0_on_a_signal(peers: Callable[..., Server], number: signal.Signals) -> None:
    server = peers("clusterbus")
    assert server.call("PING") == "PONG"
    server.disconnect()
    server.signal(number)
    assert server.process is not None
    assert server.process.wait(RUN_DEADLINE_S) == 0
    lines = server.log_text().splitlines()
    assert all(LOG_LINE.fullmatch(line) for line in lines), lines
    assert (server.folder / "nodes.conf").read_text().splitlines()[-1].startswith("vars currentEpoch")


def test_log_and_pid_go_where_they_are_told(peers: Callable[..., Server]) -> None:
    server = peers("clusterbus", logfile="node.log", pidfile="node.pid", loglevel="verbose")
    assert (server.folder / "node.pid").read_text() == f"{server.pid}\n"
    assert "Ready to accept connections" in (server.folder / "node.log").read_text()
    assert server.log_text() == ""
    assert server.stop() == 0
    assert not (server.folder / "node.pid").exists()


def test_a_second_node_in_the_same_folder_is_refused(peers: Callable[..., Server]) -> None:
    """H46."""
    server = peers("clusterbus")
    result = run("node", "--port", str(free_port()), "--bind", "127.0.0.1", "--dir", str(server.folder))
    assert result.returncode == 1
    assert "nodes.conf is already used by another node" in result.stdout
    assert server.call("PING") == "PONG"
