"""`examples/key_value.py` as a program, used by a cluster client. `tests/testing/test_clients.py` has its failovers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis
import redis.cluster

from tests.peers.cluster import wait_until
from tests.peers.ports import free_port

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "key_value.py"
DEADLINE_S = 30.0


def test_a_cluster_client_uses_the_program(tmp_path: Path) -> None:
    port = free_port()
    with subprocess.Popen([sys.executable, str(EXAMPLE), str(port), str(tmp_path)]) as node:
        try:
            with redis.Redis(port=port, decode_responses=True) as client:
                wait_until(lambda: answers(client), DEADLINE_S, "the node serves")
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
                wait_until(lambda: is_ok(client), DEADLINE_S, "the cluster is ok")
                with redis.cluster.RedisCluster(port=port, host="127.0.0.1", decode_responses=True) as cluster:
                    assert cluster.get("greeting") is None
                    assert cluster.set("greeting", "hello") is True
                    assert cluster.get("greeting") == "hello"
                client.shutdown(nosave=True)
            assert node.wait(DEADLINE_S) == 0
        finally:
            node.kill()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def is_ok(client: redis.Redis) -> bool:
    return "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO"))  # type: ignore[no-untyped-call]
