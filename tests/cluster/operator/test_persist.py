"""nodes.conf: Valkey's lines are read and written back unchanged, and errors name the damaged line (S10, H12, H44)."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from clusterbus.cluster import constants as c
from clusterbus.cluster.model.node import SAVED_TOGETHER, Node
from clusterbus.cluster.model.records import AUX_FIELDS, NodesConf, line_of, text_of
from clusterbus.cluster.model.slots import bits_to_wire
from clusterbus.cluster.operator.persist import nodes_conf_text, parse
from clusterbus.cluster.state import ClusterState
from clusterbus.config import Config
from clusterbus.errors import ConfigError
from clusterbus.wire import Extension

from tests.cluster.harness import all_connected, joined
from tests.cluster.solo import MYSELF_ID, START_MS, Solo, entry, node_id

SHOWN = (
    *("flags", "shard_id", "ip", "port", "tls_port", "cport", "hostname", "nodename", "client_ipv4", "client_ipv6"),
    *("client_tcp_port", "client_tls_port", "availability_zone", "config_epoch", "slots", "replicaof", "link"),
    *("ping_sent_ms", "pong_received_ms"),
)
"""The fields of a node that its line shows, or that of its replica."""

A, B, C, D = (node_id(letter) for letter in "abcd")

OF_VALKEY_9_1_2 = f"""\
{A} 127.0.0.1:48687@58687,,tls-port=0,shard-id={D} master - 0 1795422280000 0 connected 101-199 201-299
{B} 127.0.0.1:52181@62181,host1.example,tls-port=0,nodename=human1,shard-id={A} \
master,fail? - 1795422280099 0 2 disconnected
{C} 127.0.0.1:51699@61699,,availability-zone=az1,\
client-ipv6=::5,client-ipv4=1.2.3.4,tls-port=7443,shard-id={B} \
myself,master - 0 0 7 connected 0-100 200 300-16383
vars currentEpoch 9 lastVoteEpoch 3
"""

OF_REDIS_7_0 = f"""\
{A} 127.0.0.1:30001@40001 myself,master - 0 0 1 connected 0-5460
{B} 127.0.0.1:30002@40002,host-2 master,fail - 1795422280099 1795422280100 2 disconnected 5461-10922
{C} 127.0.0.1:30003@40003 slave,nofailover {B} 0 1795422280100 2 connected
{D} :0@0 master,noaddr - 0 0 0 disconnected [77->-{A}] [78-<-{B}]
vars currentEpoch 6 lastVoteEpoch 0
"""


def restored(text: str, **directives: Any) -> ClusterState:
    return ClusterState(
        config=Config.from_keywords(**directives),
        random=Random(1),
        now_ms=START_MS,
        read_age_ms=lambda _link: None,
        saved=parse(text),
    )


# ---------------------------------------------------------------- text


@pytest.mark.parametrize("text", [OF_VALKEY_9_1_2], ids=["valkey-9.1.2"])
def test_s10_lines_of_valkey_come_out_as_they_went_in(text: str) -> None:
    assert text_of(parse(text)) == text


def test_s10_lines_of_redis_are_read() -> None:
    conf = parse(OF_REDIS_7_0)
    assert [record.node_id for record in conf.nodes] == [A, B, C, D]
    assert conf.nodes[1].hostname == "host-2"
    assert conf.nodes[1].flags == c.FLAG_PRIMARY | c.FLAG_FAIL
    assert conf.nodes[2].primary_id == B
    assert conf.nodes[2].flags == c.FLAG_REPLICA | c.FLAG_NOFAILOVER
    assert (conf.nodes[3].migrating, conf.nodes[3].importing) == (((77, A),), ((78, B),))
    assert conf.nodes[0].slots == ((0, 5460),)
    assert conf.current_epoch == 6
    assert line_of(conf.nodes[3]).endswith(f" 0 disconnected [77->-{A}] [78-<-{B}]")


def test_s10_older_spellings_are_read() -> None:
    conf = parse(f"{A} 127.0.0.1:7000 myself,primary - 0 0 1 connected\n\nvars currentEpoch 1\n")
    assert conf == NodesConf(nodes=conf.nodes, current_epoch=1)
    assert conf.nodes[0].cport == 17000
    assert conf.nodes[0].flags == c.FLAG_MYSELF | c.FLAG_PRIMARY


GOOD = f"{A} 127.0.0.1:7000@17000,h,shard-id={B} myself,master - 0 0 1 connected 0-10"


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (GOOD.replace(A, "xyz"), "'xyz' is no node id"),
        (GOOD.replace(A, "z" * 40), f"'{'z' * 40}' is no node id"),
        (GOOD + f" [77->-{'g' * 40}]", f"'[77->-{'g' * 40}]' is no slot"),
        (GOOD[:60], "a node's line has at least 8 fields"),
        (GOOD.replace("127.0.0.1", "localhost"), "'localhost' is no IP address"),
        (GOOD.replace("7000@17000", "7000@99999"), "'99999' is no port"),
        (GOOD.replace("7000@17000", "x@1"), "is no ip:port@cport"),
        (GOOD.replace(",h,", ",h=1,"), "'h=1' is no hostname"),
        (GOOD.replace("shard-id=", "shard-id"), "is no name=value"),
        (GOOD.replace(f"shard-id={B}", "shard-id=xyz"), "'xyz' is no node id"),
        (GOOD.replace("master", "mistress"), "'mistress' is no flag of a node"),
        (GOOD.replace(" - ", " ? "), "'?' is no node id"),
        (GOOD.replace(" 1 connected", " one connected"), "'one' is no number"),
        (GOOD.replace(" 1 connected", f" {2**64} connected"), "over the greatest epoch"),
        (GOOD.replace("connected", "conected"), "neither connected nor disconnected"),
        (GOOD.replace("0-10", "0-16384"), "16384 is no slot"),
        (GOOD.replace("0-10", "10-0"), "'10-0' runs backwards"),
        (GOOD.replace("0-10", "ten"), "'ten' is no slot"),
        (GOOD.replace("0-10", "0-10 5"), "a slot is twice"),
        (GOOD + "\n" + GOOD, "is in the file twice"),
        (GOOD + f"\n{B} 127.0.0.1:7001@17001 master - 0 0 2 connected 10", "a slot has two owners"),
        (GOOD + "\nvars currentEpoch", "'vars' without a value"),
    ],
)
def test_h44_damage_is_named_with_its_line(broken: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"\n{broken}\nvars currentEpoch 1 lastVoteEpoch 0\n")
    assert complaint in str(caught.value)
    assert f"line {1 + broken.count(chr(10)) + 1}:" in str(caught.value)


@pytest.mark.parametrize("count", [0, 2])
def test_h44_exactly_one_node_is_this_one(count: int) -> None:
    lines = [GOOD.replace("0-10", ""), GOOD.replace("0-10", "").replace(A, B, 1)]
    text = "\n".join(line if number < count else line.replace("myself,", "") for number, line in enumerate(lines))
    with pytest.raises(ConfigError, match=f"{count} lines carry the flag 'myself'"):
        parse(text + "\n")


# ---------------------------------------------------------------- state


def test_s10_restart_keeps_id_epochs_nodes_and_slots() -> None:
    state = restored(OF_VALKEY_9_1_2, port=51699)
    assert state.myself.node_id == C
    assert state.myself.config_epoch == 7
    assert state.myself.shard_id == B
    assert state.current_epoch == 9
    assert [node.node_id for node in state.nodes] == [C, A, B]
    first, second = state.find(A), state.find(B)
    assert first is not None
    assert second is not None
    assert (first.ip, first.port, first.cport, first.shard_id) == ("127.0.0.1", 48687, 58687, D)
    assert first.pong_received_ms == START_MS
    assert second.ping_sent_ms == START_MS
    assert (second.hostname, second.nodename) == ("host1.example", "human1")
    assert not second.is_pfail
    assert state.owner_of(150) is first
    assert state.owner_of(16383) is state.myself
    assert "vars currentEpoch 9 lastVoteEpoch 3\n" in state.nodes_conf_text()


def test_s10_a_file_of_redis_gives_replicas_and_failed_nodes() -> None:
    state = restored(OF_REDIS_7_0, port=30001)
    primary, replica, lost = (state.find(letter) for letter in (B, C, D))
    assert primary is not None
    assert replica is not None
    assert lost is not None
    assert replica.replicaof is primary
    assert replica.shard_id == primary.shard_id
    assert primary.is_failed
    assert primary.fail_time_ms == START_MS
    assert lost.flags & c.FLAG_NOADDR
    assert primary.config_epoch == 2


def test_p44_a_variable_of_a_newer_server_is_skipped() -> None:
    conf = parse(OF_REDIS_7_0.replace("vars ", "vars term leader-3 "))
    assert (conf.current_epoch, conf.last_vote_epoch) == (6, 0)


def test_p18_the_shard_of_a_replica_is_its_primarys_whatever_the_file_says() -> None:
    """The replica stands before its primary, and we are one too."""
    text = (
        f"{A} 127.0.0.1:1@2,,tls-port=0,shard-id={D} slave {C} 0 0 0 connected\n"
        f"{B} 127.0.0.1:3@4,,tls-port=0,shard-id={D} myself,slave {C} 0 0 0 connected\n"
        f"{C} 127.0.0.1:5@6,,tls-port=0,shard-id={C} master - 0 0 1 connected 1\n"
    )
    state = restored(text)
    assert [node.shard_id for node in state.nodes] == [C] * 3


def test_p6_a_node_without_address_is_fail_after_a_restart() -> None:
    state = restored(OF_REDIS_7_0, port=30001)
    lost = state.find(D)
    assert lost is not None
    assert lost.is_failed
    assert lost.fail_time_ms == START_MS
    assert f"{D} :0@0,,tls-port=0,shard-id={lost.shard_id} master,fail,noaddr " in state.nodes_conf_text()


def test_s10_a_primary_named_only_by_its_replica_is_known_without_address() -> None:
    text = f"{A} :1@2 myself,master - 0 0 0 connected\n{B} 10.0.0.1:3@4 slave {C} 0 0 0 connected\n"
    primary = restored(text).find(C)
    assert primary is not None
    assert primary.flags & c.FLAG_NOADDR
    assert list(primary.replicas) == [B]


def test_s10_the_current_epoch_is_at_least_every_config_epoch() -> None:
    assert restored(OF_VALKEY_9_1_2.replace("currentEpoch 9", "currentEpoch 1")).current_epoch == 7


def test_s10_ports_of_a_tls_cluster() -> None:
    line = f"{A} 127.0.0.1:{{}} myself,master - 0 0 1 connected\n"
    other = f"{B} 127.0.0.1:7001@17001{{}} master - 0 0 1 connected\n"
    cases = [
        ("", False, (7001, 0)),
        ("", True, (0, 7001)),
        (",,tls-port=7443", True, (7001, 7443)),
        (",,tcp-port=7009", True, (7009, 7001)),
    ]
    keys = dict.fromkeys(("tls_cert_file", "tls_key_file", "tls_ca_cert_file"), __file__)  # exists, is not read
    for aux, tls, ports in cases:
        state = restored(line.format("7000@17000") + other.format(aux), tls_cluster=tls, **(keys if tls else {}))
        node = state.find(B)
        assert node is not None
        assert (node.port, node.tls_port) == ports


OF_VALKEY_WITH_CLIENT_PORTS = f"""\
{A} 127.0.0.1:48687@58687,,availability-zone=az1,client-tls-port=7443,client-tcp-port=7100,client-ipv6=::5,tls-port=0,\
shard-id={D} myself,master - 0 1795422280000 1 connected 0-16383
vars currentEpoch 1 lastVoteEpoch 0
"""


def test_client_ports_survive_a_restart_p22() -> None:
    assert text_of(parse(OF_VALKEY_WITH_CLIENT_PORTS)) == OF_VALKEY_WITH_CLIENT_PORTS
    other = OF_VALKEY_WITH_CLIENT_PORTS.replace("myself,", "").replace("0-16383", "1")
    myself = f"{B} 127.0.0.1:1@2 myself,master - 0 0 0 connected\n"
    state = restored(myself + other)
    node = state.find(A)
    assert node is not None
    assert (node.client_tcp_port, node.client_tls_port) == (7100, 7443)
    assert state.nodes_conf_text().splitlines()[1].split()[1] == other.split()[1]
    for wrong in ("client-tcp-port=70000", "client-tls-port=x", "client-tcp-port="):
        with pytest.raises(ConfigError, match=r"^line 1: '[^']*' is no port"):
            parse(OF_VALKEY_WITH_CLIENT_PORTS.replace("client-tcp-port=7100", wrong))


def test_aux_fields_of_a_newer_server_are_kept_with_one_warning_p23() -> None:
    aux = f"rack=r-1,new-port=x,tls-port=0,rack-2={{}},shard-id={D}"
    line = "{} 127.0.0.1:6379@16379,," + aux + " {}master - 0 0 1 connected\n"
    text = line.format(A, "é", "myself,") + line.format(B, "", "") + "vars currentEpoch 1 lastVoteEpoch 0\n"
    state = restored(text)
    solo = Solo(saved=parse(text))
    solo.poll()
    assert solo.warnings() == ["nodes.conf has fields of a newer server, which are kept: new-port, rack, rack-2"]
    for written in (text_of(parse(text)), state.nodes_conf_text()):
        for read, again in zip(text.splitlines(), written.splitlines(), strict=True):
            assert sorted(again.split()[1].split(",")) == sorted(read.split()[1].split(","))
    solo = Solo(saved=parse(OF_VALKEY_9_1_2))
    solo.poll()
    assert not solo.warnings()


def test_s10_provisional_nodes_and_those_in_handshake_are_not_saved() -> None:
    solo = Solo()
    solo.puppet("a")
    solo.state.meet("10.0.9.9", 7009, None, solo.now_ms)
    meeting = solo.puppet("b")
    solo.gossips(meeting, entry(node_id("c")))
    lines = solo.state.nodes_conf_text().splitlines()
    assert [line[:40] for line in lines[:-1]] == [MYSELF_ID, *(node_id(letter) for letter in "abc")]


def test_s10_the_line_of_a_new_node_is_valkeys() -> None:
    solo = Solo(port=50503)
    first, last = solo.state.nodes_conf_text().splitlines()
    shard = solo.state.myself.shard_id
    assert first == f"{MYSELF_ID} :50503@60503,,tls-port=0,shard-id={shard} myself,master - 0 0 0 connected"
    assert last == "vars currentEpoch 0 lastVoteEpoch 0"


def test_s10_every_text_of_a_node_survives_a_restart() -> None:
    solo = Solo()
    puppet = solo.puppet("a", slots=[5])
    texts = {0: "h.example", 1: "name", 4: "1.2.3.4", 5: "::5", 8: "zone"}
    sent = [Extension(kind, text.encode() + bytes(8 - len(text) % 8)) for kind, text in texts.items()]
    sent += [Extension.client_port_of(7100), Extension.client_tls_port_of(7443)]
    solo.says(puppet, extensions=[*sent, Extension.shard_id_of(D)])
    text = solo.state.nodes_conf_text()
    record = next(record for record in parse(text).nodes if record.node_id == puppet.node_id)
    assert record.hostname == "h.example"
    assert list(record.aux) == [name for name in AUX_FIELDS if name != "tcp-port"]
    assert restored(text).nodes_conf_text().splitlines()[1].split()[1] == text.splitlines()[1].split()[1]


def made_anew(state: ClusterState) -> str:
    """The text of nodes.conf without anything that was kept of the last one."""
    core = state._core
    for node in core.table.all_nodes:
        node.line_parts = None
        node.forget_line()
    core.conf_pieces.clear()
    core.version.unsaved |= set(range(len(core.table) // SAVED_TOGETHER + 1))
    return nodes_conf_text(core)


@pytest.mark.parametrize("field", SHOWN)
def test_s10_a_line_follows_every_field_that_it_shows(field: str) -> None:
    solo = Solo()
    other, replica = solo.puppet("b", slots=[7]), solo.puppet("c")
    node = solo.state.find(solo.puppet("a", slots=[5]).node_id)
    known, follower = solo.state.find(other.node_id), solo.state.find(replica.node_id)
    assert node is not None
    assert known is not None
    assert follower is not None
    follower.follow(node)
    before = solo.state.nodes_conf_text()
    if field == "replicaof":
        node.follow(known)
    elif field == "slots":
        node.slot_bits, node.slots = 0b110, bits_to_wire(0b110)
    elif field == "link":
        node.link = None
    else:
        value = getattr(node, field)
        setattr(node, field, value ^ c.FLAG_NOFAILOVER if isinstance(value, int) else "9" * len(value or "99"))
    text = solo.state.nodes_conf_text()
    assert text != before
    assert text == made_anew(solo.state)


def test_s10_a_text_put_together_from_pieces_has_every_node_once() -> None:
    solo = Solo()
    core = solo.state._core
    nodes = [Node(f"{number:040x}", c.FLAG_PRIMARY, D, START_MS) for number in range(3 * SAVED_TOGETHER)]
    for node in nodes:
        core.table.add(node)
    assert solo.state.nodes_conf_text() == made_anew(solo.state)
    for node in (nodes[1], nodes[-1], nodes[SAVED_TOGETHER], *nodes[2 : SAVED_TOGETHER - 1]):
        core.remove_node(node, "test")  # the last node takes its place, or a whole piece goes
        assert solo.state.nodes_conf_text() == made_anew(solo.state)
    core.table.add(nodes[1])
    text = solo.state.nodes_conf_text()
    assert text == made_anew(solo.state)
    assert len(parse(text).nodes) == solo.state.known_nodes_count


def test_s10_a_whole_cluster_restarts_from_its_files() -> None:
    network, members = joined(3, 4, owners=3)
    network.run_until(lambda: all(member.state.is_ok for member in members))
    ids = [member.id for member in members]
    epochs = [member.state.myself.config_epoch for member in members]
    for member in members:
        network.kill(member)
    network.run(1_000)
    for member in members:
        network.restart(member)
    network.run_until(lambda: all_connected(members) and all(member.state.is_ok for member in members))
    assert [member.id for member in members] == ids
    assert [member.state.myself.config_epoch for member in members] == epochs


@pytest.mark.parametrize("last", ["0", "9", "99", "199", "249", "255", "256", "300", "01", "1000", "", "-1", "x"])
def test_an_address_of_four_numbers_is_taken_as_the_standard_library_takes_it(last: str) -> None:
    text = GOOD.replace("127.0.0.1", f"127.0.0.{last}")
    assert text != GOOD
    try:
        ip_address(f"127.0.0.{last}")
    except ValueError:
        with pytest.raises(ConfigError, match="is no IP address"):
            parse(text)
    else:
        assert parse(text).nodes
