"""What the chart's alerts and dashboard ask Prometheus, expression by expression."""

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from tests.unit.chart.conftest import CHART

_GRAFANAS = {"$__rate_interval": "5m", "$__range": "5m", "$namespace": ".*", "$pool": ".*"}
_SELECTOR = re.compile(r"\b((?:sandbox|process)_[a-z_]+)(\{[^}]*\})?")
_LEGEND_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")

ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((CHART / "files" / "dashboard.json").read_text())


@dataclass(frozen=True)
class Target:
    """One line or number of a panel."""

    panel: str
    legend: str
    expression: str

    @property
    def labels(self) -> set[str]:
        """Which its legend shows."""
        return set(_LEGEND_LABEL.findall(self.legend))

    def __str__(self) -> str:
        return f"{self.panel}: {self.legend}"


def panel_targets() -> list[Target]:
    """All of the dashboard, with Grafana's variables as it would set them."""
    return [
        Target(panel["title"], target["legendFormat"], fill_in(target["expr"]))
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
    ]


def fill_in(expression: str) -> str:
    """The expression without Grafana's variables."""
    for name, value in _GRAFANAS.items():
        expression = expression.replace(name, value)
    return expression


def selectors(expression: str) -> list[str]:
    """The selectors in an expression, each an expression of its own."""
    return [name + (labels or "") for name, labels in _SELECTOR.findall(expression)]


def metric_names(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    return {name for name, _ in _SELECTOR.findall(expression)}
