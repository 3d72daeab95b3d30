"""The targets by name; the name is also that of a target's folder in the corpus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clusterbus.client_port.commands import command_table
from clusterbus.config.directives import DIRECTIVES

from tests.fuzz import client, files, peers

Target = Callable[[bytes], None]

TARGETS: Final[dict[str, Target]] = {
    "nodes-conf": files.nodes_conf,
    "config-file": files.config_file,
    "directive": files.directive,
    "words": files.words,
    "addresses": files.addresses,
    "requests": client.requests,
    "glob": client.glob,
    "commands": client.commands,
    "modules": peers.modules,
    "letter": peers.letter,
    "replies": peers.replies,
}


def words_of(name: str) -> list[str]:
    """Words that a fuzzer of the target puts together, because it would not find them by itself."""
    if name == "commands":
        specs = list(command_table())
        subcommands = [f"{spec.name} {sub.name} " for spec in specs for sub in spec.subcommands]
        return [
            *(f"{spec.name} " for spec in specs),
            *subcommands,
            *["1", "-1", "16383", "COUNT", "LIMIT", "MATCH", "*"],
        ]
    if name == "config-file":
        return [
            *(f"{directive.name} " for directive in DIRECTIVES),
            "yes",
            "no",
            '""',
            "rename-command ",
            "user ",
            "# ",
        ]
    return WORDS.get(name, [])


WORDS: Final = {
    "nodes-conf": [
        *("myself,master", "slave", "fail?", "fail", "handshake", "noaddr", "nofailover", "noflags", "connected"),
        *(
            "vars currentEpoch ",
            "lastVoteEpoch ",
            "shard-id=",
            "tls-port=",
            "tcp-port=",
            "client-tcp-port=",
            "nodename=",
        ),
        *("disconnected", "0-16383", "[7->-", "[7-<-", "a" * 40, "d" * 40, "::1", "fe80::1%x", str(2**64 - 1)),
    ],
    "requests": ["*1\r\n", "$4\r\n", "\r\n", "$-1", "*1048577\r\n"],
    "replies": ["*1\r\n", "$4\r\n", "\r\n", "*-1\r\n", ":1\r\n"],
}
