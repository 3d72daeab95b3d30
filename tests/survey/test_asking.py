"""A survey of real servers of every kind, and of nodes that refuse, hang and lie."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from clusterbus.errors import ConfigError
from clusterbus.survey import asking
from clusterbus.survey.access import Access, tls_context
from clusterbus.survey.asking import QUESTIONS, Survey, survey
from clusterbus.survey.finding import Kind
from clusterbus.survey.findings import findings

from tests.loops import Run
from tests.peers.cluster import form, wait_agreed
from tests.peers.ports import free_port
from tests.peers.server import Server
from tests.peers.tls import Certificates

Peers = Callable[..., Server]
NODE, OTHER = "a" * 40, "b" * 40


def ask(*servers: Server, **arguments: Any) -> Survey:
    seeds = [f"localhost:{server.port}" for server in servers]
    return asyncio.run(survey(seeds, **arguments))


def test_every_kind_of_server_answers_from_one_seed(peers: Peers) -> None:
    servers = [peers(kind) for kind in ("valkey", "redis", "clusterbus")]
    form(servers, servers[:2])
    wait_agreed(servers, 20.0)
    seen: list[tuple[int, int]] = []
    found = ask(servers[2], progress=lambda asked, known: seen.append((asked, known)))
    assert {*found.by_address} == {f"127.0.0.1:{server.port}" for server in servers}
    assert seen[-1] == (3, 3)
    assert len(found.members) == 3
    assert not found.unheard
    for answer in found.members.values():
        assert answer.links is not None
        assert answer.links.inbound == answer.links.outbound == {*found.members} - {answer.node_id}
        assert answer.rtt_ms is not None
        assert answer.config["cluster-node-timeout"] == "2000"
        assert answer.cluster_info["cluster_state"] == "ok"
        assert answer.info["redis_version"]
        assert answer.info["role"] == "master"
        assert {row.claim for row in answer.nodes} == {row.claim for row in next(iter(found.members.values())).nodes}
    kinds = {answer.info.get("server_name", "redis"): answer for answer in found.members.values()}
    assert {*kinds} == {"valkey", "redis", "clusterbus"}
    assert kinds["valkey"].shard_id
    assert [*kinds["redis"].refused] == ["CLUSTER MYSHARDID"]
    assert {finding.kind for finding in findings(found)} == {Kind.VERSIONS_DIFFER}


def test_over_tls_the_nodes_are_found_at_their_tls_ports(peers: Peers, certificates: Certificates) -> None:
    servers = [peers(kind, certificates=certificates) for kind in ("redis", "clusterbus")]
    form(servers, servers)
    cert, key = str(certificates.cert_file), str(certificates.key_file)
    trusted = tls_context(ca_cert=str(certificates.ca_cert_file), cert=cert, key=key)
    found = ask(servers[0], access=Access(tls=trusted))
    assert {*found.by_address} == {f"127.0.0.1:{server.port}" for server in servers}
    assert not found.unheard
    (stranger,) = ask(servers[0], access=Access(tls=tls_context(cert=cert, key=key))).answers
    assert "CERTIFICATE_VERIFY_FAILED" in stranger.error
    assert not ask(servers[0], access=Access(tls=tls_context(insecure=True, cert=cert, key=key))).unheard
    (plain,) = ask(servers[0]).answers
    assert plain.error


def test_what_a_node_refuses_is_a_note_and_a_wrong_password_a_line(peers: Peers) -> None:
    server = peers("valkey")
    server.call("ACL", "SETUSER", "eye", "on", ">sesame", "+cluster|nodes", "+cluster|myid")
    server.call("CONFIG", "SET", "requirepass", "sesame")
    server.call("AUTH", "sesame")
    (answer,) = ask(server, access=Access("eye", "sesame")).answers
    assert answer.error == ""
    assert {*answer.refused} == {*QUESTIONS} - {"CLUSTER NODES"}
    assert all(reason.startswith("NOPERM") for reason in answer.refused.values())
    (answer,) = ask(server).answers
    assert answer.error == "NOAUTH Authentication required."
    (answer,) = ask(server, access=Access(password="wrong")).answers
    assert answer.error.startswith("AUTH: WRONGPASS")
    assert "wrong" not in answer.error.replace("WRONGPASS", "")


async def survey_of(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], **arguments: Any) -> Survey:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        return await survey([f"127.0.0.1:{server.sockets[0].getsockname()[1]}"], **arguments)


def replies(text: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """A server that gives this text in answer to CLUSTER NODES, and an error to every other question."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await reader.readline():
            parts = []
            for _ in range(int(words[1:])):
                await reader.readline()
                parts.append((await reader.readline()).strip())
            raw = text.encode()
            writer.write(b"$%d\r\n%b\r\n" % (len(raw), raw) if parts[-1] == b"NODES" else b"-ERR no\r\n")
        writer.close()

    return serve


def line(node_id: str, port: int, flags: str, rest: str = "1 connected") -> str:
    return f"{node_id} 127.0.0.1:{port}@1 {flags} - 0 0 {rest}\n"


def test_nodes_that_hang_or_are_gone_have_a_deadline_and_hold_nobody_up(run: Run) -> None:
    async def look() -> Survey:
        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        silent = await asyncio.start_server(hang, "127.0.0.1", 0)
        async with silent:
            port = silent.sockets[0].getsockname()[1]
            text = line(NODE, 1, "myself,master") + line(OTHER, port, "master") + line("c" * 40, free_port(), "slave")
            return await survey_of(replies(text), timeout_s=0.2)

    found = run(look())
    assert [answer.node_id for answer in found.answers if not answer.error] == [NODE]
    errors = sorted(answer.error for answer in found.unheard)
    assert errors == [*["Connection refused"] * 2, "no answer within 0.2 s"]


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "",
        line(NODE, 1, "master"),
        line(NODE, 1, "myself,master", "x connected"),
        line(NODE, 1, "myself,master", "1 connected 16384"),
        line(NODE, 1, "myself,master", "1 connected 5-4"),
        line(NODE, 1, "myself,master", "1 connected [5->-"),
        "a" * 40 + " 127.0.0.1:x@1 myself,master - 0 0 1 connected",
    ],
)
def test_what_is_no_node_table_is_said_and_survived(run: Run, text: str) -> None:
    (answer,) = run(survey_of(replies(text))).answers
    assert answer.error.startswith("CLUSTER NODES: ")
    assert answer.node_id == ""


def test_there_is_a_limit_to_the_addresses_that_nodes_may_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ADDRESSES_MAX", 5)
    text = line(NODE, 0, "myself,master") + "".join(line(f"{n:040}", n + 1, "master") for n in range(100))
    found = run(survey_of(replies(text), timeout_s=0.5))
    assert len(found.answers) == 5
    assert not found.is_whole


def test_a_seed_that_is_no_address_is_an_error_and_one_that_nobody_knows_an_answer(run: Run) -> None:
    for seed in ("host", "127.0.0.1:0"):
        with pytest.raises(ConfigError, match=seed.partition(":")[0]):
            run(survey([seed]))
    (answer,) = run(survey(["no-such-host.invalid:7000"])).answers
    assert answer.address == "no-such-host.invalid:7000"
    assert answer.error.startswith("can't resolve 'no-such-host.invalid': ")


def test_links_are_asked_up_to_a_number_of_nodes(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = [peers("clusterbus") for _ in range(2)]
    form(servers, servers)
    assert [answer.links is None for answer in ask(servers[0]).answers] == [False, False]
    monkeypatch.setattr(asking, "LINKS_NODES_MAX", 1)
    assert [answer.links is None for answer in ask(servers[0]).answers] == [False, True]
