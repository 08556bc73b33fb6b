"""One look at a FineTuneRun, and what is read off it."""

from dataclasses import dataclass
from datetime import datetime

from hack.demo.kubectl import Object

from retune.api import Attempt, AttemptStage, Condition, FineTuneRunStatus, RunPhase, Trigger


@dataclass(frozen=True)
class Run:
    """A run as it was at one moment."""

    name: str
    number: int
    created: datetime
    status: FineTuneRunStatus
    train: str = ""
    """URI of its training set."""
    trigger: Trigger | None = None
    """What started it."""
    stages: tuple[RunPhase, ...] = ()
    """Phases after training and evaluation that it asks for."""

    @property
    def phase(self) -> RunPhase:
        """Where it stands; a run that nobody has looked at yet is pending."""
        return self.status.phase or RunPhase.PENDING

    @property
    def began(self) -> datetime:
        """When it was first seen by the operator."""
        return self.status.started_at or self.created

    @property
    def complete(self) -> bool:
        """Whether nothing more comes: it has ended, and its report is written or was given up."""
        if not self.phase.is_terminal:
            return False
        reports = self.attempts(AttemptStage.REPORT)
        return self.status.report_uri is not None or not reports or reports[-1].ended_at is not None

    @property
    def waits(self) -> Condition | None:
        """Why its pod does not run, if that is so."""
        admitted = self.condition("Admitted")
        return admitted if admitted is not None and admitted.status != "True" else None

    @property
    def reached(self) -> bool:
        """Whether it has met users, or could have: it is, or was, in a stage of its rollout."""
        return self.phase in self.stages or (self.status.rollout is not None and self.status.rollout.stage is not None)

    @property
    def verdict(self) -> Condition | None:
        """The condition that ended it without a model."""
        return next((c for c in reversed(self.status.conditions) if c.status == "False"), None)

    def condition(self, kind: str) -> Condition | None:
        """The condition of a type."""
        return next((c for c in self.status.conditions if c.type == kind), None)

    def attempts(self, stage: AttemptStage) -> list[Attempt]:
        """The attempts of a stage, oldest first."""
        return [attempt for attempt in self.status.attempts if attempt.stage is stage]


def read(found: Object) -> Run:
    """A run as kubectl shows it."""
    spec = found["spec"]
    return Run(
        name=found["metadata"]["name"],
        number=int(spec["number"]),
        created=datetime.fromisoformat(found["metadata"]["creationTimestamp"]),
        status=FineTuneRunStatus.model_validate(found.get("status") or {}),
        train=str(spec["dataset"]["train"]["uri"]),
        trigger=Trigger.model_validate(spec["trigger"]),
        stages=_stages(spec.get("rollout")) if spec.get("serving") is not None else (),
    )


def _stages(rollout: Object | None) -> tuple[RunPhase, ...]:
    asked = rollout or {}
    stages = [RunPhase.LOADING]
    stages += [RunPhase.SHADOW] if asked.get("shadow") else []
    stages += [RunPhase.PILOT] if asked.get("pilot") else []
    return (*stages, RunPhase.CANARY, RunPhase.BAKING)
