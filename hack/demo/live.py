"""A run as a picture that lives: phases with their times, what its rollout counts, the conditions as they turn."""

from datetime import UTC, datetime
from typing import Self

from hack.demo import evidence
from hack.demo.run import Run
from hack.demo.settings import FRAMES
from hack.demo.timeline import PHASES, Span, Timeline, clock
from hack.demo.users import Scene
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from retune.api import Condition, Progress, RunPhase
from retune.cli.view.status import curve

WIDTH = 110
"""Columns at most; a narrower terminal gets a shorter bar, and no curve."""
NARROW = 100
BAR, SHORT_BAR = 24, 6
CURVE = 14
MARKS = {"True": ("✓", "green"), "False": ("✗", "red"), "Unknown": ("…", "yellow")}
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Picture:
    """Draws the newest look, again and again, so that the clock moves between two looks."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._run: Run | None = None
        self._timeline = Timeline()
        self._scene = Scene()
        self._losses: list[float] = []
        self._silent = 0.0
        self._frame = 0
        self._live = Live(self, console=console, refresh_per_second=FRAMES, redirect_stderr=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, run: Run, timeline: Timeline, scene: Scene) -> None:
        """Draw this look from now on."""
        self._run, self._timeline, self._scene = run, timeline, scene
        loss = run.status.progress.loss if run.status.progress else None
        if loss is not None and run.phase is RunPhase.TRAINING and self._losses[-1:] != [loss]:
            self._losses.append(loss)

    def silence(self, seconds: float) -> None:
        """Say for how long the API server has not answered."""
        self._silent = seconds

    def __rich__(self) -> RenderableType:
        if self._run is None:
            return Text("")
        self._frame += 1
        now = datetime.now(UTC)
        rows: list[RenderableType] = [self._head(self._run, now), Text(""), self._phases(self._run, now)]
        if self._scene.arms:
            rows += [Text(""), evidence.arms(self._scene)]
        if self._run.status.rollout is not None and self._run.status.rollout.evidence:
            rows += [Text(""), evidence.evidence(self._run.status.rollout)]
        if self._run.status.conditions:
            rows += [Text(""), _conditions(self._run.status.conditions, self._width)]
        if self._silent:
            rows += [Text(""), Text(f"the API server has not answered for {self._silent:.0f} s", "yellow")]
        return Padding(Group(*rows), (1, 2, 0, 2))

    @property
    def _width(self) -> int:
        return min(self._console.width - 4, WIDTH)

    @property
    def _narrow(self) -> bool:
        return self._console.width < NARROW

    def _head(self, run: Run, now: datetime) -> RenderableType:
        head = Table.grid(padding=0)
        head.add_column(width=self._width - 8)
        head.add_column(width=8, justify="right")
        passed = ((run.status.ended_at or now) - run.began).total_seconds()
        head.add_row(Text.assemble((run.name, "bold"), (f"  {self._title}", "dim")), Text(clock(passed), "bold"))
        return head

    def _phases(self, run: Run, now: datetime) -> RenderableType:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=1)
        table.add_column(width=11)
        table.add_column(width=6, justify="right")
        table.add_column()
        for span in self._timeline.spans(run):
            table.add_row(*self._phase(run, span, now))
        if run.phase.is_terminal:
            good = run.phase is RunPhase.PROMOTED
            end = Text(str(run.phase), "bold green" if good else "bold red")
            table.add_row(Text("✓" if good else "✗", "green" if good else "red"), end, "", "")
        else:
            table.add_row(Text("·", "dim"), Text("Promoted", "dim"), "", "")
        return table

    def _phase(self, run: Run, span: Span, now: datetime) -> tuple[RenderableType, ...]:
        current = run.phase is span.phase or (run.phase is RunPhase.PENDING and span.phase is PHASES[0])
        seconds = span.seconds(now)
        if current:
            mark = Text(SPINNER[self._frame % len(SPINNER)], "cyan")
            return mark, Text(str(span.phase), "bold"), Text(clock(seconds or 0)), self._details(run, span, now)
        if seconds is None or span.end is None or span.begin is None:
            return Text("·", "dim"), Text(str(span.phase), "dim"), "", ""
        if run.phase.is_terminal and run.phase is not RunPhase.PROMOTED and span.end == run.status.ended_at:
            return Text("✗", "red"), Text(str(span.phase)), Text(clock(seconds)), ""
        return Text("✓", "green"), Text(str(span.phase)), Text(clock(seconds), "dim"), self._details(run, span, now)

    def _details(self, run: Run, span: Span, now: datetime) -> RenderableType:
        progress = run.status.progress
        match span.phase:
            case RunPhase.TRAINING if progress is not None and progress.steps:
                return self._training(progress, now, live=run.phase is span.phase)
            case RunPhase.TRAINING if run.phase is span.phase:
                return Text("loading the model", "dim")
            case RunPhase.EVALUATING if run.phase is span.phase and progress is not None and progress.eta:
                passed, left = span.seconds(now) or 0.0, max(0.0, (progress.eta - now).total_seconds())
                return self._bar(passed, passed + left, Text(f"{clock(left)} left"))
            case RunPhase.EVALUATING if run.status.resolved is not None and span.begin is not None:
                return Text(f"base and candidate answer {run.status.resolved.gold.examples} gold examples", "dim")
            case RunPhase.SHADOW | RunPhase.PILOT | RunPhase.CANARY | RunPhase.BAKING if run.phase is span.phase:
                return Text(evidence.stage(run, self._scene))
            case RunPhase.LOADING if run.phase is span.phase:
                return Text("the taps load the adapter", "dim")
            case RunPhase.PREFLIGHT | RunPhase.QUEUED if run.phase is span.phase and run.waits is not None:
                return Text(f"waits: {run.waits.reason}", "yellow")
        return Text("")

    def _training(self, progress: Progress, now: datetime, *, live: bool) -> RenderableType:
        words = [f"{progress.step or 0}/{progress.steps}"]
        drawn = "" if self._narrow else curve(self._losses, CURVE)
        words += [f"loss {progress.loss:.2f} {drawn}".rstrip()] if progress.loss is not None else []
        words += [f"{progress.tokens_per_second:.0f} tokens/s"] if progress.tokens_per_second else []
        if live and progress.eta and progress.eta > now:
            words.append(f"{clock((progress.eta - now).total_seconds())} left")
        return self._bar(progress.step or 0, progress.steps or 1, Text("  ".join(words), "" if live else "dim"))

    def _bar(self, done: float, of: float, text: Text) -> RenderableType:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(ProgressBar(total=max(of, 1e-9), completed=done, width=SHORT_BAR if self._narrow else BAR), text)
        return grid


def _conditions(conditions: tuple[Condition, ...], width: int) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(width=11)
    table.add_column(width=width - 17, overflow="fold")
    for condition in conditions:
        mark, style = MARKS[condition.status]
        message = Text.assemble((condition.reason, style), (f"  {condition.message}", "dim"))
        table.add_row(Text(mark, style), Text(condition.type, "dim"), message)
    return table
