"""Every published message is accounted for: delivered, lost for a reason that has a name, or a finding."""

from __future__ import annotations

from dataclasses import replace

from soak.checks.messages import (
    FOREVER_S,
    NO_LINK,
    RELINK_MAX_S,
    SECOND,
    SETTLE_S,
    TRANSIT_S,
    UNASKED,
    Account,
    Disturbance,
    End,
    LinkLife,
    Published,
    Session,
    account,
)

END_S = 100.0
CUT = Disturbance("link cut", 50.0, 50.1, pairs=frozenset({("a", "b")}))
CUT_LINKS = [LinkLife("a", "b", 0.0, 50.05, "link cut"), LinkLife("a", "b", 52.0)]


def judged(
    at_s: float,
    *,
    came: bool,
    links: list[LinkLife] | None = None,
    disturbances: list[Disturbance] | None = None,
    session: Session | None = None,
    sender: str = "a",
) -> Account:
    """The account of one message that `sender` published at a time, for a subscriber at b."""
    listener = session or Session("b", 0.0)
    if came:
        listener.take(sender, 1, at_s + 0.01)
    links = [LinkLife("a", "b", 0.0)] if links is None else links
    message = Published(sender, 1, at_s, at_s + 0.001)
    return account([message], [listener], links, disturbances or [], 0.0, END_S)


def test_a_message_that_came_is_delivered_and_nothing_is_found() -> None:
    sums = judged(50.0, came=True)
    assert (sums.published, sums.expected, sums.delivered, sums.findings()) == (1, 1, 1, [])


def test_a_message_lost_on_a_link_that_lived_all_the_while_is_a_finding() -> None:
    assert len(judged(50.0, came=False).unexplained) == 1
    assert "a number 1 to b" in judged(50.0, came=False).findings()[0]


def test_a_message_lost_on_the_node_where_it_was_published_is_a_finding_whatever_the_links_do() -> None:
    sums = judged(50.0, came=False, sender="b", links=[], disturbances=[CUT])
    assert len(sums.unexplained) == 1


def test_a_cut_explains_what_was_published_around_it_and_nothing_else() -> None:
    explained = [50.0, 50.05 - TRANSIT_S / 2, 51.0, 52.0 + SETTLE_S / 2]
    for at_s in explained:
        assert judged(at_s, came=False, links=CUT_LINKS, disturbances=[CUT]).explained == {"link cut": 1}
    for at_s in (50.05 - TRANSIT_S * 1.1, 52.0 + SETTLE_S * 1.1):
        assert judged(at_s, came=False, links=CUT_LINKS, disturbances=[CUT]).unexplained


def test_a_cut_of_the_other_direction_explains_nothing() -> None:
    other = replace(CUT, pairs=frozenset({("b", "a")}))
    sums = judged(51.0, came=False, links=CUT_LINKS, disturbances=[other])
    assert NO_LINK in sums.unexplained[0]


def test_a_link_that_does_not_come_back_is_explained_for_a_while_only() -> None:
    links = [LinkLife("a", "b", 0.0, 50.05, "link cut")]
    soon, late = 50.1 + RELINK_MAX_S - 2, 50.1 + RELINK_MAX_S + SETTLE_S + 1
    assert judged(soon, came=False, links=links, disturbances=[CUT]).explained == {"link cut": 1}
    assert judged(late, came=False, links=links, disturbances=[CUT]).unexplained


def test_a_link_that_ends_unasked_is_a_finding_and_so_is_what_is_lost_with_it() -> None:
    links = [LinkLife("a", "b", 0.0, 50.05), LinkLife("a", "b", 50.2)]
    sums = judged(50.0, came=False, links=links)
    assert sums.links_ended == {UNASKED: 1}
    assert sums.unexplained
    assert any("links ended unasked" in text for text in sums.findings())
    restart = Disturbance("restart", 49.0, 50.0, nodes=frozenset({"a"}))
    assert judged(50.0, came=False, links=links, disturbances=[restart]).findings() == []


def test_a_link_that_ends_while_a_second_one_of_the_same_nodes_lives_on_is_no_finding() -> None:
    links = [LinkLife("a", "b", 0.0, 50.05), LinkLife("a", "b", 50.0)]
    assert judged(70.0, came=True, links=links).links_ended == {SECOND: 1}
    assert judged(50.0, came=False, links=links).unexplained
    apart = [LinkLife("a", "b", 0.0, 50.05), LinkLife("a", "b", 50.06)]
    assert judged(70.0, came=True, links=apart).unasked == ["a to b, 0.00 to 50.05 s"]


