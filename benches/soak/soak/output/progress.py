"""How the soak stands: one line that is written over on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final, TextIO

from soak.story import Story

TERMINAL_INTERVAL_S: Final = 1.0
PLAIN_INTERVAL_S: Final = 10.0


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def line(story: Story, minutes: float) -> str:
    outcome = story.outcome
    received = sum(len(session.received) for session in story.traffic.sessions)
    last = {sample.node: sample for sample in outcome.samples[-20:]}
    memory = " ".join(f"{name} {sample.rss_bytes / 2**20:.0f}" for name, sample in sorted(last.items()))
    kinds = story.acts.done[-1].planned if story.acts.done else None
    return (
        f"{clock(time.monotonic() - outcome.begun_s)} of {clock(minutes * 60)}  {len(story.acts.done)} faults"
        f"  {len(story.traffic.published)} published  {received} delivered"
        f"  {len(outcome.findings) + len(story.acts.findings)} findings  MiB: {memory}"
        + (f"  last: {kinds.fault.value} {kinds.target}" if kinds else "")
    )


async def show(story: Story, minutes: float, out: TextIO = sys.stderr) -> None:
    """Until it is cancelled."""
    is_terminal = out.isatty()
    try:
        while True:
            text = line(story, minutes)
            print(f"\r\x1b[K{text}" if is_terminal else text, end="" if is_terminal else "\n", file=out, flush=True)
            await asyncio.sleep(TERMINAL_INTERVAL_S if is_terminal else PLAIN_INTERVAL_S)
    finally:
        if is_terminal:
            print(file=out, flush=True)
