"""Every target takes its corpus, and what once was a crash, without a fuzzer (H48)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.table import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_takes_its_corpus_h48(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert len(inputs) > 5
    for path in inputs:
        try:
            TARGETS[name](path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path.relative_to(CORPUS)}: {error}") from error


def test_every_folder_of_the_corpus_is_that_of_a_target() -> None:
    """Otherwise it would not be run."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