def test_what_a_held_link_has_not_passed_on_when_it_is_cut_is_lost_with_it() -> None:
    held = Disturbance("link held", 50.0, 54.0, pairs=frozenset({("a", "b")}), holds=True)
    cut = replace(CUT, begun_s=53.5, ended_s=53.5)
    links = [LinkLife("a", "b", 0.0, 53.5, "link cut"), LinkLife("a", "b", 54.0)]
    assert judged(50.2, came=False, links=links, disturbances=[held, cut]).findings() == []
    assert judged(50.2, came=False, links=links, disturbances=[replace(held, holds=False), cut]).unexplained
    assert judged(45.0, came=False, links=links, disturbances=[held, cut]).unexplained, "it was through before"
    assert judged(50.2, came=False, disturbances=[held]).unexplained, "the link lived on"
    listener = Session("b", 0.0, until_s=53.0)
    ends = Disturbance("clients killed", 53.0, 53.0, frozenset({"b"}), ends_links=False, ends_clients=True)
    assert judged(50.2, came=False, disturbances=[held, ends], session=listener).expected == 0


def test_a_link_on_which_a_dropped_ping_or_pong_was_never_answered_may_end_much_later() -> None:
    links = [LinkLife("a", "b", 0.0, 90.0), LinkLife("a", "b", 90.2)]
    pings = Disturbance("packet filter", 10.0, 12.0, frozenset({"b"}), drops_at=End.RECEIVER)
    pongs = replace(pings, nodes=frozenset({"a"}), drops_at=End.SENDER)
    for dropping in (pings, pongs):
        sums = judged(90.0, came=False, links=links, disturbances=[dropping])
        assert sums.links_ended == {"packet filter": 1}
        assert sums.findings() == [], "nor is what is lost with it"
        younger = [LinkLife("a", "b", 13.0, 90.0), LinkLife("a", "b", 90.2)]
        other_end = replace(dropping, nodes=frozenset({"a", "b"}) - dropping.nodes)
        for lives, disturbance in ((younger, dropping), (links, other_end)):
            assert judged(90.0, came=False, links=lives, disturbances=[disturbance]).links_ended == {UNASKED: 1}
    assert judged(70.0, came=False, links=links, disturbances=[pings]).unexplained, "the link was up then"


def test_a_filter_of_publish_explains_losses_at_its_node_and_ends_no_link() -> None:
    dropping = Disturbance("filter", 49.0, 51.0, frozenset({"b"}), ends_links=False, drops_publish=True)
    assert judged(50.0, came=False, disturbances=[dropping]).findings() == []
    elsewhere = replace(dropping, nodes=frozenset({"c"}))
    assert judged(50.0, came=False, disturbances=[elsewhere]).unexplained
    ended = [LinkLife("a", "b", 0.0, 50.0)]
    assert judged(20.0, came=True, links=ended, disturbances=[dropping]).links_ended == {UNASKED: 1}


def test_what_was_not_answered_or_not_listened_to_is_not_expected() -> None:
    unanswered = account([Published("a", 1, 50.0)], [Session("b", 0.0)], [], [], 0.0, END_S)
    assert (unanswered.unanswered, unanswered.expected, unanswered.findings()) == (1, 0, [])
    for session in (Session("b", 50.1), Session("b", 0.0, 50.0 + TRANSIT_S / 2)):
        assert judged(50.0, came=False, session=session).expected == 0


def test_a_message_that_came_twice_or_out_of_order_is_a_finding() -> None:
    twice = Session("b", 0.0)
    twice.take("a", 1, 50.0)
    assert judged(50.0, came=True, session=twice).doubles == 1
    swapped = Session("b", 0.0)
    swapped.take("a", 2, 49.0)
    sums = judged(50.0, came=True, session=swapped)
    assert sums.disordered == 1
    assert len(sums.findings()) == 1


def test_a_subscription_that_ends_unasked_is_a_finding() -> None:
    ended = Session("b", 0.0, 60.0)
    killed = Disturbance("killed", 59.5, 60.0, frozenset({"b"}), ends_links=False, ends_clients=True)
    assert judged(50.0, came=True, session=ended).findings() == ["1 subscriptions ended unasked"]
    assert judged(50.0, came=True, session=Session("b", 0.0, 60.0), disturbances=[killed]).findings() == []
    assert judged(50.0, came=True, session=Session("b", 0.0, FOREVER_S)).findings() == []
