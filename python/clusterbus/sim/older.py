"""Members that follow the rules as Valkey 8.0 had them, beside members that follow today's.

Owns the table of the rules that were different then, as peers see them, and their dispatch: a rule asks the member's
configuration whose it is. Stands only here, so that the protocol's own modules know nothing of older rules. What does
not differ on the wire is today's for both. One thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary

from clusterbus.cluster import constants as c
from clusterbus.cluster import receive
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import election, failure, manual_failover, no_harm, roles
from clusterbus.cluster.heartbeats import extensions
from clusterbus.cluster.membership import links
from clusterbus.cluster.model.node import Link, Node
from clusterbus.config import Config
from clusterbus.wire import Packet

Rule = Callable[..., Any]

VOTE_DISTANCE: Final = 2
"""The least number of node timeouts between two votes about one primary."""
ELECTION_DELAY_MS: Final = 500
"""An election waits this long, a random time up to this, and twice this for each replica that goes first."""

_voted_ms: Final[WeakKeyDictionary[Core, dict[str, int]]] = WeakKeyDictionary()
"""When an older member last voted about a primary, by its id."""


class OlderConfig(Config):
    """The configuration of a member that follows the older rules."""


def is_older(core: Core) -> bool:
    """Whether a member follows the older rules."""
    return isinstance(core.config, OlderConfig)


def _vote_at_a_distance(today: Rule) -> Rule:
    """No second vote about one primary within two node timeouts (P11)."""

    def handle_request(core: Core, link: Link, sender: Node, packet: Packet) -> None:
        primary = sender.replicaof
        voted_ms = _voted_ms.setdefault(core, {})
        if primary is not None:
            last_ms = voted_ms.get(primary.node_id)
            if last_ms is not None and core.now_ms - last_ms < VOTE_DISTANCE * core.node_timeout_ms:
                core.counters["refused_vote_request"] += 1
                return
        before = core.last_vote_epoch
        today(core, link, sender, packet)
        if primary is not None and core.last_vote_epoch != before:
            voted_ms[primary.node_id] = core.now_ms

    return handle_request


def _always(answer: object) -> Callable[[Rule], Rule]:
    return lambda _today: lambda *_arguments, **_keywords: answer


def _wait_for_an_open_election(_today: Rule) -> Rule:
    """A manual failover does not end an election that is open (P12)."""

    def begin(core: Core) -> None:
        core.manual.can_start = True
        election.step(core)

    return begin


RULES: Final[tuple[tuple[ModuleType, str, Callable[[Rule], Rule]], ...]] = (
    (failure, "give_up", _always(None)),  # a node without an address is not FAIL (P6)
    (links, "dial_anew", _always(None)),  # MEET of a known node changes nothing (P7)
    (roles, "_is_stale", _always(False)),  # any header of a primary may make it a replica (P10)
    (election, "note_claim", _always(None)),  # an election goes on that cannot be won any more (P12)
    (manual_failover, "_begin_election", _wait_for_an_open_election),
    (election, "_base_delay_ms", _always(ELECTION_DELAY_MS)),
    (election, "is_best_ranked", _always(False)),  # nobody starts without delay (P13)
    (election, "shard_rank", _always(0)),  # shards do not wait for each other
    (roles, "_yields", _always(False)),  # of two claims under one epoch the greater id decides (P16)
    (roles, "_hand_over", _always(None)),  # slots of a deposed primary wait for the claim of its successor (P19)
    (extensions, "learn_shard", _always(None)),  # claims come before shards (P21)
    (roles, "give_way", _always(None)),
    (roles, "give_way_to_newest", _always(None)),
    (roles, "_heir", _always(None)),
    (no_harm, "may_follow", _always(True)),  # a replica is elected, or moves, whatever data it has (P1, P4)
)
"""Module, name of the rule, and what made of today's rule the older one."""


@contextmanager
def rules() -> Iterator[None]:
    """Within this context, members with an `OlderConfig` follow the older rules."""
    handlers = receive._HANDLERS
    today_vote = handlers[c.AUTH_REQUEST]
    today = [(module, name, getattr(module, name)) for module, name, _ in RULES]
    try:
        handlers[c.AUTH_REQUEST] = _dispatched(today_vote, _vote_at_a_distance)
        for (module, name, rule), (_, _, older) in zip(today, RULES, strict=True):
            setattr(module, name, _dispatched(rule, older))
        yield
    finally:
        handlers[c.AUTH_REQUEST] = today_vote
        for module, name, rule in today:
            setattr(module, name, rule)


def _dispatched(today: Rule, make_older: Callable[[Rule], Rule]) -> Rule:
    older = make_older(today)

    @functools.wraps(today)
    def rule(core: Core, *arguments: Any, **keywords: Any) -> Any:
        chosen = older if is_older(core) else today
        return chosen(core, *arguments, **keywords)

    return rule
