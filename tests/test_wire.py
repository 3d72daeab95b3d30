"""`clusterbus.wire`: captured packets of real servers, every message class, every refusal by name."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clusterbus import wire
from clusterbus.errors import ConfigError, PeerError
from clusterbus.wire import (
    Extension,
    ExtensionType,
    Fail,
    GossipEntry,
    Header,
    HeaderOnly,
    Heartbeat,
    Message,
    MessageFlag,
    MessageType,
    ModuleMessage,
    NodeFlag,
    Packet,
    Publish,
    Unknown,
    Update,
    decode,
    encode,
    key_slot,
    parse,
)
from typing_extensions import Buffer

BUFFER_WRITABLE = 1
CAPTURES = ["valkey-9.1.2", "redis-7.0.15"]
SENDER = "0123456789abcdef" * 2 + "01234567"
OTHER = "fedcba9876543210" * 2 + "fedcba98"
SLOTS = bytes([0xFF]) * 100 + bytes(1948)
HEADER = Header(
    sender=SENDER,
    port=7000,
    pport=7001,
    cport=17000,
    current_epoch=2**64 - 1,
    config_epoch=7,
    offset=12345,
    myslots=SLOTS,
    replicaof=OTHER,
    myip="2001:db8::1",
    flags=NodeFlag.REPLICA | NodeFlag.MYSELF,
    state=1,
    mflags=MessageFlag.PAUSED,
)
ENTRY = GossipEntry(
    node_id=OTHER,
    ping_sent_s=1,
    pong_received_s=2**32 - 1,
    ip="10.0.0.7",
    port=1,
    cport=2,
    flags=NodeFlag.PRIMARY | NodeFlag.PFAIL,
    pport=3,
)
MESSAGES: list[Message] = [
    Heartbeat(MessageType.PING, HEADER),
    Heartbeat(MessageType.PONG, HEADER, [ENTRY] * 3),
    Heartbeat(MessageType.MEET, HEADER, (ENTRY,), (Extension.shard_id_of(OTHER),)),
    Fail(HEADER, OTHER),
    Publish(HEADER, b"news", b"hello"),
    Publish(None, b"", b"\x00\xff", sharded=True),
    HeaderOnly(MessageType.FAILOVER_AUTH_REQUEST, HEADER),
    HeaderOnly(MessageType.FAILOVER_AUTH_ACK, HEADER),
    HeaderOnly(MessageType.MFSTART, HEADER),
    Update(HEADER, 2**63, OTHER, SLOTS),
    ModuleMessage(HEADER, 2**64 - 1, 255, b"data"),
    ModuleMessage(None, 0, 0, b""),
    Unknown(11, HEADER, b"later"),
]
EXTENSIONS = [
    (Extension.hostname_of("node-1.example_x.org"), ExtensionType.HOSTNAME, "text", "node-1.example_x.org"),
    (Extension.nodename_of("rack#7"), ExtensionType.HUMAN_NODENAME, "text", "rack#7"),
    (
        Extension.forgotten_node_of(OTHER, 60),
        ExtensionType.FORGOTTEN_NODE,
        "forgotten_node",
        (OTHER, 60),
    ),
    (Extension.shard_id_of(OTHER), ExtensionType.SHARD_ID, "shard_id", OTHER),
    (Extension.client_ipv4_of("10.1.1.1"), ExtensionType.CLIENT_IPV4, "text", "10.1.1.1"),
    (Extension.client_ipv6_of("::1"), ExtensionType.CLIENT_IPV6, "text", "::1"),
    (Extension.client_port_of(7777), ExtensionType.CLIENT_PORT, "port", 7777),
    (Extension.client_tls_port_of(8888), ExtensionType.CLIENT_TLS_PORT, "port", 8888),
    (Extension.availability_zone_of("az-0"), ExtensionType.AVAILABILITY_ZONE, "text", "az-0"),
]


def capture(name: str) -> bytes:
    return (Path(__file__).parent / "data" / f"{name}.frames").read_bytes()


def one(data: bytes) -> Packet:
    (packet,) = parse(data)
    return packet


def patched(data: bytes, at: int, replacement: bytes) -> bytes:
    return data[:at] + replacement + data[at + len(replacement) :]


# ---------------------------------------------------------------- real packets


@pytest.mark.parametrize("name", CAPTURES)
def test_every_captured_packet_decodes_and_encodes_back_to_its_bytes(name: str) -> None:
    data = capture(name)
    packets = parse(data)
    assert b"".join(map(bytes, packets)) == data
    counts: Counter[tuple[str, bool]] = Counter()
    for packet in packets:
        message = packet.decode()
        assert encode(message) == bytes(packet)
        assert decode(memoryview(packet)) == message
        assert packet.refused == []
        counts[MessageType(packet.type).name, packet.is_light] += 1
    for (type_name, is_light), count in sorted(counts.items()):
        print(f"{name}: {count} {'light' if is_light else 'full'} {type_name}")
    assert {"PING", "PONG", "MEET", "FAIL", "PUBLISH", "PUBLISHSHARD", "MFSTART"} <= {t for t, _ in counts}


@pytest.mark.parametrize("name", CAPTURES)
def test_a_packet_and_its_decoded_message_say_the_same(name: str) -> None:
    for packet in parse(capture(name)):
        message = packet.decode()
        assert message.type == packet.type
        assert (message.header is None) is packet.is_light
        if message.header is None:
            assert (packet.sender, packet.flags, packet.replicaof) == ("", 0, None)
            assert packet.myslots == bytes(wire.SLOT_BITMAP_LEN_BYTES)
            continue
        for field in (
            *("sender", "port", "pport", "cport", "current_epoch", "config_epoch", "offset"),
            *("myslots", "replicaof", "myip", "flags", "state", "mflags"),
        ):
            assert getattr(message.header, field) == getattr(packet, field), field
        if isinstance(message, Heartbeat):
            assert message.gossip == packet.gossip
            assert message.extensions == packet.extensions
            assert packet.count == len(message.gossip)


def test_s8_captured_extensions_read_as_what_the_servers_were_told() -> None:
    texts = set()
    for packet in parse(capture("valkey-9.1.2")):
        for extension in packet.extensions:
            kind = ExtensionType(extension.type)
            if kind is ExtensionType.SHARD_ID:
                assert re.fullmatch("[0-9a-f]{40}", extension.shard_id or "")
            else:
                texts.add((kind.name, extension.text))
    assert ("HOSTNAME", "node1.example.org") in texts
    assert ("HUMAN_NODENAME", "human-1") in texts


# ---------------------------------------------------------------- packets


class RawBuffer(ctypes.Structure):
    """The part of `Py_buffer` that these tests look at."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("rest", ctypes.c_byte * 128),
    )


