"""MULTI and EXEC as one request: what refuses a transaction as a whole, and what its calls may do (P26, P36)."""

from __future__ import annotations

from typing import Any

import clusterbus
import pytest
from clusterbus.client_port.transactions import WATCHED_MAX
from clusterbus.sim import Simulation
from clusterbus.wire import key_slot

from tests.client_port.session import Port, Session

FOO, HELLO, BAR = 12182, 866, 5061


class Store(clusterbus.DataPlane):
    """Keys and values of all slots."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def has_key(self, key: bytes) -> bool:
        return key in self.values

    def put(self, key: bytes, value: bytes) -> Any:
        self.values[key] = value
        return clusterbus.OK


class Pair:
    """Two members; the first owns every slot, and its client port serves GET and SET."""

    def __init__(self) -> None:
        self.simulation = Simulation(seed=1, nodes=3, directives={"cluster_allow_replica_migration": False})
        self.simulation.form(primaries=1)
        self.simulation.run_until(lambda: self.simulation.state(0).is_ok)
        self.store = Store()
        commands = (clusterbus.Command("GET", self.store.values.get), clusterbus.Command("SET", self.store.put))
        self.port = Port(
            self.simulation.members[0].member, *(command.spec() for command in commands), data_plane=self.store
        )

    def give_away(self, slot: int) -> str:
        """The slot goes to the other member. Returns what redirects to it."""
        other = self.simulation.node_id(1)
        self.simulation.operate(0, lambda state, now_ms: state.assign_slot(slot, other, now_ms))
        return f"MOVED {slot} 10.0.0.2:7000"

    def migrate(self, slot: int) -> str:
        other = self.simulation.node_id(1)
        self.simulation.operate(0, lambda state, now_ms: state.migrate_slot(slot, other, now_ms))
        return f"ASK {slot} 10.0.0.2:7000"


@pytest.fixture
def pair() -> Pair:
    return Pair()


@pytest.fixture
def client(pair: Pair) -> Session:
    assert (key_slot(b"foo"), key_slot(b"hello"), key_slot(b"bar")) == (FOO, HELLO, BAR)
    return pair.port.connect()


def test_keys_of_two_slots_refuse_the_whole_transaction_p36(pair: Pair, client: Session) -> None:
    assert client.all("MULTI", "SET foo 1", "SET hello 2") == ["OK", "QUEUED", "QUEUED"]
    assert client("EXEC") == "CROSSSLOT Keys in request don't hash to the same slot"
    assert pair.store.values == {}
    assert client("EXEC") == "ERR EXEC without MULTI", "the transaction is over"
    assert client.all("MULTI", "SET foo 1", "SET {foo}2 2", "EXEC")[-1] == ["OK", "OK"]


def test_a_shard_channel_of_another_slot_refuses_the_whole_transaction_p36(pair: Pair, client: Session) -> None:
    assert client.all("MULTI", "SET foo 1", "SPUBLISH hello x", "EXEC")[-1].startswith("CROSSSLOT")
    assert pair.store.values == {}
    assert client.all("MULTI", "SET foo 1", "SPUBLISH foo x", "EXEC")[-1] == ["OK", 0]
    assert client.all("MULTI", "SET foo 1", "PUBLISH hello x", "EXEC")[-1] == ["OK", 0], "a channel of all has no slot"


def test_a_slot_that_moved_since_multi_refuses_all_of_it_p26(pair: Pair, client: Session) -> None:
    client.all("MULTI", "PING", "SET foo 1", "GET foo")
    moved = pair.give_away(FOO)
    assert client("EXEC") == moved, "at top level"
    assert pair.store.values == {}
    assert client("EXEC") == "ERR EXEC without MULTI"
    assert client.all("MULTI", "PING", "EXEC")[-1] == ["PONG"]


def test_a_slot_that_moved_is_told_even_when_the_transaction_is_spoilt_p26(pair: Pair, client: Session) -> None:
    assert client.all("MULTI", "SET foo 1", "NOPE")[-1].startswith("ERR unknown command")
    moved = pair.give_away(FOO)
    assert client("EXEC") == moved


def test_a_moved_slot_refuses_already_what_is_queued_p26(pair: Pair, client: Session) -> None:
    moved = pair.give_away(FOO)
    replies = client.all("MULTI", "SET foo 1", "EXEC")
    assert replies == ["OK", moved, "EXECABORT Transaction discarded because of previous errors."]


def test_the_keys_of_a_migrating_slot_are_looked_for_once_at_exec_p36(pair: Pair, client: Session) -> None:
    ask = pair.migrate(FOO)
    assert client.all("MULTI", "SET foo 1", "EXEC") == ["OK", "QUEUED", ask]
    pair.store.values[b"foo"] = b"old"
    assert client.all("MULTI", "SET foo 1", "GET {foo}2", "EXEC")[-1].startswith("TRYAGAIN")
    assert pair.store.values == {b"foo": b"old"}
    assert client.all("MULTI", "SET foo 1", "GET foo", "EXEC")[-1] == ["OK", "1"]


def test_asking_before_multi_holds_until_exec_p36(pair: Pair, client: Session) -> None:
    moved = pair.give_away(FOO)
    other = pair.simulation.node_id(1)
    pair.simulation.operate(0, lambda state, now_ms: state.import_slot(FOO, other, now_ms))
    assert client.all("ASKING", "MULTI", "SET foo 1", "GET foo", "EXEC")[-1] == ["OK", "1"]
    assert client("GET foo") == moved, "and no longer"


def test_what_comes_after_an_error_is_not_kept_p36(client: Session) -> None:
    replies = client.all("MULTI", "SET foo 1", "NOPE", "SET hello 1", "EXEC")
    assert (replies[3], replies[4].split()[0]) == ("QUEUED", "EXECABORT"), "and so cannot be in another slot"


def test_a_slot_lost_while_exec_runs_is_not_written_p26(pair: Pair) -> None:
    def give_away() -> Any:
        pair.give_away(FOO)
        return clusterbus.OK

    commands = (
        clusterbus.Command("SET", pair.store.put).spec(),
        clusterbus.Command("GIVE", give_away).spec(),
    )
    client = Port(pair.port.member, *commands, data_plane=pair.store).connect()
    replies = client.all("MULTI", "SET foo 1", "GIVE", "SET foo 2", "EXEC")[-1]
    assert replies == ["OK", "OK", f"MOVED {FOO} 10.0.0.2:7000"]
    assert pair.store.values == {b"foo": b"1"}


# ---------------------------------------------------------------- WATCH


class VersionedStore(Store):
    """A store that says when keys change."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: dict[bytes, int] = {}

    def key_version(self, key: bytes) -> int | None:
        return self.versions.get(key, 0)

    def put(self, key: bytes, value: bytes) -> Any:
        self.versions[key] = self.versions.get(key, 0) + 1
        return super().put(key, value)


