"""`clusterbus doctor`: asks every node of a cluster what it sees, and says what does not fit together.

Owns the run: arguments, exit status, what is shown while it asks. Must never send what changes anything. Main thread,
with an event loop of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from clusterbus.cli.seed_arguments import Arguments, add_access, parsed
from clusterbus.survey.asking import survey

EXIT_SOUND: Final = 0
EXIT_NOBODY: Final = 3
SUMMARY: Final = "Asks every node of a cluster what it sees, and says what does not fit together. Changes nothing."


def main(arguments: Sequence[str]) -> int:
    """Runs the subcommand with the arguments of the command line; returns its exit status."""
    parser = Arguments("doctor", SUMMARY)
    add_access(parser)
    given, access = parsed(parser, arguments)
    found = asyncio.run(survey(given.seeds, access))
    for answer in found.answers:
        print(answer.address, answer.error or answer.node_id)
    return EXIT_SOUND if found.members else EXIT_NOBODY
