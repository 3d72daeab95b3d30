"""Two states with the same inputs, which must stay the same though only one of them looks at whole packets (R33).

For the tests of quiet heartbeats and of news. No rule of the protocol is in here.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from unittest.mock import patch

from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Effect, Send, SendHeartbeat
from clusterbus.cluster.heartbeats.quiet import whole_view
from clusterbus.cluster.model.node import Node
from clusterbus.errors import StateError
from clusterbus.view import Verdict, View
from clusterbus.wire import GossipEntry, Heartbeat, Packet, encode, parse

from tests.cluster.shards import make_replica, replicate
from tests.cluster.solo import Puppet, Solo


class World:
    """Two states with the same inputs. One applies every packet in full, the other only what is news in it.

    The puppet "a" has slots and so a vote. So has "d", which others only mention. "e" replicates "a".
    """

    def __init__(self, primary: str = "") -> None:
        self.quiet = 0
        self.verdict: Verdict | None = None
        """What was found news in the last packet."""
        self.whole, self.compared = Solo(), Solo()
        self.puppets: dict[str, Puppet] = {}
        for solo in (self.whole, self.compared):
            solo.encodes = False
            for number, letter in enumerate("abcd"):
                self.puppets[letter] = solo.puppet(letter, slots=[number] if letter in "ad" else ())
            self.puppets["e"] = make_replica(solo, "e", self.puppets["a"].node_id)
            if primary:  # the one that we replicate
                replicate(solo, self.puppets[primary])
            solo.tick()

    def sends(self, puppet: Puppet, message: Heartbeat) -> None:
        link = puppet.dialled if message.type == c.PONG else puppet.inbound
        left = without_pongs(self.whole.receive(link, message))
        right = without_pongs(self.receive_compared(puppet, link, message))
        assert left == right
        self.compare()

    @patch("clusterbus.cluster.receive.GOSSIP_COMPARED_MIN", 1)
    def receive_compared(self, puppet: Puppet, link: int, message: Heartbeat) -> list[Effect]:
        solo = self.compared
        (packet,) = parse(encode(message))
        solo.last_read_ms[link] = solo.now_ms
        found = solo.state._core.links.get(link)
        bound = found is not None and found.node is not None and found.node.node_id == packet.sender
        view = solo.state.view()
        verdict = self.verdict = None
        if view is not None and bound:
            verdict = self.verdict = self.compare_with(view, packet, puppet.ip)
        self.quiet += int(verdict is not None and verdict.is_quiet)
        if view is not None and verdict is not None and verdict.is_quiet and self.quiet % 2:
            is_pong = message.type == c.PONG
            view.note_offset(packet)
            pongs = [(link, solo.now_ms)] if is_pong else []
            solo.state.handle_quiet(int(not is_pong), int(is_pong), pongs, solo.now_ms)
        else:
            solo.state.handle_packet(link, packet, solo.now_ms, verdict)
        return solo.poll()

    def compare_with(self, view: View, packet: Packet, peer_ip: str) -> Verdict | None:
        """What is news in a packet to a view, which must be the same if all its rows are made anew."""
        solo = self.compared
        verdict = view.compare(packet, peer_ip, solo.now_ms)
        anew = whole_view(solo.state._core).compare(packet, peer_ip, solo.now_ms)
        assert parts_of(verdict) == parts_of(anew)
        return verdict

    def tick(self, after_ms: int) -> None:
        left, right = self.whole.tick(after_ms), self.compared.tick(after_ms)
        assert without_pongs(left) == without_pongs(right)
        self.compare()

    def orders_failover(self, how: str) -> None:
        """An operator's CLUSTER FAILOVER, if the state accepts it."""
        for solo in (self.whole, self.compared):
            with suppress(StateError):
                solo.state.failover(solo.now_ms, force=how == "force")
        assert without_pongs(self.whole.poll()) == without_pongs(self.compared.poll())
        self.compare()

    def orders_bump(self) -> None:
        """An operator's CLUSTER BUMPEPOCH."""
        for solo in (self.whole, self.compared):
            solo.state.bump_epoch(solo.now_ms)
        assert without_pongs(self.whole.poll()) == without_pongs(self.compared.poll())
        self.compare()

    def compare(self) -> None:
        left, right = self.whole.state._core, self.compared.state._core
        assert left.current_epoch == right.current_epoch
        assert left.state_is_ok == right.state_is_ok
        assert sorted(left.links) == sorted(right.links)
        assert left.counters == right.counters
        assert left.repl_offset == right.repl_offset
        assert left.slots.not_claimed == right.slots.not_claimed
        assert left.election == right.election
        assert repr(left.manual) == repr(right.manual)
        assert list(left.table.nodes) == list(right.table.nodes)
        for one, other in zip(left.table.all_nodes, right.table.all_nodes, strict=True):
            left.take_gossiped_pong(one)
            right.take_gossiped_pong(other)
            assert fields_of(one) == fields_of(other)


def parts_of(verdict: Verdict | None) -> tuple[object, ...] | None:
    return verdict and (
        verdict.version,
        verdict.is_pong,
        verdict.header_is_known,
        verdict.claims_are_known,
        verdict.news,
    )


def without_pongs(effects: list[Effect]) -> list[str]:
    """The effects without PONGs: the caller of `handle_quiet` sends these itself."""
    answers = (Send, SendHeartbeat)
    return [repr(effect) for effect in effects if not (isinstance(effect, answers) and _kind(effect) == c.PONG)]


def _kind(effect: Send | SendHeartbeat) -> int:
    return effect.kind if isinstance(effect, SendHeartbeat) else effect.message.type


NOT_COMPARED = {
    "viewed_as", "judged_claims", "times", "version", "agenda", "data_received_ms", "fail_reports", "table_index",
}  # fmt: skip
"""Fields that only the view needs, or that are compared in another form."""


def fields_of(node: Node) -> dict[str, Any]:
    fields = {name: _plain(getattr(node, name)) for name in Node.__slots__ if name not in NOT_COMPARED}
    fields["repl_offset"] = node.repl_offset
    fields["reports"] = {
        reporter.node_id: max(told_ms, reporter.times.reports_repeated_ms)
        for reporter, told_ms in node.fail_reports.items()
    }
    return fields


def _plain(value: object) -> object:
    if isinstance(value, Node):
        return value.node_id
    if isinstance(value, dict):
        return sorted(value)
    return getattr(value, "link_id", value)


def entry_of(world: World, letter: str, **changes: Any) -> GossipEntry:
    puppet = world.puppets[letter]
    fields: dict[str, Any] = {
        "node_id": puppet.node_id,
        "ip": puppet.ip,
        "port": puppet.port,
        "cport": puppet.cport,
        "flags": puppet.flags,
        "pong_received_s": world.whole.now_ms // 1000,
    }
    return GossipEntry(**(fields | changes))
