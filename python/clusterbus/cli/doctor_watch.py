"""`clusterbus doctor --watch`: how long each change takes from the first node that shows it until all do.

Owns the run and its lines. Must never send what changes anything. Main thread, with an event loop of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from clusterbus.survey.asking import Asker
from clusterbus.survey.polling import Polling
from clusterbus.survey.spread import Spread, SpreadWatch

INTERVAL_S: Final = 0.1
EXIT_WATCHED: Final = 0
EXIT_NOBODY: Final = 3


class Watching:
    """What was seen so far, and the lines that say so."""

    def __init__(self, *, interval_s: float, as_json: bool) -> None:
        self._interval_s = interval_s
        self._as_json = as_json
        self._watch = SpreadWatch()
        self._told: list[Spread] = []
        self._begun_s = time.monotonic()
        self._ids: dict[str, str] = {}
        self._errors: dict[str, str] = {}

    async def run(self, asker: Asker, seeds: Sequence[str]) -> int:
        """Watches until it is cancelled, or nobody can be asked. Returns an exit status."""
        places, nameless = await asker.places(seeds)
        for answer in nameless:
            self._complain(answer.address, answer.error)
        asked: set[str] = set()
        polling = Polling(asker, places, self._interval_s)
        async with contextlib.aclosing(polling.answers()) as answers:
            async for answer in answers:
                asked.add(answer.address)
                ended = []
                if self._ids.get(answer.address, answer.node_id) != answer.node_id:  # gone, or another one by now
                    ended = self._watch.lose(self._ids.pop(answer.address))
                if answer.error:
                    self._complain(answer.address, answer.error)
                else:
                    self._errors.pop(answer.address, None)
                    self._ids[answer.address] = answer.node_id
                    ended += self._watch.feed(answer)
                for spread in ended:
                    self._tell(spread)
                if not self._watch.views and len(asked) == len(places):
                    break
        return self._nobody()

    def _nobody(self) -> int:
        print("clusterbus doctor: nobody could be asked", file=sys.stderr)
        return EXIT_NOBODY

    def _complain(self, address: str, error: str) -> None:
        """Once for each reason."""
        if self._errors.get(address) != error:
            self._errors[address] = error
            print(f"{address} could not be asked: {error}", file=sys.stderr)

    def begin(self, seeds: Sequence[str]) -> None:
        if not self._as_json:
            print(
                f"watching from {', '.join(seeds)}, each node asked every {self._interval_s * 1000:g} ms;"
                " Ctrl-C ends it",
                flush=True,
            )

    def _tell(self, spread: Spread) -> None:
        self._told.append(spread)
        print(json.dumps(self._fields(spread)) if self._as_json else self._line(spread), flush=True)

    def _fields(self, spread: Spread) -> dict[str, Any]:
        low_middle_high = spread.min_median_max_ms or (None, None, None)
        names = ("min_ms", "median_ms", "max_ms")
        times = {
            name: round(value, 1) if value is not None else None
            for name, value in zip(names, low_middle_high, strict=True)
        }
        return {
            "change": spread.change.aspect.value,
            "node_id": spread.change.node_id,
            "primary_id": spread.change.primary_id,
            "what": spread.change.text(self._watch.addresses),
            "first_at_ms": self._first_at_ms(spread),
            "nodes": len(spread.shown_at_s),
            "of": spread.of,
            "all": spread.is_whole,
            **times,
            "resolution_ms": round(spread.resolution_s * 1000, 1),
            "first": self._watch.addresses.get(spread.first, spread.first),
            "last": self._watch.addresses.get(spread.last, spread.last),
        }

    def _first_at_ms(self, spread: Spread) -> int:
        """When the first node showed it, in unix milliseconds."""
        return int((time.time() - time.monotonic() + next(iter(spread.shown_at_s.values()))) * 1000)

    def _line(self, spread: Spread) -> str:
        fields = self._fields(spread)
        at_ms = fields["first_at_ms"]
        clock = time.strftime("%H:%M:%S", time.localtime(at_ms / 1000)) + f".{at_ms % 1000:03}"
        if spread.is_whole:
            reach = f"all {spread.of} nodes" if spread.of > 1 else "the only node"
        else:
            reach = f"{len(spread.shown_at_s)} of {spread.of} nodes, and then no more of them"
        if (times := spread.min_median_max_ms) is None:
            return f"{clock}  {fields['what']}: {reach}"
        low, middle, high = times
        return (
            f"{clock}  {fields['what']}: {reach}; after {fields['first']} the others in"
            f" {low:,.0f} / {middle:,.0f} / {high:,.0f} ms (min / median / max, ±{fields['resolution_ms']:,.0f}),"
            f" {fields['last']} last"
        )

    def end(self) -> None:
        """What had not come to its end, and a last line."""
        for spread in self._watch.close():
            self._tell(spread)
        if self._as_json:
            return
        took_s = time.monotonic() - self._begun_s
        whole = [spread for spread in self._told if spread.is_whole]
        longest = max((max(spread.delays_ms, default=0.0) for spread in whole), default=0.0)
        slowest = f", the slowest of those that reached all in {longest:,.0f} ms" if whole else ""
        print(f"watched {len(self._watch.views)} nodes for {took_s:.1f} s: {len(self._told)} changes{slowest}")


async def watch(asker: Asker, seeds: Sequence[str], *, interval_s: float, for_s: float | None, as_json: bool) -> int:
    """Watches for so long, or until it is cancelled. Returns an exit status."""
    watching = Watching(interval_s=interval_s, as_json=as_json)
    watching.begin(seeds)
    try:
        async with asyncio.timeout(for_s):
            return await watching.run(asker, seeds)
    except TimeoutError:
        return EXIT_WATCHED
    finally:
        watching.end()
        await asker.close()