@pytest.fixture
def watching(pair: Pair) -> Port:
    store = VersionedStore()
    commands = (clusterbus.Command("GET", store.values.get), clusterbus.Command("SET", store.put))
    return Port(pair.port.member, *(command.spec() for command in commands), data_plane=store)


def test_exec_runs_nothing_when_a_watched_key_has_changed_s11(watching: Port) -> None:
    client, other = watching.connect(), watching.connect()
    assert client.all("WATCH foo", "MULTI", "SET foo 1", "EXEC")[-1] == ["OK"]
    client.all("WATCH bar", "WATCH foo", "MULTI", "SET foo 2")
    other("SET foo 3")
    assert client("EXEC") is None
    assert client("GET foo") == "3"
    assert client.all("MULTI", "SET foo 4", "EXEC")[-1] == ["OK"], "EXEC ends watching"


def test_what_the_data_plane_changes_by_itself_counts_too_s11(watching: Port) -> None:
    client = watching.connect()
    client.all("WATCH foo", "MULTI", "PING")
    assert isinstance(watching.member.data_plane, VersionedStore)
    watching.member.data_plane.put(b"foo", b"x")
    assert client("EXEC") is None
    client("HELLO 3")
    client.all("WATCH foo", "MULTI", "PING")
    watching.member.data_plane.put(b"foo", b"y")
    assert client("EXEC") is None


