"""Dashboards as one HTML page with inline SVG: a stand-in for Grafana where there is none, to look at and to keep.

    python -m hack.dashboards.render --prometheus URL --out page.html --var namespace=N --var job=J [--since 30m]

It reads the dashboards' JSON, asks Prometheus what the panels ask, and draws it for a light and a dark ground. Limits:

- kinds of panels: time series, stat, bar gauge, table, state timeline, rows. Anything else says that it is not drawn.
- of a time series: lines, stacked areas, steps, a logarithmic axis, min, max, thresholds as one dashed line. No second
  axis, points, bars or tooltips. One moment's samples 2.5 steps apart are a gap.
- of overrides: a fixed colour, and in tables unit, thresholds and links left out; by name and by regular expression.
- of transformations: merge and organize, which the tables here are made with. Of reducers: the last value.
- time is UTC, and the page stands still.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from hack.dashboards.asking import Prometheus, Raw, RefusedError, Series, Span, chosen, filled, named
from hack.dashboards.drawing import Frame, Line, plot, scale, timeline
from hack.dashboards.files import BOARDS, FOLDER
from hack.dashboards.looks import COLORS, CYCLE, color_of, paint, shown

_COLUMN, _ROW, _GAP = 60, 38, 10  # px of Grafana's grid, 24 columns wide
_SHEET = Path(__file__).with_name("page.css")
_LEGEND = 12  # names in a legend; more would leave no room for the picture


class View(NamedTuple):
    """What a panel is drawn from: whom to ask, over what time, with which variables."""

    prometheus: Prometheus
    span: Span
    values: Mapping[str, str]

    def all(self, panel: Raw, *, now: bool) -> list[tuple[str, list[Series]]]:
        """Answers to each of a panel's queries, with its legend: as of now, or over the time shown."""
        found = []
        for target in panel["targets"]:
            expr = filled(target["expr"], self.values, self.span)
            answer = self.prometheus.instant(expr, self.span.end) if now else self.prometheus.range(expr, self.span)
            found.append((target.get("legendFormat", ""), [series for series in answer if series.points]))
        return found


def page(boards: Sequence[Raw], url: str, variables: Mapping[str, str], at: datetime, *, since: str = "") -> str:
    """The dashboards `boards` (their JSON) as one HTML page, from the Prometheus at `url`, up to `at`.

    Raises:
        RefusedError: Prometheus does not answer when asked for the variables' values.
    """
    prometheus = Prometheus(url)
    drawn = "".join(_board(board, prometheus, variables, Span.of(board, at, since)) for board in boards)
    title = escape(", ".join(str(board["title"]) for board in boards))
    head = f'<meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{title}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{_style()}</style></head><body>{drawn}</body></html>\n'


def _board(board: Raw, prometheus: Prometheus, variables: Mapping[str, str], span: Span) -> str:
    view = View(prometheus, span, chosen(board, variables, prometheus, span))
    told = [
        f"{k} <b>{escape('all' if v == '.*' else v)}</b>"
        for k, v in view.values.items()
        if f"${k}" in json.dumps(board)
    ]
    when = f"{span.start.astimezone(UTC):%d %b %Y %H:%M} to {span.end.astimezone(UTC):%d %b %H:%M} UTC"
    head = f"<h1>{escape(board['title'])}</h1><p>{escape(board['description'])}</p><p>{' · '.join([*told, when])}</p>"
    body = "".join(_panel(panel, view) for panel in board["panels"])
    return f'<section><header>{head}</header><div class="board">{body}</div></section>'


def _panel(panel: Raw, view: View) -> str:
    at = panel["gridPos"]
    place = f"grid-column:{at['x'] + 1}/span {at['w']};grid-row:{at['y'] + 1}/span {at['h']}"
    title = escape(panel["title"])
    if panel["type"] == "row":
        return f'<h2 style="{place}">{title}</h2>'
    about = escape(panel.get("description", ""))
    try:
        draw = _KINDS.get(panel["type"])
        body = draw(panel, view) if draw else f'<p class="none">a {escape(panel["type"])} is not drawn here</p>'
    except RefusedError as error:
        body = f'<p class="none">{escape(str(error))}</p>'
    return f'<article style="{place}"><h3>{title}</h3><p class="about" title="{about}">{about}</p>{body}</article>'


def _size(panel: Raw, *, less: float) -> tuple[float, float]:
    """Room for a picture, under title and description: width and height in pixels."""
    at = panel["gridPos"]
    return at["w"] * _COLUMN - _GAP - 26.0, at["h"] * _ROW - _GAP - 62.0 - less


