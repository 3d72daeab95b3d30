"""What `clusterbus top` makes of what nodes said: rows, shards, slots, events, order, schedule."""

from __future__ import annotations

import pytest
from clusterbus.cli.top import words
from clusterbus.cli.top.feed import EVENTS_MAX, SAME_KIND_MAX, Feed, differences
from clusterbus.cli.top.heard import VIEWS_MAX, Memory
from clusterbus.cli.top.merge import merge
from clusterbus.cli.top.order import Arrangement, Sort, arrange, words_of
from clusterbus.cli.top.panels import slot_cells
from clusterbus.cli.top.picture import Health
from clusterbus.cli.top.schedule import ASKED_PER_S_MAX, CPU_SHARE_MAX, Pace, next_turn
from clusterbus.member.ports import Place
from clusterbus.survey.asking import LINKS, NODES, Answer
from clusterbus.survey.node_rows import RowTable

from tests.cli.top.written import Node, World, after_failover, many, nodes_text, six


def test_rows_stand_in_shards_with_the_primary_first() -> None:
    picture = World().picture(six())
    assert [(row.address[-1], row.role, row.shard) for row in picture.rows] == [
        *[("1", "primary", 0), ("4", "replica", 0)],
        *[("2", "primary", 1), ("5", "replica", 1)],
        *[("3", "primary", 2), ("6", "replica", 2)],
    ]
    assert (picture.state, picture.shards, picture.slots_owned) == ("ok", 3, 16384)
    assert picture.rows[0].ranges == ((0, 5460),)
    assert picture.rows[0].bus_rtt_us == 900


def test_rates_are_of_two_answers_and_by_class() -> None:
    world = World()
    assert world.picture(six()).rows[0].rates is None
    rates = world.picture(six()).rows[0].rates
    assert rates is not None
    assert (rates.sent, rates.bytes_sent, rates.by_class["pubsub"], rates.by_class["gossip"][0]) == (
        *(2.0, 4000.0),
        *((1000.0, 0.0), 2980.0),
    )


def test_a_node_that_started_anew_has_no_rate() -> None:
    world = World()
    world.picture(six())
    world.now_s -= 50
    assert world.picture(six()).rows[0].rates is None


def test_of_differing_views_the_higher_epoch_decides() -> None:
    old, new = six(), after_failover()
    table = RowTable()
    views = [(old[n].node_id, table.parse(nodes_text(old, old[n])).rows) for n in (0, 3)]
    views += [(node.node_id, table.parse(nodes_text(new, node)).rows) for node in (*new[1:3], *new[4:])]
    merged = merge(reversed(views))
    assert merged[new[3].node_id].row.is_primary
    assert (merged[new[0].node_id].failed_by, merged[new[0].node_id].judges) == (4, 5)


def test_a_silent_node_is_shown_with_its_reason() -> None:
    picture = World().picture(after_failover())
    (row,) = [row for row in picture.rows if row.error]
    assert (row.error, row.health, words.flags(row), picture.silent) == ("Connection refused", Health.FAILED, "FAIL", 1)


def test_nobody_answers_and_the_last_picture_stays() -> None:
    memory = Memory([("127.0.0.1:7001", Place("127.0.0.1", 7001))])
    one = memory["127.0.0.1:7001"]
    nodes = six()
    rows = RowTable().parse(nodes_text(nodes, nodes[0])).rows
    one.take(Answer(one.address, six()[0].node_id, nodes=rows), 1.0)
    one.take(Answer(one.address, error="refused"), 2.0)
    memory.forget_old_views(100.0)
    assert one.view == rows


def test_a_failover_is_told_in_the_feed() -> None:
    world = World()
    old, new = world.picture(six()), world.picture(after_failover())
    texts = [event.text for event in differences(old, new, 5)]
    assert any(
        "7004" in text and "is primary now, epoch 7: takes 5461 slots from 127.0.0.1:7001" in text for text in texts
    )
    assert any("7001" in text and "does not answer: Connection refused" in text for text in texts)
    assert any("7001" in text and "is held failed by 5 of 5" in text for text in texts)
    assert differences(new, new, 5) == []


def test_another_id_at_an_address_is_told() -> None:
    world = World()
    old = world.picture(six())
    nodes = six()
    nodes[5].id_salt = "f"
    texts = [event.text for event in differences(old, world.picture(nodes), 5)]
    assert any(text.startswith("127.0.0.1:7006 is another node now") for text in texts)


def test_what_befalls_many_nodes_is_one_line() -> None:
    world = World()
    nodes = many(40)
    old = world.picture(nodes, tellers=2)
    for node in nodes[20:]:
        node.failed = "fail"
    events = differences(old, world.picture(nodes, tellers=2), 5)
    assert len(events) == 1
    assert events[0].text.startswith("60 nodes are held failed")
    assert SAME_KIND_MAX < 60