def test_a_key_that_is_watched_twice_keeps_its_first_version_s11(watching: Port) -> None:
    client, other = watching.connect(), watching.connect()
    client("WATCH foo")
    other("SET foo 1")
    client.all("WATCH foo", "MULTI", "PING")
    assert client("EXEC") is None


@pytest.mark.parametrize("end", ["UNWATCH", "DISCARD", "RESET"])
def test_watching_ends_s11(watching: Port, end: str) -> None:
    client, other = watching.connect(), watching.connect()
    client("WATCH foo")
    assert " watch=1 " in other("CLIENT LIST")
    client.all(*(("MULTI", end) if end == "DISCARD" else (end,)))
    assert watching.server.stats()["watching_clients"] == 0
    other("SET foo 1")
    assert client.all("MULTI", "PING", "EXEC")[-1] == ["PONG"]


def test_an_error_since_multi_goes_before_a_changed_key_s11(watching: Port) -> None:
    client, other = watching.connect(), watching.connect()
    client.all("WATCH foo", "MULTI", "NOPE")
    other("SET foo 1")
    assert client("EXEC").startswith("EXECABORT")


def test_watch_follows_the_slot_and_is_bounded_s11(watching: Port, pair: Pair) -> None:
    client = watching.connect()
    assert client("WATCH foo hello").startswith("CROSSSLOT")
    client.send("WATCH", *(f"{{foo}}{number}" for number in range(WATCHED_MAX)))
    assert client.read() == "OK"
    assert client("WATCH foo") == f"ERR a client watches {WATCHED_MAX} keys at most"
    client("UNWATCH")
    moved = pair.give_away(FOO)
    assert client("WATCH foo") == moved
    assert client.all("MULTI", "WATCH bar", "EXEC")[-1].startswith("EXECABORT")


def test_without_a_data_plane_that_tells_watch_says_what_is_missing_s11(client: Session) -> None:
    assert client("WATCH foo") == (
        "ERR WATCH needs a data plane that says when a key changes, and this node's does not (DataPlane.key_version)"
    )
    assert client("UNWATCH") == "OK"


def test_client_list_shows_a_transaction_s11(pair: Pair, client: Session) -> None:
    other = pair.port.connect()

    def seen() -> tuple[str, str]:
        fields = dict(field.split("=", 1) for field in other("CLIENT LIST ID 1").split())
        return fields["flags"], fields["multi"]

    assert seen() == ("N", "-1")
    client("MULTI")
    assert seen() == ("x", "0")
    client.all("PING", "PING")
    assert seen() == ("x", "2")
    client("EXEC")
    assert seen() == ("N", "0")


def test_no_monitor_begins_inside_a_transaction_s11(pair: Pair) -> None:
    client = pair.port.connect()
    client.all("MULTI", "MONITOR")
    assert client("EXEC") == ["ERR MONITOR isn't allowed for DENY BLOCKING client"]
    assert client("GET foo") is None


def test_words_of_any_bytes_and_length_give_one_error_s11(pair: Pair) -> None:
    client = pair.port.connect()
    assert client("CLIENT KILL MAXAGE", b"\xff") == "ERR maxage is not an integer or out of range"
    assert client("CONFIG GET", b"[" * 5000) == "ERR all patterns together have at most 4096 bytes"
    assert client("COMMAND LIST FILTERBY PATTERN", b"[" * 5000) == "ERR a pattern has at most 4096 bytes"
