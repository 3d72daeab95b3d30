"""What DEBUG turns off (P31), and the lines of the log that operators look for (P43)."""

from __future__ import annotations

from functools import partial

from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import Dial, Effect, Log

from tests.cluster.solo import Puppet, Solo, entry, node_id


def pings(solo: Solo, puppet: Puppet, ticks: int) -> int:
    """How many PINGs the puppet gets, which answers them."""
    count = 0
    for _ in range(ticks):
        solo.tick()
        sent = len(solo.sent(puppet.dialled, c.PING))
        count += sent
        if sent:
            solo.says(puppet, c.PONG)
    return count


def is_pinged(solo: Solo, puppet: Puppet) -> bool:
    return bool(solo.sent(puppet.dialled, c.PING))


def lines(solo: Solo, effects: list[Effect], level: str) -> list[str]:
    return [log.text for log in solo.of(Log, effects) if log.level == level]


def test_links_that_are_down_are_not_dialled_while_that_is_off_p31() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    solo.state.switches.reconnects = False
    solo.state.handle_link_closed(puppet.dialled, "test", solo.now_ms)
    assert not solo.of(Dial, solo.ticks(3_000))
    solo.state.switches.reconnects = True
    assert solo.of(Dial, solo.tick())


def test_only_idle_nodes_are_pinged_while_random_pings_are_off_p31() -> None:
    solo = Solo(cluster_node_timeout=20_000)
    puppet = solo.puppet("a")
    assert pings(solo, puppet, 80) > 3
    solo.state.switches.pings_at_random = False
    assert pings(solo, puppet, 80) == 0
    assert pings(solo, puppet, 200) == 2, "one each half node timeout"


def test_a_ping_is_logged_at_the_level_debug_only_p43() -> None:
    for level in ("debug", "verbose"):
        solo = Solo(loglevel=level, cluster_node_timeout=1_000)
        puppet = solo.puppet("a")
        effects = solo.tick_until(partial(is_pinged, solo, puppet))
        expected = [f"Pinging node {solo.node(puppet).name}"] if level == "debug" else []
        assert [line for line in lines(solo, effects, "debug") if "inging" in line] == expected


def test_a_pong_of_another_id_names_the_node_by_its_human_name_p43() -> None:
    solo = Solo()
    puppet = solo.puppet("a")
    node = solo.node(puppet)
    node.nodename = "left-rack"
    impostor = Puppet(node_id("b"), puppet.ip, puppet.port, puppet.dialled, 0)
    texts = lines(solo, solo.says(impostor, c.PONG), "debug")
    (line,) = (text for text in texts if text.startswith("PONG contains mismatching sender ID"))
    assert f"{impostor.node_id} answers in the place of node {puppet.node_id} (left-rack)" in line


def test_who_reports_whom_is_logged_with_human_names_p43() -> None:
    solo = Solo()
    reporter, about = solo.puppet("a", slots=[1]), solo.puppet("b", slots=[2])
    solo.node(reporter).nodename, solo.node(about).nodename = "one", "two"
    effects = solo.gossips(reporter, entry(about, flags=c.FLAG_PRIMARY | c.FLAG_PFAIL))
    text = f"Node {reporter.node_id} (one) reported node {about.node_id} (two) as not reachable."
    assert text in lines(solo, effects, "notice")
