"""What `clusterbus doctor` shows: a table of nodes, the findings in plain lines, and the same as JSON.

Owns the layout, the colours, and the schema of `--json` (docs/guide/doctor.md). Must never judge: it shows findings as
they are. Pure functions, any thread.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from clusterbus.survey.asking import Answer, Survey
from clusterbus.survey.evidence import ID_SHOWN_CHARS, Evidence
from clusterbus.survey.finding import Finding, Kind, Severity
from clusterbus.survey.observed import OBSERVER
from clusterbus.survey.symptoms.settings import server_of

SCHEMA: Final = 1
ROWS_SHOWN_MAX: Final = 40
FINDINGS_SHOWN_MAX: Final = 12
"""Of each kind; the rest of them is counted."""
SAID_BY_SHOWN_MAX: Final = 6
OPTIONAL_COLUMNS: Final = ("epoch", "rtt", "state", "id", "server")
"""What a narrow terminal does without, in this order."""
VIEW_NAMES: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_COLOURS: Final = {Severity.FAULT: "\x1b[1;31m", Severity.WARNING: "\x1b[33m", Severity.NOTE: "\x1b[36m"}
_GREEN: Final = "\x1b[32m"
_DIM: Final = "\x1b[2m"
_OFF: Final = "\x1b[0m"
_INDENT: Final = "         "


@dataclass(frozen=True)
class Result:
    """What was found: `found` by both looks, `passed` by one of them only."""

    survey: Survey
    found: Sequence[Finding]
    passed: Sequence[Finding] = field(default=())

    @property
    def is_sound(self) -> bool:
        return all(finding.severity is Severity.NOTE for finding in self.found)


def as_text(result: Result, *, columns: int, is_coloured: bool, shows_all: bool = False) -> str:
    """The whole report, its lines no longer than `columns` where words allow it."""
    evidence = Evidence(result.survey)
    lines = [_headline(result)]
    if result.survey.members:
        lines += ["", *_table(result, evidence, columns, shows_all=shows_all), *_views(evidence)]
    shown: Counter[Kind] = Counter()
    for finding in result.found:
        shown[finding.kind] += 1
        if shown[finding.kind] <= FINDINGS_SHOWN_MAX or shows_all:
            lines += ["", *_finding(finding, columns, is_coloured=is_coloured)]
    for kind, number in shown.items():
        if number > FINDINGS_SHOWN_MAX and not shows_all:
            lines += ["", f"and {number - FINDINGS_SHOWN_MAX:,} more of {kind.value}; --all shows them"]
    if result.passed:
        kinds = ", ".join(dict.fromkeys(finding.kind.value for finding in result.passed))
        lines += ["", f"shown by one of two looks only, so perhaps on its way: {kinds}"]
    return "\n".join([*lines, "", _verdict(result, is_coloured=is_coloured)]) + "\n"


def _headline(result: Result) -> str:
    survey = result.survey
    heard, unheard = sum(answer.address != OBSERVER for answer in survey.members.values()), len(survey.unheard)
    missing = f", {unheard:,} could not be asked" if unheard else ""
    return f"{heard:,} nodes asked from {', '.join(survey.seeds)} in {survey.took_ms:,.0f} ms{missing}"


def _verdict(result: Result, *, is_coloured: bool) -> str:
    numbers = Counter(finding.severity for finding in result.found)
    told = [f"{numbers[it]:,} {it.value}{'s' if numbers[it] > 1 else ''}" for it in Severity if numbers[it]]
    if not result.survey.members:
        return _in(_COLOURS[Severity.FAULT], "nobody could be asked", is_coloured)
    if not result.is_sound:
        return _in(_COLOURS[Severity.FAULT], ", ".join(told), is_coloured)
    return _in(_GREEN, "sound" + (f" ({', '.join(told)})" if told else ""), is_coloured)


def _in(colour: str, text: str, is_coloured: bool) -> str:
    return f"{colour}{text}{_OFF}" if is_coloured else text


# ---------------------------------------------------------------- the table


def _table(result: Result, evidence: Evidence, columns: int, *, shows_all: bool) -> Iterator[str]:
    answers = sorted(result.survey.answers, key=_by_address)
    view_of = {answer: number for number, group in enumerate(evidence.views) for answer in group.answers}
    if len(answers) > ROWS_SHOWN_MAX and not shows_all:
        named = {node_id for finding in result.found for node_id in finding.node_ids}
        answers = [answer for answer in answers if answer.error or answer.node_id in named or view_of.get(answer)]
        yield f"{len(result.survey.answers):,} nodes; --all shows them, these are named below:"
        answers = answers[:ROWS_SHOWN_MAX]
    cells = [_cells(answer, view_of) for answer in answers if not answer.error]
    titles = list(cells[0]) if cells else []
    for optional in ("", *OPTIONAL_COLUMNS):
        titles = [title for title in titles if title != optional]
        widths = [max(len(title), *(len(row[title]) for row in cells)) for title in titles]
        if sum(widths) + 2 * len(widths) - 2 <= columns:
            break
    for row in [dict(zip(titles, titles, strict=True)), *cells] if titles else []:
        yield "  ".join(row[title].ljust(width) for title, width in zip(titles, widths, strict=True)).rstrip()
    for answer in answers:
        if answer.error:
            yield f"{answer.address}  could not be asked: {answer.error}"


def _by_address(answer: Answer) -> tuple[str, int, str]:
    ip, _, port = answer.address.rpartition(":")
    return ip, int(port) if port.isdigit() else 0, answer.node_id


def _cells(answer: Answer, view_of: dict[Answer, int]) -> dict[str, str]:
    own = answer.myself
    role = "observer" if own is None else "primary" if own.is_primary else "replica"
    if own is not None and own.is_replica:
        role = f"replica of {(own.primary_id or '?')[:ID_SHOWN_CHARS]}"
    return {
        "node": answer.address,
        "id": answer.node_id[:ID_SHOWN_CHARS],
        "server": " ".join(server_of(answer)).strip() or "?",
        "role": role,
        "slots": str(own.slot_bits.bit_count()) if own is not None and own.slot_bits else "-",
        "epoch": str(own.config_epoch) if own is not None else "?",
        "state": answer.cluster_info.get("cluster_state", "?"),
        "view": _view_name(view_of.get(answer, -1)),
        "rtt": f"{answer.rtt_ms:.1f} ms" if answer.rtt_ms is not None else "?",
    }


def _view_name(number: int) -> str:
    return VIEW_NAMES[number] if 0 <= number < len(VIEW_NAMES) else "?" if number < 0 else str(number + 1)


def _views(evidence: Evidence) -> Iterator[str]:
    if len(evidence.views) == 1:
        yield ""
        yield "all of them see the same slots, roles and epochs"
    elif evidence.views:
        sizes = ", ".join(f"{_view_name(n)} {len(group.answers):,}" for n, group in enumerate(evidence.views))
        yield ""
        yield f"{len(evidence.views)} views of slots, roles and epochs, and how many nodes share each: {sizes}"


# ---------------------------------------------------------------- the findings


def _finding(finding: Finding, columns: int, *, is_coloured: bool) -> Iterator[str]:
    head = f"{finding.severity.value.upper():<8} "
    width = max(columns, 40)
    first, *rest = textwrap.wrap(
        f"{finding.kind.value}: {finding.what}", width - len(_INDENT), break_long_words=False, break_on_hyphens=False
    )
    yield _in(_COLOURS[finding.severity], head, is_coloured) + first
    yield from (_INDENT + line for line in rest)
    if finding.said_by:
        yield from _part("says", _few(finding.said_by), width, is_coloured=is_coloured)
    if finding.cure:
        yield from _part("do", finding.cure, width, is_coloured=is_coloured)


def _part(name: str, text: str, width: int, *, is_coloured: bool) -> Iterator[str]:
    lines = textwrap.wrap(text, width - len(_INDENT) - 6, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        label = _in(_DIM, f"{name:<4}  ", is_coloured) if not number else " " * 6
        yield f"{_INDENT}{label}{line}"


def _few(said_by: Sequence[str]) -> str:
    rest = len(said_by) - SAID_BY_SHOWN_MAX
    return ", ".join(said_by[:SAID_BY_SHOWN_MAX]) + (f" and {rest:,} more" if rest > 0 else "")


# ---------------------------------------------------------------- JSON


def as_json(result: Result) -> dict[str, Any]:
    """The schema is in docs/guide/doctor.md. Fields may be added; SCHEMA moves if one changes or goes."""
    evidence = Evidence(result.survey)
    return {
        "schema": SCHEMA,
        "seeds": list(result.survey.seeds),
        "asked_ms": round(result.survey.took_ms, 1),
        "sound": result.is_sound,
        "nodes": [_json_node(answer) for answer in result.survey.answers],
        "views": [
            {"nodes": [answer.node_id for answer in group.answers], "differences": list(group.differences)}
            for group in evidence.views
        ],
        "findings": _json_findings(result.found),
        "passed": _json_findings(result.passed),
    }


def _json_findings(found: Iterable[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "kind": finding.kind.value,
            "severity": finding.severity.value,
            "subject": finding.subject,
            "what": finding.what,
            "said_by": list(finding.said_by),
            "do": finding.cure,
            "node_ids": list(finding.node_ids),
        }
        for finding in found
    ]


def _json_node(answer: Answer) -> dict[str, Any]:
    own = answer.myself
    server, version = server_of(answer)
    return {
        "address": answer.address,
        "id": answer.node_id,
        "error": answer.error,
        "refused": dict(answer.refused),
        "server": server,
        "version": version,
        "role": None if own is None else "primary" if own.is_primary else "replica",
        "primary_id": own.primary_id if own is not None else None,
        "slots": own.slot_bits.bit_count() if own is not None else None,
        "epoch": own.config_epoch if own is not None else None,
        "state": answer.cluster_info.get("cluster_state"),
        "rtt_ms": round(answer.rtt_ms, 3) if answer.rtt_ms is not None else None,
    }
