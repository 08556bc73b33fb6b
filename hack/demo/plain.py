"""A run as lines, one for each change: for logs and for whoever reads them later."""

import time
from datetime import UTC, datetime
from typing import Self

from hack.demo import evidence
from hack.demo.run import Run
from hack.demo.settings import PROGRESS_EVERY, ROLLOUT_EVERY
from hack.demo.timeline import Timeline, clock
from hack.demo.users import Scene
from hack.load import report
from rich.console import Console

from retune.api import Condition, RunPhase


class Lines:
    """Prints what has changed since the last look."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase: RunPhase | None = None
        self._conditions: dict[str, tuple[str, str]] = {}
        self._progress = float("-inf")
        self._rollout: tuple[str, ...] = ()
        self._seen = float("-inf")
        self._silent = False
        self._begin = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, run: Run, timeline: Timeline, scene: Scene) -> None:  # noqa: ARG002 — spans come with the summary
        """Print the changes."""
        if run.phase is not self._phase:
            self._phase = run.phase
            self._progress = float("-inf")
            self._say(f"phase {run.phase}")
        for condition in run.status.conditions:
            self._condition(condition)
        if run.phase in {RunPhase.TRAINING, RunPhase.EVALUATING}:
            self._show_progress(run)
        if run.phase in run.stages:
            self._show_rollout(run, scene)

    def silence(self, seconds: float) -> None:
        """Print that the API server does not answer, once."""
        if bool(seconds) is not self._silent:
            self._silent = bool(seconds)
            self._say("the API server does not answer; waiting for it" if self._silent else "the API server is back")

    def _condition(self, condition: Condition) -> None:
        said = (condition.status, condition.reason)
        if self._conditions.get(condition.type) != said:
            self._conditions[condition.type] = said
            self._say(f"{condition.type}={condition.status} {condition.reason}: {condition.message}")

    def _show_progress(self, run: Run) -> None:
        progress = run.status.progress
        if progress is None or time.monotonic() - self._progress < PROGRESS_EVERY:
            return
        words = []
        if run.phase is RunPhase.TRAINING and progress.step is not None:
            words += [f"step {progress.step}/{progress.steps or '?'}"]
            words += [f"loss {progress.loss:.3f}"] if progress.loss is not None else []
            words += [f"{progress.tokens_per_second:.0f} tokens/s"] if progress.tokens_per_second else []
        left = (progress.eta - datetime.now(UTC)).total_seconds() if progress.eta else 0.0
        words += [f"{clock(left)} left"] if left > 0 else []
        if words:
            self._progress = time.monotonic()
            self._say("  ".join(words))

    def _show_rollout(self, run: Run, scene: Scene) -> None:
        """The weight when it changes, evidence when its state does, and now and then what all has been counted."""
        rollout = run.status.rollout
        told = (evidence.stage(run, scene), *(str(one.state) for one in rollout.evidence)) if rollout else ()
        changed = told != self._rollout
        if not changed and time.monotonic() - self._seen < ROLLOUT_EVERY:
            return
        self._rollout, self._seen = told, time.monotonic()
        if told:
            self._say(told[0])
        for arm, found in scene.arms.items():
            self._say(f"  {arm} {scene.rates.get(arm, 0.0):.1f}/s: {report.line(found)}")
        for one in rollout.evidence if rollout else ():
            self._say(f"  {evidence.line(one)}")

    def _say(self, text: str) -> None:
        passed = clock(time.monotonic() - self._begin)
        self._console.print(f"{passed:>6}  {text}", markup=False, highlight=False, soft_wrap=True)
