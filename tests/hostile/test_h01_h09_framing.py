"""Rows H1 to H9 four ways: what a peer sends is no message, or no message that adds up."""

from __future__ import annotations

from tests.hostile.attacked import Attacked, at


def test_a_wrong_signature_closes_at_its_byte_h1(attacked: Attacked) -> None:
    evil = attacked.known()
    attacked.refuses(
        evil,
        [at(evil.heartbeat(), 3, b"B")],
        counter="cluster_links_lost_bad_signature",
        logged="bad-signature",
        closes=True,
    )


def test_a_length_that_does_not_add_up_is_dropped_h4(attacked: Attacked) -> None:
    evil = attacked.known()
    sound = evil.heartbeat()
    wrong = at(sound, 4, (len(sound) + 8).to_bytes(4, "big")) + bytes(8)
    attacked.refuses(evil, [wrong] * 3, counter="cluster_dropped_length", logged="packet refused")
