"""A clusterbus node answers an operator word for word as Valkey 9.1.2 does (S11).

Both servers get the same commands and the replies are compared, so no expected text is written down here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from tests.peers.server import PlainConnection, Server

pytestmark = pytest.mark.processes

Peers = Callable[..., Server]

COMMANDS = (
    "CLUSTER",
    "CLUSTER NONSENSE",
    "CLUSTER MYID extra",
    "CLUSTER SLOTS",
    "CLUSTER LINKS",
    "CLUSTER MEET 127.0.0.1",
    "CLUSTER MEET nowhere port",
    "CLUSTER MEET nowhere 1",
    "CLUSTER MEET 127.0.0.1 0",
    "CLUSTER MEET 127.0.0.1 70000",
    "CLUSTER MEET 127.0.0.1 1 port",
    "CLUSTER ADDSLOTS",
    "CLUSTER ADDSLOTS word",
    "CLUSTER ADDSLOTS -1",
    "CLUSTER ADDSLOTS 16384",
    "CLUSTER ADDSLOTS 7 7",
    "CLUSTER ADDSLOTS 1",
    "CLUSTER ADDSLOTS 1",
    "CLUSTER DELSLOTS 5",
    "CLUSTER DELSLOTS word",
    "CLUSTER ADDSLOTSRANGE 1",
    "CLUSTER ADDSLOTSRANGE 5 3",
    "CLUSTER ADDSLOTSRANGE 10 20 20 30",
    "CLUSTER ADDSLOTSRANGE 10 20 30",
    "CLUSTER ADDSLOTSRANGE 100 200",
    "CLUSTER DELSLOTSRANGE 100 150",
    "CLUSTER DELSLOTSRANGE 100 150",
    "CLUSTER COUNTKEYSINSLOT 1",
    "CLUSTER COUNTKEYSINSLOT 16384",
    "CLUSTER COUNTKEYSINSLOT word",
    "CLUSTER GETKEYSINSLOT 1 10",
    "CLUSTER GETKEYSINSLOT 1 -1",
    "CLUSTER SET-CONFIG-EPOCH word",
    "CLUSTER SET-CONFIG-EPOCH -1",
    "CLUSTER SET-CONFIG-EPOCH 5",
    "CLUSTER SET-CONFIG-EPOCH 6",
    "CLUSTER BUMPEPOCH",
    "CLUSTER COUNT-FAILURE-REPORTS nobody",
    "CLUSTER REPLICAS nobody",
    "CLUSTER FORGET nobody",
    "CLUSTER KEYSLOT foo",
    "CLUSTER KEYSLOT a{foo}b",
    "CLUSTER KEYSLOT",
    "CLUSTER SAVECONFIG",
    "CLUSTER slot-stats",
    "CLUSTER slot-stats SLOTSRANGE 0",
    "CLUSTER slot-stats SLOTSRANGE 0 2",
    "CLUSTER slot-stats SLOTSRANGE word 2",
    "CLUSTER slot-stats SLOTSRANGE 2 0",
    "CLUSTER slot-stats SLOTSRANGE 0 1 2",
    "CLUSTER slot-stats ORDERBY key-count LIMIT 3",
    "CLUSTER slot-stats ORDERBY key-count LIMIT 3 ASC",
    "CLUSTER slot-stats ORDERBY key-count LIMIT 0",
    "CLUSTER slot-stats ORDERBY key-count LIMIT",
    "CLUSTER slot-stats ORDERBY key-count ASC DESC",
    "CLUSTER slot-stats ORDERBY key-count LIMIT 1 LIMIT 2",
    "CLUSTER slot-stats ORDERBY key-count nonsense",
    "CLUSTER slot-stats ORDERBY cpu-usec",
    "CLUSTER slot-stats nonsense 1 2",
    "CLUSTER SETSLOT 0",
    "CLUSTER SETSLOT 0 nonsense",
    "CLUSTER SETSLOT 1 MIGRATING",
    "CLUSTER SETSLOT 1 MIGRATING nobody",
    "CLUSTER SETSLOT 9 MIGRATING nobody",
    "CLUSTER SETSLOT 1 IMPORTING nobody",
    "CLUSTER SETSLOT 9 IMPORTING nobody",
    "CLUSTER SETSLOT 9 IMPORTING",
    "CLUSTER SETSLOT 1 NODE",
    "CLUSTER SETSLOT 1 NODE nobody",
    "CLUSTER SETSLOT word STABLE",
    "CLUSTER SETSLOT 16384 STABLE",
    "CLUSTER SETSLOT 1 STABLE",
    "CLUSTER SETSLOT 1 STABLE extra",
    "CLUSTER SETSLOT 1 STABLE TIMEOUT",
    "CLUSTER SETSLOT 1 STABLE TIMEOUT word",
    "CLUSTER SETSLOT 1 STABLE TIMEOUT -1",
    "CLUSTER SETSLOT 1 STABLE TIMEOUT 10",
    "CLUSTER MIGRATESLOTS",
    "CLUSTER GETSLOTMIGRATIONS extra",
    "CLUSTER GETSLOTMIGRATIONS",
    "CLUSTER FLUSHSLOT",
    "CLUSTER FLUSHSLOT word",
    "CLUSTER FLUSHSLOT 16384",
    "CLUSTER FLUSHSLOT 5",
    "CLUSTER FLUSHSLOT 5 async",
    "CLUSTER FLUSHSLOT 5 SYNC",
    "CLUSTER FLUSHSLOT 5 nonsense",
    "CLUSTER FLUSHSLOT 5 SYNC extra",
    "CLUSTER CANCELSLOTMIGRATIONS ALL",
    "CLUSTER REPLICATE nobody",
    "CLUSTER FAILOVER",
    "CLUSTER FAILOVER nonsense",
    "FUNCTION",
    "FUNCTION LIST",
    "FUNCTION LIST nonsense",
    "FUNCTION LIST LIBRARYNAME",
    "FUNCTION RESTORE",
    "FUNCTION RESTORE short",
    "FUNCTION RESTORE long_enough_but_nonsense nonsense",
    "FUNCTION FLUSH",
    "FUNCTION FLUSH nonsense",
    "CLUSTER BUMPEPOCH extra",
    "CLUSTER RESET nonsense",
    "CLUSTER RESET SOFT extra",
    "CLUSTER RESET SOFT",
    "CLUSTER FLUSHSLOTS extra",
    "CLUSTER FLUSHSLOTS",
    "CLUSTER INFO extra",
    "CONFIG",
    "CONFIG NONSENSE",
    "CONFIG GET",
    "CONFIG SET",
    "CONFIG SET cluster-node-timeout",
    "CONFIG SET nonsense 1",
    "CONFIG SET cluster-node-timeout word",
    "CONFIG SET cluster-node-timeout 2000 cluster-node-timeout 2000",
    "CONFIG SET cluster-enabled yes",
    "CONFIG SET cluster-node-timeout 3000",
    "CONFIG GET cluster-node-timeout",
    "CONFIG GET cluster-announce-p*",
    "CONFIG RESETSTAT extra",
    "CONFIG RESETSTAT",
    "CONFIG REWRITE",
    "DEBUG",
    "DEBUG NONSENSE",
    "DEBUG SLEEP",
    "DEBUG SLEEP 0",
    "DEBUG SLEEP word",
    "DEBUG CLUSTERLINK",
    "DEBUG CLUSTERLINK KILL to nobody",
    "DEBUG CLUSTERLINK DANCE to nobody",
    "DEBUG DROP-CLUSTER-PACKET-FILTER word",
    "DEBUG DROP-CLUSTER-PACKET-FILTER 1",
    "DEBUG DROP-CLUSTER-PACKET-FILTER -1",
    "DEBUG LOG words",
    "DEBUG LOG",
    "DEBUG LOG two words",
    "DEBUG CLOSE-CLUSTER-LINK-ON-PACKET-DROP 1",
    "DEBUG CLOSE-CLUSTER-LINK-ON-PACKET-DROP word",
    "DEBUG CLOSE-CLUSTER-LINK-ON-PACKET-DROP",
    "CONFIG SET maxmemory-policy allkeys-lru",
    "CONFIG SET maxmemory-policy none",
    "CONFIG SET databases 3",
    "CONFIG SET hz x",
    "CONFIG SET notify-keyspace-events KEA",
    "CONFIG GET databases",
    "SHUTDOWN nonsense",
    "SHUTDOWN SAVE NOSAVE",
    "SHUTDOWN ABORT",
    "INFO nonsense",
    "DBSIZE",
    "DBSIZE extra",
    "ROLE",
    "NONSENSE with arguments",
    "PING",
    "SELECT 1",
    "READONLY",
)


@dataclass(frozen=True)
class Pair:
    ours: Server
    theirs: Server


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One new node of each kind; neither knows another node."""
    servers = [Server(kind, tmp_path_factory.mktemp(kind)) for kind in ("clusterbus", "valkey")]
    try:
        yield Pair(*(server.start() for server in servers))
    finally:
        for server in servers:
            server.stop()


