"""H28: epochs that no honest member can have come to, sent by a node that is known. Real nodes, four ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from clusterbus import wire

from tests.hostile.attacked import EPOCH, GOOD_ID, Attacked, HostilePeer

ALL_SLOTS: Final = b"\xff" * wire.SLOT_BITMAP_LEN_BYTES
WILD: Final = 2**64 - 1

UNDER_WILD_EPOCHS: Final[dict[str, Callable[[HostilePeer], bytes]]] = {
    "PING": lambda peer: peer.heartbeat(current_epoch=WILD, config_epoch=WILD, myslots=ALL_SLOTS),
    "half of them": lambda peer: peer.heartbeat(current_epoch=2**63, config_epoch=2**63, myslots=ALL_SLOTS),
    "UPDATE": lambda peer: wire.encode(wire.Update(peer.header(), WILD, GOOD_ID, ALL_SLOTS)),
}


@pytest.mark.parametrize("name", UNDER_WILD_EPOCHS)
def test_wild_epochs_of_a_known_node_change_nothing_h28(attacked: Attacked, name: str) -> None:
    known = attacked.known()
    assert known.ping(current_epoch=EPOCH) is not None
    attacked.bus.add_slots([7])
    before = attacked.ask(lambda member: (member.state.current_epoch, member.state.myself.config_epoch))
    known.send(UNDER_WILD_EPOCHS[name](known))
    attacked.wait(lambda: attacked.counter("cluster_refused_epoch_jump") == 1, "the packet is refused")
    assert known.ping() is not None, "the link stays, and so does the peer"
    assert attacked.ask(lambda member: (member.state.current_epoch, member.state.myself.config_epoch)) == before
    assert attacked.ask(lambda member: member.state.assigned_slots) == 1 << 7
    assert known.node_id in str(attacked.log.lines("cluster-epoch-jump-max"))
    assert attacked.counter("cluster_current_epoch") == before[0]


def test_there_are_elections_after_wild_epochs_h28(attacked: Attacked) -> None:
    """The epoch that an election or BUMPEPOCH takes next is the one after the last honest one."""
    known = attacked.known()
    known.send(known.heartbeat(current_epoch=WILD, config_epoch=WILD))
    attacked.wait(lambda: attacked.counter("cluster_refused_epoch_jump") == 1, "the packet is refused")
    epoch = attacked.ask(lambda member: member.state.current_epoch)
    assert attacked.ask(lambda member: member.state.bump_epoch(member.clock.now_ms()))
    assert attacked.ask(lambda member: member.state.myself.config_epoch) == epoch + 1