def address_of(exporter: Buffer, flags: int = 0) -> int:
    view = RawBuffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(exporter), ctypes.byref(view), flags)
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))
    assert view.buf is not None
    return int(view.buf)


def test_r32_memoryview_of_a_packet_shares_its_bytes_and_is_read_only() -> None:
    first, second = parse(encode(MESSAGES[0]) + encode(MESSAGES[1]))
    view = memoryview(first)
    assert view.readonly
    assert len(first) == view.nbytes == wire.HEADER_LEN_BYTES
    assert view == bytes(first)
    assert address_of(view) == address_of(first) == address_of(first.__buffer__(0))
    assert address_of(second) == address_of(first) + len(first), "both are slices of one buffer"
    with pytest.raises(TypeError):
        view[0] = 1
    with pytest.raises(BufferError):
        first.__buffer__(BUFFER_WRITABLE)
    with pytest.raises(BufferError):
        address_of(first, BUFFER_WRITABLE)
    del first, second
    assert bytes(view[:4]) == b"RCmb", "the view keeps the bytes alive"


def test_a_light_packet_has_the_defaults_of_a_header_and_no_sender() -> None:
    packet = one(encode(Publish(None, b"news", b"hello")))
    assert packet.is_light
    assert (packet.type, packet.sender, packet.myip, packet.replicaof) == (MessageType.PUBLISH, "", "", None)
    numbers = ("port", "pport", "cport", "count", "current_epoch", "config_epoch", "offset")
    for field in (*numbers, "flags", "state", "mflags"):
        assert getattr(packet, field) == 0, field
    assert (packet.myslots, packet.gossip, packet.extensions, packet.refused) == (bytes(2048), [], [], [])


def test_packets_compare_and_hash_by_their_bytes() -> None:
    data = encode(MESSAGES[1])
    assert one(data) == one(data)
    assert len({one(data), one(data), one(encode(MESSAGES[0]))}) == 2
    assert repr(one(data)) == f"Packet(type=1, sender='{SENDER}', count=3, <2568 bytes>)"


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: f"{type(message).__name__}-{message.type}")
def test_s7_s8_every_message_class_survives_encoding_and_decoding(message: Message) -> None:
    data = encode(message)
    assert decode(data) == message
    assert hash(decode(data)) == hash(message)
    assert one(data).decode() == message
    assert one(data).refused == []
    assert repr(message).startswith(type(message).__name__)
    light_len = wire.LIGHT_HEADER_LEN_BYTES
    assert len(data) >= (light_len if message.header is None else wire.HEADER_LEN_BYTES)
    assert [other for other in MESSAGES if other == message] == [message]


