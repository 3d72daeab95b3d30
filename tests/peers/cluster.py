"""Questions and orders to several servers at once: known nodes, MEET, slots, waiting for a condition.

Works with anything that answers CLUSTER NODES. So a statement about a mixed cluster is checked by asking every member,
ours and the others, in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.peers.server import Server

SLOT_COUNT = 16_384
POLL_INTERVAL_S = 0.05

T = TypeVar("T")


def wait_until(condition: Callable[[], T], deadline_s: float, describe: str | Callable[[], str]) -> T:
    """Polls until `condition()` is true and returns its value. At the deadline it fails with the text of `describe`."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() >= end:
            text = describe if isinstance(describe, str) else describe()
            raise AssertionError(f"not within {deadline_s} s: {text}")
        time.sleep(POLL_INTERVAL_S)
    return value


@dataclass(frozen=True)
class NodeLine:
    """One line of CLUSTER NODES."""

    node_id: str
    ip: str
    port: int
    cport: int
    flags: frozenset[str]
    primary: str | None
    config_epoch: int
    connected: bool
    slots: tuple[str, ...]

    @classmethod
    def parse(cls, line: str) -> NodeLine:
        node_id, address, flags, primary, _sent, _received, epoch, link, *slots = line.split()
        ip_port, cport = address.split(",")[0].split("@")
        ip, port = ip_port.rsplit(":", 1)
        return cls(
            node_id,
            ip,
            int(port),
            int(cport),
            frozenset(flags.split(",")),
            None if primary == "-" else primary,
            int(epoch),
            link == "connected",
            tuple(slots),
        )

    @property
    def is_failed(self) -> bool:
        return "fail" in self.flags

    @property
    def is_suspected(self) -> bool:
        """PFAIL or FAIL."""
        return "fail?" in self.flags or self.is_failed

    @property
    def is_well(self) -> bool:
        """A full member, connected, and neither PFAIL nor FAIL."""
        return self.connected and not self.is_suspected and not self.flags & {"handshake", "noaddr"}


def cluster_nodes(server: Server) -> dict[str, NodeLine]:
    """CLUSTER NODES of one server, by node id."""
    lines = [NodeLine.parse(line) for line in server.call("CLUSTER", "NODES").splitlines() if line]
    return {line.node_id: line for line in lines}


def node_id(server: Server) -> str:
    return str(server.call("CLUSTER", "MYID"))


def listings(servers: Iterable[Server]) -> str:
    """CLUSTER NODES of every server, for the text of a failure."""
    return "\n".join(f"--- {server}\n{server.call('CLUSTER', 'NODES')}" for server in servers)


def all_know_all(servers: Sequence[Server]) -> bool:
    """Whether every server lists exactly these servers, all connected and well."""
    ids = {node_id(server) for server in servers}
    return all(
        set(table) == ids and all(line.is_well for line in table.values()) for table in map(cluster_nodes, servers)
    )


def wait_for_state(server: Server, state: str, deadline_s: float) -> None:
    """Waits until the server holds the cluster "ok" or "fail"."""
    wait_until(
        lambda: server.info()["cluster_state"] == state,
        deadline_s,
        lambda: f"{server} says {state}\n{listings([server])}",
    )


def meet(servers: Sequence[Server]) -> None:
    """Tells the first server to meet each of the others; returns at once."""
    for other in servers[1:]:
        assert servers[0].call("CLUSTER", "MEET", other.surroundings.ip, other.port) == "OK"


def assign_slots(primaries: Sequence[Server]) -> None:
    """Gives the servers equal parts of all slots, and each a config epoch of its own. To be called before they meet."""
    for index, server in enumerate(primaries):
        first = SLOT_COUNT * index // len(primaries)
        last = SLOT_COUNT * (index + 1) // len(primaries) - 1
        assert server.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1) == "OK"
        assert server.call("CLUSTER", "ADDSLOTSRANGE", first, last) == "OK"


def form(servers: Sequence[Server], primaries: Sequence[Server], deadline_s: float = 30.0) -> None:
    """Gives all slots to `primaries` and joins `servers`. Waits until each lists all as connected."""
    assign_slots(primaries)
    meet(servers)
    wait_until(lambda: all_know_all(servers), deadline_s, lambda: f"all list all as connected\n{listings(servers)}")


def wait_agreed(servers: Sequence[Server], deadline_s: float) -> None:
    """Waits until all servers agree on the nodes, their ports, roles, slots and epochs, and hold the cluster ok."""

    def is_agreed() -> bool:
        tables = {
            frozenset(
                (
                    line.node_id,
                    line.port,
                    line.cport,
                    line.flags - {"myself"},
                    line.primary,
                    line.config_epoch,
                    line.slots,
                )
                for line in cluster_nodes(server).values()
            )
            for server in servers
        }
        return len(tables) == 1 and all(server.info()["cluster_state"] == "ok" for server in servers)

    wait_until(is_agreed, deadline_s, lambda: listings(servers))


def hold_failed(servers: Iterable[Server], victim_id: str) -> bool:
    """Whether the victim is FAIL, not just PFAIL, on every one of these servers."""
    return all(cluster_nodes(server)[victim_id].is_failed for server in servers)
