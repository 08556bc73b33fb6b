"""Drives the attempts of one stage: create, watch, show, settle, and the next one when its time has come."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from retune.api import Attempt, AttemptStage, FineTuneRunStatus, Progress, RunPhase
from retune.decide.actions import CreateChild, CreateConfig
from retune.decide.conditions import find
from retune.decide.draft import RunDraft
from retune.decide.facts import Child, Pod, RunFacts, Stage
from retune.decide.limits import PER_RUN, Limit, training_limit
from retune.decide.outcome import FATAL, Exit, Outcome, outcome
from retune.decide.settle import close, fail, memory_limit, of, open_attempt, stage_of
from retune.decide.waiting import Wait, waiting

MAX_BACKOFF = 300  # s
MAX_ATTEMPTS = 64  # as many as status.attempts can hold
STAGES = {Stage.PREFLIGHT: AttemptStage.PREFLIGHT, Stage.TRAIN: AttemptStage.TRAIN}
# Noted on an attempt whose pod was seen being deleted: by the time the Job fails, the pod is gone and only its exit
# code is left, which looks like a crash.
POD_DELETED = "PodDeleted"
BUDGET_EXCEEDED = "BudgetExceeded"
EVALUATING_STAGES = frozenset({"Evaluating", "Publishing"})


def run_stage(draft: RunDraft, stage: Stage) -> dict[str, Any] | None:
    """Drive the attempts of one stage; its result once one has succeeded, else None (the draft says what happens)."""
    attempt = _last(draft.status, stage)
    if attempt is None:
        _start(draft, stage, 1)
        return None
    if not attempt.ended_at:
        ended = _watch(draft, attempt)
        if ended is None:
            return None
        attempt = close(draft, attempt, ended)
        if ended.exit is Exit.SUCCEEDED:
            return ended.result
    _after_failure(draft, stage, attempt)
    return None


def _watch(draft: RunDraft, attempt: Attempt) -> Outcome | None:
    """The open attempt: its end, or None while it runs, waits or has to be created (again)."""
    facts = draft.facts
    child, pods = of(facts, attempt)
    if child is None:
        if not all(p.over for p in pods):
            return None  # the Job is gone but a pod of it lives on: its end is an event that wakes us
        if attempt.job_uid:
            return Outcome(Exit.LOST, "JobDeleted", "The attempt's Job was deleted while it ran", {})
        _create(draft, attempt)  # the crash came between the intent and the act, or nothing had run yet
        return None
    if child.deleting:
        return None
    ended = outcome(child, pods, memory_limit(facts, attempt))
    if ended is None:
        _show(draft, attempt, child, pods)
    elif ended.exit is Exit.CRASHED and attempt.reason == POD_DELETED:
        return replace(ended, exit=Exit.DISRUPTED, reason=POD_DELETED)
    elif ended.exit is Exit.TIMEOUT and child.stage is Stage.TRAIN and _limit(draft).field == PER_RUN:
        return replace(ended, reason=BUDGET_EXCEEDED, message=_too_expensive(draft))
    return ended


def _too_expensive(draft: RunDraft) -> str:
    budget, prices = draft.facts.spec.budget, draft.facts.spec.prices
    limit = budget.per_run if budget is not None else None
    return (
        f"spec.budget.perRun ({limit} {prices.currency}) is used up; what was learned lies in the newest checkpoint. "
        "Raise it, or train on less (spec.training.epochs, spec.training.maxSteps)."
    )


def _show(draft: RunDraft, attempt: Attempt, child: Child, pods: tuple[Pod, ...]) -> None:
    """The attempt is under way: phase, waiting reasons and progress."""
    facts, stage = draft.facts, child.stage
    running = next((p for p in pods if p.running_since is not None and not p.over), None)
    if running is None and any(p.over or p.termination for p in pods):
        return  # it has ended, and the Job is about to say so
    if running is None:
        draft.set(phase=RunPhase.PREFLIGHT if stage is Stage.PREFLIGHT else RunPhase.QUEUED)
        wait = waiting(stage, pods, facts.denied, facts.now)
        if wait is not None:
            wait_for(draft, stage, wait)
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


def wait_for(draft: RunDraft, stage: Stage, wait: Wait) -> None:
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
    attempt = open_attempt(draft.status)
    if attempt is not None:
        close(draft, attempt, Outcome(Exit.INPUT_ERROR, wait.reason, wait.message, {}))
    fail(draft, stage, wait.reason, f"Not started within {facts.policy.waiting_deadline} s: {wait.message}")
    draft.delete_live_children()


def _after_failure(draft: RunDraft, stage: Stage, attempt: Attempt) -> None:
    """The last attempt did not succeed: start the next one when its time has come, or end the run."""
    facts = draft.facts
    of_stage = [a for a in draft.status.attempts if a.stage is STAGES[stage]]
    exit_ = Exit(attempt.exit or Exit.LOST)
    counted = sum(1 for a in of_stage if a.counted)
    if exit_ in FATAL:
        fail(draft, stage, attempt.reason or "Failed", attempt.message or "")
        return
    if counted > facts.spec.training.max_retries:
        fail(
            draft,
            stage,
            attempt.reason or "Failed",
            f"{attempt.message} ({counted} crashes; spec.training.maxRetries allows {facts.spec.training.max_retries})",
        )
        return
    if len(draft.status.attempts) >= MAX_ATTEMPTS:
        fail(draft, stage, "TooManyAttempts", f"{MAX_ATTEMPTS} attempts were not enough; the last: {attempt.message}")
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


def hold(draft: RunDraft) -> None:
    """Show that the run stands still because its job is suspended."""
    if draft.status.phase is not RunPhase.AWAITING_APPROVAL:  # people may still be wanted, and are when it goes on
        draft.set(phase=RunPhase.QUEUED if draft.status.resolved is not None else RunPhase.PENDING)
    message = "The job is suspended, paused or halted; its condition Progressing says how it goes on."
    draft.condition("Admitted", "Unknown", "Suspended", message)


def _start(draft: RunDraft, stage: Stage, number: int) -> None:
    if draft.facts.suspended:  # preflight ended before it could be stopped; training waits
        hold(draft)
        return
    if stage is Stage.TRAIN and (limit := _limit(draft)).seconds < 1:  # what came before has used it up
        if limit.field == PER_RUN:
            fail(draft, stage, BUDGET_EXCEEDED, _too_expensive(draft))
        else:
            fail(draft, stage, "Timeout", f"{limit.field} is used up by earlier attempts. Raise it.")
        return
    attempt = Attempt(stage=STAGES[stage], number=number)
    draft.set(
        attempts=(*draft.status.attempts, attempt),
        phase=RunPhase.PREFLIGHT if stage is Stage.PREFLIGHT else RunPhase.QUEUED,
    )
    if find(draft.status.conditions, "Admitted") is not None:
        draft.condition("Admitted", "Unknown", "Starting", f"Attempt {number} at {stage.value} is being started.")
    _create(draft, attempt)


def _create(draft: RunDraft, attempt: Attempt) -> None:
    stage = stage_of(attempt)
    if stage is Stage.PREFLIGHT:
        draft.actions.append(CreateConfig())
        draft.actions.append(CreateChild(stage, attempt.number))
    else:
        draft.actions.append(CreateChild(stage, attempt.number, _expected(draft), deadline=_limit(draft).seconds))
    draft.again_in(15)


def _limit(draft: RunDraft) -> Limit:
    return training_limit(draft.facts, draft.status)


def _expected(draft: RunDraft) -> str:
    """What a training pod must find, and the level at which it computes its bounds."""
    resolved, look = draft.status.resolved, draft.status.look
    told = resolved.model_dump(mode="json", by_alias=True, exclude_none=True) if resolved is not None else {}
    if look is not None:
        told["alpha"] = look.alpha
    return json.dumps(told, sort_keys=True) if told else ""


def _last(status: FineTuneRunStatus, stage: Stage) -> Attempt | None:
    return next((a for a in reversed(status.attempts) if a.stage is STAGES[stage]), None)