def test_a_header_gives_back_what_it_was_given() -> None:
    assert (HEADER.sender, HEADER.replicaof, HEADER.myip) == (SENDER, OTHER, "2001:db8::1")
    assert (HEADER.port, HEADER.pport, HEADER.cport) == (7000, 7001, 17000)
    assert (HEADER.current_epoch, HEADER.config_epoch, HEADER.offset) == (2**64 - 1, 7, 12345)
    assert (HEADER.myslots, HEADER.flags, HEADER.state, HEADER.mflags) == (SLOTS, 18, 1, 1)
    assert "myslots=<800 slots>" in repr(HEADER)
    assert Header(sender=SENDER) == Header(sender=SENDER)
    assert Header(sender=SENDER) != Header(sender=OTHER)
    assert Header(sender=SENDER).myslots == bytes(2048)
    assert Header(sender=SENDER, mflags=0x030201).mflags == 0x030201
    assert encode(HeaderOnly(8, Header(sender=SENDER, mflags=0x030201)))[2253:2256] == b"\x01\x02\x03"


def test_a_gossip_entry_gives_back_what_it_was_given() -> None:
    assert (ENTRY.node_id, ENTRY.ip, ENTRY.flags) == (OTHER, "10.0.0.7", 5)
    assert (ENTRY.ping_sent_s, ENTRY.pong_received_s) == (1, 2**32 - 1)
    assert (ENTRY.port, ENTRY.cport, ENTRY.pport) == (1, 2, 3)
    assert len({ENTRY, GossipEntry(node_id=OTHER), GossipEntry(node_id=OTHER)}) == 2
    assert f"node_id='{OTHER}'" in repr(ENTRY)


@pytest.mark.parametrize(("extension", "kind", "attribute", "value"), EXTENSIONS, ids=lambda value: str(value))
def test_s8_each_extension_says_one_thing(
    extension: Extension, kind: ExtensionType, attribute: str, value: object
) -> None:
    assert extension.type == kind
    said = {name: getattr(extension, name) for name in ("text", "forgotten_node", "shard_id", "port")}
    assert said == dict.fromkeys(said) | {attribute: value}
    assert Extension(extension.type, extension.data) == extension
    ping = Heartbeat(MessageType.PING, HEADER, [ENTRY], [extension])
    assert one(encode(ping)).extensions == [extension]


def test_h15_an_unknown_extension_is_carried_untouched() -> None:
    extension = Extension(999, bytes(range(16)))
    ping = Heartbeat(MessageType.PING, HEADER, (), [extension])
    (received,) = one(encode(ping)).extensions
    assert (received.type, received.data, received.text) == (999, bytes(range(16)), None)


def test_the_extension_flag_follows_the_extensions_and_stays_when_set_alone() -> None:
    shard = Extension.shard_id_of(OTHER)
    assert Heartbeat(0, HEADER, (), [shard]).header.mflags == MessageFlag.PAUSED | MessageFlag.EXT_DATA
    assert Heartbeat(0, HEADER).header.mflags == MessageFlag.PAUSED
    announcing = Header(sender=SENDER, mflags=MessageFlag.EXT_DATA)
    packet = one(encode(Heartbeat(MessageType.MEET, announcing)))
    assert (packet.mflags, packet.extensions, packet.refused) == (MessageFlag.EXT_DATA, [], [])


def test_key_slots_are_those_of_a_real_server() -> None:
    # CLUSTER KEYSLOT of Valkey 9.1.2.
    slots = {
        b"": 0,
        b"foo": 12182,
        b"somekey": 11058,
        b"foo{hash_tag}": 2515,
        b"{user1000}.following": 3443,
        b"foo{}{bar}": 8363,
    }
    assert {key: key_slot(key) for key in slots} == slots


def test_the_named_lengths_are_those_of_the_core() -> None:
    header_only = len(encode(HeaderOnly(MessageType.MFSTART, HEADER)))
    assert header_only == wire.HEADER_LEN_BYTES
    assert len(encode(Heartbeat(0, HEADER, [ENTRY]))) - header_only == wire.GOSSIP_ENTRY_LEN_BYTES
    assert len(encode(Publish(None, b"", b""))) - 8 == wire.LIGHT_HEADER_LEN_BYTES
    room = wire.MAX_PACKET_LEN_BYTES - wire.LIGHT_HEADER_LEN_BYTES - 8
    assert len(encode(Publish(None, b"", bytes(room)))) == wire.MAX_PACKET_LEN_BYTES
    assert len(SLOTS) == wire.SLOT_BITMAP_LEN_BYTES
    assert len(SENDER) == wire.NODE_ID_LEN


