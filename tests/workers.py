"""Which tests `pytest -n` keeps together: those of a file whose fixtures its tests share; all others go anywhere.

Owns the scheduling of pytest-xdist, whose own groups write into node ids as pytest no longer lets them. Runs in the
process that hands out tests, which knows them by node id alone.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

SHARED_FIXTURE = 'scope="module"'


def scheduler(config: pytest.Config, log: object) -> Any:
    """Files with a shared fixture first, each on one worker, the one with the most tests before the others."""
    from xdist.scheduler import LoadScopeScheduling

    @cache
    def stays_together(file: str) -> bool:
        return SHARED_FIXTURE in Path(config.rootpath, file).read_text()

    def group(nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return file if stays_together(file) else nodeid

    made = LoadScopeScheduling(config, log)
    made._split_scope = group
    return made
