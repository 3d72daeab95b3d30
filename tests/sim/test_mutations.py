"""Scenarios find broken rules by themselves: a rule is mutated, and some seed reports what broke (R38).

The mutated rules are those of the protocol and those of the driver that ships (R42).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster import receive
from clusterbus.cluster.core import Core
from clusterbus.cluster.failover import election, epoch_bound, epochs, failure, replication, roles, vote
from clusterbus.cluster.heartbeats import extensions, gossip_in, heartbeat
from clusterbus.cluster.membership import links
from clusterbus.cluster.model.node import Link, Node, Succession
from clusterbus.cluster.model.records import NodesConf
from clusterbus.cluster.operator import persist
from clusterbus.member.driver import Driver
from clusterbus.member.saving import Attempt, Outcome, Saver
from clusterbus.sim import checks, scenario
from clusterbus.sim.engine import SimEngine
from clusterbus.sim.faults.table import FAULTS
from clusterbus.sim.scenario import play
from clusterbus.wire import Packet

SEEDS_MAX = 120
"""A mutation must be found within this many seeds."""
HUNT_SEEDS_MAX = 480
"""The same with the faults made for it. A second vote in one epoch shows in about one of eighty."""

Mutate = Callable[[pytest.MonkeyPatch], None]


def ignore_config_epoch(patch: pytest.MonkeyPatch) -> None:
    """Any node that claims a slot gets it."""
    apply_claims = roles.apply_claims

    def take(core: Core, sender: Node, _config_epoch: int, claimed: int) -> None:
        apply_claims(core, sender, c.EPOCH_MAX, claimed)

    patch.setattr(roles, "apply_claims", take)


def believe_any_epoch(patch: pytest.MonkeyPatch) -> None:
    """Whatever epoch a member claims is taken over (H28)."""
    patch.setattr(epoch_bound, "is_credible", lambda core, epoch: True)


def skip_durability(patch: pytest.MonkeyPatch) -> None:
    """Nothing is synced before it is announced."""

    def save_later(core: Core) -> None:
        core.want_save()

    def want_save(core: Core, *, durable: bool = False) -> None:
        core.wants_save = True

    patch.setattr(Core, "save_now", save_later)
    patch.setattr(Core, "want_save", want_save)


def forget_epochs(patch: pytest.MonkeyPatch) -> None:
    """After a restart, the current epoch is below the config epochs of the nodes."""
    restore = persist.restore

    def lossy(core: Core, conf: NodesConf) -> None:
        restore(core, conf)
        core.current_epoch = max(node.config_epoch for node in core.table) - 1

    patch.setattr(persist, "restore", lossy)


def vote_again(patch: pytest.MonkeyPatch) -> None:
    """A voter does not remember that it has voted."""
    handle_request = vote.handle_request

    def forgetful(core: Core, link: Link, sender: Node, packet: Packet) -> None:
        voted, core.last_vote_epoch = core.last_vote_epoch, 0
        handle_request(core, link, sender, packet)
        core.last_vote_epoch = max(voted, core.last_vote_epoch)

    patch.setitem(receive._HANDLERS, c.AUTH_REQUEST, forgetful)


def forget_votes(patch: pytest.MonkeyPatch) -> None:
    """A restart does not remember votes."""
    restore = persist.restore

    def lossy(core: Core, conf: NodesConf) -> None:
        restore(core, conf)
        core.last_vote_epoch = 0

    patch.setattr(persist, "restore", lossy)


def win_with_one_vote(patch: pytest.MonkeyPatch) -> None:
    """One vote is enough."""
    patch.setattr(election, "quorum", lambda core: 1)


def take_any_vote(patch: pytest.MonkeyPatch) -> None:
    """A vote counts as often as it arrives, from any node and for any epoch."""

    def count(core: Core, _link: Link, sender: Node, _packet: Packet) -> None:
        core.election.voters |= {sender.node_id, sender.node_id + "'"}
        election.step(core)

    patch.setitem(receive._HANDLERS, c.AUTH_ACK, count)


def win_an_old_epoch(patch: pytest.MonkeyPatch) -> None:
    """A winner takes its primary's slots at its primary's config epoch."""
    promote = replication.promote

    def without_epoch(core: Core) -> None:
        primary = core.myself.replicaof
        assert primary is not None
        core.myself.config_epoch = primary.config_epoch
        promote(core)

    patch.setattr(replication, "promote", without_epoch)


def never_step_down(patch: pytest.MonkeyPatch) -> None:
    """A primary that lost its slots to its replica does not follow it."""
    patch.setattr(roles, "_follow_taker", lambda core, sender, config_epoch, *, is_taker, has_slots: None)


def never_resolve_collisions(patch: pytest.MonkeyPatch) -> None:
    """Two primaries keep the same config epoch."""
    patch.setattr(epochs, "resolve_collision", lambda core, sender: None)


def never_clear_fail(patch: pytest.MonkeyPatch) -> None:
    """FAIL never ends."""
    patch.setattr(failure, "_clear_failed_if_due", lambda core, node: None)


def never_redial(patch: pytest.MonkeyPatch) -> None:
    """A lost link stays lost."""
    dial = links.dial

    def once(core: Core, node: Node) -> None:
        if not node.dial_failures:
            dial(core, node)

    patch.setattr(links, "dial", once)


def drop_gossip(patch: pytest.MonkeyPatch) -> None:
    """Gossip introduces no nodes."""
    patch.setattr(gossip_in, "_meet_by_gossip", lambda *_arguments, **_more: None)


def count_backwards(patch: pytest.MonkeyPatch) -> None:
    """Now and then the current epoch falls by one."""
    header = heartbeat.header

    def fallen(core: Core, mflags: int = 0) -> object:
        if core.current_epoch > 2 and core.random.random() < 0.01:
            core.current_epoch -= 1
        return header(core, mflags)

    patch.setattr(heartbeat, "header", fallen)


def skip_durable_saves(patch: pytest.MonkeyPatch) -> None:
    """The driver skips durable saves and reports that they succeeded."""
    save = Driver._save
    saved = Attempt(Outcome.SAVED)
    patch.setattr(Driver, "_save", lambda driver, *, durable: saved if durable else save(driver, durable=durable))


def skip_saves(patch: pytest.MonkeyPatch) -> None:
    """The driver forgets the saves that are due at the end of a step."""
    patch.setattr(Saver, "want", lambda saver: None)


def send_before_save(patch: pytest.MonkeyPatch) -> None:
    """The driver saves after all other effects of an input, when its messages have left."""
    carry_out, save = Driver._carry_out_effects, Driver._save
    owed: set[Driver] = set()

    def put_off(driver: Driver, *, durable: bool) -> Attempt:
        if durable:
            owed.add(driver)
            return Attempt(Outcome.SAVED)
        return save(driver, durable=durable)

    def carry_out_and_save(driver: Driver) -> None:
        carry_out(driver)
        driver.engine.flush()
        if driver in owed:
            owed.remove(driver)
            save(driver, durable=True)

    patch.setattr(Driver, "_save", put_off)
    patch.setattr(Driver, "_carry_out_effects", carry_out_and_save)


def send_after_failed_save(patch: pytest.MonkeyPatch) -> None:
    """The driver withholds no message when a durable save fails."""
    save = Driver._save

    def fail_unseen(driver: Driver, *, durable: bool) -> Attempt:
        attempt = save(driver, durable=durable)
        driver.saver.owes_durable = False
        return Attempt(Outcome.SAVED) if attempt.outcome is Outcome.FAILED else attempt

    patch.setattr(Driver, "_save", fail_unseen)


def send_while_saving(patch: pytest.MonkeyPatch) -> None:
    """The driver holds no message back while the disk is at work."""
    save = Driver._save

    def begin_and_go_on(driver: Driver, *, durable: bool) -> Attempt:
        attempt = save(driver, durable=durable)
        return Attempt(Outcome.SAVED) if attempt.outcome is Outcome.UNDER_WAY else attempt

    patch.setattr(Driver, "_save", begin_and_go_on)


def drop_binds(patch: pytest.MonkeyPatch) -> None:
    """The driver does not report to the engine which node is on a link."""
    patch.setattr(Driver, "_carry_bind_link", lambda driver, effect: None)


def keep_links(patch: pytest.MonkeyPatch) -> None:
    """The driver does not report to the state that a link is lost."""
    patch.setattr(Driver, "_apply_link_lost", lambda driver, event, now_ms: driver.engine.close(event.link))


MUTATIONS: tuple[tuple[Mutate, str], ...] = (
    (ignore_config_epoch, checks.OWN_SLOTS),
    (skip_durability, checks.VOTE_DURABLE),
    (forget_votes, checks.EPOCHS_RISE),
    (win_with_one_vote, checks.MAJORITY),
    (take_any_vote, checks.MAJORITY),
    (win_an_old_epoch, "epoch"),  # two winners of one, or one that falls
    (never_step_down, "in a shard that another one serves"),
    (forget_epochs, checks.EPOCHS_RISE),
    (count_backwards, checks.EPOCHS_RISE),
    (never_resolve_collisions, "share config epoch"),
    (never_clear_fail, "failing, which is up"),
    (never_redial, "no agreement"),
    (drop_gossip, "do not agree"),
    (skip_durable_saves, checks.VOTE_DURABLE),
    (skip_saves, "nodes.conf says"),
    (send_before_save, checks.VOTE_DURABLE),
    (drop_binds, "engine does not know that a link"),
    (keep_links, "lacks a link"),
)


@pytest.mark.parametrize(("mutate", "rule"), MUTATIONS, ids=[mutate.__name__ for mutate, _ in MUTATIONS])
def test_scenarios_find_a_bent_rule_r38_r42(mutate: Mutate, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    for seed in range(SEEDS_MAX):
        failure_text = play(seed).failure
        if failure_text:
            assert rule in failure_text
            return
    pytest.fail(f"{mutate.__name__} went unseen through {SEEDS_MAX} seeds")


# ---------------------------------------------------------------- rules that one fault is made for


def hope_for_the_gone(patch: pytest.MonkeyPatch) -> None:
    """A node whose address another one has is not FAIL."""
    patch.setattr(failure, "give_up", lambda core, node: None)


def trust_half_a_link(patch: pytest.MonkeyPatch) -> None:
    """A link without PONG stays, while the node sends something on its own link."""
    close_link = Core.close_link

    def close_other(core: Core, link: Link, reason: str) -> None:
        if reason != "no PONG for a node timeout":
            close_link(core, link, reason)

    patch.setattr(Core, "close_link", close_other)


def apply_old_headers(patch: pytest.MonkeyPatch) -> None:
    """Within a shard, too, only the current epoch tells whether a replica's header is out of date."""

    def is_stale(_core: Core, sender: Node, packet: Packet) -> bool:
        return packet.current_epoch < sender.config_epoch

    patch.setattr(roles, "_is_stale", is_stale)


