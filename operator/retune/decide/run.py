"""One step of a FineTuneRun: an ordered chain of small rules, each "given these facts, is this so, and what then".

The first rule that settles the matter ends the chain. A step can run at any moment, twice, or after a crash at any
line.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from retune.api import (
    Artifact,
    Attempt,
    AttemptStage,
    FineTuneRunStatus,
    MetricScores,
    Progress,
    Resolved,
    RunPhase,
    Scores,
    SegmentScores,
)
from retune.decide.acceptance import judge
from retune.decide.actions import Action, CreateChild, CreateConfig, DeleteChild, RunDecision
from retune.decide.conditions import Truth, events_of, find, set_condition
from retune.decide.cost import cores, cost
from retune.decide.facts import Child, Pod, RunFacts, Stage
from retune.decide.outcome import COUNTED, FATAL, Exit, Outcome, outcome
from retune.decide.waiting import Wait, waiting

MAX_BACKOFF = 300  # s
MAX_ATTEMPTS = 64  # as many as status.attempts can hold
UNREADABLE = (KeyError, TypeError, AttributeError, ValueError)  # what a foreign result can lead to
STAGES = {Stage.PREFLIGHT: AttemptStage.PREFLIGHT, Stage.TRAIN: AttemptStage.TRAIN}
# Noted on an attempt whose pod was seen being deleted: by the time the Job fails, the pod is gone and only its exit
# code is left, which looks like a crash.
POD_DELETED = "PodDeleted"
EVALUATING_STAGES = frozenset({"Evaluating", "Publishing"})
# What a preflight pod is given: it only reads, so it stays small (manifests use the same figures).
PREFLIGHT_CPU, PREFLIGHT_MEMORY, PREFLIGHT_MEMORY_LIMIT = "250m", "512Mi", "2Gi"


@dataclass
class Draft:
    """The decision while the chain works on it."""

    facts: RunFacts
    status: FineTuneRunStatus
    actions: list[Action] = field(default_factory=list)
    requeue: float | None = None

    def set(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the status model
        """Change fields of the status."""
        self.status = self.status.model_copy(update=changes)

    def condition(self, type_: str, truth: Truth, reason: str, message: str) -> None:
        """Set one condition."""
        self.set(
            conditions=set_condition(
                self.status.conditions,
                type_,
                truth,
                reason,
                message,
                generation=self.facts.meta.generation,
                now=self.facts.now,
            )
        )

    def again_in(self, seconds: float) -> None:
        """Look again after `seconds` at the latest."""
        seconds = max(seconds, 0.05)
        self.requeue = seconds if self.requeue is None else min(self.requeue, seconds)

    def replace_attempt(self, old: Attempt, new: Attempt) -> None:
        """Put `new` in the place of `old`."""
        self.set(attempts=tuple(new if a is old else a for a in self.status.attempts))

    def end(self, phase: RunPhase) -> None:
        """The run is over, for good."""
        self.set(
            phase=phase,
            ended_at=self.facts.now,
            cost=cost(self.status.attempts, self.facts.spec.prices),
        )


def decide_run(facts: RunFacts) -> RunDecision:
    """The next step of a run: its new status, and the actions that this status asks for."""
    draft = Draft(facts, facts.status)
    for rule in RULES:
        if rule(draft):
            break
    events = events_of(facts.status.conditions, draft.status.conditions)
    return RunDecision(draft.status, tuple(draft.actions), tuple(events), draft.requeue)


# ---------------------------------------------------------------------------------------------------------------- rules


def deleted(draft: Draft) -> bool:
    """Being deleted: the garbage collector takes the children, their pods write a checkpoint; nothing is left to do."""
    return draft.facts.meta.deleting or draft.facts.orphaned


def finished(draft: Draft) -> bool:
    """Terminal is terminal, whatever became of the children. What still runs is taken away."""
    phase = draft.status.phase
    if phase is None or not phase.is_terminal:
        return False
    _delete_live_children(draft)
    return True


def begun(draft: Draft) -> bool:
    """First sight of the run."""
    if draft.status.phase is None:
        draft.set(
            phase=RunPhase.PENDING,
            trigger=draft.facts.spec.trigger,
            started_at=draft.facts.now,
        )
    draft.set(observed_generation=draft.facts.meta.generation)
    return False


def cancelled(draft: Draft) -> bool:
    """A person has asked for the end. The phase is written first; then the pods are taken away."""
    if not draft.facts.cancel:
        return False
    for attempt in draft.status.attempts:
        if not attempt.ended_at:
            _close(draft, attempt, Outcome(Exit.CANCELLED, "Cancelled", "", {}))
    draft.condition("Trained", "False", "Cancelled", f"Cancelled by annotation: {draft.facts.cancel}")
    draft.end(RunPhase.CANCELLED)
    _delete_live_children(draft)
    return True


def suspended(draft: Draft) -> bool:
    """The job is suspended: the pods are stopped (they write a checkpoint), and nothing starts until it is resumed."""
    if not draft.facts.suspended:
        return False
    attempt = _open_attempt(draft.status)
    if attempt is not None:
        child, pods = _of(draft.facts, attempt)
        ended = outcome(child, pods, _memory_limit(draft.facts, attempt)) if child is not None else None
        if ended is not None and ended.exit in {Exit.SUCCEEDED, *FATAL}:
            return False  # it ended before it could be stopped: the usual rules read the result
        # One that was never seen stays open: its Job may still appear, and the same number can be created again.
        if child is None and (pods or attempt.job_uid) and all(p.over for p in pods):
            _close(draft, attempt, Outcome(Exit.SUSPENDED, "Suspended", "Stopped because the job was suspended", {}))
    _delete_live_children(draft)
    _hold(draft)
    return True


def permitted(draft: Draft) -> bool:
    """A pod runs under a ServiceAccount of the user's only if the account's owner allows it."""
    if not draft.facts.account_refused:
        return False
    _wait(draft, Stage.PREFLIGHT, Wait("ServiceAccountRefused", draft.facts.account_refused, fatal=True))
    if not draft.status.phase or not draft.status.phase.is_terminal:
        draft.again_in(30)  # ServiceAccounts are not watched
    return True


def checked(draft: Draft) -> bool:
    """Preflight: what can be known before a GPU is asked for."""
    if draft.status.resolved is not None:
        return False
    result = _run_stage(draft, Stage.PREFLIGHT)
    if result is None:
        return True
    before = draft.status
    try:
        resolved = Resolved.model_validate(result["resolved"])
        draft.set(resolved=resolved, versions=dict(result.get("versions") or {}))
        FineTuneRunStatus.model_validate(
            draft.status.model_dump(warnings=False)
        )  # the API server would refuse what does not fit
    except UNREADABLE as error:
        draft.status = before
        _fail(draft, Stage.PREFLIGHT, "InvalidResult", f"The preflight pod's result cannot be read: {error}")
        return True
    draft.condition(
        "GatesPassed",
        "True",
        "DataReadable",
        f"{resolved.train.examples} training and {resolved.gold.examples} gold examples were read as "
        f"{resolved.train.format}. Gates on their content are not decided by this version: docs/fields.md.",
    )
    return False


def trained(draft: Draft) -> bool:
    """Training and evaluation, attempt after attempt, until one succeeds or none is left."""
    if (condition := find(draft.status.conditions, "Trained")) and condition.status == "True":
        return False
    result = _run_stage(draft, Stage.TRAIN)
    if result is None:
        return True
    before = draft.status
    try:
        scores = Scores.model_validate(result["scores"])
        draft.set(
            scores=scores.model_copy(
                update={"uplift": round(result["scores"]["candidate"] - result["scores"]["base"], 6)}
            ),
            metrics={k: MetricScores.model_validate(v) for k, v in (result.get("metrics") or {}).items()},
            segments=tuple(SegmentScores.model_validate(s) for s in result.get("segments") or []),
            artifact=Artifact.model_validate(result["artifact"]),
            report_uri=result.get("reportUri"),
            versions={**(draft.status.versions or {}), **(result.get("versions") or {})},
        )
        steps = int(result["steps"])
        draft.set(
            progress=Progress(
                step=steps,
                steps=steps,
                display=f"{steps}/{steps}",
                loss=draft.status.progress.loss if draft.status.progress else None,
                tokens_per_second=result.get("tokensPerSecond"),
                updated_at=draft.facts.now,
            )
        )
        FineTuneRunStatus.model_validate(
            draft.status.model_dump(warnings=False)
        )  # the API server would refuse what does not fit
    except UNREADABLE as error:
        draft.status = before
        _fail(draft, Stage.TRAIN, "InvalidResult", f"The training pod's result cannot be read: {error}")
        return True
    artifact = draft.status.artifact
    draft.condition(
        "Trained",
        "True",
        "Trained",
        f"{steps} steps; the adapter is at {artifact.uri if artifact else ''}",
    )
    return False


def judged(draft: Draft) -> bool:
    """The evaluation's verdict ends a run that is not asked to serve."""
    assert draft.status.scores is not None  # noqa: S101 - set by `trained`, which comes before
    verdict = judge(draft.status.scores, draft.facts.spec.evaluation.acceptance)
    draft.condition("Accepted", "True" if verdict.accepted else "False", verdict.reason, verdict.message)
    draft.end(RunPhase.PROMOTED if verdict.accepted else RunPhase.REJECTED)
    return True


