"""`examples/chat.py`: lines go to every node and its clients, and come from them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.ports import free_port
from tests.peers.server import Server

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "chat.py"
DEADLINE_S = 30.0


def test_the_example_chats_with_a_valkey_and_with_itself(peers: Callable[..., Server], tmp_path: Path) -> None:
    server = peers("valkey")
    listener = server.connect()
    listener.send_command("SUBSCRIBE", "chat:room", check_health=False)
    assert listener.read_response() == ["subscribe", "chat:room", 1]
    arguments = [f"127.0.0.1:{server.port}", "room", "Ann", str(free_port()), str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as chat:
        assert chat.stdin is not None
        assert chat.stdout is not None
        try:
            assert chat.stdout.readline() == "Ann is in room, with 2 nodes\n"  # after join the server knows her too
            chat.stdin.write("hello\n")
            assert chat.stdout.readline() == "Ann: hello\n"
            assert listener.read_response() == ["message", "chat:room", "Ann: hello"]
            server.call("PUBLISH", "chat:room", "Bob: hi Ann")
            assert chat.stdout.readline() == "Bob: hi Ann\n"
            chat.stdin.close()
            assert chat.wait(DEADLINE_S) == 0
        finally:
            listener.disconnect()
            chat.kill()
