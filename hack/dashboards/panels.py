"""The kinds of panels that the dashboards are made of, in the house's form: every panel answers one question.

Colours are Grafana's names. The same thing has the same colour everywhere: stable blue, canary orange, good green,
bad red.
"""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import NamedTuple

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREY = "#8e8e8e"
MONEY = "locale"  # a plain number: the currency is a label, and Grafana knows units of one currency each
ARMS = {"stable": "blue", "canary": "orange"}
NEUTRAL: "Steps" = ((None, "blue"),)
Steps = Sequence[tuple[float | None, str]]
Panel = Builder[model.Panel]


class Query(NamedTuple):
    """PromQL, and how its series are called."""

    expr: str
    legend: str = ""


class Column(NamedTuple):
    """A column of a table: PromQL, its heading, unit and thresholds."""

    expr: str
    heading: str
    unit: str = "short"
    steps: Steps = ()


def number(
    title: str,
    about: str,
    expr: str,
    unit: str = "short",
    *,
    steps: Steps = NEUTRAL,
    width: int = 4,
    height: int = 4,
) -> Panel:
    """One number, coloured by `steps`: (value from which, colour), the first from None."""
    made = _stat(title, about, Query(expr), width).height(height)
    return made.unit(unit).thresholds(_thresholds(steps)).decimals(_decimals(unit))


def word(
    title: str,
    about: str,
    query: Query,
    *,
    colors: Mapping[str, str] | None = None,
    nothing: str = "none",
    width: int = 4,
) -> Panel:
    """One word: what the series' legend says."""
    panel = _stat(title, about, query, width).text_mode(kinds.BigValueTextMode.NAME).no_value(nothing)
    _coloured(panel, colors or {})
    return panel.thresholds(_thresholds(NEUTRAL))


def _stat(title: str, about: str, query: Query, width: int) -> stat.Panel:
    last = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    return (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .with_target(_target(query, "A").instant())
        .reduce_options(last)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .color_mode(kinds.BigValueColorMode.VALUE)
        .no_value("none")
        .span(width)
        .height(4)
    )


def lines(
    title: str,
    about: str,
    queries: Sequence[Query],
    unit: str = "short",
    *,
    colors: Mapping[str, str] | None = None,
    stacked: bool = False,
    steps: bool = False,
    logarithmic: bool = False,
    limit: float | None = None,
    least: float | None = 0,
    most: float | None = None,
    width: int = 12,
) -> Panel:
    """Values over time. `limit` is drawn as a line: beyond it something happens."""
    legend = common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.LIST).show_legend(True)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .line_width(2)
        .fill_opacity(25 if stacked else 0)
        .show_points(kinds.VisibilityMode.NEVER)
        .legend(legend.placement(kinds.LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
        .span(width)
        .height(8)
    )
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(_target(query, letter).range())
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    if steps:
        panel.line_interpolation(kinds.LineInterpolation.STEP_AFTER)
    if logarithmic:
        panel.scale_distribution(common.ScaleDistributionConfig().type(kinds.ScaleDistribution.LOG).log(10))
    elif least is not None:
        panel.min(least)
    if most is not None:
        panel.max(most)
    if limit is not None:
        panel.thresholds(_thresholds(((None, "transparent"), (limit, "red"))))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED))
    _coloured(panel, colors or {})
    return panel


def bars(
    title: str,
    about: str,
    query: Query,
    unit: str = "short",
    *,
    steps: Steps = NEUTRAL,
    colors: Mapping[str, str] | None = None,
    most: float | None = None,
    width: int = 8,
    height: int = 8,
) -> Panel:
    """One bar for each series, as it is now."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .with_target(_target(query, "A").instant())
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .orientation(kinds.VizOrientation.HORIZONTAL)
        .display_mode(kinds.BarGaugeDisplayMode.BASIC)
        .unit(unit)
        .min(0)
        .thresholds(_thresholds(steps))
        .no_value("none")
        .span(width)
        .height(height)
    )
    if most is not None:
        panel.max(most)
    _coloured(panel, colors or {})
    return panel


def states(
    title: str, about: str, queries: Sequence[Query], *, colors: Mapping[str, str], width: int = 24, height: int = 8
) -> Panel:
    """One row for each state, filled while it is so, in the order of `queries`. `colors`: by the end of a name."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .show_value(kinds.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(80)
        .line_width(0)
        .legend(common.VizLegendOptions().show_legend(False))
        .span(width)
        .height(height)
        .thresholds(_thresholds(NEUTRAL))
    )
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(_target(query, letter).range())
    for ending, color in colors.items():
        panel.override_by_regexp(f"/{ending}$/", [_fixed(color)])
    return panel


def rows(
    title: str,
    about: str,
    columns: Sequence[Column],
    labels: Mapping[str, str],
    *,
    jobs: bool = False,
    sort: str = "",
    width: int = 12,
) -> Panel:
    """A table: a line for each set of `labels` (label: heading), and a column for each query.

    A column whose heading is empty has only labels to show. `jobs`: the column Job leads to that job's dashboard.
    """
    panel = table.Panel().title(title).description(about).datasource(SOURCE).span(width).height(8).no_value("none")
    names = dict(labels)
    hidden = {"Time": True}
    for letter, column in zip(ascii_uppercase, columns, strict=False):
        panel.with_target(_target(Query(column.expr), letter).instant().format(PromQueryFormat.TABLE))
        value = f"Value #{letter}" if len(columns) > 1 else "Value"
        if column.heading:
            names[value] = column.heading
            panel.override_by_name(column.heading, _shown(column))
        else:
            hidden[value] = True
    order = {name: place for place, name in enumerate(names)}
    panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    organised = {"excludeByName": hidden, "renameByName": names, "indexByName": order}
    panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=organised))
    if sort:
        panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
    if jobs:
        there = "/d/retune-job?var-namespace=${__data.fields.Namespace}&var-job=${__data.fields.Job}"
        panel.override_by_name("Job", [_property("links", [{"title": "One job's life", "url": there}])])
    return panel


def _shown(column: Column) -> list[model.DynamicConfigValue]:
    found = [_property("unit", column.unit)]
    if column.steps:
        found += [
            _property("thresholds", _thresholds(column.steps).build().to_json()),
            _property("color", {"mode": "thresholds"}),
            _property("custom.cellOptions", {"type": "color-text"}),
        ]
    return found


def _target(query: Query, letter: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(letter).datasource(SOURCE)
    return target.legend_format(query.legend or "__auto")


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    listed = [model.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(listed)


def _coloured(panel: stat.Panel | timeseries.Panel | bargauge.Panel, colors: Mapping[str, str]) -> None:
    for name, color in colors.items():
        panel.override_by_name(name, [_fixed(color)])


def _fixed(color: str) -> model.DynamicConfigValue:
    return _property("color", {"mode": "fixed", "fixedColor": color})


def _property(name: str, value: object) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val=name, value=value)


def _decimals(unit: str) -> float:
    return {"short": 0, "percentunit": 0, "percent": 0, MONEY: 2}.get(unit, 1)