RULES: tuple[Callable[[Draft], bool], ...] = (
    deleted,
    finished,
    begun,
    cancelled,
    suspended,
    permitted,
    checked,
    trained,
    judged,
)


# ------------------------------------------------------------------------------------------------------------- attempts


def _run_stage(draft: Draft, stage: Stage) -> dict[str, Any] | None:
    """Drive the attempts of one stage; its result once one has succeeded, else None (the draft says what happens)."""
    attempt = _last(draft.status, stage)
    if attempt is None:
        _start(draft, stage, 1)
        return None
    if not attempt.ended_at:
        ended = _watch(draft, attempt)
        if ended is None:
            return None
        attempt = _close(draft, attempt, ended)
        if ended.exit is Exit.SUCCEEDED:
            return ended.result
    _after_failure(draft, stage, attempt)
    return None


def _watch(draft: Draft, attempt: Attempt) -> Outcome | None:
    """The open attempt: its end, or None while it runs, waits or has to be created (again)."""
    facts = draft.facts
    child, pods = _of(facts, attempt)
    if child is None:
        if not all(p.over for p in pods):
            return None  # the Job is gone but a pod of it lives on: its end is an event that wakes us
        if attempt.job_uid:
            return Outcome(Exit.LOST, "JobDeleted", "The attempt's Job was deleted while it ran", {})
        _create(draft, attempt)  # the crash came between the intent and the act, or nothing had run yet
        return None
    if child.deleting:
        return None
    ended = outcome(child, pods, _memory_limit(facts, attempt))
    if ended is None:
        _show(draft, attempt, child, pods)
    elif ended.exit is Exit.CRASHED and attempt.reason == POD_DELETED:
        return replace(ended, exit=Exit.DISRUPTED, reason=POD_DELETED)
    return ended


