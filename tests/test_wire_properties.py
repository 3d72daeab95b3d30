"""Properties of the wire: messages survive encoding and decoding, and wrong bytes only ever raise PeerError."""

from __future__ import annotations

from pathlib import Path

from clusterbus.errors import PeerError
from clusterbus.wire import (
    Extension,
    Fail,
    GossipEntry,
    Header,
    HeaderOnly,
    Heartbeat,
    Message,
    ModuleMessage,
    Packet,
    Publish,
    Unknown,
    Update,
    decode,
    encode,
    parse,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

FRAMES = [
    bytes(packet)
    for name in ("valkey-9.1.2", "redis-7.0.15")
    for packet in parse((Path(__file__).parent / "data" / f"{name}.frames").read_bytes())
]

node_ids = st.text("0123456789abcdef", min_size=40, max_size=40)
ips = st.ip_addresses().map(str)
slots = st.binary(min_size=2048, max_size=2048) | st.just(bytes(2048))
u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
payloads = st.binary(max_size=300)
headers = st.builds(
    Header,
    sender=node_ids,
    port=u16,
    pport=u16,
    cport=u16,
    current_epoch=u64,
    config_epoch=u64,
    offset=u64,
    myslots=slots,
    replicaof=st.none() | node_ids,
    myip=st.just("") | ips,
    flags=u16,
    state=u8,
    mflags=st.integers(0, 2**24 - 1),
)
entries = st.builds(
    GossipEntry,
    node_id=node_ids,
    ping_sent_s=u32,
    pong_received_s=u32,
    ip=ips,
    port=u16,
    cport=u16,
    flags=u16,
    pport=u16,
)
hostnames = st.from_regex(r"[a-zA-Z0-9._-]{0,255}", fullmatch=True)
labels = st.from_regex(r"[!#-&(-+\--<>-\[\]-~]{0,255}", fullmatch=True)
extensions = st.one_of(
    hostnames.map(Extension.hostname_of),
    labels.map(Extension.nodename_of),
    labels.map(Extension.availability_zone_of),
    st.builds(Extension.forgotten_node_of, node_ids, u64),
    node_ids.map(Extension.shard_id_of),
    st.ip_addresses(v=4).map(str).map(Extension.client_ipv4_of),
    st.ip_addresses(v=6).map(str).map(Extension.client_ipv6_of),
    u16.map(Extension.client_port_of),
    u16.map(Extension.client_tls_port_of),
    st.builds(Extension, st.integers(9, 2**16 - 1), st.binary(max_size=10).map(lambda data: data * 8)),
)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Heartbeat,
        st.integers(0, 2),
        headers,
        st.lists(entries, max_size=5),
        st.lists(extensions, max_size=5),
    ),
    st.builds(Fail, headers, node_ids),
    st.builds(Publish, st.none() | headers, payloads, payloads, st.booleans()),
    st.builds(Update, headers, u64, node_ids, slots),
    st.builds(ModuleMessage, st.none() | headers, u64, u8, payloads),
    st.builds(HeaderOnly, st.sampled_from([5, 6, 8]), headers),
    st.builds(Unknown, st.integers(11, 0x7FFF), headers, payloads),
)


def read_everything(packet: Packet) -> None:
    """Reads every property and checks that they fit together."""
    for name in dir(Packet):
        if not name.startswith("_") and name != "decode":
            getattr(packet, name)
    message = packet.decode()
    assert message.type == packet.type
    refused = packet.refused
    if isinstance(message, Heartbeat):
        assert message.gossip == packet.gossip
        assert len(packet.gossip) + sum(name.startswith("gossip") for name in refused) == packet.count
        for text in (extension.text or "" for extension in packet.extensions):
            assert text.isprintable()
            assert not set(text) & set(",= \"'\\")
    assert decode(encode(message)) == message


def read_or_refuse(data: bytes) -> bool:
    """Returns whether the bytes are packets. Any exception but PeerError fails the test."""
    try:
        packets = parse(data)
    except PeerError:
        return False
    for packet in packets:
        read_everything(packet)
    return True


@given(messages)
def test_every_message_survives_encoding_and_decoding(message: Message) -> None:
    data = encode(message)
    assert decode(data) == message
    (packet,) = parse(data)
    assert packet.refused == []
    read_everything(packet)


@given(st.lists(messages, max_size=4))
def test_r5_packets_laid_end_to_end_come_apart_in_order(batch: list[Message]) -> None:
    data = b"".join(map(encode, batch))
    packets = parse(data)
    assert [packet.decode() for packet in packets] == batch
    assert b"".join(map(bytes, packets)) == data


@given(st.binary(max_size=3000))
@example(b"RCmb")
def test_h48_any_bytes_are_read_or_refused(data: bytes) -> None:
    read_or_refuse(data)


@settings(max_examples=400)
@given(st.data())
def test_h48_real_packets_damaged_anywhere_are_read_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(FRAMES), label="frame"))
    interesting = st.integers(0, 79) | st.integers(2128, max(2128, len(damaged) - 1))
    for _ in range(data.draw(st.integers(1, 4), label="places")):
        at = data.draw(interesting.filter(lambda at: at < len(damaged)), label="at")
        damaged[at] = data.draw(st.integers(0, 255), label="byte")
    read_or_refuse(bytes(damaged))


@given(st.sampled_from(FRAMES), st.data())
def test_h4_a_truncated_real_packet_is_refused(frame: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, len(frame) - 1))
    assert not read_or_refuse(frame[:length])
