"""Any packet on any link at any time: nothing raises, the invariants hold, and a good peer is answered (H48)."""

from __future__ import annotations

from pathlib import Path

from clusterbus.cluster import constants as c
from clusterbus.cluster.operator.persist import parse as parse_conf
from clusterbus.errors import PeerError
from clusterbus.wire import encode, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster.solo import MYSELF_ID, Solo, entry, node_id

DATA = Path(__file__).parent.parent / "data"
HEADER_LEN_BYTES = 2_256


def real_packets() -> list[bytes]:
    """From the captures: one packet of each type, size and set of flags."""
    seen: dict[tuple[int, int, int], bytes] = {}
    for capture in ("redis-7.0.15", "valkey-9.1.2"):
        for packet in parse((DATA / f"{capture}.frames").read_bytes()):
            seen.setdefault((packet.type, len(packet), packet.flags), bytes(packet))
    return list(seen.values())


SENDERS = [node_id("a"), node_id("b"), node_id("c"), MYSELF_ID, node_id("9")]
SEEDS = real_packets()

MUTATIONS = st.lists(
    st.tuples(
        st.one_of(st.integers(10, 80), st.integers(2128, 2600), st.integers(0, 4000)),
        st.binary(min_size=1, max_size=9),
    ),
    max_size=6,
)

STEPS = st.lists(
    st.tuples(
        st.integers(0, len(SEEDS) - 1),
        st.sampled_from(SENDERS),
        MUTATIONS,
        st.sampled_from(("a-dialled", "a-inbound", "b-dialled", "b-inbound", "new", "handshake")),
        st.integers(0, 3_000),
    ),
    max_size=12,
)


def mutated(data: bytes, sender: str, mutations: list[tuple[int, bytes]]) -> bytes:
    """The packet with one of our puppets (or ourselves) as sender, and with bytes overwritten. Its length stays."""
    packet = bytearray(data)
    if len(packet) >= HEADER_LEN_BYTES:
        packet[40:80] = sender.encode()
    for position, replacement in mutations:
        end = min(position + len(replacement), len(packet))
        if 8 <= position < end:
            packet[position:end] = replacement[: end - position]
    return bytes(packet)


def check_invariants(solo: Solo) -> None:
    state = solo.state
    union = 0
    for node in state.nodes:
        assert state.find(node.node_id) is node
        assert not union & node.slot_bits
        union |= node.slot_bits
        assert node.slots == node.slot_bits.to_bytes(c.SLOTS // 8, "little")
        assert node.replicaof is not node
        if node.replicaof is not None:
            assert node.replicaof.replicas[node.node_id] is node
        for link in (node.link, node.inbound_link):
            assert link is None or link.node is node
    assert union == state.assigned_slots
    assert state.myself.is_primary
    assert not state.myself.flags & (c.FAILING | c.FLAG_HANDSHAKE)
    assert state.current_epoch <= c.EPOCH_MAX
    core = state._core
    assert core.anonymous_links == sum(link.node is None for link in core.links.values())
    assert set(core.table.failing) == {node.node_id for node in state.nodes if node.flags & c.FAILING}
    assert {node.node_id for node in core.table.handshakes.values()} == {
        node.node_id for node in state.nodes if node.in_handshake
    }


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_h48_any_packet_from_any_link_raises_nothing(
    steps: list[tuple[int, str, list[tuple[int, bytes]], str, int]],
) -> None:
    solo = Solo()
    a, b = solo.puppet("a", slots=[1, 2]), solo.puppet("b", slots=[3])
    solo.gossips(a, entry(node_id("c")))
    for seed, sender, mutations, where, pause_ms in steps:
        try:
            data = bytes(parse(mutated(SEEDS[seed], sender, mutations))[0])
        except PeerError:
            continue  # the engine refuses this frame
        links = {
            "a-dialled": a.dialled,
            "a-inbound": a.inbound,
            "b-dialled": b.dialled,
            "b-inbound": b.inbound,
        }
        if where == "handshake":
            solo.state.meet("10.7.7.7", 7777, None, solo.now_ms)
            dials = [node for node in solo.state.nodes if node.in_handshake and node.ip == "10.7.7.7"]
            solo.tick()
            if dials and dials[0].dialing and dials[0].link is None:
                links["handshake"] = next(solo._links)
                solo.state.handle_link_opened(dials[0].node_id, links["handshake"], "10.0.0.5", solo.now_ms)
                solo.poll()
        link = links.get(where) or solo.accept("10.4.4.4")
        solo.receive(link, data)
        for effect in solo.effects:
            if hasattr(effect, "message"):
                parse(encode(effect.message))
        solo.tick(pause_ms)
        check_invariants(solo)
    assert parse_conf(solo.state.nodes_conf_text()).nodes, "what is written can be read again"
    assert solo.is_alive()