def _lines(panel: Raw, view: View) -> list[Line]:
    found: list[Line] = []
    for legend, answer in view.all(panel, now=False):
        for series in sorted(answer, key=lambda s: named(legend, s)):
            name = named(legend, series)
            known = _override(panel, name, "color")
            free = CYCLE[len(found) % len(CYCLE)]
            found.append(Line(name, known["fixedColor"] if known else free, series.points))
    return found


def _timeseries(panel: Raw, view: View) -> str:
    lines = _lines(panel, view)
    if not lines:
        return _nothing(panel)
    defaults = panel["fieldConfig"]["defaults"]
    custom, unit = defaults.get("custom", {}), defaults.get("unit", "short")
    limits = [s["value"] for s in defaults.get("thresholds", {}).get("steps", []) if s.get("value") is not None]
    limit = limits[0] if limits and custom.get("thresholdsStyle", {}).get("mode", "off") != "off" else None
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    logarithmic = custom.get("scaleDistribution", {}).get("type") == "log"
    held = [Line(line.name, line.color, line.points) for line in lines]
    if stacked:
        sums: dict[float, float] = {}
        for line in lines:
            for at, value in line.points:
                sums[at] = sums.get(at, 0.0) + value
        held = [Line("sum", "grey", sorted(sums.items()))]
    axis = scale(held, low=defaults.get("min"), high=defaults.get("max"), logarithmic=logarithmic, limit=limit)
    steps = str(custom.get("lineInterpolation", "")).startswith("step")
    return plot(_frame(panel, view, less=22), lines, axis, unit, stacked=stacked, steps=steps, limit=limit) + _legend(
        lines
    )


def _legend(lines: Sequence[Line]) -> str:
    named_ = "".join(
        f'<span><i style="background:{paint(line.color)}"></i>{escape(line.name)}</span>' for line in lines[:_LEGEND]
    )
    more = f"<span>and {len(lines) - _LEGEND} more</span>" if len(lines) > _LEGEND else ""
    return f'<div class="legend">{named_}{more}</div>'


def _states(panel: Raw, view: View) -> str:
    lines = _lines(panel, view)
    if not lines:
        return _nothing(panel)
    wide = 24.0 + 7.0 * max(len(line.name) for line in lines)
    return timeline(_frame(panel, view, left=min(240.0, max(62.0, wide))), lines)


def _frame(panel: Raw, view: View, *, less: float = 0, left: float = 62.0) -> Frame:
    width, height = _size(panel, less=less)
    return Frame(width, height, view.span.start.timestamp(), view.span.end.timestamp(), view.span.step, left)


def _stat(panel: Raw, view: View) -> str:
    found = [(named(legend, s), s.points[-1][1]) for legend, answer in view.all(panel, now=True) for s in answer]
    if not found:
        return _nothing(panel)
    defaults, (name, value) = panel["fieldConfig"]["defaults"], found[0]
    chosen_ = _override(panel, name, "color")
    color = chosen_["fixedColor"] if chosen_ else color_of(value, defaults["thresholds"]["steps"])
    text = name if panel.get("options", {}).get("textMode") == "name" else _text(value, defaults)
    size = min(32.0, (panel["gridPos"]["w"] * _COLUMN - 40) / max(1, len(text)) / 0.74)
    return f'<p class="big" style="color:{paint(color)};font-size:{size:.0f}px">{escape(text) or "none"}</p>'


def _bargauge(panel: Raw, view: View) -> str:
    found = [(named(legend, s), s.points[-1][1]) for legend, answer in view.all(panel, now=True) for s in answer]
    if not found:
        return _nothing(panel)
    defaults = panel["fieldConfig"]["defaults"]
    most = max(defaults.get("max") or 0.0, *(value for _, value in found)) or 1.0
    rows = []
    for name, value in sorted(found, key=lambda pair: -pair[1]):
        known = _override(panel, name, "color")
        color = paint(known["fixedColor"] if known else color_of(value, defaults["thresholds"]["steps"]))
        bar = f'<div class="bar"><i style="width:{max(0.0, value) / most * 100:.1f}%;background:{color}"></i></div>'
        rows.append(f'<span>{escape(name)}</span>{bar}<b style="color:{color}">{escape(_text(value, defaults))}</b>')
    return f'<div class="bars">{"".join(rows)}</div>'


