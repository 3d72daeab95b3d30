"""Who is asked next, and for what: a budget each second, what is on the screen first, then primaries, then the rest.

Owns the order and the pace of questions. Must never let a node on the screen, or a silent one, keep the others from
their turn. Pure but for the pace that it keeps; reads no clock. One thread.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from heapq import nsmallest
from typing import Final

from clusterbus.cli.top.heard import Heard, Memory
from clusterbus.survey.asking import CLUSTER_INFO, INFO_SERVER, LINKS, NODES

ASKED_PER_S_MAX: Final = 200
ASKED_PER_S_MIN: Final = 10
CPU_SHARE_MAX: Final = 0.25
"""Of one core: so much may asking and reading take, or fewer nodes are asked."""
ON_SCREEN_SHARE: Final = 0.5
SILENT_SHARE: Final = 0.25
"""At most so much of a budget goes to the nodes on the screen, and to those that did not answer last time."""
WITNESSES: Final = 3
"""So many nodes of a large cluster tell their node tables at each refresh."""
PRIMARY_WEIGHT: Final = 2.0
REFUSAL_KEPT_S: Final = 60.0
"""What a node refused to tell, for its rules or its age, it is asked again after that."""


@dataclass(slots=True)
class Pace:
    """How many nodes a second are asked: fewer as soon as it costs more than CPU_SHARE_MAX of a core."""

    asked_per_s: float = ASKED_PER_S_MAX

    def adapt(self, share: float) -> None:
        """`share` of a core went into the last refresh."""
        if share > CPU_SHARE_MAX:
            self.asked_per_s = max(ASKED_PER_S_MIN, self.asked_per_s * CPU_SHARE_MAX / share)
        else:
            self.asked_per_s = min(ASKED_PER_S_MAX, self.asked_per_s * 1.2)


def next_turn(
    memory: Memory,
    now_s: float,
    *,
    budget: int,
    on_screen: Collection[str] = (),
    primaries: Collection[str] = (),
    busy: Collection[str] = (),
    whole: str = "",
) -> dict[str, tuple[str, ...]]:
    """Who is asked now, and for what, by address.

    `on_screen` and `primaries` are addresses; `busy` ones are being asked still. `whole` is one that is to tell
    everything, the node whose details are open.
    """
    free = [one for one in memory if one.address not in busy]
    chosen: dict[str, Heard] = {}
    silent_left = max(1, int(budget * SILENT_SHARE))

    def choose(heard: list[Heard], limit: int) -> None:
        nonlocal silent_left
        for one in heard:
            if len(chosen) >= budget or limit <= 0:
                return
            if one.address in chosen:
                continue
            if one.failures:
                if not silent_left:
                    continue
                silent_left -= 1
            chosen[one.address] = one
            limit -= 1

    def waited(one: Heard) -> float:
        """Negative, and the lower the more it is that node's turn."""
        if one.asked_at_s is None:
            return float("-inf") if one.address in primaries else -1e12
        return -(now_s - one.asked_at_s) * (PRIMARY_WEIGHT if one.address in primaries else 1.0)

    if whole:
        choose([one for one in free if one.address == whole], 1)
    seen = [one for one in free if one.address in on_screen]
    choose(sorted(seen, key=waited), max(1, int(budget * ON_SCREEN_SHARE)) if len(free) > budget else len(seen))
    choose(nsmallest(budget * 2, free, key=waited), budget)
    witnesses = _witnesses(memory, chosen, primaries)
    turn: dict[str, tuple[str, ...]] = {}
    for one in chosen.values():
        everything = memory.is_small or one.address == whole
        turn[one.address] = tuple(
            _questions(one, now_s, tells_nodes=everything or one.address in witnesses, tells_links=everything)
        )
    return turn


def _witnesses(memory: Memory, chosen: dict[str, Heard], primaries: Collection[str]) -> set[str]:
    """Those that answer, primaries first, since they vote on who failed; the ones whose view is the oldest."""
    if memory.is_small:
        return set()
    able = [one for one in chosen.values() if not one.failures]
    able.sort(key=lambda one: (one.address not in primaries, one.view_at_s))
    return {one.address for one in able[:WITNESSES]}


def _questions(one: Heard, now_s: float, *, tells_nodes: bool, tells_links: bool) -> list[str]:
    if one.refused and now_s - one.refused_at_s > REFUSAL_KEPT_S:
        one.refused.clear()
    wanted = [CLUSTER_INFO]
    wanted += [INFO_SERVER] if not one.version else []
    wanted += [NODES] if tells_nodes else []
    wanted += [LINKS] if tells_links else []
    return [question for question in wanted if question not in one.refused]
