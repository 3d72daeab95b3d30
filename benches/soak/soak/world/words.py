"""The numbered messages: their channel, their text, how often they come. The program shares this with the soak."""

from __future__ import annotations

import random
from typing import Final

CHANNEL: Final = "soak"
PUBLISH_INTERVAL_S: Final = 0.5
MARK: Final = "m"
LONG_EVERY: Final = 20
LONG_LEN_MAX_BYTES: Final = 60_000
"""One message of LONG_EVERY is so long at most: longer than what one read of a link takes."""


def body(sender: str, number: int) -> str:
    """The text of a message; its length follows from its number."""
    head = f"{MARK} {sender} {number} "
    if number % LONG_EVERY:
        return head
    return head + "x" * random.Random(number).randrange(LONG_LEN_MAX_BYTES)


def numbered(text: str) -> tuple[str, int] | None:
    """The sender and number of a message; None if it is not one of ours or is damaged."""
    words = text.split(" ")
    if len(words) != 4 or words[0] != MARK or not words[2].isdigit() or text != body(words[1], int(words[2])):
        return None
    return words[1], int(words[2])