def answer(server: Server, command: str) -> Any:
    try:
        return server.call(*command.split())
    except redis.ResponseError as error:
        return f"error: {error}"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_answer_is_valkeys_s11(pair: Pair, command: str) -> None:
    assert answer(pair.ours, command) == answer(pair.theirs, command)


def test_own_id_is_refused_where_valkey_refuses_it_s9(pair: Pair) -> None:
    for command in ("CLUSTER FORGET {}", "DEBUG CLUSTERLINK KILL all {}", "DEBUG CLUSTERLINK KILL odd {}"):
        ours, theirs = (
            answer(server, command.format(server.call("CLUSTER", "MYID"))) for server in (pair.ours, pair.theirs)
        )
        assert ours == theirs


def test_debug_is_not_answered_unless_allowed(peers: Peers) -> None:
    answers = [answer(peers(kind, enable_debug_command="no"), "DEBUG SLEEP 0") for kind in ("clusterbus", "valkey")]
    assert answers[0] == answers[1]
    assert "not allowed" in answers[0]


def test_debug_for_local_clients_is_answered_over_loopback(peers: Peers) -> None:
    assert answer(peers("clusterbus", enable_debug_command="local"), "DEBUG SLEEP 0") == "OK"


def names(text: str) -> list[str]:
    return [line.split(":")[0] for line in text.splitlines()]


