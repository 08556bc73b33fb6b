"""How long a run was in each phase, as far as its status and our own eyes can tell."""

from dataclasses import dataclass
from datetime import UTC, datetime

from hack.demo.run import Run

from retune.api import AttemptStage, RunPhase

PHASES = (RunPhase.PREFLIGHT, RunPhase.QUEUED, RunPhase.TRAINING, RunPhase.EVALUATING)


@dataclass(frozen=True)
class Span:
    """A phase's begin and end; either is None while it is not known."""

    phase: RunPhase
    begin: datetime | None
    end: datetime | None

    def seconds(self, now: datetime) -> float | None:
        """Its length until `now` at most."""
        return max(0.0, ((self.end or now) - self.begin).total_seconds()) if self.begin else None


class Timeline:
    """The phases of one run.

    Where an attempt follows another one, Queued and Training count from the last attempt. When evaluation began is
    not in the status, so it is known only if the run was being watched; Training then stands for both. Stages of the
    rollout are known as far as they were watched, too.
    """

    def __init__(self) -> None:
        self._evaluating: datetime | None = None
        self._trained_before = False
        self._stages: dict[RunPhase, datetime] = {}

    def look(self, run: Run) -> None:
        """Take note of what the status will not tell later."""
        if run.phase is RunPhase.TRAINING:
            self._trained_before = True
            self._evaluating = None
        elif run.phase is RunPhase.EVALUATING and self._evaluating is None and self._trained_before:
            progress = run.status.progress
            self._evaluating = progress.updated_at if progress else None
        if run.phase in run.stages:
            self._stages.setdefault(run.phase, datetime.now(UTC))

    def spans(self, run: Run) -> tuple[Span, ...]:
        """The phases of work, then the stages of the rollout, in order."""
        checked = run.condition("GatesPassed")
        attempt = next(reversed(run.attempts(AttemptStage.TRAIN)), None)
        read = checked.last_transition_time if checked and checked.status == "True" else None
        trains = attempt.started_at if attempt else None
        over = run.status.ended_at
        worked = (attempt.ended_at if attempt else None) or over
        return (
            Span(RunPhase.PREFLIGHT, run.began, read or over),
            Span(RunPhase.QUEUED, read, trains or over),
            Span(RunPhase.TRAINING, trains, self._evaluating or worked),
            Span(RunPhase.EVALUATING, self._evaluating, worked),
            *self._rollout(run),
        )

    def begin(self, stage: RunPhase) -> datetime | None:
        """When a stage of the rollout was first seen."""
        return self._stages.get(stage)

    def _rollout(self, run: Run) -> list[Span]:
        seen = [stage for stage in run.stages if stage in self._stages]
        ends = [self._stages[stage] for stage in seen[1:]] + [run.status.ended_at]
        known = dict(zip(seen, ends, strict=False))
        return [Span(stage, self._stages.get(stage), known.get(stage)) for stage in run.stages]


def clock(seconds: float) -> str:
    """Seconds as a stopwatch shows them: 0:09, 12:34."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