def _show(draft: Draft, attempt: Attempt, child: Child, pods: tuple[Pod, ...]) -> None:
    """The attempt is under way: phase, waiting reasons and progress."""
    facts, stage = draft.facts, child.stage
    running = next((p for p in pods if p.running_since is not None and not p.over), None)
    if running is None and any(p.over or p.termination for p in pods):
        return  # it has ended, and the Job is about to say so
    if running is None:
        draft.set(phase=RunPhase.PREFLIGHT if stage is Stage.PREFLIGHT else RunPhase.QUEUED)
        wait = waiting(stage, pods, facts.denied, facts.now)
        if wait is not None:
            _wait(draft, stage, wait)
        else:
            draft.again_in(15)  # long enough to be worth a reason
        return
    if running.deleting:
        draft.replace_attempt(attempt, attempt.model_copy(update={"reason": POD_DELETED}))
        return
    if stage is Stage.PREFLIGHT:
        if find(draft.status.conditions, "Admitted") is not None:
            draft.condition("Admitted", "True", "Running", "The preflight pod runs.")
        return
    if not attempt.job_uid:
        assert running.running_since is not None  # noqa: S101 - chosen above
        started = attempt.model_copy(update={"job_uid": child.uid, "started_at": running.running_since})
        draft.replace_attempt(attempt, started)
        draft.condition("Admitted", "True", "Running", f"Pod {running.name} runs.")
    draft.again_in(facts.policy.status_every)
    said = facts.progress if facts.progress is not None and facts.progress.attempt == attempt.number else None
    evaluating = said is not None and said.stage in EVALUATING_STAGES
    phase = RunPhase.EVALUATING if evaluating else RunPhase.TRAINING
    if said is not None and (phase != draft.status.phase or _due(draft.status.progress, facts)):
        draft.set(
            progress=Progress(
                step=said.step,
                steps=said.steps,
                loss=said.loss,
                tokens_per_second=said.tokens_per_second,
                eta=facts.now + timedelta(seconds=said.eta_seconds) if said.eta_seconds is not None else None,
                display=f"{said.step or 0}/{said.steps}" if said.steps else None,
                updated_at=facts.now,
            )
        )
    if draft.status.phase is not RunPhase.EVALUATING or evaluating or said is not None:
        draft.set(phase=phase)  # a poll that failed once does not move a run back from Evaluating


