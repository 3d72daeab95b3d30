"""Scenarios with a member that lies: nothing raises, and the rules hold that do not rest on its word (H48)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster import receive
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import roles, vote
from clusterbus.cluster.membership import tags
from clusterbus.cluster.model.node import Link, Node
from clusterbus.sim import checks, hostile
from clusterbus.sim.lies import Liar
from clusterbus.wire import Heartbeat, MessageType, Packet

SEEDS = range(2)
SEEDS_MAX = 12
"""A bent rule must be found within this many seeds."""
OWN_ID, OTHER_ID = "a" * 40, "b" * 40
Mutate = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_liar_breaks_no_rule_that_does_not_rest_on_its_word_h48(seed: int) -> None:
    outcome = hostile.play(seed)
    again = f"repeat: clusterbus simulate --replay {seed} --liar"
    assert not outcome.failure, f"{outcome.failure}\n{outcome.traceback}\n{again}"
    assert outcome.faults["a stranger that lies"] == 1
    assert outcome.agreed_ms > 0


def test_a_scenario_with_a_liar_follows_from_its_seed() -> None:
    lines: list[str] = []
    outcomes = [hostile.play(2), hostile.replay(2, lines.append)]
    assert outcomes[0].stats == outcomes[1].stats
    assert outcomes[0].lived_ms == outcomes[1].lived_ms
    assert len(lines) > 1_000


def test_a_liar_tells_lies_of_every_type_about_everybody() -> None:
    liar = Liar(Random(1), OWN_ID, [OWN_ID, OTHER_ID], ["10.0.0.1"], 7000)
    told = [liar.lie() for _ in range(1_000)]
    assert {packet.type for packet in told} == set(MessageType)
    senders = {packet.sender for packet in told if not packet.is_light}
    assert {OWN_ID, OTHER_ID} < senders
    assert max(packet.current_epoch for packet in told) == c.EPOCH_MAX
    extensions = {
        extension.type
        for packet in told
        for message in (packet.decode(),)
        if isinstance(message, Heartbeat)
        for extension in message.extensions
    }
    assert len(extensions) > 8


def take_any_claim(patch: pytest.MonkeyPatch) -> None:
    """Any node that claims a slot gets it, whatever its epoch."""
    apply_claims = roles.apply_claims

    def take(core: Core, sender: Node, _config_epoch: int, claimed: int) -> None:
        apply_claims(core, sender, c.EPOCH_MAX, claimed)

    patch.setattr(roles, "apply_claims", take)


def vote_for_whoever_asks(patch: pytest.MonkeyPatch) -> None:
    """A voter does not remember that it has voted, and looks at nothing else."""
    handle_request = vote.handle_request

    def forgetful(core: Core, link: Link, sender: Node, packet: Packet) -> None:
        core.current_epoch -= 1
        handle_request(core, link, sender, packet)

    patch.setitem(receive._HANDLERS, c.AUTH_REQUEST, forgetful)


def fall_over_tags(patch: pytest.MonkeyPatch) -> None:
    """A message about tags raises."""
    patch.setattr(tags, "_decoded", lambda data: {}[data])


BENT: dict[str, tuple[Mutate, str]] = {
    "claims": (take_any_claim, checks.OWN_SLOTS),
    "epochs": (vote_for_whoever_asks, checks.EPOCHS_RISE),
    "exceptions": (fall_over_tags, "KeyError"),
}


@pytest.mark.parametrize("name", BENT)
def test_a_scenario_with_a_liar_finds_a_bent_rule_h48(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate, words = BENT[name]
    mutate(monkeypatch)
    seen = []
    for seed in range(SEEDS_MAX):
        seen.append(hostile.play(seed).failure)
        if words in seen[-1]:
            return
    pytest.fail(f"{name} went unseen through {SEEDS_MAX} seeds: {[*filter(None, seen)]}")
