"""`report.html` from a report: one file, no script, nothing loaded from anywhere. Touches only its own templates.

Prompts and answers are hostile: templates escape everything, and every text is made visible before it is escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from retune_trainer.reporting import charts, wording
from retune_trainer.reporting.build import Report
from retune_trainer.reporting.plain import cut, visible
from retune_trainer.reporting.shapes import Confusion

LARGEST = 1_000_000
"""Bytes of a page that a phone opens at once."""

SMALL_SEGMENT = 50
CLASSES = 40


@dataclass(frozen=True)
class Bounds:
    """How much is shown: characters of a text, and how many of each list."""

    text: int
    examples: int
    pairs: int
    segments: int
    rows: int = 64


SIZES = (Bounds(4000, 50, 50, 200), Bounds(1000, 50, 50, 100), Bounds(300, 50, 20, 50), Bounds(100, 20, 10, 20, 20))


def render(report: Report) -> bytes:
    """The page, at most `LARGEST` bytes: where everything is too much, texts and lists are cut further."""
    page = b""
    for bounds in SIZES:
        page = _render(report, bounds)
        if len(page) <= LARGEST:
            break
    return page


@pass_context
def _shown(context: Context, value: object) -> object:
    """What the templates do with every value before they escape it."""
    # Markup comes only from our own macros: no text of a report is ever marked as safe.
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    bounds: Bounds = context["bounds"]
    return visible(cut(value, bounds.text))


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals.update(w=wording, small=SMALL_SEGMENT)
    return environment.get_template("report.html.jinja")


def _render(report: Report, bounds: Bounds) -> bytes:
    whole = _template().render(
        r=report,
        bounds=bounds,
        title=_TITLES.get(report.verdict.phase, f"The run ended as {report.verdict.phase}"),
        tone=_TONES.get(report.verdict.phase, "warn"),
        why=wording.sentences(report.verdict.message),
        limits={(limit.gate, limit.name): limit for limit in report.limits},
        off={(n.gate, n.name) for n in report.limits if _off(report, n.gate, n.name, n.rule, n.value)},
        scores=charts.scores(report),
        uplifts=charts.uplifts(report),
        curve=charts.curve(report.training.curve),
        matrices=[
            m for m in (_matrix("candidate", report.confusion.candidate), _matrix("base", report.confusion.base)) if m
        ],
    )
    return whole.encode("utf-8", "replace")


_TITLES = {
    "Promoted": "Promoted: the candidate passed its evaluation",
    "Declined": "Declined: a gate failed, and nothing was trained",
    "Rejected": "Rejected: the candidate did not pass its evaluation",
    "RolledBack": "Rolled back: the candidate did harm",
    "Inconclusive": "Inconclusive: the candidate could not be judged",
    "Failed": "Failed: the run could not be finished",
    "Cancelled": "Cancelled by a person",
}
_TONES = {"Promoted": "good", "Declined": "bad", "Rejected": "bad", "RolledBack": "bad", "Failed": "bad"}


def _off(report: Report, gate: str, name: str, rule: str, limit: float) -> bool:
    value = next((g.values.get(name) for g in report.gates if g.name == gate), None)
    if value is None:
        return False
    return {"at least": value < limit, "at most": value > limit, "below": value >= limit}[rule]


@dataclass(frozen=True)
class Cell:
    """A count of the confusion matrix; `heat` from 0 to 9 by its share of its row."""

    count: int
    heat: int
    right: bool


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix to be shown."""

    model: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]
    right: int
    total: int


def _matrix(model: str, confusion: Confusion | None) -> Matrix | None:
    if confusion is None or not 0 < len(confusion.classes) <= CLASSES or not confusion.counts:
        return None
    classes = confusion.classes
    wide = max(len(row) for row in confusion.counts)
    if len(confusion.counts) > len(classes) or wide > len(classes) + 1:
        return None
    columns = (*classes, "(other)")[:wide]
    rows, right = [], 0
    for i, counts in enumerate(confusion.counts):
        total = sum(counts)
        right += counts[i] if i < len(counts) else 0
        cells = tuple(
            Cell(n, min(9, max(0, round(9 * n / total))) if total > 0 else 0, i == j) for j, n in enumerate(counts)
        )
        rows.append((classes[i], total, cells))
    return Matrix(model, columns, tuple(rows), right, sum(total for _, total, _ in rows))