def _due(progress: Progress | None, facts: RunFacts) -> bool:
    last = progress.updated_at if progress else None
    return last is None or (facts.now - last).total_seconds() >= facts.policy.status_every


def _wait(draft: Draft, stage: Stage, wait: Wait) -> None:
    """Show why the pod does not run; give up when only a person can mend it and nobody did in time."""
    facts = draft.facts
    draft.condition("Admitted", "False" if wait.fatal else "Unknown", wait.reason, wait.message)
    if not wait.fatal:
        return
    admitted = find(draft.status.conditions, "Admitted")
    since = admitted.last_transition_time if admitted is not None else facts.now
    left = facts.policy.waiting_deadline - (facts.now - since).total_seconds()
    if left > 0:
        draft.again_in(left)
        return
    attempt = _open_attempt(draft.status)
    if attempt is not None:
        _close(draft, attempt, Outcome(Exit.INPUT_ERROR, wait.reason, wait.message, {}))
    _fail(draft, stage, wait.reason, f"Not started within {facts.policy.waiting_deadline} s: {wait.message}")
    _delete_live_children(draft)


def _after_failure(draft: Draft, stage: Stage, attempt: Attempt) -> None:
    """The last attempt did not succeed: start the next one when its time has come, or end the run."""
    facts = draft.facts
    of_stage = [a for a in draft.status.attempts if a.stage is STAGES[stage]]
    exit_ = Exit(attempt.exit or Exit.LOST)
    counted = sum(1 for a in of_stage if a.counted)
    if exit_ in FATAL:
        _fail(draft, stage, attempt.reason or "Failed", attempt.message or "")
        return
    if counted > facts.spec.training.max_retries:
        _fail(
            draft,
            stage,
            attempt.reason or "Failed",
            f"{attempt.message} ({counted} crashes; spec.training.maxRetries allows {facts.spec.training.max_retries})",
        )
        return
    if len(draft.status.attempts) >= MAX_ATTEMPTS:
        _fail(draft, stage, "TooManyAttempts", f"{MAX_ATTEMPTS} attempts were not enough; the last: {attempt.message}")
        return
    draft.set(phase=RunPhase.PREFLIGHT if stage is Stage.PREFLIGHT else RunPhase.QUEUED)
    if not all(p.over for p in facts.pods if p.stage is stage):
        draft.condition("Admitted", "Unknown", "WaitingForPods", "A pod of an earlier attempt has not ended yet.")
        return
    if exit_ is not Exit.SUSPENDED:
        ended = attempt.ended_at or facts.now
        backoff = min(facts.policy.retry_backoff * 2 ** (len(of_stage) - 1), MAX_BACKOFF)
        left = (ended + timedelta(seconds=backoff) - facts.now).total_seconds()
        if left > 0:
            draft.condition(
                "Admitted",
                "Unknown",
                "Retrying",
                f"Attempt {attempt.number} ended ({attempt.reason}: {attempt.message}); "
                f"the next one starts after {backoff} s.",
            )
            draft.again_in(left)
            return
    _start(draft, stage, attempt.number + 1)