def test_cluster_info_begins_with_the_lines_of_valkey(pair: Pair) -> None:
    theirs = names(pair.theirs.call("CLUSTER", "INFO"))
    assert names(pair.ours.call("CLUSTER", "INFO"))[: len(theirs)] == theirs


def test_help_of_a_container_has_a_line_for_every_subcommand_of_valkey(pair: Pair) -> None:
    for container in ("CLUSTER", "CONFIG"):
        ours, theirs = (
            {line.split()[0] for line in server.call(container, "HELP")[1:] if not line.startswith(" ")}
            for server in (pair.ours, pair.theirs)
        )
        assert theirs <= ours


def test_slot_migration_by_the_servers_is_refused_with_a_way_out_s11(pair: Pair) -> None:
    for command in ("CANCELSLOTMIGRATIONS", "MIGRATESLOTS SLOTSRANGE 0 1 NODE nobody"):
        assert "use CLUSTER SETSLOT" in answer(pair.ours, f"CLUSTER {command}")


def test_a_dump_of_no_functions_is_taken_by_every_server_and_taken_from_it_s11(peers: Peers) -> None:
    servers = {kind: peers(kind, cluster_enabled="no") for kind in ("valkey", "redis")} | {"ours": peers("clusterbus")}
    for source in servers.values():
        connection = PlainConnection(host="127.0.0.1", port=source.port, protocol=2)
        connection.send_command("FUNCTION", "DUMP")
        dump = connection.read_response()
        connection.disconnect()
        assert isinstance(dump, bytes)
        if source is not servers["valkey"]:
            assert servers["valkey"].call("FUNCTION", "RESTORE", dump) == "OK"
        assert servers["ours"].call("FUNCTION", "RESTORE", dump) == "OK"
        broken = bytes([dump[0] ^ 1]) + dump[1:]
        with pytest.raises(redis.ResponseError, match="DUMP payload version or checksum are wrong"):
            servers["ours"].call("FUNCTION", "RESTORE", broken)
