"""The books of a run: how an attempt is closed, how a run fails, and which objects belong to which attempt."""

from datetime import datetime
from decimal import Decimal

from retune.api import Attempt, AttemptStage, FineTuneRunStatus, RunPhase
from retune.decide.cost import cores, cost
from retune.decide.draft import RunDraft
from retune.decide.facts import Child, Pod, RunFacts, Stage
from retune.decide.outcome import COUNTED, Outcome

# What the pods without a GPU are given (manifests use the same figures): they read, count and write.
PREFLIGHT_CPU, PREFLIGHT_MEMORY, PREFLIGHT_MEMORY_LIMIT = "250m", "512Mi", "2Gi"
TAP_CPU = "100m"  # what a pod that serves asks for beside its model server
REPORT_CPU, REPORT_MEMORY, REPORT_MEMORY_LIMIT = "100m", "256Mi", "1Gi"
_STAGES = {
    AttemptStage.PREFLIGHT: Stage.PREFLIGHT,
    AttemptStage.TRAIN: Stage.TRAIN,
    AttemptStage.REPORT: Stage.REPORT,
}


def close(draft: RunDraft, attempt: Attempt, ended: Outcome) -> Attempt:
    """Settle an attempt: its end and its seconds, once."""
    facts = draft.facts
    _, pods = of(facts, attempt)
    start, end = _span(attempt, pods, facts.now)
    seconds = max((end - start).total_seconds(), 0.0) if start else 0.0
    stage = stage_of(attempt)
    gpus = facts.spec.training.gpus_per_node if stage is Stage.TRAIN else 0  # of one pod: `nodes` is not acted on yet
    cpus = cpus_of(facts, stage)
    closed = attempt.model_copy(
        update={
            "started_at": start,
            "ended_at": end,
            "exit": ended.exit.value,
            "reason": ended.reason,
            "message": ended.message[:300],
            "counted": ended.exit in COUNTED,
            "gpu_seconds": round(seconds * gpus, 3),
            "cpu_seconds": round(seconds * float(cpus), 3),
        }
    )
    draft.replace_attempt(attempt, closed)
    draft.set(cost=cost(draft.status.attempts, facts.spec.prices))
    return closed


def _span(attempt: Attempt, pods: tuple[Pod, ...], now: datetime) -> tuple[datetime | None, datetime]:
    """When the attempt's pod ran. A pod that vanished is charged until now: never less than it cost."""
    start = attempt.started_at
    ends = [p.termination.finished for p in pods if p.termination and p.termination.finished]
    starts = [p.termination.started for p in pods if p.termination and p.termination.started]
    starts += [p.running_since for p in pods if p.running_since]
    start = start or min(starts, default=None)
    return start, max(ends, default=now)


def fail(draft: RunDraft, stage: Stage, reason: str, message: str) -> None:
    """The run ends as Failed, and the condition of the stage says why."""
    draft.condition("GatesPassed" if stage is Stage.PREFLIGHT else "Trained", "False", reason, message)
    draft.end(RunPhase.FAILED)


def open_attempt(status: FineTuneRunStatus) -> Attempt | None:
    """The attempt that has not ended, if there is one."""
    return next((a for a in status.attempts if not a.ended_at), None)


def of(facts: RunFacts, attempt: Attempt) -> tuple[Child | None, tuple[Pod, ...]]:
    """The Job and the pods of an attempt, as far as they exist."""
    key = (stage_of(attempt), attempt.number)
    child = next((c for c in facts.children if (c.stage, c.attempt) == key), None)
    return child, tuple(p for p in facts.pods if (p.stage, p.attempt) == key)


def stage_of(attempt: Attempt) -> Stage:
    """The stage of an attempt, as labels and commands name it."""
    return _STAGES[attempt.stage]


def cpus_of(facts: RunFacts, stage: Stage) -> Decimal:
    """CPU cores that a pod of that stage is charged for: what it requests."""
    if stage is Stage.PREFLIGHT:
        return cores(PREFLIGHT_CPU)
    if stage is Stage.REPORT:
        return cores(REPORT_CPU)
    given = facts.spec.training.resources
    asked = {**((given.limits if given else None) or {}), **((given.requests if given else None) or {})}
    return cores(asked.get("cpu"))  # a limit alone is a request, too


def memory_limit(facts: RunFacts, attempt: Attempt) -> str:
    """What the attempt's container may use, as written; "" if it is not limited."""
    if attempt.stage is AttemptStage.PREFLIGHT:
        return PREFLIGHT_MEMORY_LIMIT
    if attempt.stage is AttemptStage.REPORT:
        return REPORT_MEMORY_LIMIT
    resources = facts.spec.training.resources
    return str(((resources.limits if resources else None) or {}).get("memory", ""))
