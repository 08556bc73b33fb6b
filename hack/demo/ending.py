"""The whole story in ten lines, with times and cost, and where its papers are. Prints; reads nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from hack.cluster.settings import ROOT
from hack.demo import story
from hack.demo.change import Change, Seen
from hack.demo.run import Run
from hack.demo.summary import Told
from hack.demo.timeline import clock
from hack.load import answers
from hack.load.answers import Summary
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from retune.api import FineTuneJobStatus, RunPhase, TriggerKind


@dataclass(frozen=True)
class Whole:
    """All three acts.

    Attributes:
        good, bad, again: the runs; `good` is None if it was not watched.
        change: when what happened in the third act.
        before, during, after: what users got before the change, from then to the promotion that answered it, and since.
        job: the job's status at the end.
    """

    good: Told | None
    bad: Told
    again: Told
    change: Change
    before: Seen
    during: Seen
    after: Seen
    job: FineTuneJobStatus


class Line(NamedTuple):
    """What happened, when (seconds since the epoch), with which numbers."""

    at: float
    what: str
    numbers: str


def lines(whole: Whole) -> list[Line]:
    """What is worth telling, in order of time."""
    found = [] if whole.good is None else _made(whole.good)
    if whole.good is not None and (ended := _ended(whole.good.run)) is not None:
        arms = answers.by_arm(whole.good.answers)
        by_arm = " → ".join(_share(arms[arm]) for arm in ("stable", "canary") if arm in arms)
        found.append(Line(ended, f"{whole.good.run.phase}", f"users: {by_arm} right"))
    if (ended := _ended(whole.bad.run)) is not None:
        found.append(Line(ended, f"{whole.bad.run.name} {whole.bad.run.phase}", _taken_back(whole.bad)))
    change, again = whole.change, whole.again
    shares = f"{_share(whole.before.every)} → {_share(whole.during.every)}"
    asked = f"users: {shares} right; the new: {_share(whole.during.new)}"
    found.append(Line(change.began, "people ask for something new", asked))
    limits = {one.name: one.threshold for one in whole.job.drift}
    for name, (at, value) in change.noticed.items():
        said = f"{value:.2f} of {limits[name]:g}, " if value is not None and limits.get(name) is not None else ""
        found.append(Line(at, f"drift noticed: {name}", f"{said}{at - change.began:.0f} s after it began"))
    found += _made(again)
    if (ended := _ended(again.run)) is not None:
        told = f"users: {_share(whole.after.every)} right; the new: {_share(whole.after.new)}"
        found.append(Line(ended, f"{again.run.phase}", told))
    return sorted(found, key=lambda line: line.at)


def tell(console: Console, whole: Whole, papers: Sequence[Path]) -> None:
    """Print it."""
    told = lines(whole)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="dim")
    table.add_column(style="bold")
    table.add_column()
    for line in told:
        table.add_row(clock(line.at - told[0].at), escape(line.what), escape(line.numbers))
    table.add_row("", "cost", escape(_cost(whole)))
    for paper in papers:
        shown = paper.relative_to(ROOT) if paper.is_relative_to(ROOT) else paper
        table.add_row("", "" if paper is not papers[0] else "to look at", escape(str(shown)))
    console.print(Padding(table, (0, 2)), soft_wrap=True)


def _made(told: Told) -> list[Line]:
    """How a run began, and what it came to before its users met it."""
    run, status = told.run, told.run.status
    train = status.resolved.train if status.resolved is not None else None
    taught = f", {train.corrections} of them corrected by users" if train is not None and train.corrections else ""
    rows = f"{train.examples} examples{taught}" if train is not None else ""
    found = [Line(run.began.timestamp(), f"{run.name} begins{_by_whom(run)}", rows)]
    scores, trained = status.scores, run.condition("Accepted")
    if scores is not None and scores.candidate is not None and trained is not None:
        before = scores.base if scores.stable is None else scores.stable
        on = f"{scores.metric} {before or 0:.2f} → {scores.candidate:.2f} on {scores.n} gold examples"
        found.append(Line(trained.last_transition_time.timestamp(), "trained and evaluated", on))
    return found


def _by_whom(run: Run) -> str:
    trigger = run.trigger
    return f", started by {trigger.name}" if trigger is not None and trigger.kind is TriggerKind.DRIFT else ""


def _taken_back(told: Told) -> str:
    if told.run.phase is not RunPhase.ROLLED_BACK:
        return "it should have been rolled back"
    end = story.taken_back(told.run.number, told.looks, told.answers)
    after = f"{end.after_wrong:.0f} s after its first wrong answer; " if end.after_wrong is not None else ""
    return f"{after}users had {end.answers} answers from it, {end.wrong} wrong"


def _cost(whole: Whole) -> str:
    """Of all runs, and of what made good for the drift."""
    runs = [told.run.status.cost for told in (whole.good, whole.bad, whole.again) if told is not None]
    costs = [cost for cost in runs if cost is not None]
    currency = costs[0].currency or "" if costs else ""
    said = f"{sum((Decimal(cost.amount) for cost in costs), Decimal(0))} {currency} for {len(costs)} runs"
    recovery = whole.job.recovery
    if recovery is not None:
        said += f"; drift noticed → promoted: {recovery.seconds} s and {recovery.cost} {currency}"
    return said


def _ended(run: Run) -> float | None:
    return run.status.ended_at.timestamp() if run.status.ended_at is not None else None


def _share(found: Summary) -> str:
    return "-" if found.accuracy is None else f"{found.accuracy:.2f}"
