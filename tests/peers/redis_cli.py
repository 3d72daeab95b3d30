"""redis-cli as a person runs it: one command, its output, its exit status.

Debian's binary; a test that needs it is skipped where it is missing.
"""

from __future__ import annotations

import re
import subprocess

from tests.peers.server import redis_cli_command

COMMAND_DEADLINE_S = 120.0
ERROR = re.compile(r"(?<!0 )ERR|\[ERR\]")


def redis_cli(*words: str, may_fail: bool = False) -> str:
    """What redis-cli prints on both outputs; it must end well unless it may fail."""
    done = subprocess.run(
        [*redis_cli_command(), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        input="yes\n",  # fix asks before it covers a slot
        text=True,
        timeout=COMMAND_DEADLINE_S,
        check=False,
    )
    assert may_fail or done.returncode == 0, done.stdout
    return done.stdout


def cluster(operation: str, *words: str) -> str:
    """What `redis-cli --cluster` prints; no line of it may tell of an error."""
    output = redis_cli("--cluster", operation, *words)
    assert not ERROR.search(output), output
    return output
