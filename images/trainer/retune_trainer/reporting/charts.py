"""Where things lie in the report's charts, in percent of the width and pixels of the height. Pure.

The templates draw them, as SVG without a viewBox: lines and dots stretch with the page, text keeps its size, on a phone
as on paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retune_trainer.reporting import wording
from retune_trainer.reporting.build import Report
from retune_trainer.reporting.shapes import Arms, Comparison, Point

EDGE = 4.0
"""Percent of the width kept free at both ends, for the half of a dot or a label that lies outside."""


@dataclass(frozen=True)
class Tick:
    """A mark of an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A linear scale from `low` to `high`."""

    low: float
    high: float
    ticks: tuple[Tick, ...] = ()

    def at(self, value: float | None) -> float | None:
        """Percent of the width, kept inside the chart."""
        if value is None:
            return None
        share = (value - self.low) / (self.high - self.low)
        return round(EDGE + (100 - 2 * EDGE) * min(1.0, max(0.0, share)), 3)


def axis(values: Iterable[float | None], *, most: int = 5, points: bool = False, signs: bool = False) -> Axis:
    """A scale around all `values` with round marks; `points`: marks are percent points of fractions."""
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.05, high + 0.05
    step = _round_step((high - low) / most)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    ends = round((high - low) / step)
    factor = 100 if points else 1
    digits = max(0, -math.floor(math.log10(step * factor) + 1e-9))
    plain = Axis(low, high)
    ticks = []
    for i in range(ends + 1):
        value = low + i * step
        number = round(value * factor, 10) + 0.0
        label = wording.signed(f"{number:+.{digits}f}" if signs and number else f"{number:.{digits}f}")
        ticks.append(Tick(plain.at(value) or 0.0, label))
    return Axis(low, high, tuple(ticks))


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))


@dataclass(frozen=True)
class Row:
    """One line of a chart of dots. Places are percent of the width; None is not drawn."""

    label: str
    note: str
    base: float | None = None
    stable: float | None = None
    candidate: float | None = None
    low: float | None = None
    high: float | None = None
    zero: float | None = None
    needed: float | None = None
    smallest: float | None = None
    told: str = ""


@dataclass(frozen=True)
class Dots:
    """A chart of dots: lines that share an axis."""

    unit: str
    axis: Axis
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class _Scored:
    label: str
    metric: str
    arms: Arms
    n: int | None
    span: tuple[float, float] | None


def scores(report: Report) -> list[Dots]:
    """Scores of base, stable and candidate, a line for each set and metric; fractions share an axis."""
    found = [_scored(report, "Gold", name, arms) for name, arms in report.metrics.items()]
    if not found and report.scores is not None and report.scores.metric is not None:
        s = report.scores
        found = [_scored(report, "Gold", s.metric or "", Arms(base=s.base, stable=s.stable, candidate=s.candidate))]
    found += [
        _scored(report, set_, name, _arms_of(report.comparisons, set_, name))
        for set_, name in dict.fromkeys((c.set, c.metric or "") for c in report.comparisons if c.set != "Gold")
    ]
    decides = report.scores.metric if report.scores is not None else None
    found.sort(key=lambda s: s.metric != decides or not s.label.startswith("Gold"))
    found = [s for s in found if s.arms.candidate is not None]
    groups: dict[str, list[_Scored]] = {}
    for one in found:
        groups.setdefault("fraction" if one.metric in wording.FRACTIONS else one.metric, []).append(one)
    return [_score_chart(unit, group) for unit, group in groups.items()]


def _scored(report: Report, set_: str, metric: str, arms: Arms) -> _Scored:
    found = [c for c in report.comparisons if (c.set, c.metric) == (set_, metric)]
    found.sort(key=lambda c: c.against != "Stable")
    span = _span(found[0]) if found else None
    n = found[0].n if found else (report.scores.n if report.scores is not None else None)
    return _Scored(f"{set_} set, {wording.metric(metric)}", metric, arms, n, span)


def _arms_of(comparisons: Sequence[Comparison], set_: str, metric: str) -> Arms:
    ours = [c for c in comparisons if (c.set, c.metric) == (set_, metric)]
    by = {c.against: c.reference for c in ours}
    return Arms(base=by.get("Base"), stable=by.get("Stable"), candidate=ours[0].candidate)


def _span(comparison: Comparison) -> tuple[float, float] | None:
    """The bounds of the uplift, laid around the reference's score: where the candidate's own score may lie."""
    if comparison.reference is None or comparison.lower is None or comparison.upper is None:
        return None
    sign = -1 if comparison.metric == "Perplexity" else 1
    ends = sorted((comparison.reference + sign * comparison.lower, comparison.reference + sign * comparison.upper))
    return ends[0], ends[1]


def _score_chart(unit: str, group: list[_Scored]) -> Dots:
    values = [v for s in group for v in (s.arms.base, s.arms.stable, s.arms.candidate, *(s.span or ()))]
    scale = axis(values)
    rows = []
    for s in group:
        low, high = s.span or (None, None)
        known = [("base", s.arms.base), ("stable", s.arms.stable), ("candidate", s.arms.candidate)]
        note = ", ".join(f"{name} {wording.score(value)}" for name, value in known if value is not None)
        span = f"; interval of the candidate {wording.score(low)} to {wording.score(high)}" if s.span else ""
        rows.append(
            Row(
                label=s.label + (f", n{wording.THIN}={wording.THIN}{wording.count(s.n)}" if s.n is not None else ""),
                note=note,
                base=scale.at(s.arms.base),
                stable=scale.at(s.arms.stable),
                candidate=scale.at(s.arms.candidate),
                low=scale.at(low),
                high=scale.at(high),
                told=f"{note}{span}.",
            )
        )
    return Dots("score from 0 to 1" if unit == "fraction" else wording.metric(unit), scale, tuple(rows))


def uplifts(report: Report) -> list[Dots]:
    """Uplifts with both bounds, what was asked for, and the smallest that could have been shown: a line each."""
    limits = {(n.set, n.against): n.value for n in report.needed}
    groups: dict[str, list[Comparison]] = {}
    for c in report.comparisons:
        if c.uplift is not None:
            groups.setdefault("fraction" if c.metric in wording.FRACTIONS else c.metric or "", []).append(c)
    return [_uplift_chart(unit, group, limits) for unit, group in groups.items()]


def _uplift_chart(unit: str, group: list[Comparison], limits: dict[tuple[str, str], float]) -> Dots:
    values: list[float | None] = [0.0]
    for c in group:
        values += [c.uplift, c.lower, c.upper, c.smallest, limits.get((c.set, c.against))]
    points = unit == "fraction"
    scale = axis(values, points=points, signs=True)
    rows = []
    for c in group:
        needed = limits.get((c.set, c.against))
        note = f"{wording.difference(c.uplift, c.metric)} ({wording.interval(c.lower, c.upper, c.metric)})"
        told = f"Uplift {note}"
        told += f"; the lower bound must reach {wording.difference(needed, c.metric)}" if needed is not None else ""
        if c.smallest is not None:
            told += f"; the smallest that could have been shown is {wording.difference(c.smallest, c.metric)}"
        name = "" if points else f", {wording.metric(c.metric)}"
        rows.append(
            Row(
                label=f"{c.set} set, against {c.against.lower()}{name}",
                note=note,
                candidate=scale.at(c.uplift),
                low=scale.at(c.lower),
                high=scale.at(c.upper),
                zero=scale.at(0.0),
                needed=scale.at(needed),
                smallest=scale.at(c.smallest),
                told=f"{told}.",
            )
        )
    return Dots("percent points" if points else f"difference of {wording.metric(unit)}", scale, tuple(rows))


@dataclass(frozen=True)
class Line:
    """One line of the learning curve: places as (percent of the width, pixels from the top)."""

    name: str
    points: tuple[tuple[float, float], ...]
    last: float
    best: float
    best_step: int

    @property
    def path(self) -> str:
        """For a polyline in a box of 1000 by the chart's height."""
        return " ".join(f"{10 * x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True)
class Curve:
    """The learning curve."""

    height: float
    lines: tuple[Line, ...]
    steps: Axis
    losses: tuple[Tick, ...]


def curve(points: Sequence[Point], height: float = 200.0) -> Curve | None:
    """Loss by step, of training and on what was held out; None with less than two points."""
    series = {
        "training loss": [(p.step, p.loss) for p in points if p.step is not None and p.loss is not None],
        "held-out loss": [(p.step, p.held_out) for p in points if p.step is not None and p.held_out is not None],
    }
    drawn = {name: found for name, found in series.items() if found}
    if max((len(found) for found in drawn.values()), default=0) < 2:
        return None
    steps = _whole(axis([step for found in drawn.values() for step, _ in found]))
    losses = axis([loss for found in drawn.values() for _, loss in found], most=4)
    top, bottom = 18.0, height - 6.0

    def y(loss: float) -> float:
        return round(bottom - (bottom - top) * (loss - losses.low) / (losses.high - losses.low), 2)

    lines = []
    for name, found in drawn.items():
        best_step, best = min(found, key=lambda item: item[1])
        places = tuple((steps.at(step) or 0.0, y(loss)) for step, loss in found)
        lines.append(Line(name, places, found[-1][1], best, best_step))
    span = losses.high - losses.low
    ticks = tuple(
        Tick(y(losses.low + i * span / (len(losses.ticks) - 1)), tick.label) for i, tick in enumerate(losses.ticks)
    )
    return Curve(height, tuple(lines), steps, ticks)


def _whole(scale: Axis) -> Axis:
    """Steps are whole numbers: marks between them are left out."""
    return Axis(scale.low, scale.high, tuple(tick for tick in scale.ticks if "." not in tick.label))
