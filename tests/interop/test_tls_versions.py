"""Versions, keys and certificates of TLS beside Redis (OpenSSL): what both accept joins, what they do not is told."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.authorities import Authority, Files
from tests.peers.cluster import all_know_all, assign_slots, cluster_nodes, listings, wait_until
from tests.peers.redis_cli import redis_cli
from tests.peers.server import Server

Peers = Callable[..., Server]

DEADLINE_S = 30.0
NODE_TIMEOUT_MS = 2000
V12, V13, BOTH = "TLSv1.2", "TLSv1.3", "TLSv1.2 TLSv1.3"
SECRET = "open sesame 9b1f"
OWN_SECRET = "open barley 77d2"


def join_both_ways(ours: Server, theirs: list[Server]) -> None:
    """Our node dials the first server to meet it, and the second one dials our node. Members dial each other."""
    servers = [ours, *theirs]
    assign_slots(servers)
    assert ours.call("CLUSTER", "MEET", "127.0.0.1", theirs[0].port) == "OK"
    assert theirs[1].call("CLUSTER", "MEET", "127.0.0.1", ours.port) == "OK"
    wait_until(lambda: all_know_all(servers), DEADLINE_S, lambda: listings(servers))


def ping_by_redis_cli(server: Server, files: Files, *authorities: str) -> None:
    trusted = authorities or ("--cacert", str(files.ca_cert_file))
    own = ("--cert", str(files.cert_file), "--key", str(files.key_file))
    assert redis_cli("-p", str(server.port), "--tls", *trusted, *own, "PING") == "PONG\n"


@pytest.mark.parametrize(
    ("ours", "theirs"), [(V12, V12), (V12, BOTH), (V13, V13), (V13, BOTH), (BOTH, V12), (BOTH, V13)]
)
def test_versions_that_both_speak_join_redis_both_ways(peers: Peers, tmp_path: Path, ours: str, theirs: str) -> None:
    files = Files(tmp_path / "files", Authority())
    common = {"certificates": files.certificates(), "cluster_node_timeout": NODE_TIMEOUT_MS}
    node = peers("clusterbus", tls_protocols=ours, **common)
    join_both_ways(node, [peers("redis", tls_protocols=theirs, **common) for _ in range(2)])
    ping_by_redis_cli(node, files)


@pytest.mark.parametrize("io_threads", [1, 3])
@pytest.mark.parametrize(("ours", "theirs"), [(V12, V13), (V13, V12)])
def test_versions_with_nothing_in_common_are_refused_counted_and_named(
    peers: Peers, tmp_path: Path, ours: str, theirs: str, io_threads: int
) -> None:
    files = Files(tmp_path / "files", Authority())
    common = {"certificates": files.certificates(), "cluster_node_timeout": NODE_TIMEOUT_MS}
    node = peers("clusterbus", tls_protocols=ours, io_threads=io_threads, **common)
    redis = peers("redis", tls_protocols=theirs, **common)

    def told(name: str, line: str) -> None:
        wait_until(lambda: int(node.info().get(name, 0)) > 0, DEADLINE_S, lambda: f"{name}\n{node.info()}")
        wait_until(lambda: line in node.log_text(), DEADLINE_S, node.log_tail)

    assert node.call("CLUSTER", "MEET", "127.0.0.1", redis.port) == "OK"
    told("cluster_links_lost_tls_alert", "dial failed (tls-alert)")
    assert redis.call("CLUSTER", "MEET", "127.0.0.1", node.port) == "OK"
    told("cluster_accepts_refused_tls", "connection refused (tls)")
    for server in (node, redis):
        wait_until(lambda server=server: len(cluster_nodes(server)) == 1, DEADLINE_S, lambda: listings([node, redis]))  # type: ignore[misc]
    ping_by_redis_cli(node, files)


def test_an_encrypted_key_a_certificate_for_dialling_and_a_folder_of_authorities_join_redis(
    peers: Peers, tmp_path: Path
) -> None:
    """Redis refuses a certificate for servers where our node dials, and one for clients where our node listens."""
    authority = Authority()
    redis_files = Files(tmp_path / "redis", authority)
    listening = Files(tmp_path / "listening", authority, authority.issue(usage="server"), SECRET)
    dialling = Files(tmp_path / "dialling", authority, authority.issue(usage="client"), OWN_SECRET)
    assert b"ENCRYPTED PRIVATE KEY" in listening.key_file.read_bytes()
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "unrelated.pem").write_bytes(Authority("unrelated").pem)
    (folder / "authority.pem").write_bytes(authority.pem)
    subprocess.run(["openssl", "rehash", str(folder)], check=True, timeout=DEADLINE_S)
    common = {"certificates": redis_files.certificates(), "cluster_node_timeout": NODE_TIMEOUT_MS}
    node = peers(
        "clusterbus",
        tls_cert_file=listening.cert_file,
        tls_key_file=listening.key_file,
        tls_key_file_pass=SECRET,
        tls_client_cert_file=dialling.cert_file,
        tls_client_key_file=dialling.key_file,
        tls_client_key_file_pass=OWN_SECRET,
        tls_ca_cert_file="",
        tls_ca_cert_dir=folder,
        **common,
    )
    join_both_ways(node, [peers("redis", **common) for _ in range(2)])
    tls = node.info()
    assert tls["tls_server_cert_serial"] == listening.leaf.serial
    assert tls["tls_client_cert_serial"] == dialling.leaf.serial
    ping_by_redis_cli(node, redis_files)
    ping_by_redis_cli(node, redis_files, "--cacertdir", str(folder))
    shown = "\n".join((str(node.call("CONFIG", "GET", "*")), node.call("INFO", "everything"), node.log_text()))
    assert "tls-key-file-pass" in shown
    for secret in (SECRET, OWN_SECRET):
        assert secret not in shown


def test_a_certificate_for_servers_alone_is_refused_by_redis_where_our_node_dials(peers: Peers, tmp_path: Path) -> None:
    authority = Authority()
    redis_files = Files(tmp_path / "redis", authority)
    listening = Files(tmp_path / "listening", authority, authority.issue(usage="server"))
    common = {"certificates": redis_files.certificates(), "cluster_node_timeout": NODE_TIMEOUT_MS}
    node = peers("clusterbus", tls_cert_file=listening.cert_file, tls_key_file=listening.key_file, **common)
    redis = peers("redis", **common)
    assert node.call("CLUSTER", "MEET", "127.0.0.1", redis.port) == "OK"
    wait_until(lambda: "(tls-alert)" in node.log_text(), DEADLINE_S, node.log_tail)
    assert node.counter("cluster_links_lost_tls_alert") >= 1
