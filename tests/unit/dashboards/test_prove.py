"""A panel without data is found, whatever the reason; one with data is not."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hack.dashboards.asking import RefusedError
from hack.dashboards.prove import empty_panels
from tests.unit.dashboards.canned import Answer, prometheus

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
FULL: Answer = [({"job": "triage"}, [(AT.timestamp() - 60, "1")])]


def panel(title: str, *exprs: str, kind: str = "timeseries") -> dict[str, Any]:
    return {"title": title, "type": kind, "targets": [{"expr": expr} for expr in exprs]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def board(folder: Path, *panels: dict[str, Any]) -> None:
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        {
            "name": "namespace",
            "type": "query",
            "query": "label_values(info, namespace)",
            "includeAll": True,
            "allValue": ".*",
        },
        {"name": "job", "type": "query", "query": 'label_values(info{namespace="$namespace"}, job)'},
    ]
    found = {"time": {"from": "now-6h"}, "templating": {"list": variables}, "panels": list(panels)}
    (folder / "one.json").write_text(json.dumps(found))


def found(folder: Path, answers: dict[str, Answer | None], **variables: str) -> list[str]:
    with prometheus(lambda expr: answers.get(expr, [])) as url:
        return empty_panels(url, variables, AT, folder=folder)


def test_a_panel_is_empty_if_one_of_its_queries_gives_nothing(folder: Path) -> None:
    board(folder, panel("full", "a"), panel("half", "a", "b"), {"title": "a row", "type": "row"})
    assert found(folder, {"a": FULL}, job="triage") == ["one: half: b"]


def test_not_a_number_is_nothing(folder: Path) -> None:
    board(folder, panel("quantile of no requests", "a"))
    nan: Answer = [({}, [(AT.timestamp(), "NaN"), (AT.timestamp() + 5, "+Inf")])]
    assert found(folder, {"a": nan}, job="triage") == ["one: quantile of no requests: a"]


def test_of_a_state_timeline_one_state_is_enough(folder: Path) -> None:
    board(folder, panel("some", "a", "b", kind="state-timeline"), panel("none", "b", "c", kind="state-timeline"))
    assert found(folder, {"a": FULL}, job="triage") == ["one: none: b", "one: none: c"]


def test_what_prometheus_objects_to_is_told(folder: Path) -> None:
    board(folder, panel("wrong", "a"))
    said = found(folder, {"a": None}, job="triage")
    assert len(said) == 1
    assert "HTTP 400" in said[0]


def test_variables_that_are_left_out_are_chosen_as_grafana_would(folder: Path) -> None:
    board(folder, panel("of a job", 'x{namespace=~"$namespace", job="${job}"}[$__range]'))
    asks = 'group by (job) (last_over_time(info{namespace=".*"}[21600s]))'
    jobs: Answer = [({"job": name}, [(AT.timestamp(), "1")]) for name in ("later", "early")]
    assert found(folder, {asks: jobs, 'x{namespace=~".*", job="early"}[21600s]': FULL}) == []


def test_a_prometheus_that_does_not_answer_is_an_error_and_no_proof(folder: Path) -> None:
    board(folder, panel("any", "a"))
    with prometheus(lambda _: FULL) as url:
        pass
    with pytest.raises(RefusedError):
        empty_panels(url, {}, AT, folder=folder)
