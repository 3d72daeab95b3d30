"""`blocking_cluster`: the nodes live in a thread beside a test in plain code."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from clusterbus.errors import StateError
from clusterbus.testing import Cluster, blocking_cluster


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("clusterbus-cluster")]


def test_every_method_works_from_a_plain_thread() -> None:
    with blocking_cluster(primaries=3, replicas=1) as c:
        assert threads() == ["clusterbus-cluster"]
        assert c.running == [0, 1, 2, 3, 4, 5]
        assert c.failover(0) == 3
        assert c.primary_of(0) == 3
        assert c.replicas_of(3) == [0]
        c.move_slots(range(10), 1)
        assert c.owner_of(9) == 1
        c.fail(2)
        c.wait_failed(2)
        assert len(c.addresses) == 5
        c.restart(2)
        c.wait_ok()
        c.partition([0], [1, 2, 3, 4, 5])
        c.wait_until(lambda made: not made.nodes[0].is_ok)
        c.wait_ok(1, 3, 5)
        c.heal()
        c.wait_ok()

        async def published(made: Cluster) -> int:
            return await made.nodes[0].publish("c", "m")

        assert c.run(published) == 5
        assert c.ask(lambda made: len(made.nodes[0].nodes)) == 6
    assert threads() == []


def test_the_nodes_live_on_while_the_test_blocks() -> None:
    with blocking_cluster(3, cluster_node_timeout=300) as c:
        ended_s = time.monotonic() + 1
        with socket.create_connection(("127.0.0.1", c.addresses[0][1])) as client:
            answers = client.makefile("rb")
            while time.monotonic() < ended_s:
                client.sendall(b"CLUSTER INFO\r\n")
                answers.readline()
                assert answers.readline() == b"cluster_state:ok\r\n"
                while answers.readline() != b"\r\n":
                    pass
            answers.close()


def test_errors_come_out_where_they_belong() -> None:
    with pytest.raises(StateError, match="give either nodes or primaries"), blocking_cluster():
        pass
    with blocking_cluster(2, slots=False) as c:
        with pytest.raises(StateError, match="5 is no node of this cluster"):
            c.fail(5)
        with pytest.raises(TimeoutError, match=r"not within 0\.1 s"):
            c.wait_until(lambda _made: False, timeout_s=0.1)
    with pytest.raises(RuntimeError, match="of the test"), blocking_cluster(2, slots=False):
        raise RuntimeError("of the test")
    assert threads() == []