def win_slots_back(patch: pytest.MonkeyPatch) -> None:
    """A deposed primary with the epoch of its successor takes a greater one if its id is the smaller one."""

    def resolve(core: Core, sender: Node) -> None:
        sender.succession = Succession.NONE
        resolve_collision(core, sender)

    resolve_collision = epochs.resolve_collision
    patch.setattr(epochs, "resolve_collision", resolve)
    patch.setattr(roles, "_yields", lambda core, owner, claimer, config_epoch: False)


def leave_slots_behind(patch: pytest.MonkeyPatch) -> None:
    """What a deposed primary had waits for the claims of its successor."""
    patch.setattr(roles, "_hand_over", lambda core, old, new: None)


def believe_any_shard(patch: pytest.MonkeyPatch) -> None:
    """A node is of the shard that it says it is of, or that nodes.conf says, whatever its primary's is."""

    def take(core: Core, sender: Node, shard_id: str) -> None:
        extensions.set_shard_id(core, sender, shard_id)

    def set_alone(_core: Core, node: Node, shard_id: str) -> None:
        node.shard_id = shard_id

    restore = persist.restore

    def restore_as_written(core: Core, conf: NodesConf) -> None:
        restore(core, conf)
        core.myself.shard_id = persist.myself_of(conf).aux.get("shard-id", core.myself.shard_id)

    patch.setattr(extensions, "_take_shard_id", take)
    patch.setattr(extensions, "set_shard_id", set_alone)
    patch.setattr(persist, "restore", restore_as_written)


