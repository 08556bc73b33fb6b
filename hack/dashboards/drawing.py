"""Values over time as SVG: lines, stacked areas, and rows of states. Pure: samples in, text out; units are pixels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil, floor, log10

from hack.dashboards.looks import moments, paint, shown, ticks

_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 12.0, 10.0, 22.0
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A series to draw: its name, colour (Grafana's name) and samples (Unix time, value)."""

    name: str
    color: str
    points: Points


@dataclass(frozen=True)
class Frame:
    """Where and over what time a plot is drawn. `step`: seconds between two samples; a longer way is a gap."""

    width: float
    height: float
    start: float
    end: float
    step: float
    left: float = _LEFT

    def x(self, at: float) -> float:
        """Pixels from the left."""
        return self.left + (at - self.start) / (self.end - self.start) * (self.width - self.left - _RIGHT)

    def y(self, share: float) -> float:
        """Pixels from the top of what lies `share` of the way up."""
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)

    def clock(self) -> str:
        """The time below the plot."""
        marks = moments(self.start, self.end, max(3, int((self.width - self.left) / 90)))
        return "".join(
            f'<line class="grid" x1="{self.x(at):.1f}" x2="{self.x(at):.1f}" y1="{_TOP}" y2="{self.y(0):.1f}"/>'
            f'<text class="tick" x="{self.x(at):.1f}" y="{self.height - 6:.1f}" text-anchor="middle">{text}</text>'
            for at, text in marks
            if self.left + 14 <= self.x(at) <= self.width - 18
        )

    def svg(self, *parts: str, label: str) -> str:
        """The picture."""
        size = f'viewBox="0 0 {self.width:.0f} {self.height:.0f}"'
        return f'<svg {size} role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


@dataclass(frozen=True)
class Scale:
    """The values' axis: linear, or by powers of ten."""

    low: float
    high: float
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """How far up a value lies, from 0 to 1."""
        if not self.logarithmic:
            return (value - self.low) / (self.high - self.low)
        return (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))

    def marks(self) -> list[float]:
        """Values to write beside it."""
        if not self.logarithmic:
            return ticks(self.low, self.high, 4)
        powers = range(round(log10(self.low)), round(log10(self.high)) + 1)
        every = ceil(len(powers) / 6)
        return [10.0**power for power in powers if (power - powers[0]) % every == 0]


def scale(
    lines: Iterable[Line], *, low: float | None, high: float | None, logarithmic: bool, limit: float | None
) -> Scale:
    """An axis that holds all samples and the limit, with round ends where `low` or `high` are not given."""
    values = [value for line in lines for _, value in line.points if value > 0 or not logarithmic]
    values += [limit] if limit is not None else []
    least, most = min(values, default=0.0), max(values, default=1.0)
    if logarithmic:
        first, last = floor(log10(least)) if least > 0 else -2, ceil(log10(most)) if most > 0 else 0
        return Scale(10.0**first, 10.0 ** max(last, first + 1), logarithmic=True)
    bottom, top = low if low is not None else least, high if high is not None else most
    if top <= bottom:
        top, bottom = (bottom + (abs(bottom) or 1.0), bottom if low is not None else bottom - (abs(bottom) or 1.0))
    marks = ticks(bottom, top, 4)
    step = marks[1] - marks[0] if len(marks) > 1 else top - bottom
    return Scale(
        low if low is not None else floor(bottom / step + 1e-9) * step,
        high if high is not None else ceil(top / step - 1e-9) * step,
    )


def plot(
    frame: Frame, lines: Sequence[Line], axis: Scale, unit: str, *, stacked: bool, steps: bool, limit: float | None
) -> str:
    """Lines over time; stacked, each on the shoulders of those before it."""
    parts = [
        f'<line class="grid" x1="{frame.left}" x2="{frame.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{frame.left - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(shown(mark, unit))}</text>'
        for mark in axis.marks()
        for y in (frame.y(axis.share(mark)),)
    ]
    parts.append(frame.clock())
    below: dict[float, float] = {}
    for line in lines:
        points = [p for p in line.points if not axis.logarithmic or p[1] > 0]
        if stacked:
            top = [(at, value + below.get(at, 0.0)) for at, value in points]
            parts += [_area(frame, axis, run, below, line, steps=steps) for run in _unbroken(top, frame.step)]
            below |= dict(top)
        else:
            parts += [_stroke(frame, axis, run, line, steps=steps) for run in _unbroken(points, frame.step)]
    if limit is not None:
        y = frame.y(axis.share(limit))
        parts.append(f'<line class="limit" x1="{frame.left}" x2="{frame.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    return frame.svg(*parts, label=", ".join(line.name for line in lines))


def timeline(frame: Frame, lines: Sequence[Line]) -> str:
    """A row for each line, filled while it has samples."""
    high = min(28.0, (frame.height - _TOP - _BOTTOM) / max(1, len(lines)))
    parts = [frame.clock()]
    for number, line in enumerate(lines):
        y = _TOP + high * number
        parts.append(
            f'<text class="row" x="{frame.left - 8}" y="{y + high / 2 + 4:.1f}" text-anchor="end">'
            f"{escape(line.name)}</text>"
        )
        for run in _unbroken(line.points, frame.step):
            x, end = frame.x(run[0][0]), frame.x(min(frame.end, run[-1][0] + frame.step))
            parts.append(
                f'<rect x="{x:.1f}" y="{y + high * 0.12:.1f}" width="{max(2.0, end - x):.1f}" '
                f'height="{high * 0.76:.1f}" rx="2" style="fill:{paint(line.color)}"/>'
            )
    return frame.svg(*parts, label=", ".join(line.name for line in lines))


def _unbroken(points: Points, step: float) -> list[list[tuple[float, float]]]:
    """Runs of samples without a gap of more than two steps."""
    runs: list[list[tuple[float, float]]] = [[points[0]]] if points else []
    for before, after in pairwise(points):
        if after[0] - before[0] > 2.5 * step:
            runs.append([])
        runs[-1].append(after)
    return runs


def _path(frame: Frame, axis: Scale, run: Points, *, steps: bool) -> list[tuple[float, float]]:
    drawn = [(frame.x(at), frame.y(min(1.0, max(0.0, axis.share(value))))) for at, value in run]
    if not steps:
        return drawn
    cornered = [drawn[0]]
    for before, after in pairwise(drawn):
        cornered += [(after[0], before[1]), after]
    return cornered


def _said(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _stroke(frame: Frame, axis: Scale, run: Points, line: Line, *, steps: bool) -> str:
    drawn = _path(frame, axis, run, steps=steps)
    if len(drawn) == 1:
        return f'<circle cx="{drawn[0][0]:.1f}" cy="{drawn[0][1]:.1f}" r="2.5" style="fill:{paint(line.color)}"/>'
    return f'<polyline points="{_said(drawn)}" style="stroke:{paint(line.color)}"/>'


def _area(
    frame: Frame, axis: Scale, run: Sequence[tuple[float, float]], below: dict[float, float], line: Line, *, steps: bool
) -> str:
    top = _path(frame, axis, run, steps=steps)
    bottom = _path(frame, axis, [(at, below.get(at, axis.low)) for at, _ in run], steps=steps)
    color = paint(line.color)
    filled = f'<polygon class="area" points="{_said([*top, *reversed(bottom)])}" style="fill:{color}"/>'
    return filled + f'<polyline points="{_said(top)}" style="stroke:{color}"/>'
