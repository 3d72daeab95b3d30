"""Directives of the site's pages whose content is made: from the table of directives, the counters, the public names.

    ```{public-names} MODULE ...      the docstrings of the public names of these modules
    ```{directive-table}              the directives that do something here
    ```{idle-directive-table}         the directives that are known and do nothing
    ```{event-table}                  the kinds of events, by what they are about
    ```{metric-table} NAME            the counters of one table of `member/counters`
    ```{prometheus-table}             every metric of the metrics port
    ```{message-types}                the types of messages that are counted

Must never hold a fact that stands in one of the tables. Used by `conf.py`, and by the tests of the site.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import typing
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from clusterbus import _NAMES_OF, Event
from clusterbus.cluster.constants import MESSAGE_NAMES
from clusterbus.config import DIRECTIVES, WITH_EFFECT
from clusterbus.member import counters
from clusterbus.metrics.table import METRICS
from clusterbus.streams.event_stream import CLUSTER_KINDS
from docutils import nodes
from sphinx.util.docutils import SphinxDirective


def public_names(*modules: str) -> str:
    """The public names that `modules`, or modules below them, own: documented by docstrings, as text of a MyST page."""
    lines = ["```{eval-rst}"]
    for module in owners(modules):
        lines += [f"{directive}\n" for directive in names_of(module)]
    return "\n".join([*lines, "```"])


def owners(modules: Iterable[str]) -> list[str]:
    """Those of `modules` and of the modules below them that own public names, each once. One that the package does not
    name owns its own names.
    """
    found: list[str] = []
    for module in modules:
        below = [owner for owner in _NAMES_OF if f"{owner}.".startswith(f"{module}.")]
        found += [owner for owner in below or [module] if owner not in found]
    return found


def names_of(module: str) -> Iterator[str]:
    """A directive of autodoc for each public name of a module; those of the package by their short names."""
    package, names = ("clusterbus", _NAMES_OF[module]) if module in _NAMES_OF else (module, ())
    public = importlib.import_module(package)
    for name in names or public.__all__:
        value = getattr(public, name)
        if isinstance(value, type):
            yield f".. autoclass:: {package}.{name}"
        elif inspect.isroutine(value):
            yield f".. autofunction:: {package}.{name}"
        elif members := get_args(value):
            kinds = ", ".join(f"`{member.__name__}`" for member in members)
            yield f".. py:data:: {name}\n   :module: {package}\n\n   Any of {kinds}."
        else:
            yield f".. autodata:: {package}.{name}"


def directive_table() -> str:
    """The directives that do something here, as a definition list."""
    lines: list[str] = []
    for directive in WITH_EFFECT:
        names = ", ".join(f"`{name}`" for name in (directive.name, *directive.aliases))
        facts = [f"`{directive.kind.syntax()}`"]
        facts += [f"default `{directive.default_text}`"] if directive.default_text else []
        facts += ["can be changed by CONFIG SET"] if directive.mutable else []
        lines += [names, f": {plain(directive.doc)}", "", f"  {'; '.join(facts)}", ""]
    return "\n".join(lines)


def idle_directive_table() -> str:
    """The directives without effect by the reason why they have none."""
    by_reason: dict[str, list[str]] = {}
    for directive in DIRECTIVES:
        if directive.without_effect:
            by_reason.setdefault(directive.doc, []).extend((directive.name, *directive.aliases))
    rows = ((plain(reason), ", ".join(f"`{name}`" for name in names)) for reason, names in by_reason.items())
    return table(("Why it does nothing here", "Directives"), rows)


def metric_table(name: str) -> str:
    """The counters of one table of `member/counters`."""
    rows: Iterable[counters.Counter] = getattr(counters, name)
    return table(("Name", "What it counts"), ((f"`{row.shown}`", plain(row.doc)) for row in rows))


def prometheus_table() -> str:
    """Every metric of the metrics port."""
    rows = (
        (f"`{row.name}`", row.type.value, ", ".join(f"`{label}`" for label in row.labels), plain(row.help))
        for row in METRICS
    )
    return table(("Name", "Type", "Labels", "What it says"), rows)


def message_types() -> str:
    """The types of messages that are counted, as a sentence."""
    return ", ".join(f"`{name}`" for name in MESSAGE_NAMES) + "."


def event_table() -> str:
    """Every kind of event with its fields and what it means, by its docstring."""
    rows = []
    for kind in typing.get_args(Event):
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind))
        meaning = plain(" ".join((kind.__doc__ or "").split()))
        if kind not in CLUSTER_KINDS:
            meaning = f"Only if asked for. {meaning}"
        rows.append((f"{{class}}`~clusterbus.{kind.__name__}`", fields, meaning))
    return table(("Event", "Fields", "What it means"), rows)


def plain(text: str) -> str:
    """The text without anything that Markdown would read as a mark, but for `code`."""
    code = r"`[^`]+`"
    marks = str.maketrans({mark: f"\\{mark}" for mark in "*_`<>[]|"})
    return "".join(part if re.fullmatch(code, part) else part.translate(marks) for part in re.split(f"({code})", text))


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    return "\n".join(_row(cells) for cells in (head, ("---",) * len(head), *rows))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


class Made(SphinxDirective):
    """A directive whose content is the text of a MyST page that a function returns; its words are the arguments."""

    optional_arguments = 100

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(MAKERS[self.name](*self.arguments))


MAKERS: dict[str, Any] = {
    "public-names": public_names,
    "directive-table": directive_table,
    "event-table": event_table,
    "idle-directive-table": idle_directive_table,
    "metric-table": metric_table,
    "prometheus-table": prometheus_table,
    "message-types": message_types,
}


def setup(app: Any) -> None:
    """Registers the directives."""
    for name in MAKERS:
        app.add_directive(name, Made)
