"""Rows H12 and H13 four ways: texts and addresses that break a line of nodes.conf or of a log, or that are none."""

from __future__ import annotations

import pytest
from clusterbus import wire
from clusterbus.cluster import constants as c

from tests.hostile.attacked import Attacked
from tests.hostile.packets import GOSSIP_IP, IP_LEN_BYTES, at, extension, with_extensions

THIRD_ID, FOURTH_ID = "c" * 40, "d" * 40
MYIP = 2168
BREAKING = (b"\n", b"\r", b"\x01", b"\x7f", b" ", b",", b"=", b'"', b"'", b"\\", b"\xff")
"""Each of these would break a line of nodes.conf or of a log."""
TEXTS = {
    c.EXTENSION_HOSTNAME: "hostname",
    c.EXTENSION_NODENAME: "human_nodename",
    c.EXTENSION_AVAILABILITY_ZONE: "availability_zone",
}
NO_ADDRESSES = (b"evil", b"1.2.3.4,evil", b"1.2.3.4\n", b"1.2.3", b"::g", b"256.1.1.1")
ADDRESSES = {c.EXTENSION_CLIENT_IPV4: ("client_ipv4", "1.2.3.4"), c.EXTENSION_CLIENT_IPV6: ("client_ipv6", "::5")}


def text(data: bytes) -> bytes:
    """A text with its NUL, padded."""
    return data + bytes(8 - len(data) % 8)


def saved(attacked: Attacked) -> str:
    """nodes.conf as it is after all that came until now."""
    attacked.ask(lambda member: member.driver.save())
    return (attacked.folder / "nodes.conf").read_text()


@pytest.mark.parametrize("type", TEXTS)
def test_a_text_that_breaks_a_line_is_refused_and_the_old_one_stays_h12(attacked: Attacked, type: int) -> None:
    evil = attacked.known()
    bare = evil.heartbeat()
    evil.extensions = [wire.Extension(type, text(b"sound"))]
    assert evil.ping() is not None
    packets = [with_extensions(bare, extension(type, text(b"evil" + character + b"text"))) for character in BREAKING]
    packets.append(with_extensions(bare, extension(type, text(b"evil" * 64))))  # one byte too long
    attacked.refuses(
        evil, packets, counter="cluster_refused_fields", logged=f"refused extensions[0].{TEXTS[type]} of a packet"
    )
    assert attacked.counter(f"cluster_refused_field_extensions_{TEXTS[type]}") == len(packets)
    assert "evil" not in saved(attacked) + attacked.nodes_text() + str(attacked.log)
    node = attacked.ask(lambda member: member.state.find(evil.node_id))
    assert node is not None
    assert "sound" in (node.hostname, node.nodename, node.availability_zone)


@pytest.mark.parametrize("type", ADDRESSES)
def test_a_client_address_that_is_none_is_refused_h12(attacked: Attacked, type: int) -> None:
    evil = attacked.known()
    field, sound = ADDRESSES[type]
    bare = evil.heartbeat()
    evil.extensions = [wire.Extension(type, text(sound.encode()))]
    assert evil.ping() is not None
    attacked.refuses(
        evil,
        [with_extensions(bare, extension(type, text(address))) for address in NO_ADDRESSES],
        counter=f"cluster_refused_field_extensions_{field}",
        logged=f"refused extensions[0].{field} of a packet",
    )
    node = attacked.ask(lambda member: member.state.find(evil.node_id))
    assert node is not None
    assert getattr(node, field) == sound


def test_an_announced_address_that_is_none_is_refused_h12(attacked: Attacked) -> None:
    evil = attacked.known()
    wrong = (b"evil", b"10.9.8.7,x", b"10.9.8.7\n", b"10.9.8.7" + b"x" * (IP_LEN_BYTES - 8))
    attacked.refuses(
        evil,
        [at(evil.heartbeat(), MYIP, address) for address in wrong],
        counter="cluster_refused_field_myip",
        logged="refused myip of a packet",
    )
    assert attacked.nodes()[evil.node_id].ip == "127.0.0.1"
    assert "10.9" not in saved(attacked)


def entry(node_id: str, ip: str) -> wire.GossipEntry:
    return wire.GossipEntry(node_id=node_id, ip=ip, port=7000, cport=17000, flags=c.FLAG_PRIMARY)


def test_a_gossip_entry_whose_address_is_none_is_left_out_h13(attacked: Attacked) -> None:
    evil = attacked.known()
    sound = evil.heartbeat(gossip=[entry(THIRD_ID, "10.9.8.7"), entry(FOURTH_ID, "127.0.0.1")])
    endless = b"1" * IP_LEN_BYTES
    addresses = (
        endless,
        b"evil\0",
        b"10.9.8\0",
        b"10.9.8.7\n\0",
        b"10.9.8.7 x\0",
        b"10.9,8.7\0",
        b"10.9=8.7\0",
        b"::g\0",
    )
    packets = [at(sound, GOSSIP_IP, address) for address in addresses]
    attacked.refuses(
        evil, packets, counter="cluster_refused_field_gossip_ip", logged="refused gossip[0].ip of a packet"
    )
    assert attacked.counter("cluster_refused_fields") == len(packets)
    assert not attacked.knows(THIRD_ID)
    assert attacked.knows(FOURTH_ID), "the other entry counts"
    assert "evil" not in saved(attacked)


def test_a_gossip_entry_without_a_bus_port_adds_nobody_h13(attacked: Attacked) -> None:
    evil = attacked.known()
    assert evil.ping(gossip=[wire.GossipEntry(node_id=THIRD_ID, ip="127.0.0.1", flags=c.FLAG_PRIMARY)]) is not None
    assert not attacked.knows(THIRD_ID)
    assert attacked.counter("cluster_refused_fields") == 0