def answer_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    """Workers answer for a main loop that hangs, for ever."""
    patch.setattr(SimEngine, "_lease_holds", lambda engine: True)


def answer_at_any_version(patch: pytest.MonkeyPatch) -> None:
    """Workers take heartbeats that say nothing new to the last view, though the state has moved on."""
    patch.setattr(SimEngine, "_view_is_current", lambda engine: engine._view is not None)


@dataclass(frozen=True)
class Hunt:
    """A bent rule, what the simulator says of it, and the only faults of the scenarios that look for it. The hunt
    begins at a seed that found it when it was last looked for, so as not to take longer than it must.
    """

    mutate: Mutate
    failure_text: str
    faults: tuple[str, ...]
    first_seed: int = 0


HUNTS: Final = {
    "s5": Hunt(vote_again, checks.ONE_VOTE, ("two elections at once", "shards fail at once"), 73),
    "p6": Hunt(hope_for_the_gone, "whose address another node has", ("back under a new id",)),
    "p10": Hunt(apply_old_headers, checks.WENT_BACK, ("links out of step", "manual failover", "takeover")),
    "p16": Hunt(win_slots_back, checks.SUCCESSION, ("epoch bumped in isolation",)),
    "p19": Hunt(leave_slots_behind, checks.HANDED_OVER, ("manual failover",)),
    "p18": Hunt(believe_any_shard, "shard", ("another shard id", "process killed")),
    "p7": Hunt(trust_half_a_link, "lacks a link", ("link half dead",)),
    "h28": Hunt(believe_any_epoch, checks.NO_JUMP, ("wild epochs",)),
    "h47": Hunt(send_after_failed_save, checks.VOTE_DURABLE, ("two elections at once", "disk fails or is slow"), 27),
    "h47 slow": Hunt(send_while_saving, checks.VOTE_DURABLE, ("two elections at once", "disk fails or is slow"), 73),
    "r33 lease": Hunt(answer_without_a_lease, checks.LEASE, ("main loop hangs", "main loop away")),
    "r33 version": Hunt(answer_at_any_version, checks.AS_OF_NOW, ("main loop away", "slot moved")),
}


@pytest.mark.parametrize("row", HUNTS)
def test_a_fault_made_for_a_rule_finds_it_bent_s5_p6_p7_p10_p16_p18_p19_h28_h47_r33(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hunt = HUNTS[row]
    monkeypatch.setattr(scenario, "FAULTS", {name: FAULTS[name] for name in hunt.faults})
    hunt.mutate(monkeypatch)
    seen: list[str] = []  # a bent rule may break another one first
    for seed in range(hunt.first_seed, hunt.first_seed + HUNT_SEEDS_MAX):
        seen.append(play(seed).failure)
        if hunt.failure_text in seen[-1]:
            return
    pytest.fail(f"{hunt.mutate.__name__} went unseen through {HUNT_SEEDS_MAX} seeds; failures: {[*filter(None, seen)]}")
