"""Calls, errors and times of each command: INFO's sections commandstats, errorstats and latencystats.

Owns the numbers. Only names of the command table get a row, and only ERROR_CODES_MAX codes of errors, because those of
a program may begin with anything. Main thread. Source: `genValkeyInfoString`, `incrementErrorCount`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from clusterbus.client_port.observation.histogram import Histogram
from clusterbus.client_port.reply import ErrorReply, double_text

ERROR_CODES_MAX: Final = 128
OTHER_ERRORS: Final = "ERRORSTATS_OVERFLOW"
"""Counts the errors whose codes found no room."""


@dataclass(slots=True)
class CommandRow:
    """One command: `rejected` calls did not run, `failed` ones ran and gave an error."""

    calls: int = 0
    time_ns: int = 0
    rejected: int = 0
    failed: int = 0
    times: Histogram = field(default_factory=Histogram)


class CommandStats:
    """Counters since the start or the last CONFIG RESETSTAT."""

    def __init__(self) -> None:
        self.rows: dict[str, CommandRow] = {}
        self._errors: dict[str, int] = {}

    def row(self, name: str) -> CommandRow:
        """The row of a command of the table, by its full name."""
        row = self.rows.get(name)
        if row is None:
            row = self.rows[name] = CommandRow()
        return row

    def count_error(self, reply: ErrorReply) -> None:
        """Counts an error reply under its code."""
        code = reply.partition(" ")[0]
        if code not in self._errors and len(self._errors) >= ERROR_CODES_MAX:
            code = OTHER_ERRORS
        self._errors[code] = self._errors.get(code, 0) + 1

    def reset(self) -> None:
        """CONFIG RESETSTAT."""
        self.rows.clear()
        self._errors.clear()

    # ---------------------------------------------------------------- INFO

    def command_lines(self) -> Iterator[tuple[str, str]]:
        """The lines of INFO commandstats."""
        for name, row in sorted(self.rows.items()):
            time_us = row.time_ns // 1_000
            each_us = row.time_ns / 1_000 / row.calls if row.calls else 0.0
            yield (
                f"cmdstat_{name}",
                f"calls={row.calls},usec={time_us},usec_per_call={each_us:.2f},"
                f"rejected_calls={row.rejected},failed_calls={row.failed}",
            )

    def error_lines(self) -> Iterator[tuple[str, str]]:
        """The lines of INFO errorstats."""
        for code, count in sorted(self._errors.items()):
            yield f"errorstat_{code}", f"count={count}"

    def latency_lines(self, percents: Sequence[float]) -> Iterator[tuple[str, str]]:
        """The lines of INFO latencystats."""
        for name, row in sorted(self.rows.items()):
            if row.times.count:
                shown = (f"p{double_text(percent)}={row.times.percentile_us(percent):.3f}" for percent in percents)
                yield f"latency_percentiles_usec_{name}", ",".join(shown)
