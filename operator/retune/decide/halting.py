"""What keeps a job from starting runs although one is due: a person, its kill date, or too many fruitless runs."""

from dataclasses import dataclass

from retune.api import AttemptStage, JobPhase, RunPhase
from retune.decide.draft import JobDraft
from retune.decide.facts import RunFacts
from retune.decide.naming import HALT_ANNOTATION, PAUSE_ANNOTATION, RESUME_ANNOTATION

FRUITLESS = frozenset({RunPhase.REJECTED, RunPhase.ROLLED_BACK, RunPhase.FAILED})


@dataclass(frozen=True)
class Stop:
    """A person wants the job to stand still. `until`: what ends that, in words."""

    phase: JobPhase
    reason: str
    until: str


def stop(draft: JobDraft) -> Stop | None:
    """Whether a person has halted, suspended or paused the job; a run in flight is stopped then, too."""
    annotations = draft.facts.meta.annotations
    if HALT_ANNOTATION in annotations:
        why = annotations[HALT_ANNOTATION][:256]
        until = f"until its annotation {HALT_ANNOTATION}{f' ({why})' if why else ''} is taken away"
        return Stop(JobPhase.HALTED, "HaltedByPerson", until)
    if draft.spec.suspend:
        return Stop(JobPhase.SUSPENDED, "Suspended", "until spec.suspend is false")
    if PAUSE_ANNOTATION in annotations:
        return Stop(JobPhase.SUSPENDED, "Paused", f"until its annotation {PAUSE_ANNOTATION} is taken away")
    return None


def resumed(draft: JobDraft) -> bool:
    """A person resumes the job: no run up to now counts as fruitless any more."""
    asked = draft.facts.meta.annotations.get(RESUME_ANNOTATION, "")[:1024]  # as long as status.resumed may be
    if asked and asked != draft.status.resumed:
        latest = draft.status.latest_run
        draft.set(resumed=asked, resumed_after=latest.number if latest is not None else 0, fruitless_runs=0)
    return False


def counted(draft: JobDraft) -> bool:
    """A run that has just ended is counted, once: the status that knows of its end is the one that counts it."""
    before, now = draft.facts.status.latest_run, draft.status.latest_run
    if now is None or now.phase is None or now.number <= draft.status.resumed_after:
        return False
    if before is not None and (before.number, before.phase is None) == (now.number, False):
        return False
    run = next((r for r in draft.facts.runs if r.spec.number == now.number), None)
    if now.phase is RunPhase.PROMOTED:
        draft.set(fruitless_runs=0)
    elif run is not None and _fruitless(run):
        draft.set(fruitless_runs=draft.status.fruitless_runs + 1)
    return False


def _fruitless(run: RunFacts) -> bool:
    """It has trained, and nothing came of it."""
    trained = any(a.stage is AttemptStage.TRAIN and a.started_at is not None for a in run.status.attempts)
    return trained and run.status.phase in FRUITLESS


def stopped(draft: JobDraft) -> bool:
    """Nothing in flight, and a person wants nothing to start."""
    wanted = stop(draft)
    if wanted is None:
        return False
    draft.set(phase=wanted.phase)
    draft.condition("Progressing", "False", wanted.reason, f"Nothing starts {wanted.until}.")
    return True


def ends(draft: JobDraft) -> str:
    """That the kill date has passed, in words, or ""; if it is still to come, it is looked at again then."""
    at = draft.spec.budget.ends_at if draft.spec.budget is not None else None
    if at is None:
        return ""
    left = (at - draft.facts.now).total_seconds()
    if left > 0:
        draft.again_in(left)
        return ""
    return f"spec.budget.endsAt ({at:%Y-%m-%dT%H:%M:%SZ}) has passed"


def ended(draft: JobDraft) -> bool:
    """After the kill date nothing starts."""
    said = ends(draft)
    if not said:
        return False
    draft.set(phase=JobPhase.HALTED)
    draft.condition("Progressing", "False", "Ended", f"{said}: nothing starts. Move it to let the job go on.")
    return True


def fruitless(draft: JobDraft) -> bool:
    """Too many runs in a row have trained for nothing: only a person lets the job go on."""
    count, limit = draft.status.fruitless_runs, draft.spec.triggers.halt_after_fruitless_runs
    if count < limit:
        return False
    runs = sorted((r for r in draft.facts.runs if _counts(draft, r)), key=lambda r: r.spec.number)[-count:]
    names = ", ".join(f"{r.meta.name} ({r.status.phase})" for r in runs)
    meta = draft.facts.meta
    draft.set(phase=JobPhase.HALTED)
    draft.condition(
        "Progressing",
        "False",
        "FruitlessRuns",
        f"{count} runs in a row have trained and were not promoted{f': {names}' if names else ''}; "
        f"spec.triggers.haltAfterFruitlessRuns is {limit}. Nothing starts, not even after a change or a retry, until a "
        f"person does: kubectl retune resume {meta.name} -n {meta.namespace} (it sets the annotation "
        f"{RESUME_ANNOTATION} to a new value)",
    )
    return True


def _counts(draft: JobDraft, run: RunFacts) -> bool:
    return run.spec.number > draft.status.resumed_after and _fruitless(run)
