"""One screen for `status`: what is happening, is it fine, what happens next, what does it cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from statistics import fmean

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from retune.api.phases import JobPhase, RunPhase
from retune.cli.objects import Raw, approvals_required, began, ended, items, moment, name, part, phase
from retune.cli.view import cost, gates, notes, rollout, scores, trigger
from retune.cli.view.ahead import ahead
from retune.cli.view.paper import BAD, CARE, QUIET, painted, sheet, stacked
from retune.cli.view.path import Line, steps
from retune.cli.wording import age, clock

BAR = 30  # columns
CURVE = 16
BLOCKS = "▁▂▃▄▅▆▇█"
EVENTS = 5


@dataclass(frozen=True)
class Watched:
    """What only somebody who keeps watching knows: when phases began, the losses so far, how long nobody answered."""

    seen: Mapping[str, datetime] = field(default_factory=dict)
    losses: Sequence[float] = ()
    silent: float = 0.0


def status(
    job: Raw | None, run: Raw | None, events: list[Raw], now: datetime, watched: Watched | None = None
) -> RenderableType:
    """The screen of a job and one of its runs; either may be missing, not both."""
    watched = watched or Watched()
    found = notes.not_fine(job, run)
    met = rollout.in_rollout(run)  # what let it be trained is behind it, and a screen is short
    rows = [
        ("progress", _progress(run, now, watched.losses)),
        ("attempts", _attempts(run)),
        ("gates", gates.short(run) if run and not met else None),
        ("approvals", None if met else _approvals(run)),
        ("scores", scores.headline(run) if run else None),
        ("cost", cost.of_run(run) if run else ""),
        ("next", ahead(job, run, now)),
    ]
    return stacked(
        (
            _head(job, run, now),
            Line(steps(run, now, watched.seen)) if run else None,
            rollout.rollout(run, now) if run else None,
            sheet(rows),
            sheet([("attention", notes.notes(found))]),
            sheet([("events", notes.events(events, now, most=EVENTS))]),
            Text(f"the API server has not answered for {watched.silent:.0f} s", CARE) if watched.silent else None,
        )
    )


def _head(job: Raw | None, run: Raw | None, now: datetime) -> RenderableType:
    whose = job or run or {}
    stable = part(job, "status", "stable")
    weight = part(job, "status", "candidate", "weight")
    serving = ""
    if stable:
        serving = f"{stable.get('run')}, since {age(moment(stable.get('since')), now)}"
    return sheet(
        [
            ("job" if job else "run", _job(job, whose)),
            ("run", _run(run, now) if run and job else "none yet" if job else None),
            ("stable", serving),
            ("candidate", f"{weight} % of traffic" if weight else ""),
            ("budget", cost.of_job(job)),
        ]
    ) or Text("")


def _job(job: Raw | None, whose: Raw) -> Text:
    text = Text.assemble((f"{whose['metadata'].get('namespace', '')}/", QUIET), (name(whose), "bold"))
    if job is None:
        return text.append("  its job is gone", CARE)
    here = part(job, "status", "phase") or "New"
    text.append("  ").append_text(painted(here))
    fruitless = part(job, "status", "fruitlessRuns") or 0
    if fruitless:
        limit = part(job, "spec", "triggers", "haltAfterFruitlessRuns")
        of = f" of {limit}" if limit else ""
        text.append(f"  {fruitless}{of} runs without a promotion", BAD if here == JobPhase.HALTED else CARE)
    return text


def _run(run: Raw, now: datetime) -> Text:
    why = trigger.told(run)
    text = Text.assemble(name(run), "  ", painted(phase(run)))
    start, end = began(run), moment(part(run, "status", "endedAt"))
    if start and ended(run) and end:
        text.append(f"  {age(end, now)} ago, after {clock((end - start).total_seconds())}", QUIET)
    elif start:
        text.append(f"  for {clock((now - start).total_seconds())}", QUIET)
    return text.append(f"  started by {why}", QUIET) if why else text


def _progress(run: Raw | None, now: datetime, losses: Sequence[float]) -> RenderableType | None:
    progress = part(run, "status", "progress")
    if run is None or ended(run) or not progress.get("steps"):
        return None
    done, of = progress.get("step") or 0, progress["steps"]
    words = [f"step {done}/{of}"]
    if progress.get("loss") is not None:
        words.append(f"loss {progress['loss']:.3f} {curve(losses)}".rstrip())
    if progress.get("tokensPerSecond"):
        words.append(f"{progress['tokensPerSecond']:.0f} tok/s")
    eta = moment(progress.get("eta"))
    if eta and eta > now and phase(run) in (RunPhase.TRAINING, RunPhase.EVALUATING):
        words.append(f"{clock((eta - now).total_seconds())} left")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=BAR)
    grid.add_column(overflow="fold")
    grid.add_row(ProgressBar(total=max(of, 1), completed=done, width=BAR), "  ".join(words))
    return grid


def _attempts(run: Raw | None) -> str:
    """How the attempts before this one ended; "" if the first one of each stage has sufficed."""
    before = [a for a in items(run, "status", "attempts") if a.get("endedAt") and a.get("exit") != "Succeeded"]
    told = [f"{a.get('stage', 'Train').lower()} {a.get('number')} {a.get('exit')}" for a in before[-3:]]
    more = f"{len(before) - 3} earlier, " if len(before) > 3 else ""
    return f"{more}{', '.join(told)}" if told else ""


def _approvals(run: Raw | None) -> Text | None:
    wanted = approvals_required(run) if run else []
    if not wanted:
        return None
    given = {a.get("name"): a.get("by") for a in items(run, "status", "approvals")}
    parts = [Text(f"{n} by {given[n]}") if n in given else Text(f"{n} missing", CARE) for n in wanted]
    return Text(", ").join(parts)


def curve(values: Sequence[float], width: int = CURVE) -> str:
    """All values so far as a line of at most `width` blocks, each the mean of as many."""
    if len(values) < 2:
        return ""
    size = ceil(len(values) / width)
    means = [fmean(values[at : at + size]) for at in range(0, len(values), size)]
    low, high = min(means), max(means)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((mean - low) / ((high - low) or 1) * top)] for mean in means)