def _hold(draft: Draft) -> None:
    draft.set(phase=RunPhase.QUEUED if draft.status.resolved is not None else RunPhase.PENDING)
    draft.condition("Admitted", "Unknown", "Suspended", "The job is suspended; set spec.suspend to false to go on.")


def _start(draft: Draft, stage: Stage, number: int) -> None:
    if draft.facts.suspended:  # preflight ended before it could be stopped; training waits
        _hold(draft)
        return
    attempt = Attempt(stage=STAGES[stage], number=number)
    draft.set(
        attempts=(*draft.status.attempts, attempt),
        phase=RunPhase.PREFLIGHT if stage is Stage.PREFLIGHT else RunPhase.QUEUED,
    )
    if find(draft.status.conditions, "Admitted") is not None:
        draft.condition("Admitted", "Unknown", "Starting", f"Attempt {number} at {stage.value} is being started.")
    _create(draft, attempt)


def _create(draft: Draft, attempt: Attempt) -> None:
    stage = _stage(attempt)
    if stage is Stage.PREFLIGHT:
        draft.actions.append(CreateConfig())
    resolved = draft.status.resolved
    expected = resolved.model_dump_json(by_alias=True, exclude_none=True) if resolved else ""
    draft.actions.append(CreateChild(stage, attempt.number, expected if stage is Stage.TRAIN else ""))
    draft.again_in(15)


def _close(draft: Draft, attempt: Attempt, ended: Outcome) -> Attempt:
    """Settle an attempt: its end and its seconds, once."""
    facts = draft.facts
    _, pods = _of(facts, attempt)
    start, end = _span(attempt, pods, facts.now)
    seconds = max((end - start).total_seconds(), 0.0) if start else 0.0
    training = facts.spec.training
    if attempt.stage is AttemptStage.TRAIN:
        gpus = training.gpus_per_node  # of one pod: `nodes` is not acted on yet
        given = training.resources
        asked = {**((given.limits if given else None) or {}), **((given.requests if given else None) or {})}
        cpus = cores(asked.get("cpu"))  # a limit alone is a request, too
    else:
        gpus, cpus = 0, cores(PREFLIGHT_CPU)
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


def _fail(draft: Draft, stage: Stage, reason: str, message: str) -> None:
    draft.condition("GatesPassed" if stage is Stage.PREFLIGHT else "Trained", "False", reason, message)
    draft.end(RunPhase.FAILED)


def _delete_live_children(draft: Draft) -> None:
    draft.actions += [DeleteChild(c.name, c.uid) for c in draft.facts.children if not c.over and not c.deleting]


def _open_attempt(status: FineTuneRunStatus) -> Attempt | None:
    return next((a for a in status.attempts if not a.ended_at), None)


def _last(status: FineTuneRunStatus, stage: Stage) -> Attempt | None:
    return next((a for a in reversed(status.attempts) if a.stage is STAGES[stage]), None)


def _of(facts: RunFacts, attempt: Attempt) -> tuple[Child | None, tuple[Pod, ...]]:
    key = (_stage(attempt), attempt.number)
    child = next((c for c in facts.children if (c.stage, c.attempt) == key), None)
    return child, tuple(p for p in facts.pods if (p.stage, p.attempt) == key)


def _stage(attempt: Attempt) -> Stage:
    return Stage.TRAIN if attempt.stage is AttemptStage.TRAIN else Stage.PREFLIGHT


def _memory_limit(facts: RunFacts, attempt: Attempt) -> str:
    if attempt.stage is AttemptStage.PREFLIGHT:
        return PREFLIGHT_MEMORY_LIMIT
    resources = facts.spec.training.resources
    return str(((resources.limits if resources else None) or {}).get("memory", ""))
