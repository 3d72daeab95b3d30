"""What is found in surveys that are written down: one fault in each, found for what it is and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from clusterbus.survey.asking import Survey
from clusterbus.survey.evidence import Evidence
from clusterbus.survey.finding import SEVERITIES, Finding, Kind, Severity
from clusterbus.survey.findings import CHECKS, findings, lasting

from tests.survey.written import HOST, Line, Written, sound

A, B, C, D = "a" * 40, "b" * 40, "c" * 40, "d" * 40


@pytest.fixture
def cluster() -> Written:
    return sound()


def at(*ports: int) -> tuple[str, ...]:
    return tuple(f"{HOST}:{port}" for port in ports)


def test_a_sound_cluster_has_none(cluster: Written) -> None:
    assert cluster.findings() == []


def test_nobody_asked_is_no_fault_of_the_cluster() -> None:
    assert findings(Survey(("h:1",), ())) == []


def test_every_kind_has_a_severity_and_every_finding_a_way_on(cluster: Written) -> None:
    assert {*SEVERITIES} == {*Kind}
    cluster.change("b", "acd", flags="master,fail", link="disconnected")
    for finding in cluster.findings():
        assert finding.severity is Severity.NOTE or finding.cure
        assert "\n" not in finding.what


# ---------------------------------------------------------------- nodes


def test_a_primary_that_says_it_is_a_replica_is_a_phantom(cluster: Written) -> None:
    cluster.change("b", "b", flags="slave", primary="c", slots="")
    found = cluster.found()["phantom-primary"]
    assert found.node_ids == (B,)
    assert found.said_by == at(7001, 7003, 7004)
    assert "held a primary of slots 5461-10922, and says that it is a replica of 10.0.0.1:7003" in found.what


def test_a_primary_at_whose_address_another_one_answers_is_a_phantom(cluster: Written) -> None:
    cluster.tables["e"] = {"e": Line("e", 7002, slots="")}
    cluster.tables.pop("b")
    for state in ("master", "master,fail", "master,fail,noaddr"):
        cluster.change("b", "acd", flags=state, link="disconnected")
        if state == "master,fail,noaddr":
            cluster.change("b", "acd", host="", port=0)
        found = next(finding for finding in cluster.findings() if finding.kind is Kind.PHANTOM_PRIMARY)
        assert found.node_ids == (B,)
        assert found.said_by == at(7001, 7003, 7004)
        kinds = {finding.kind for finding in cluster.findings()}
        assert not kinds & {Kind.FAILED_NODE, Kind.STALE_ADDRESS}


def test_a_primary_that_is_gone_and_held_well_is_a_phantom_and_one_held_failed_is_a_failed_node(
    cluster: Written,
) -> None:
    cluster.silence("b")
    cluster.change("b", "acd", link="disconnected")
    assert {*cluster.found()} == {"phantom-primary"}
    cluster.change("b", "a", link="connected")  # somebody hears it: only we do not reach it
    assert {*cluster.found()} == {"not-asked"}
    cluster.change("b", "acd", link="disconnected", flags="master,fail")
    found = cluster.found()
    assert {*found} == {"failed-node"}
    assert "it owns slots 5461-10922" in found["failed-node"].what


def test_a_replica_that_is_gone_is_no_phantom(cluster: Written) -> None:
    cluster.silence("d")
    cluster.change("d", "abc", link="disconnected", flags="slave,fail")
    assert {*cluster.found()} == {"failed-node"}


def test_a_failed_replica_at_whose_address_another_node_answers_says_so(cluster: Written) -> None:
    cluster.tables.pop("d")
    for viewer in "abc":
        cluster.tables[viewer]["e"] = Line("e", 7004)
    cluster.tables["e"] = {**cluster.tables["a"], "e": Line("e", 7004)}
    cluster.change("d", flags="slave,fail", link="disconnected")
    found = cluster.found()
    assert {*found} == {"failed-node"}
    assert found["failed-node"].what.endswith("; at 10.0.0.1:7004 another node answers")
    cluster.change("d", flags="slave")
    assert {*cluster.found()} == {"stale-address"}


def test_two_primaries_of_one_shard(cluster: Written) -> None:
    cluster.change("d", flags="master", primary="-", epoch=0)
    cluster.say("d", shard_id="shard a")
    found = cluster.found()["two-primaries"]
    assert found.node_ids == (A, D)
    assert "slots 0-5460, epoch 1" in found.what
    assert "no slots, epoch 0" in found.what
    assert found.cure.endswith(
        f"at 10.0.0.1:7004, if its data is not wanted: CLUSTER REPLICATE {A}".removeprefix("at ")
    )


def test_two_primaries_of_the_same_slots_where_servers_know_no_shard(cluster: Written) -> None:
    for letter in "abcd":
        cluster.say(letter, shard_id="")
    assert cluster.findings() == []
    cluster.change("d", "d", flags="master", primary="-", epoch=9, slots="5460")
    found = [finding for finding in cluster.findings() if finding.kind is Kind.TWO_PRIMARIES]
    assert [finding.node_ids for finding in found] == [(D, A)]


def test_an_address_where_another_node_answers_or_nobody(cluster: Written) -> None:
    cluster.change("d", "b", port=7002)
    found = cluster.found()
    assert {*found} == {"stale-address"}
    assert found["stale-address"].said_by == at(7002)
    assert found["stale-address"].what == (
        "dddddddd is said to be at 10.0.0.1:7002: bbbbbbbb answers there, and it answers at 10.0.0.1:7004"
    )
    cluster.change("d", "b", port=7999)
    cluster.errors[f"{HOST}:7999"] = "Connection refused"
    found = cluster.found()
    assert {*found} == {"stale-address"}
    assert "nobody answers there (Connection refused), and it answers at" in found["stale-address"].what


def test_an_announced_address_that_is_out_of_reach_is_not_stale(cluster: Written) -> None:
    cluster.at["d"] = "127.0.0.1:7004"
    cluster.errors[f"{HOST}:7004"] = "no answer within 5 s"
    found = cluster.found()
    assert {*found} == {"not-asked"}
    assert "(dddddddd, which answers at 127.0.0.1:7004)" in found["not-asked"].what


@pytest.mark.parametrize(("flag", "word"), [("fail", "FAIL"), ("fail?", "PFAIL")])
def test_a_node_that_is_held_failed_and_answers(cluster: Written, flag: str, word: str) -> None:
    cluster.change("d", "ab", flags=f"slave,{flag}")
    found = cluster.found()
    assert {*found} == {"failed-but-answers"}
    assert found["failed-but-answers"].said_by == at(7001, 7002)
    assert f"({word})" in found["failed-but-answers"].what


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("NOAUTH Authentication required.", "REDISCLI_AUTH"),
        ("AUTH: WRONGPASS invalid", "--user"),
        ("CLUSTER NODES: NOPERM no", "+cluster"),
        ("[SSL: WRONG_VERSION_NUMBER]", "--tls"),
        ("no answer within 5 s", "process runs"),
    ],
)
def test_a_node_that_could_not_be_asked_says_why_and_what_helps(cluster: Written, error: str, word: str) -> None:
    cluster.silence("d", error)
    found = cluster.found()
    assert {*found} == {"not-asked"}
    assert found["not-asked"].what == f"10.0.0.1:7004 (dddddddd) could not be asked: {error}"
    assert word in found["not-asked"].cure


def test_a_member_without_slots_and_client_port_is_a_note(cluster: Written) -> None:
    for viewer in "abcd":
        cluster.tables[viewer]["e"] = Line("e", 7005)
    cluster.errors[f"{HOST}:7005"] = "Connection refused"
    assert {*cluster.found()} == {"silent-member"}
    cluster.errors[f"{HOST}:7005"] = "no answer within 5 s"
    assert {*cluster.found()} == {"not-asked"}
    cluster.errors[f"{HOST}:7005"] = "Connection refused"
    cluster.change("e", "a", flags="master,fail?")
    assert {*cluster.found()} == {"failed-node"}
    cluster.change("e", flags="slave", primary="a")
    assert {*cluster.found()} == {"not-asked"}


# ---------------------------------------------------------------- links


def test_a_link_in_one_direction_only(cluster: Written) -> None:
    cluster.change("c", "b", link="disconnected")
    found = cluster.found()
    assert {*found} == {"one-sided-link"}
    assert found["one-sided-link"].node_ids == (C, B)
    assert "port 17003" in found["one-sided-link"].cure
    cluster.change("b", "c", link="disconnected")  # none in either direction, but others hear both
    assert cluster.findings() == []


def test_a_link_on_which_no_pong_comes_is_none(cluster: Written) -> None:
    cluster.say("b", overdue=frozenset({C}))
    assert {*cluster.found()} == {"one-sided-link"}
    cluster.say("c", overdue=frozenset({B}))
    assert cluster.findings() == []


def test_a_cluster_in_pieces(cluster: Written) -> None:
    cluster.change("c", "abd", link="disconnected")
    for letter in "abd":
        cluster.change(letter, "c", flags=cluster.tables["c"][letter].flags + ",fail?")
    found = cluster.found()
    assert {"pieces", "failed-but-answers"} <= {*found}
    assert found["pieces"].node_ids == (C,)
    assert "2 pieces" in found["pieces"].what


def test_nodes_that_never_met_are_pieces_and_no_more(cluster: Written) -> None:
    cluster.tables["e"] = {"e": Line("e", 7005)}
    assert {*cluster.found()} == {"pieces", "views-differ", "unowned-slots"}


def test_a_node_that_some_do_not_know(cluster: Written) -> None:
    cluster.forget("d", "bc")
    found = cluster.found()
    assert {*found} == {"not-known", "views-differ"}
    assert found["not-known"].said_by == at(7002, 7003)
    assert found["not-known"].cure == "at 10.0.0.1:7002: CLUSTER MEET 10.0.0.1 7004"


def test_a_handshake_that_does_not_end(cluster: Written) -> None:
    for viewer in "ab":
        cluster.tables[viewer]["e"] = Line("e", 7999, flags="handshake", link="disconnected")
    cluster.errors[f"{HOST}:7999"] = "Connection refused"
    found = cluster.found()
    assert {*found} == {"handshake", "not-asked"}
    assert found["handshake"].said_by == at(7001, 7002)


# ---------------------------------------------------------------- slots


def test_slots_without_owner_in_all_views_and_in_one(cluster: Written) -> None:
    cluster.change("c", slots="10923-16382")
    found = cluster.found()
    assert {*found} == {"unowned-slots"}
    assert found["unowned-slots"].what == "slot 16383 has no owner (1 of 16384)"
    assert len(found["unowned-slots"].said_by) == 4
    cluster.change("c", "abd", slots="10923-16383")
    found = cluster.found()
    assert {*found} == {"unowned-slots", "views-differ"}
    assert found["unowned-slots"].said_by == at(7003)


def test_a_cluster_of_members_without_slots_is_sound(cluster: Written) -> None:
    for letter in "abc":
        cluster.change(letter, slots="")
    found = cluster.found()
    assert {*found} == {"no-slots"}
    assert found["no-slots"].severity is Severity.NOTE


def test_open_slots_are_one_finding_for_each_way(cluster: Written) -> None:
    cluster.change("a", "a", slots=f"0-5460 [5->-{B}] [6->-{B}]")
    cluster.change("b", "b", slots=f"5461-10922 [5-<-{A}] [6-<-{A}]")
    found = cluster.found()
    assert {*found} == {"open-slots"}
    assert found["open-slots"].said_by == at(7001, 7002)
    assert found["open-slots"].what.startswith("slots 5-6 open, on the way from 10.0.0.1:7001 (aaaaaaaa)")
    assert "only" not in found["open-slots"].what
    cluster.change("d", "d", slots=f"[5->-{B}]")  # its replica knows too, and is no shard of its own
    assert {*cluster.found()} == {"open-slots"}
    cluster.change("a", "a", slots="0-5460")
    assert "only the target has all of them" in cluster.found()["open-slots"].what


def test_primaries_that_share_an_epoch(cluster: Written) -> None:
    cluster.change("b", epoch=1)
    found = cluster.found()
    assert {*found} == {"epoch-shared"}
    assert found["epoch-shared"].node_ids == (A, B)


def test_views_that_differ_say_in_what(cluster: Written) -> None:
    cluster.change("b", "d", slots="5461-10921")
    cluster.change("c", "d", slots="10922-16383")
    found = cluster.found()
    assert {*found} == {"views-differ"}
    assert found["views-differ"].said_by == at(7004)
    assert "10.0.0.1:7003 (cccccccc): primary, epoch 3, slots 10922-16383 (for most:" in found["views-differ"].what
    views = Evidence(cluster.survey()).views
    assert [group.addresses for group in views] == [at(7001, 7002, 7003), at(7004)]


def test_a_state_that_is_fail(cluster: Written) -> None:
    cluster.say("b", cluster_info={"cluster_state": "fail"})
    assert cluster.found()["state-fail"].said_by == at(7002)


# ---------------------------------------------------------------- settings


def test_timeouts_that_differ(cluster: Written) -> None:
    cluster.say("b", config={"cluster-node-timeout": "5000"})
    cluster.say("c", config={})
    found = cluster.found()
    assert {*found} == {"timeouts-differ"}
    assert found["timeouts-differ"].said_by == at(7002)
    assert found["timeouts-differ"].cure.startswith("at 10.0.0.1:7002: CONFIG SET cluster-node-timeout 15000")


def test_other_settings_that_differ_are_a_note(cluster: Written) -> None:
    for letter in "abcd":
        value = "no" if letter == "b" else "yes"
        cluster.say(letter, config={"cluster-node-timeout": "1", "cluster-require-full-coverage": value})
    found = cluster.found()
    assert {*found} == {"settings-differ"}
    assert found["settings-differ"].severity is Severity.NOTE


def valkey(version: str) -> dict[str, Any]:
    return {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": version}


def test_versions_that_differ(cluster: Written) -> None:
    for letter in "abc":
        cluster.say(letter, info=valkey("9.1.2"))
    cluster.say("d", info={"redis_version": "7.2.4", "server_name": "clusterbus", "clusterbus_version": "0.1.0"})
    assert cluster.findings() == []
    cluster.say("c", info=valkey("8.1.0"))
    assert cluster.found()["versions-differ"].said_by == at(7003)
    cluster.say("c", info={"redis_version": "7.0.15"})
    found = cluster.found()["versions-differ"]
    assert "two servers in a cluster" in found.what
    assert found.said_by == at(7003)


def test_what_was_refused_is_a_note_unless_the_server_lacks_it(cluster: Written) -> None:
    cluster.say("a", refused={"CLUSTER MYSHARDID": "ERR unknown subcommand 'MYSHARDID'. Try CLUSTER HELP."})
    assert cluster.findings() == []
    cluster.say("b", refused={"CONFIG GET cluster-*": "NOPERM no"})
    found = cluster.found()
    assert {*found} == {"refused"}
    assert found["refused"].severity is Severity.NOTE
    assert found["refused"].said_by == at(7002)


def test_more_addresses_than_were_asked_are_a_note(cluster: Written) -> None:
    whole = cluster.survey()
    found = findings(Survey(whole.seeds, whole.answers, is_whole=False))
    assert [finding.kind for finding in found] == [Kind.NOT_WHOLE]


# ---------------------------------------------------------------- two looks


def test_what_only_one_look_shows_was_on_its_way() -> None:
    def failed(*ids: str) -> Finding:
        return Finding(Kind.FAILED_BUT_ANSWERS, " ".join(ids), "", node_ids=ids)

    timeout = Finding(Kind.TIMEOUTS_DIFFER, "", "")
    assert lasting([failed(A), timeout], [timeout]) == ([timeout], [failed(A)])
    assert lasting([], [failed(A)]) == ([], [failed(A)])
    assert lasting([failed(A, B)], [failed(B, C)]) == ([failed(B, C)], [])  # the same trouble, a little later
    assert lasting([failed(A)], [failed(B)]) == ([], [failed(A), failed(B)])


def test_every_check_is_in_the_list() -> None:
    from clusterbus.survey.symptoms import links, nodes, settings, slots

    own = {
        function
        for module in (links, nodes, settings, slots)
        for name, function in vars(module).items()
        if not name.startswith("_") and getattr(function, "__module__", "") == module.__name__ and callable(function)
    }
    assert {function for function in own if function.__name__ != "server_of"} == {*CHECKS}