# ---------------------------------------------------------------- what cannot be sent


def refuse(build: Callable[[], object], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        build()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sender", "x"),
        ("sender", SENDER.upper()),
        ("sender", SENDER + "0"),
        ("port", -1),
        ("port", 65536),
        ("pport", 65536),
        ("cport", 2**70),
        ("current_epoch", 2**64),
        ("config_epoch", -1),
        ("offset", 2**64),
        ("myslots", bytes(2047)),
        ("myslots", bytes(2049)),
        ("replicaof", ""),
        ("myip", "host.example.org"),
        ("myip", "10.0.0.1\n"),
        ("myip", "1" * 46),
        ("flags", 65536),
        ("state", 256),
        ("mflags", 2**24),
        ("mflags", 2**32),
    ],
)
def test_a_header_refuses_a_wrong_value_by_its_field(field: str, value: object) -> None:
    arguments: dict[str, Any] = {"sender": SENDER, field: value}
    refuse(lambda: Header(**arguments), f"{field}: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("node_id", "g" * 40),
        ("ping_sent_s", 2**32),
        ("pong_received_s", -1),
        ("ip", "nowhere"),
        ("port", 65536),
        ("cport", -1),
        ("flags", 65536),
        ("pport", 65536),
    ],
)
def test_a_gossip_entry_refuses_a_wrong_value_by_its_field(field: str, value: object) -> None:
    arguments: dict[str, Any] = {"node_id": OTHER, field: value}
    refuse(lambda: GossipEntry(**arguments), f"{field}: ")


@pytest.mark.parametrize("text", ["a\nb", "a,b", "a=b", "a b", "a\tb", "a\x00b", "\x7f", "\xe9", 'a"b', "a" * 256])
def test_h12_texts_that_would_break_nodes_conf_are_refused(text: str) -> None:
    refuse(lambda: Extension.hostname_of(text), "hostname: ")
    refuse(lambda: Extension.nodename_of(text), "human_nodename: ")
    refuse(lambda: Extension.availability_zone_of(text), "availability_zone: ")
    refuse(lambda: Extension.client_ipv4_of(text), "client_ipv4: ")
    refuse(lambda: Extension.client_ipv6_of(text), "client_ipv6: ")


def test_the_longest_text_is_taken() -> None:
    assert Extension.hostname_of("a" * 255).text == "a" * 255
    assert Extension.hostname_of("").text == ""


@pytest.mark.parametrize(
    ("type_", "data", "text"),
    [
        (999, bytes(7), "data: expected a multiple of 8 bytes"),
        (999, bytes(65_536), "data: expected at most 65528 bytes"),
        (0, b"12345678", "hostname: expected a NUL at the end"),
        (2, bytes(40), "forgotten_node: expected more data"),
        (2, bytes(48), "forgotten_node: expected 40 lower-case hex characters"),
        (3, bytes(40), "shard_id: expected 40 lower-case hex characters"),
        (65536, b"", "type: expected an unsigned number of 16 bits"),
    ],
)
def test_an_extension_refuses_data_its_type_does_not_allow(type_: int, data: bytes, text: str) -> None:
    refuse(lambda: Extension(type_, data), text)
    assert len(Extension(999, bytes(65_528)).data) == 65_528


def test_messages_refuse_what_cannot_be_encoded() -> None:
    refuse(lambda: Heartbeat(3, HEADER), "type: expected 0 (PING), 1 (PONG) or 2 (MEET)")
    refuse(lambda: Heartbeat(0, HEADER, [ENTRY] * 65_536), "gossip: 65536 is over 65535")
    shard = Extension.shard_id_of(OTHER)
    refuse(lambda: Heartbeat(0, HEADER, (), [shard] * 65_536), "extensions: 65536 is over 65535")
    refuse(lambda: HeaderOnly(0, HEADER), "type: expected 5")
    refuse(lambda: Fail(HEADER, "nobody"), "node_id: ")
    refuse(lambda: Update(HEADER, 2**64, OTHER, SLOTS), "config_epoch: ")
    refuse(lambda: Update(HEADER, 0, OTHER, b""), "slots: expected 2048 bytes")
    refuse(lambda: ModuleMessage(None, -1, 0, b""), "module_id: ")
    refuse(lambda: ModuleMessage(None, 0, 256, b""), "module_type: ")
    refuse(lambda: Unknown(10, HEADER, b""), "type: 10 is a known message type")
    refuse(lambda: Unknown(0x8004, HEADER, b""), "type: 32772 is a known message type or over 32767")
    refuse(lambda: Publish(None, b"", bytes(wire.MAX_PACKET_LEN_BYTES)), "message: 8388632 bytes are over")
    with pytest.raises(TypeError, match="expected a message, not str"):
        encode("PING")  # type: ignore[arg-type]