def test_the_feed_is_bounded() -> None:
    feed = Feed()
    event = differences(World().picture(six()), World().picture(after_failover()), 1)[0]
    feed.add([event] * (EVENTS_MAX + 1))
    assert len(feed.events) == EVENTS_MAX


def test_sorting_keeps_shards_together_or_not() -> None:
    rows = World().picture(six()).rows
    numbers = [row.address[-1] for row in arrange(rows, Arrangement(Sort.RTT))]
    assert (
        numbers == ["3", "6", "2", "5", "1", "4"]
        or numbers == ["6", "3", "5", "2", "4", "1"]
        or numbers[:2] in (["3", "6"],)
    )
    alone = arrange(rows, Arrangement(Sort.RTT, is_grouped=False))
    assert [row.address[-1] for row in alone] == ["6", "5", "4", "3", "2", "1"]
    turned = arrange(rows, Arrangement(Sort.RTT, is_grouped=False, is_reversed=True))
    assert turned == alone[::-1]


@pytest.mark.parametrize(
    ("text", "found"), [("silent", 1), ("replica", 2), ("7002", 1), ("shard:2 replica", 1), ("x9", 0)]
)
def test_the_filter(text: str, found: int) -> None:
    rows = World().picture(after_failover()).rows
    assert len(arrange(rows, Arrangement(words=words_of(text)))) == found


def test_the_slot_map_shows_who_is_missing() -> None:
    nodes = six()
    nodes[1].slots = ""
    nodes[2].failed = "fail"
    signs = "".join(sign for sign, _ in slot_cells(World().picture(nodes), 30))
    assert signs == "█" * 10 + "░" * 11 + "▒" * 9


def memory_of(count: int) -> Memory:
    memory = Memory([])
    memory.find({f"a:{n}": Place("a", n) for n in range(count)}, 10_000)
    return memory


def test_a_small_cluster_is_asked_everything_and_a_large_one_within_its_budget() -> None:
    turn = next_turn(memory_of(6), 10.0, budget=200)
    assert len(turn) == 6
    assert all(NODES in questions and LINKS in questions for questions in turn.values())
    turn = next_turn(memory_of(2000), 10.0, budget=200)
    assert len(turn) == 200
    assert sum(NODES in questions for questions in turn.values()) == 3
    assert not any(LINKS in questions for questions in turn.values())


def test_all_of_a_large_cluster_have_their_turn_those_on_the_screen_first() -> None:
    memory = memory_of(2000)
    seen = {f"a:{n}" for n in range(1900, 1930)}
    asked: dict[str, int] = {}
    for second in range(25):
        turn = next_turn(memory, float(second), budget=100, on_screen=seen, primaries={"a:5"})
        assert len(seen & {*turn}) == 30
        for address in turn:
            asked[address] = asked.get(address, 0) + 1
            memory[address].take(Answer(address, "x"), float(second))
    assert len(asked) > 1700
    assert "a:5" in next_turn(memory_of(2000), 0.0, budget=100, primaries={"a:5"})


def test_silent_nodes_do_not_take_the_turns_of_others() -> None:
    memory = memory_of(2000)
    for number, one in enumerate(memory):
        is_silent = number < 1500
        one.take(Answer(one.address, "x", error="no answer" if is_silent else ""), -1000.0 if is_silent else 9.0)
    turn = next_turn(memory, 10.0, budget=100)
    assert sum(memory[address].failures > 0 for address in turn) <= 25


def test_a_large_cluster_holds_few_views() -> None:
    memory = memory_of(2000)
    nodes = six()
    rows = RowTable().parse(nodes_text(nodes, nodes[0])).rows
    for one in memory:
        one.take(Answer(one.address, six()[0].node_id, nodes=rows), 1.0)
    memory.forget_old_views(2.0)
    assert sum(bool(one.view) for one in memory) == VIEWS_MAX


def test_the_pace_slows_down_when_it_costs_too_much() -> None:
    pace = Pace()
    pace.adapt(2 * CPU_SHARE_MAX)
    assert pace.asked_per_s == ASKED_PER_S_MAX / 2
    for _ in range(20):
        pace.adapt(0.01)
    assert pace.asked_per_s == ASKED_PER_S_MAX


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0, "0"), (1.25, "1.2"), (999.0, "999"), (999.6, "1k"), (34_200.0, "34k")]
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert words.count(value) == text


def test_slots_that_do_not_fit_are_counted() -> None:
    node = Node(1, slots="0-9 20-29 40-49")
    (row,) = World().picture([node]).rows
    assert words.slots(row, 16) == "   30 0-9 +2"
    assert words.slots(row, 40) == "   30 0-9 20-29 40-49"
