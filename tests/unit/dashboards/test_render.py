"""The page that stands in for Grafana: what it shows of canned answers, and that it never hides what is missing."""

import json
import re
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from hack.dashboards.drawing import Frame, Line, scale, timeline
from hack.dashboards.files import FOLDER
from hack.dashboards.looks import moments, shown, ticks
from hack.dashboards.render import page
from tests.unit.dashboards.canned import Answer, prometheus

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
T = AT.timestamp()


def drawn(panel: dict[str, Any], answers: dict[str, Answer | None]) -> str:
    whole = {
        "title": "One",
        "description": "",
        "time": {"from": "now-1h"},
        "templating": {"list": []},
        "panels": [{"gridPos": {"x": 0, "y": 0, "w": 12, "h": 8}, "title": "the panel", **panel}],
    }
    with prometheus(lambda expr: answers.get(expr, [])) as url:
        return page([whole], url, {}, AT)


def panel(kind: str, *targets: tuple[str, str], **defaults: Any) -> dict[str, Any]:
    named = [{"expr": expr, "legendFormat": legend, "refId": "ABC"[n]} for n, (expr, legend) in enumerate(targets)]
    steps = [{"color": "green"}, {"color": "red", "value": 1}]
    config = {"defaults": {"thresholds": {"steps": steps}, **defaults}, "overrides": []}
    return {"type": kind, "targets": named, "fieldConfig": config, "options": {}}


def points(*values: float, step: float = 12.0) -> list[tuple[float, str]]:
    return [(T - step * (len(values) - n), str(value)) for n, value in enumerate(values)]


def text(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", html[html.index("<body>") :]))


def test_a_number_is_shown_in_its_unit_and_in_the_colour_of_its_threshold() -> None:
    html = drawn(panel("stat", ("a", ""), unit="percentunit", decimals=0), {"a": [({}, points(1.2))]})
    assert "120 %" in text(html)
    assert "var(--red)" in html


def test_each_series_is_named_and_drawn() -> None:
    answers: dict[str, Answer | None] = {"a": [({"arm": arm}, points(1, 2, 3)) for arm in ("stable", "canary")]}
    html = drawn(panel("timeseries", ("a", "{{arm}}"), unit="reqps"), answers)
    assert html.count("<polyline") == 2
    assert "stable" in text(html)
    assert "canary" in text(html)


def test_a_gap_in_the_samples_is_a_gap_in_the_line() -> None:
    broken = [*points(1, 1, 1), *[(T - 1800 + at, value) for at, value in ((0, "1"), (12, "1"))]]
    html = drawn(panel("timeseries", ("a", "x")), {"a": [({}, sorted(broken))]})
    assert html.count("<polyline") == 2


def test_a_panel_without_data_and_one_that_prometheus_refuses_say_so() -> None:
    assert "none yet" in text(drawn(panel("timeseries", ("a", "x"), noValue="none yet"), {"a": []}))
    assert "HTTP 400" in text(drawn(panel("bargauge", ("a", "x")), {"a": None}))
    assert "heatmap is not drawn" in text(drawn(panel("heatmap", ("a", "x")), {"a": []}))


def test_a_table_joins_its_queries_by_their_labels() -> None:
    made = panel("table", ("a", ""), ("b", ""))
    names = {"job": "Job", "Value #A": "Spent", "Value #B": "Left"}
    order = {"job": 0, "Value #A": 1, "Value #B": 2}
    made["transformations"] = [{"id": "organize", "options": {"renameByName": names, "indexByName": order}}]
    answers: dict[str, Answer | None] = {
        "a": [({"job": "one"}, points(10)), ({"job": "two"}, points(20))],
        "b": [({"job": "two"}, points(5))],
    }
    cells = re.findall(r"<t[hd](?: [^>]*)?>([^<]*)", drawn(made, answers))
    assert cells == ["Job", "Spent", "Left", "one", "10", "", "two", "20", "5"]


def test_states_are_filled_while_they_last() -> None:
    frame = Frame(600, 200, 0, 100, 10)
    svg = timeline(frame, [Line("Ok", "green", [(0, 1), (10, 1)]), Line("Firing", "red", [(20, 1), (30, 1), (40, 1)])])
    boxes = [tuple(map(float, box)) for box in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)]
    assert boxes[0][0] + boxes[0][1] == pytest.approx(boxes[1][0], abs=0.2), "one begins where the other ends"
    assert boxes[1][1] == pytest.approx(1.5 * boxes[0][1], abs=0.2)


def test_what_a_series_is_called_cannot_write_into_the_page() -> None:
    html = drawn(panel("bargauge", ("a", "{{job}}")), {"a": [({"job": "<script>x</script>"}, points(1))]})
    assert "<script>" not in html


def test_the_page_stands_alone_and_has_two_grounds() -> None:
    html = drawn(panel("stat", ("a", "")), {"a": [({}, points(1))]})
    assert "prefers-color-scheme: dark" in html
    assert not re.search(r'(src|href)="', html)
    assert "http" not in text(html)


def test_every_dashboard_of_the_chart_is_drawn_even_with_no_data_at_all() -> None:
    for path in FOLDER.glob("*.json"):
        board = json.loads(path.read_text())
        with prometheus(lambda _: []) as url:
            said = text(page([board], url, {}, AT))
        assert "is not drawn" not in said
        for each in board["panels"]:
            assert each["title"] in said


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.2544, "percentunit", "25.4 %"),
        (5400, "s", "1.5 h"),
        (0.25, "s", "250 ms"),
        (0, "s", "0 s"),
        (1234.5, "locale", "1,234.50"),
        (0, "short", "0"),
        (123456, "short", "123 K"),
        (0.004, "reqps", "0.004/s"),
        (1140, "short", "1140"),
    ],
)
def test_values_read_as_people_write_them(value: float, unit: str, said: str) -> None:
    assert shown(value, unit) == said


def test_axes_have_round_marks_that_hold_all_values() -> None:
    assert ticks(0, 0.31, 4) == [0, 0.1, 0.2, 0.3]
    axis = scale([Line("x", "blue", [(0, 3.0), (1, 97.0)])], low=0, high=None, logarithmic=False, limit=None)
    assert axis.low == 0
    assert axis.high >= 97
    decades = scale([Line("x", "blue", [(0, 0.02), (1, 3.0)])], low=None, high=None, logarithmic=True, limit=200)
    assert decades.marks() == [0.01, 0.1, 1, 10, 100, 1000]
    flat = scale([Line("x", "blue", [(0, 5.0)])], low=None, high=None, logarithmic=False, limit=None)
    assert flat.low < 5 < flat.high
    assert [said for _, said in moments(T - 3600, T)][:2] == ["11:00", "11:10"]
