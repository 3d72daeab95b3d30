"""`make soak`: runs the story, shows how it goes, writes table and picture. Exit code 1 if anything was found."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from soak.cast import CASTS
from soak.output import progress, report
from soak.story import Story
from soak.world.node import SoakError

MINUTES: Final = 20.0
SEED: Final = 1
ENDED_AT_ONCE: Final = 130
"""The exit code after a second Ctrl-C, as a shell has it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long faults come (20)")
    parser.add_argument("--seed", type=int, default=SEED, help="which faults, in which order (1)")
    parser.add_argument("--cast", choices=list(CASTS), default="whole", help="how many nodes (whole)")
    parser.add_argument("--out", type=Path, default=Path("target/soak"), help="folder of table, picture and logs")
    parser.add_argument("--no-picture", action="store_true", help="do without matplotlib")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        return asyncio.run(_soak(options))
    except SoakError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        print("soak: ended at once, without a table", file=sys.stderr)
        return ENDED_AT_ONCE


async def _soak(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        story = Story(CASTS[options.cast], options.seed, options.minutes, folder)
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _stop, story, task)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _show_tasks)
        showing = asyncio.create_task(progress.show(story, options.minutes))
        try:
            outcome = await story.run()
        finally:
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await showing
            _keep_logs(folder, options.out / "logs")
    print(report.write(outcome, options.out))
    if not options.no_picture:
        from soak.output import picture

        picture.draw(outcome, options.out / "soak.png")
    print(f"written to {options.out}", file=sys.stderr)
    return 1 if outcome.findings else 0


def _stop(story: Story, task: asyncio.Task[int]) -> None:
    """The first time the soak is judged as far as it went; the second time everything is taken down at once."""
    if story.outcome.is_interrupted:
        task.cancel()
    story.outcome.is_interrupted = True
    story.stop_asked.set()


def _show_tasks() -> None:
    """On SIGUSR1: where every task waits."""
    for task in asyncio.all_tasks():
        task.print_stack(limit=6)


def _keep_logs(folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*/log"):
        shutil.copy(log, target / f"{log.parent.name}.log")


if __name__ == "__main__":
    sys.exit(main())