# ---------------------------------------------------------------- a peer's bad bytes


PING = encode(Heartbeat(MessageType.PING, HEADER, [ENTRY] * 2))
PING_EXT = encode(Heartbeat(MessageType.PING, HEADER, [ENTRY], [Extension.hostname_of("host")]))
EXT_AT = 2256 + 104


@pytest.mark.parametrize(
    ("row", "data", "field"),
    [
        ("H1", patched(PING, 3, b"c"), "sig: byte 3"),
        ("H2", patched(PING, 4, (2255).to_bytes(4, "big")), "totlen: 2255"),
        ("H3", patched(PING, 4, b"\xff\xff\xff\xff"), "totlen: 4294967295"),
        ("H4", patched(PING + b"x", 4, (len(PING) + 1).to_bytes(4, "big")), "totlen: 2465, expected 2464"),
        ("H5", patched(PING, 8, b"\x00\x02"), "ver: 2"),
        ("H6", patched(PING, 14, b"\xff\xff"), "count: 65535"),
        ("H7", patched(PING_EXT, EXT_AT, bytes(4)), "extensions[0].length: 0"),
        ("H8", patched(PING_EXT, EXT_AT, b"\x00\x00\x00\x0c"), "extensions[0].length: 12"),
        ("H9", patched(PING_EXT, EXT_AT, b"\x00\x01\x00\x10"), "extensions[0].length: 65552"),
        ("H11", patched(PING_EXT, EXT_AT + 8, b"x" * 8), "extensions[0].hostname: no NUL"),
        ("H16", patched(encode(MESSAGES[5]), 12, b"\x80\x03"), "type: 3 cannot have a light header"),
        ("H18", patched(encode(MESSAGES[5]), 16, b"\xff" * 8), "channel_len + message_len: 8589934590"),
        ("id", patched(PING, 40, b"G"), "sender: "),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 4 else "",
)
def test_bytes_that_are_no_packet_are_refused_by_offset_and_field(row: str, data: bytes, field: str) -> None:
    with pytest.raises(PeerError) as refused:
        decode(data)
    assert str(refused.value).startswith(field), row
    with pytest.raises(PeerError, match=re.escape(f"offset {len(PING)}: {field}")):
        parse(PING + data)


@pytest.mark.parametrize("length", [1, 7, 13, 16, 2256, len(PING) - 1])
def test_a_truncated_packet_is_refused(length: int) -> None:
    with pytest.raises(PeerError, match=f"offset {len(PING)}: totlen: "):
        parse(PING + PING[:length])
    with pytest.raises(PeerError, match="totlen: "):
        decode(PING[:length])
    with pytest.raises(PeerError, match="totlen: "):
        decode(PING + PING)
    assert parse(b"") == []


def test_h10_extensions_do_not_count_when_flag_and_number_disagree() -> None:
    for broken in (patched(PING_EXT, 2253, b"\x00"), patched(PING_EXT, 2214, b"\x00\x00")):
        packet = one(broken)
        assert (packet.extensions, packet.refused) == ([], ["extensions"])
        assert len(packet.gossip) == 1
        message = packet.decode()
        assert isinstance(message, Heartbeat)
        assert message.extensions == []


def test_h12_h13_a_bad_part_is_named_and_left_out_and_the_rest_stays() -> None:
    ip_at = 2256 + 104 + 48
    broken = patched(PING, ip_at, b"10.0.0.7\n\x00")
    broken = patched(broken, 2168, b"evil,host\x00")
    packet = one(broken)
    assert packet.refused == ["myip", "gossip[1].ip"]
    assert (packet.myip, packet.gossip, packet.count) == ("", [ENTRY], 2)
    unended = one(patched(PING, ip_at, b"1" * 46))
    assert unended.refused == ["gossip[1].ip"]
    bad_id = one(patched(PING, 2256, b"!"))
    assert bad_id.refused == ["gossip[0].node_id"]
    hostname = one(patched(PING_EXT, EXT_AT + 8, b"a\nb\x00"))
    assert (hostname.refused, hostname.extensions) == (["extensions[0].hostname"], [])


def test_h14_a_packet_of_unknown_type_decodes_as_unknown() -> None:
    message = one(patched(PING, 12, b"\x00\x63")).decode()
    assert isinstance(message, Unknown)
    assert (message.type, message.data) == (99, PING[2256:])
