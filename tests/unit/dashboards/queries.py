"""PromQL taken apart: which series and labels a query names, and which labels its answer has."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import promql_parser as promql
import yaml
from hack.dashboards.asking import Span, filled, panels
from hack.dashboards.files import FOLDER

RULES = FOLDER.parent / "alerts" / "retune.yaml"
SPAN = Span(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=1))
VALUES = {"namespace": "support", "job": "triage", "model": "triage"}
_IN_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_IN_TEXT = re.compile(r"\$labels\.(\w+)")


class Asked(NamedTuple):
    """A query, where it stands, and the labels that its reader expects in the answer."""

    where: str
    expr: str
    expected: frozenset[str]


@dataclass
class Reading:
    """What a query says about series: mistakes are told with the part that is wrong."""

    exported: dict[str, set[str]]
    mistakes: list[str] = field(default_factory=list)

    def labels(self, node: Any) -> set[str]:
        """Labels of the answer to `node`; on the way, every name is looked up."""
        match node:
            case promql.VectorSelector():
                return self._selected(node)
            case promql.MatrixSelector():
                return self._selected(node.vector_selector)
            case promql.AggregateExpr():
                return self._aggregated(node)
            case promql.BinaryExpr():
                return self._joined(node)
            case promql.Call():
                found = set().union(*(self.labels(argument) for argument in node.args))
                if node.func.name == "histogram_quantile":
                    self._has({"le"}, found, node)
                    found = found - {"le"}
                return set() if node.func.name == "absent" else found
            case promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr():
                return self.labels(node.expr)
        return set()

    def _selected(self, node: Any) -> set[str]:
        known = self.exported.get(node.name)
        if known is None:
            self.mistakes.append(f"nobody exports {node.name}")
            return set()
        self._has({matcher.name for matcher in node.matchers.matchers}, known, node)
        return known

    def _aggregated(self, node: Any) -> set[str]:
        inner = self.labels(node.expr)
        if str(node.op) in ("topk", "bottomk"):
            return inner
        if node.modifier is None:
            return set()
        named = set(node.modifier.labels)
        self._has(named, inner, node)
        return named if node.modifier.type == promql.AggModifierType.By else inner - named

    def _joined(self, node: Any) -> set[str]:
        left, right = self.labels(node.lhs), self.labels(node.rhs)
        modifier = node.modifier
        if modifier is not None and modifier.matching is not None:
            self._has(set(modifier.matching.labels), left & right, node)
            more = set(modifier.group_labels or ())
            self._has(more, right, node)
            return left | more
        vectors = [side for side in (node.lhs, node.rhs) if not isinstance(side, promql.NumberLiteral)]
        scalars = {"time()", "vector(0)"}
        if len(vectors) == 2 and left != right and not {str(v) for v in vectors} & scalars:
            self.mistakes.append(f"{node}: {sorted(left)} never match {sorted(right)}")
        return left | right

    def _has(self, named: set[str], known: set[str], node: Any) -> None:
        self.mistakes += [f"{node}: there is no label {label}" for label in sorted(named - known)]


def of_panels() -> Iterator[Asked]:
    """The queries of all dashboards' panels, as they would be sent."""
    for path in sorted(FOLDER.glob("*.json")):
        for panel in panels(json.loads(path.read_text())):
            columns: set[str] = set()
            for change in panel.get("transformations", []):
                columns |= {n for n in change["options"].get("renameByName", {}) if not n.startswith("Value")}
            for target in panel["targets"]:
                expected = columns | set(_IN_LEGEND.findall(target["legendFormat"]))
                where = f"{path.stem}: {panel['title']}"
                yield Asked(where, filled(target["expr"], VALUES, SPAN), frozenset(expected))


def of_variables() -> Iterator[Asked]:
    """The queries behind the dashboards' variables."""
    for path in sorted(FOLDER.glob("*.json")):
        for variable in json.loads(path.read_text())["templating"]["list"]:
            asks = re.fullmatch(r"label_values\((.+),\s*(\w+)\)", variable["query"])
            if asks is not None:
                expr = filled(asks[1], VALUES, SPAN)
                yield Asked(f"{path.stem}: ${variable['name']}", expr, frozenset({asks[2]}))


def of_alerts() -> Iterator[Asked]:
    """The queries of the alerts, with the labels that their texts use."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            used = _IN_TEXT.findall(" ".join(rule["annotations"].values()))
            yield Asked(rule["alert"], rule["expr"], frozenset(used))
