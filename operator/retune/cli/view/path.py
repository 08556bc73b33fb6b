"""A run's way through its phases: those behind it with their times, the one it is in, those ahead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from retune.api.phases import RunPhase
from retune.cli.objects import (
    Raw,
    approvals_required,
    began,
    condition,
    ended,
    items,
    moment,
    part,
    phase,
)
from retune.cli.view.paper import BAD, CARE, GOOD, QUIET
from retune.cli.wording import clock

ARROW = " → "
DONE, HERE, AHEAD, BROKEN = "done", "here", "ahead", "broken"
_MARKS = {DONE: ("✓ ", GOOD), HERE: ("● ", "bold cyan"), AHEAD: ("", QUIET), BROKEN: ("✗ ", BAD)}
ROLLOUT = (RunPhase.LOADING, RunPhase.SHADOW, RunPhase.PILOT, RunPhase.CANARY, RunPhase.BAKING)
# Ends in which the last phase did all its work, and its answer was no.
_ANSWERED = frozenset({RunPhase.DECLINED, RunPhase.REJECTED, RunPhase.ROLLED_BACK, RunPhase.INCONCLUSIVE})


@dataclass(frozen=True)
class Step:
    """One phase on the way."""

    phase: str
    state: str
    seconds: float | None = None


def steps(run: Raw, now: datetime, seen: Mapping[str, datetime] | None = None) -> list[Step]:
    """The way of a run.

    Args:
        run: the FineTuneRun.
        now: the time of day.
        seen: when phases began, as far as somebody watched; what the status tells needs no witness.
    """
    here, times = RunPhase(phase(run)), {**_begins(run), **(seen or {})}
    known = _phases(run)
    over = moment(part(run, "status", "endedAt"))
    if here is RunPhase.PROMOTED:
        reached, last = len(known), DONE
    elif ended(run):
        reached = known.index(_reached(run))
        last = DONE if here in _ANSWERED else BROKEN
    else:
        reached, last = known.index(here), HERE
    way = []
    for at, one in enumerate(known):
        state = DONE if at < reached else last if at == reached else AHEAD
        if state == AHEAD and ended(run):
            break
        way.append(Step(one.value, state, _seconds(known, at, times, over or now, state)))
    if ended(run):
        way.append(Step(here.value, DONE if here is RunPhase.PROMOTED else BROKEN))
    else:
        way.append(Step(RunPhase.PROMOTED.value, AHEAD))
    return way


@dataclass(frozen=True)
class Line:
    """The way as a line: `✓ Preflight 0:21 → ● Training 3:48 → Evaluating → Promoted`; folds between phases only."""

    way: Sequence[Step]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As many phases on a line as fit."""
        text = Text()
        for step in self.way:
            said = _said(step)
            room = options.max_width - (0 if step is self.way[-1] else len(ARROW))
            if text and text.cell_len + len(ARROW) + said.cell_len > room:
                yield text.append(ARROW.rstrip(), QUIET)
                text = Text()
            text.append(ARROW if text else "", QUIET).append_text(said)
        yield text


def _said(step: Step) -> Text:
    mark, style = _MARKS[step.state]
    if step.phase in (RunPhase.CANCELLED, RunPhase.INCONCLUSIVE):
        style = CARE
    text = Text(f"{mark}{step.phase}", style)
    if step.seconds is not None:
        text.append(f" {clock(step.seconds)}", QUIET if step.state == DONE else "default not bold")
    return text


def _phases(run: Raw) -> list[RunPhase]:
    here = RunPhase(phase(run))
    known = [RunPhase.PENDING, RunPhase.PREFLIGHT]
    if approvals_required(run) or here is RunPhase.AWAITING_APPROVAL:
        known.append(RunPhase.AWAITING_APPROVAL)
    known += [RunPhase.QUEUED, RunPhase.TRAINING, RunPhase.EVALUATING]
    served = "serving" in part(run, "spec")
    if here in ROLLOUT or part(run, "status", "rollout") or served:
        rollout = part(run, "spec", "rollout")
        asked = {RunPhase.SHADOW: "shadow", RunPhase.PILOT: "pilot"}
        known += [p for p in ROLLOUT if p not in asked or p is here or asked[p] in rollout]
    return known


def _reached(run: Raw) -> RunPhase:
    """The last phase that an ended run was in, by the traces it left."""
    stage = part(run, "status", "rollout", "stage")
    if stage:
        return RunPhase(stage)
    if condition(run, "Accepted") or part(run, "status", "scores"):
        return RunPhase.EVALUATING
    trained = [a for a in items(run, "status", "attempts") if a.get("stage", "Train") == "Train"]
    if any(a.get("startedAt") for a in trained):
        return RunPhase.TRAINING
    if trained:
        return RunPhase.QUEUED
    if any(g.get("verdict") == "Waiting" for g in items(run, "status", "gates")) and approvals_required(run):
        return RunPhase.AWAITING_APPROVAL
    return RunPhase.PREFLIGHT if items(run, "status", "attempts") else RunPhase.PENDING


def _begins(run: Raw) -> dict[str, datetime]:
    """When phases began, as far as the status tells."""
    attempts = items(run, "status", "attempts")
    trained = [a for a in attempts if a.get("stage", "Train") == "Train"]
    checks = [at for a in attempts if a.get("stage") == "Preflight" and (at := moment(a.get("endedAt")))]
    checked = max(checks, default=None)
    said = [at for a in items(run, "status", "approvals") if (at := moment(a.get("at")))]
    found = {
        RunPhase.PREFLIGHT.value: began(run),
        RunPhase.AWAITING_APPROVAL.value: checked,
        RunPhase.QUEUED.value: max(checked, *said) if checked and said else checked,
        RunPhase.TRAINING.value: moment(trained[-1].get("startedAt")) if trained else None,
        str(part(run, "status", "rollout", "stage") or ""): moment(part(run, "status", "rollout", "since")),
    }
    return {key: at for key, at in found.items() if at is not None}


def _seconds(
    known: list[RunPhase], at: int, times: Mapping[str, datetime], until: datetime, state: str
) -> float | None:
    """How long a phase took: until the next one that must have followed it, or until now if it is the last so far."""
    begin = times.get(known[at].value)
    if begin is None or state == AHEAD:
        return None
    if state != DONE:
        return max(0.0, (until - begin).total_seconds())
    end = times.get(known[at + 1].value) if at + 1 < len(known) else until
    return None if end is None or end < begin else (end - begin).total_seconds()