def _table(panel: Raw, view: View) -> str:
    answers = view.all(panel, now=True)
    lines: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for target, (_, answer) in zip(panel["targets"], answers, strict=True):
        column = f"Value #{target['refId']}" if len(answers) > 1 else "Value"
        for series in answer:
            labels = {k: v for k, v in series.labels.items() if k != "__name__"}
            lines.setdefault(tuple(sorted(labels.items())), dict(labels))[column] = series.points[-1][1]
    if not lines:
        return _nothing(panel)
    names: dict[str, str] = {}
    for change in panel.get("transformations", []):
        if change["id"] == "organize":
            order = change["options"]["indexByName"]
            names = dict(sorted(change["options"]["renameByName"].items(), key=lambda pair: order[pair[0]]))
    keys = sorted(lines, key=lambda key: [dict(key).get(name, "") for name in names])
    for by in reversed(panel.get("options", {}).get("sortBy") or []):
        of = next((column for column, heading in names.items() if heading == by["displayName"]), "")
        keys.sort(key=lambda key: float(lines[key].get(of) or 0), reverse=bool(by.get("desc")))
    head = "".join(f"<th{_right(name)}>{escape(heading)}</th>" for name, heading in names.items())
    body = "".join(
        f"<tr>{''.join(_cell(panel, n, h, lines[key].get(n)) for n, h in names.items())}</tr>" for key in keys
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _right(column: str) -> str:
    return ' class="number"' if column.startswith("Value") else ""


def _cell(panel: Raw, column: str, heading: str, value: Any) -> str:  # noqa: ANN401 - a label or a sample
    if not isinstance(value, float):
        return f"<td{_right(column)}>{escape(str(value or ''))}</td>"
    steps = (_override(panel, heading, "thresholds") or {}).get("steps")
    color = f' style="color:{paint(color_of(value, steps))}"' if steps else ""
    return f'<td class="number"{color}>{escape(shown(value, _override(panel, heading, "unit") or "short"))}</td>'


def _text(value: float, defaults: Raw) -> str:
    decimals = defaults.get("decimals")
    return shown(value, defaults.get("unit", "short"), int(decimals) if decimals is not None else None)


def _nothing(panel: Raw) -> str:
    said = panel["fieldConfig"]["defaults"].get("noValue", "no data")
    return f'<p class="none">{escape(said)}</p>'


def _override(panel: Raw, name: str, wanted: str) -> Any:  # noqa: ANN401 - whatever JSON the property has
    """The value of a property that an override gives to the series or column of that name; the last one counts."""
    found = None
    for override in panel["fieldConfig"].get("overrides", []):
        kind, options = override["matcher"]["id"], override["matcher"].get("options")
        matches = options == name if kind == "byName" else kind == "byRegexp" and re.search(options.strip("/"), name)
        for given in override["properties"] if matches else ():
            found = given.get("value") if given["id"] == wanted else found
    return found


_KINDS = {
    "timeseries": _timeseries,
    "stat": _stat,
    "bargauge": _bargauge,
    "table": _table,
    "state-timeline": _states,
}


def _style() -> str:
    light, dark = ("".join(f"--{name}:{pair[theme]};" for name, pair in COLORS.items()) for theme in (0, 1))
    themes = f":root{{{light}}} @media (prefers-color-scheme: dark) {{:root{{{dark}}}}}"
    grid = f":root{{--column:{_COLUMN}px;--row:{_ROW}px;--gap:{_GAP}px}}"
    return themes + grid + _SHEET.read_text()


def main(arguments: Sequence[str]) -> int:
    """Write the page; 1 if Prometheus does not answer."""
    parser = argparse.ArgumentParser(prog="python -m hack.dashboards.render", description="Dashboards as an HTML page.")
    parser.add_argument("boards", nargs="*", metavar="NAME", help=f"of {', '.join(BOARDS)}; all by default")
    parser.add_argument("--prometheus", required=True, help="address of Prometheus")
    parser.add_argument("--out", required=True, type=Path, help="HTML file to write")
    parser.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="such as namespace=support")
    parser.add_argument("--at", help="end of the time shown, RFC 3339; now by default")
    parser.add_argument("--since", default="", help="how far back, such as 30m; each dashboard's own by default")
    given = parser.parse_args(arguments)
    if unknown := set(given.boards) - set(BOARDS):
        parser.error(f"no such dashboard: {', '.join(sorted(unknown))}")
    at = datetime.fromisoformat(given.at) if given.at else datetime.now(UTC)
    variables = dict(pair.partition("=")[::2] for pair in given.var)
    boards = [json.loads((FOLDER / f"{name}.json").read_text()) for name in given.boards or BOARDS]
    try:
        given.out.write_text(page(boards, given.prometheus, variables, at, since=given.since))
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
