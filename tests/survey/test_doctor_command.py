"""The command line of `clusterbus doctor`: mistakes, silence, what a terminal gets, and the schema of --json."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from clusterbus.cli import doctor, main
from clusterbus.cli.doctor_report import Result, as_json, as_text
from clusterbus.survey.access import PASSWORD_VARIABLES
from clusterbus.survey.asking import Survey
from clusterbus.survey.finding import Kind

from tests.peers.ports import free_port
from tests.peers.tls import Certificates
from tests.survey.test_asking import NODE, line, replies
from tests.survey.written import Written, sound

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "doctor.md"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required: SEED"),
        (["host"], "seed 'host' is not of the form host:port"),
        (["h:1", "--timeout", "0"], "argument --timeout: '0' is no number of seconds"),
        (["h:1", "--timeout", "nan"], "argument --timeout: 'nan' is no number of seconds"),
        (["h:1", "--jso"], "unrecognized arguments: --jso"),
        (["h:1", "--interval", "1"], "--interval means nothing without --watch"),
        (["h:1", "--for", "1"], "--for means nothing without --watch"),
        (["h:1", "--label", "x"], "--label means nothing without --bus"),
        (["h:1", "--bus", "--watch"], "--bus means nothing with it"),
        (["h:1", "--user", "eye"], "--user needs a password"),
        (["h:1", "--cacert", "x"], "--cacert means nothing without --tls"),
        (["h:1", "--tls", "--cert", "x"], "--cert and --key go together"),
        (["h:1", "--tls", "--cacert", "/no/such"], "--cacert: there is no '/no/such'"),
        (["h:1", "--tls", "--cacert", __file__], "--cacert"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    for name in PASSWORD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    captured = capsys.readouterr()
    assert (ended.value.code, captured.out) == (2, "")
    assert captured.err.startswith("clusterbus doctor: ")
    assert captured.err.count("\n") == 1
    assert text in captured.err


def test_a_certificate_without_its_key_is_one_line(
    capsys: pytest.CaptureFixture[str], certificates: Certificates
) -> None:
    files = ["--cert", str(certificates.cert_file), "--key", str(certificates.ca_cert_file)]
    with pytest.raises(SystemExit):
        main(["doctor", "h:1", "--tls", *files])
    assert capsys.readouterr().err.startswith(f"clusterbus doctor: --cert {str(certificates.cert_file)!r}, --key ")


@pytest.mark.parametrize("watch", [[], ["--watch"]])
def test_nobody_there_is_exit_3_and_says_why(capsys: pytest.CaptureFixture[str], watch: list[str]) -> None:
    port = free_port()
    assert main(["doctor", *watch, f"127.0.0.1:{port}", "no-such-host.invalid:1"]) == 3
    captured = capsys.readouterr()
    told = captured.out + captured.err
    assert f"127.0.0.1:{port} could not be asked: Connection refused" in told
    assert "no-such-host.invalid:1 could not be asked: can't resolve" in told.replace("\n         ", " ")
    assert "nobody could be asked" in told


@pytest.mark.processes
def test_ctrl_c_is_one_line_and_a_closed_pipe_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [sys.executable, "-m", "clusterbus", "doctor", f"127.0.0.1:{silent.getsockname()[1]}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as doctor:
            with silent.accept()[0] as asked:
                asked.recv(1)
                doctor.send_signal(signal.SIGINT)
                assert doctor.communicate(timeout=60) == ("", "clusterbus doctor: interrupted\n")
            assert doctor.returncode == 130
    with subprocess.Popen(
        [*command[:4], "no-such-host.invalid:1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as doctor:
        assert doctor.stdout is not None
        assert doctor.stderr is not None
        doctor.stdout.close()
        assert doctor.stderr.read() == b""
        assert doctor.wait(60) == 141


def test_one_node_without_slots_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    async def examine() -> int:
        server = await asyncio.start_server(replies(line(NODE, 0, "myself,master")), "127.0.0.1", 0)
        async with server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await asyncio.to_thread(main, ["doctor", address])

    assert asyncio.run(examine()) == 0
    out = capsys.readouterr().out
    assert "nobody owns slots" in out
    assert re.search(r"^sound \(\d+ notes\)$", out, re.MULTILINE)
    assert "\x1b" not in out


def test_progress_is_for_terminals_and_only_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def written(stream: io.StringIO, after_s: float) -> str:
        monkeypatch.setattr(doctor, "PROGRESS_AFTER_S", after_s)
        progress = doctor.Progress(stream)
        progress(3, 2000)
        progress.end()
        return stream.getvalue()

    assert written(Terminal(), -1.0) == "\r\x1b[Kasked 3 of 2,000 nodes\r\x1b[K"
    assert written(Terminal(), 60.0) == ""
    assert written(io.StringIO(), -1.0) == ""


# ---------------------------------------------------------------- what is shown


def result_of(cluster: Written) -> Result:
    return Result(cluster.survey(), cluster.findings())


def spoilt() -> Written:
    cluster = sound()
    cluster.change("c", "b", link="disconnected")
    cluster.say("b", config={"cluster-node-timeout": "5000"})
    return cluster


def test_a_terminal_gets_colours_and_lines_that_fit() -> None:
    result = result_of(spoilt())
    plain = as_text(result, columns=80, is_coloured=False)
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80
    coloured = as_text(result, columns=80, is_coloured=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert "\x1b[1;31mFAULT" in coloured
    assert plain.splitlines()[-1] == "1 fault, 1 warning"
    for columns in (20, 50, 300):
        assert "10.0.0.1:7003" in as_text(result, columns=columns, is_coloured=False)


def test_many_nodes_and_findings_are_counted_rather_than_shown() -> None:
    cluster = sound()
    for port in range(8000, 8100):
        cluster.errors[f"10.0.0.2:{port}"] = "Connection refused"
    text = as_text(result_of(cluster), columns=120, is_coloured=False)
    assert text.count("10.0.0.2:") < 60
    assert "and 88 more of not-asked; --all shows them" in text
    shown = as_text(result_of(cluster), columns=120, is_coloured=False, shows_all=True)
    assert shown.count("10.0.0.2:") == 200
    assert shown.splitlines()[-1] == "100 warnings"


def test_nothing_is_said_of_a_survey_that_heard_nobody() -> None:
    text = as_text(Result(Survey(("h:1",), ()), []), columns=80, is_coloured=False)
    assert text.splitlines() == ["0 nodes asked from h:1 in 0 ms", "", "nobody could be asked"]


def test_the_schema_of_json_is_the_documented_one() -> None:
    report = json.loads(json.dumps(as_json(result_of(spoilt()))))
    documented = {*re.findall(r"^\| `([a-z_.\[\]]+)` \|", GUIDE.read_text(), re.MULTILINE)}
    fields = {*report}
    for name in ("nodes", "views", "findings"):
        fields |= {f"{name}[].{field}" for field in report[name][0]}
    assert fields == documented
    assert report["schema"] == 1
    assert report["sound"] is False
    assert {found["kind"] for found in report["findings"]} == {"one-sided-link", "timeouts-differ"}


def test_the_guide_explains_every_kind_of_finding() -> None:
    explained = re.findall(r"^\| \*\*([a-z-]+)\*\* \| ([a-z]+) \|", GUIDE.read_text(), re.MULTILINE)
    from clusterbus.survey.finding import SEVERITIES

    assert dict(explained) == {kind.value: SEVERITIES[kind].value for kind in Kind}
    assert [kind for kind, _ in explained] == [kind.value for kind in Kind]
