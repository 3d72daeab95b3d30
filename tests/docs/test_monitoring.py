"""Dashboard, alert rules and pages speak of metrics that exist, with labels that these have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from clusterbus.metrics.table import METRICS

DOCS = Path(__file__).parent.parent.parent / "docs"
BY_NAME = {metric.name: metric for metric in METRICS}
NAME = re.compile(r"\b(?:redis_cluster|clusterbus)_[a-z_]+\b")
SELECTOR = re.compile(r"\b((?:redis_cluster|clusterbus)_[a-z_]+)\{([^}]*)\}")
LEGEND = re.compile(r"\{\{ *(?:\$labels\.)?([a-z_]+) *\}\}")
OF_PROMETHEUS = {"instance", "job"}


def expressions() -> list[str]:
    """Every expression of the dashboard and of the rules."""
    panels = json.loads((DOCS / "monitoring" / "dashboard.json").read_text())["panels"]
    rules = (DOCS / "monitoring" / "alerts.yml").read_text()
    return [
        *(target["expr"] for panel in panels for target in panel["targets"]),
        *re.findall(r"^ *expr: (.+)$", rules, re.MULTILINE),
    ]


def test_every_expression_names_metrics_and_labels_that_exist() -> None:
    assert len(expressions()) > 20
    for expression in expressions():
        names = NAME.findall(expression)
        assert names, expression
        assert set(names) <= set(BY_NAME), expression
        for name, labels in SELECTOR.findall(expression):
            told = set(re.findall(r"([a-z_]+)(?:=~?|!~|!=)", labels))
            assert told <= set(BY_NAME[name].labels) | OF_PROMETHEUS, expression


def test_every_label_in_a_legend_or_text_is_one_of_its_metrics() -> None:
    panels = json.loads((DOCS / "monitoring" / "dashboard.json").read_text())["panels"]
    pairs = [(target["expr"], target["legendFormat"]) for panel in panels for target in panel["targets"]]
    rules = (DOCS / "monitoring" / "alerts.yml").read_text().split("- alert: ")[1:]
    pairs += [(re.findall(r"expr: (.+)", rule)[0], rule) for rule in rules]
    for expression, text in pairs:
        labels = {label for name in NAME.findall(expression) for label in BY_NAME[name].labels}
        assert set(LEGEND.findall(text)) <= labels | OF_PROMETHEUS, expression


@pytest.mark.parametrize("page", ["guide/monitoring.md", "monitoring/alerts.yml"])
def test_the_pages_name_metrics_that_exist(page: str) -> None:
    named = {name for name in NAME.findall((DOCS / page).read_text()) if not name.endswith("_")}
    assert named
    assert named <= set(BY_NAME)


def test_the_reference_shows_the_table_itself() -> None:
    """The site makes it (`docs/made.py`), whose packages are not installed here."""
    assert "```{prometheus-table}\n" in (DOCS / "reference" / "metrics.md").read_text()
    assert "for row in METRICS" in (DOCS / "made.py").read_text()
