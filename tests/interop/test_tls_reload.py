"""New certificates while a node is linked to Redis and messages travel: none is lost, and the new authority counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.interop.bus_peer import BusLoop, Link
from tests.peers.authorities import Authority, Files, replace
from tests.peers.cluster import all_know_all, form, listings, wait_until
from tests.peers.redis_cli import redis_cli
from tests.peers.server import Server

Peers = Callable[..., Server]

DEADLINE_S = 30.0
NODE_TIMEOUT_MS = 2000
PUBLISH_PAUSE_S = 0.002
MESSAGES_MORE = 50


class Publisher:
    """Numbered messages to one server, all the time, in a thread of their own."""

    def __init__(self, server: Server) -> None:
        self.sent = 0
        self.channel = f"from-{server.kind}"
        self._connection = server.connect()
        self._is_over = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._is_over.is_set():
                self._connection.send_command("PUBLISH", self.channel, self.sent, check_health=False)
                self._connection.read_response()
                self.sent += 1
                time.sleep(PUBLISH_PAUSE_S)  # the rate of the load
        except Exception as error:
            self._error = error

    def goes_on(self) -> None:
        """Waits until more has been sent."""
        before = self.sent
        wait_until(lambda: self._error or self.sent > before + MESSAGES_MORE, DEADLINE_S, f"{self.channel} goes on")
        assert self._error is None, self._error

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join(DEADLINE_S)
        self._connection.disconnect()
        assert self._error is None, self._error


@contextmanager
def under_publishes(servers: Sequence[Server]) -> Iterator[list[Publisher]]:
    """Each server publishes and each hears all of it; at the end no message is missing, doubled or out of order."""
    with ExitStack() as stack:
        heard = []
        for server in servers:
            connection = server.connect()
            stack.callback(connection.disconnect)
            connection.send_command("PSUBSCRIBE", "from-*", check_health=False)
            connection.read_response()
            heard.append(connection)
        publishers = [Publisher(server) for server in servers]
        try:
            for publisher in publishers:
                publisher.goes_on()
            yield publishers
        finally:
            for publisher in publishers:
                publisher.stop()
        for connection in heard:
            numbers: dict[str, list[int]] = {publisher.channel: [] for publisher in publishers}
            for _ in range(sum(publisher.sent for publisher in publishers)):
                _, _, channel, number = connection.read_response()
                numbers[channel].append(int(number))
            assert numbers == {publisher.channel: list(range(publisher.sent)) for publisher in publishers}


def link_times(server: Server) -> set[tuple[str, str, int]]:
    """(direction, node id, creation in milliseconds) of each link, as CLUSTER LINKS shows them."""
    rows = server.call("CLUSTER", "LINKS")
    tables = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
    return {(table["direction"], table["node"], table["create-time"]) for table in tables}


def wait_tls(node: Server, name: str, value: str) -> None:
    wait_until(lambda: node.info()[name] == value, DEADLINE_S, lambda: f"{name} is {value}\n{node.info()}")


def step(node: Server, redis: Server, change: Callable[[Files], None], files: dict[Server, Files]) -> None:
    """Replaces files of both: our node notices by itself, and Redis is told to read its files again."""
    before = node.counter("tls_reloads")
    change(files[node])
    wait_until(lambda: node.counter("tls_reloads") > before, DEADLINE_S, node.log_tail)
    change(files[redis])
    own = files[redis]
    words = ("tls-cert-file", own.cert_file, "tls-key-file", own.key_file, "tls-ca-cert-file", own.ca_cert_file)
    assert redis.call("CONFIG", "SET", *map(str, words)) == "OK"


def pair(
    peers: Peers, folder: Path, authority: Authority, io_threads: int
) -> tuple[Server, Server, dict[Server, Files]]:
    """A node that looks at its files each second, and a Redis, linked; files of each."""
    of_node, of_redis = Files(folder / "node", authority), Files(folder / "redis", authority)
    node = peers(
        "clusterbus",
        certificates=of_node.certificates(),
        cluster_node_timeout=NODE_TIMEOUT_MS,
        tls_auto_reload_interval=1,
        io_threads=io_threads,
    )
    redis = peers("redis", certificates=of_redis.certificates(), cluster_node_timeout=NODE_TIMEOUT_MS)
    form([node, redis], [node, redis], DEADLINE_S)
    return node, redis, {node: of_node, redis: of_redis}


def kill_links(node: Server, redis: Server) -> None:
    """Our node ends both links, and both sides dial again and are members again."""
    before = link_times(node)
    node.call("DEBUG", "CLUSTERLINK", "KILL", "ALL", redis.call("CLUSTER", "MYID"))
    wait_until(lambda: len(after := link_times(node)) == 2 and not after & before, DEADLINE_S, node.log_tail)
    wait_until(lambda: all_know_all([node, redis]), DEADLINE_S, lambda: listings([node, redis]))


def is_let_in(loop: BusLoop, server: Server, files: Files) -> bool:
    """Whether the bus lets in who shows the certificate of `files`: it stays silent, and does not end the link."""

    async def dial() -> bool:
        try:
            link = await Link.open(server, files.certificates().client_context())
        except OSError:
            return False
        try:
            await link.wait_closed(0.5)
        except TimeoutError:
            return True
        finally:
            await link.close()
        return False

    return loop.run(dial())


@pytest.mark.parametrize("io_threads", [1, 3])
def test_certificates_and_authority_are_replaced_beside_redis_under_publishes(
    peers: Peers, tmp_path: Path, io_threads: int
) -> None:
    old, new = Authority("old"), Authority("new")
    node, redis, files = pair(peers, tmp_path, old, io_threads)
    with under_publishes([node, redis]) as publishers:
        links = [link_times(server) for server in (node, redis)]
        changes: list[Callable[[Files], None]] = [
            lambda own: own.show(old.issue()),
            lambda own: own.trust(old, new),
            lambda own: own.show(new.issue()),
        ]
        for change in changes:
            step(node, redis, change, files)
            for publisher in publishers:
                publisher.goes_on()
        wait_tls(node, "tls_server_cert_serial", files[node].leaf.serial)
        assert [link_times(server) for server in (node, redis)] == links
    kill_links(node, redis)
    step(node, redis, lambda own: own.trust(new), files)
    redis.restart()
    wait_until(lambda: all_know_all([node, redis]), DEADLINE_S, lambda: listings([node, redis]))
    kill_links(node, redis)
    assert node.info()["tls_last_reload_status"] == "ok"
    own = files[redis]
    words = ("--cacert", own.ca_cert_file, "--cert", own.cert_file, "--key", own.key_file)
    assert redis_cli("-p", str(node.port), "--tls", *map(str, words), "PING") == "PONG\n"
    stranger = Files(tmp_path / "stranger", new, old.issue())
    loop = BusLoop()
    try:
        assert is_let_in(loop, node, own)
        assert not is_let_in(loop, node, stranger), "the old authority lets nobody in"
    finally:
        loop.stop()


def test_a_bad_file_keeps_the_old_one_beside_redis_until_it_is_mended(peers: Peers, tmp_path: Path) -> None:
    authority = Authority()
    node, redis, files = pair(peers, tmp_path, authority, 3)
    own = files[node]
    serial = own.leaf.serial
    with under_publishes([node, redis]) as publishers:
        links = [link_times(server) for server in (node, redis)]
        replace(own.key_file, b"garbage")
        wait_tls(node, "tls_last_reload_status", "err")
        info = node.info()
        assert "tls-key-file" in info["tls_last_reload_error"]
        assert (info["tls_server_cert_serial"], info["tls_reloads"]) == (serial, "0")
        assert node.counter("tls_reload_failures") >= 1
        for publisher in publishers:
            publisher.goes_on()
        assert [link_times(server) for server in (node, redis)] == links
    kill_links(node, redis)
    own.show(authority.issue())
    wait_tls(node, "tls_server_cert_serial", own.leaf.serial)
    wait_tls(node, "tls_last_reload_status", "ok")
    assert node.info()["tls_last_reload_error"] == ""
    kill_links(node, redis)
