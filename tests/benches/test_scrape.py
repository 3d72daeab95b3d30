"""The benchmark of a scrape measures a real node's."""

from __future__ import annotations

import asyncio

import pytest
import scrape_cost


def test_a_scrape_of_some_nodes_is_measured_and_the_bound_decides(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few, more = (asyncio.run(scrape_cost.measure(count, 1))[0] for count in (10, 300))
    assert more.len_bytes > few.len_bytes + 290 * len("clusterbus_peer_up{node_id=...} 1") * 6
    assert few.snapshot_ms > 0
    assert few.longest_ms < few.text_ms
    monkeypatch.setattr(scrape_cost, "BOUND_MS", 0.0)
    assert scrape_cost.main(["--nodes", "10", "--rounds", "2"]) == 1
    assert "10 nodes" in capsys.readouterr().out
    monkeypatch.setattr(scrape_cost, "BOUND_MS", 1e9)
    assert scrape_cost.main(["--nodes", "10", "--rounds", "2"]) == 0
