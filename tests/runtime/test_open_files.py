"""What of the open files is kept for links."""

from __future__ import annotations

import resource
from types import SimpleNamespace
from typing import Any

import pytest
from clusterbus.runtime.open_files import FILES_RESERVED, files_for_clients

FILES = 1_000


def member(nodes: int, links: int) -> Any:
    engine = SimpleNamespace(stats=lambda: {"links": links})
    return SimpleNamespace(state=SimpleNamespace(known_nodes_count=nodes), driver=SimpleNamespace(engine=engine))


@pytest.mark.parametrize(
    ("nodes", "links", "kept"),
    [(1, 0, 0), (4, 6, 0), (4, 1, 5), (1, 9, 0), (10_000, 0, (FILES - FILES_RESERVED) // 2), (10_000, FILES, 0)],
    ids=["alone", "all links up", "links that are to come", "strangers", "half at most", "more links than files"],
)
def test_descriptors_of_links_that_are_to_come_are_kept_h43(
    monkeypatch: pytest.MonkeyPatch, nodes: int, links: int, kept: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (FILES, FILES))
    assert files_for_clients(member(nodes, links)) == FILES - FILES_RESERVED - kept


def test_without_a_limit_every_client_finds_room_h43(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert files_for_clients(member(4, 0)) is None
