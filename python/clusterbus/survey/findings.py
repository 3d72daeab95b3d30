"""What does not fit together in a cluster: all checks over one survey, and what two surveys both show.

Owns the list of checks and their order. Pure: the same survey, the same findings. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from clusterbus.survey.asking import Survey
from clusterbus.survey.evidence import Evidence
from clusterbus.survey.finding import Finding, Kind
from clusterbus.survey.symptoms import links, nodes, settings, slots

Check = Callable[[Evidence], Iterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    links.pieces,
    nodes.phantom_primaries,
    nodes.two_primaries,
    nodes.failed_but_answering,
    nodes.failed_nodes,
    nodes.stale_addresses,
    nodes.not_asked,
    links.one_sided_links,
    links.not_known,
    links.handshakes,
    links.off_the_bus,
    slots.unowned_slots,
    slots.open_slots,
    slots.failing_states,
    slots.shared_epochs,
    slots.views_differ,
    settings.timeouts_differ,
    settings.versions_differ,
    settings.settings_differ,
    settings.refused,
    settings.not_whole,
)
_ORDER: Final = {kind: number for number, kind in enumerate(Kind)}


def findings(survey: Survey) -> list[Finding]:
    """All findings, the gravest kind first."""
    evidence = Evidence(survey)
    found = [finding for check in CHECKS for finding in check(evidence)]
    return sorted(found, key=lambda finding: (_ORDER[finding.kind], finding.subject))


def lasting(first: Iterable[Finding], second: Iterable[Finding]) -> tuple[list[Finding], list[Finding]]:
    """(what both looks show, as the second does; what only one of them shows).

    Nodes are not asked in one moment, and a cluster may be busy changing: what only one look shows was on its way.
    """
    before, after = list(first), list(second)
    kept = [finding for finding in after if any(finding.is_like(other) for other in before)]
    gone = [finding for finding in before if not any(finding.is_like(other) for other in after)]
    return kept, gone + [finding for finding in after if finding not in kept]
