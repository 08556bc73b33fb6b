"""One step of a FineTuneJob: is a run due, and what does the status say. A chain of small rules, as for runs."""

from collections.abc import Callable

from retune.api import (
    Condition,
    GateVerdict,
    JobPhase,
    LatestRun,
    PinnedBaseModel,
    PreviousModel,
    RunPhase,
    StableModel,
    TriggerKind,
    not_implemented,
)
from retune.decide.actions import CreateRun, DeleteRun, JobDecision, RememberDrift, WriteLedger
from retune.decide.booking import LEFTOVERS, booked, reserve
from retune.decide.budget import LOOK, account, hold, planned
from retune.decide.conditions import find
from retune.decide.draft import JobDraft
from retune.decide.drift_watch import looked
from retune.decide.facts import JobFacts, RunFacts
from retune.decide.gates import payback
from retune.decide.halting import counted, ended, ends, fruitless, resumed, stop, stopped
from retune.decide.inherited import approvals, gold_looks
from retune.decide.news.rule import tell
from retune.decide.reverting import base_changed, mode_changed, reverted
from retune.decide.rollout.stages import ROLLOUT_PHASES
from retune.decide.serving import served
from retune.decide.settle import open_attempt
from retune.decide.snapshot import Unresolvable
from retune.decide.triggers.ahead import foresee
from retune.decide.triggers.calendar import problem
from retune.decide.triggers.due import due
from retune.decide.triggers.recovery import recovered
from retune.decide.triggers.started import followed, started
from retune.decide.triggers.watched import watched
from retune.decide.watching import look

# What a run in flight waits for when its pods are not admitted.
_WAITING_PHASES = frozenset({RunPhase.PENDING, RunPhase.PREFLIGHT, RunPhase.QUEUED})
# The API server does not let the run be created, and is asked again.
REFUSED = "Refused"
# Triggers whose name is the retry annotation of their time.
_BY_HAND = frozenset({TriggerKind.CREATED, TriggerKind.RETRY, TriggerKind.SPEC_CHANGED})


def decide_job(facts: JobFacts) -> JobDecision:
    """The next step of a job: its new status, and the actions that this status asks for."""
    draft = JobDraft(facts, facts.status, ledger=booked(facts.books, facts.runs, facts.now))
    if facts.books.gone or facts.books.former or facts.books.pods:
        draft.again_in(LEFTOVERS)
    for rule in RULES:
        if rule(draft):
            break
    foresee(draft)
    account(draft)
    if draft.ledger != facts.books.ledger:  # before a run that it pays for is created
        draft.actions.insert(0, WriteLedger(draft.ledger))
    # It cannot be refused, and what is refused of the rest must not make the job forget what it has seen.
    draft.actions.sort(key=lambda action: not isinstance(action, RememberDrift))
    given_up = tell(draft)
    events = (*draft.finish(), *given_up)
    return JobDecision(draft.status, tuple(draft.actions), tuple(events), draft.requeue)


# ---------------------------------------------------------------------------------------------------------------- rules


def deleted(draft: JobDraft) -> bool:
    """Being deleted: the garbage collector takes the runs and, through them, the pods."""
    return draft.facts.meta.deleting


def observed(draft: JobDraft) -> bool:
    """What the runs tell about the job, whatever its spec says: models, the base they were made from, approvals."""
    draft.set(observed_generation=draft.facts.meta.generation)
    _promoted(draft)
    draft.set(gold=gold_looks(draft.status, draft.facts.runs))
    latest, last = draft.latest, draft.status.latest_run
    if last is not None and (latest is None or latest.spec.number < last.number):
        if last.phase is None:  # somebody deleted the run in flight
            draft.set(latest_run=last.model_copy(update={"phase": RunPhase.CANCELLED}))
    elif latest is not None:
        draft.set(approvals=approvals(draft.status, latest))
        _pays_off(draft, latest)
        known = latest.status.resolved
        if known is not None:
            base = known.base_model
            draft.set(base_model=PinnedBaseModel(uri=latest.spec.base_model.uri, digest=base.digest, resolved=base.uri))
        if latest.spec.trigger.name and latest.spec.trigger.kind in _BY_HAND:
            draft.set(retried=latest.spec.trigger.name)
        draft.set(
            latest_run=LatestRun(
                name=latest.meta.name,
                number=latest.spec.number,
                phase=latest.status.phase if latest.status.phase and latest.status.phase.is_terminal else None,
                model_digest=latest.spec.model_digest,
            )
        )
    return False


def _promoted(draft: JobDraft) -> None:
    """The newest promoted run makes stable, and what was stable becomes previous. Deleting a run takes nothing back."""
    stable = draft.status.stable
    runs = [r for r in draft.facts.runs if r.status.phase is RunPhase.PROMOTED and r.status.artifact]
    for run in sorted(runs, key=lambda r: r.spec.number):
        artifact, since = run.status.artifact, run.status.ended_at
        newer = stable is None or (stable.since is not None and since is not None and since > stable.since)
        if artifact is None or not newer:
            continue
        if stable is not None and stable.digest != artifact.digest:  # a twin is nothing to go back from
            draft.set(previous=PreviousModel(run=stable.run, digest=stable.digest, uri=stable.uri))
        stable = StableModel(run=run.meta.name, digest=artifact.digest, uri=artifact.uri, since=since)
        draft.set(stable=stable)


def _pays_off(draft: JobDraft, latest: RunFacts) -> None:
    """What the payback gate of the newest run said; one that was not asked takes back what an older one had said."""
    gate = next((g for g in latest.status.gates if g.name == payback.NAME), None)
    if gate is None:
        return
    if gate.verdict is GateVerdict.SKIPPED:
        draft.set(conditions=tuple(c for c in draft.status.conditions if c.type != "PaysOff"))
        return
    pays = gate.verdict is GateVerdict.PASSED
    draft.condition("PaysOff", "True" if pays else "False", "PaysOff" if pays else "PaybackTooLong", gate.reason)


def valid(draft: JobDraft) -> bool:
    """A spec that cannot be acted on starts nothing; what serves keeps serving, a run in flight keeps its snapshot."""
    facts = draft.facts
    if facts.spec is None:
        draft.condition("Valid", "False", "InvalidSpec", facts.invalid)
        return _nothing_starts(draft, "InvalidSpec")
    schedule = draft.spec.triggers.schedule
    never = problem(schedule) if schedule is not None else ""
    if never:
        draft.condition("Valid", "False", "InvalidSpec", never)
        return _nothing_starts(draft, "InvalidSpec")
    for reason, moved in (("BaseChanged", base_changed(draft)), ("ModeChanged", mode_changed(draft))):
        if moved:
            draft.condition("Valid", "False", reason, moved)
            return _nothing_starts(draft, reason)
    draft.condition("Valid", "True", "Valid", "The spec can be acted on.")
    ignored = not_implemented(draft.spec)
    if ignored:
        draft.condition(
            "Supported",
            "False",
            "FieldsNotImplemented",
            f"This version accepts but does not act on: {', '.join(ignored)}. See docs/fields.md.",
        )
    else:
        draft.condition("Supported", "True", "AllFieldsSupported", "Every field of the spec is acted on.")
    return False


def _nothing_starts(draft: JobDraft, reason: str) -> bool:
    draft.set(phase=JobPhase.INVALID)
    run = draft.active
    if run is None:
        draft.condition("Progressing", "False", reason, "Nothing starts until the spec is mended.")
    else:
        draft.condition("Progressing", "True", "RunInFlight", f"Run {run.meta.name} is in flight.")
    return True


def pruned(draft: JobDraft) -> bool:
    """Keep the newest finished runs that `history` asks for; the runs of stable and previous always stay."""
    history = draft.spec.history
    keep = {m.run for m in (draft.status.stable, draft.status.previous) if m is not None}
    finished = sorted(
        (r for r in draft.facts.runs if r.status.phase is not None and r.status.phase.is_terminal),
        key=lambda r: r.spec.number,
        reverse=True,
    )
    succeeded = [r for r in finished if r.status.phase is RunPhase.PROMOTED]
    unsuccessful = [r for r in finished if r.status.phase is not RunPhase.PROMOTED]
    latest = draft.latest
    for run in succeeded[history.succeeded :] + unsuccessful[history.unsuccessful :]:
        # The latest run is what a changed spec is compared with: without it, every reconcile would start a new one.
        # One whose report is still being written goes afterwards.
        if (
            run.meta.name not in keep
            and run is not latest
            and not run.meta.deleting
            and open_attempt(run.status) is None
        ):
            draft.actions.append(DeleteRun(run.meta.name, run.meta.uid))
    return False


def in_flight(draft: JobDraft) -> bool:
    """One run at a time: while it lasts the job says how it goes, and triggers coalesce."""
    run = draft.active
    if run is None:
        return False
    wanted = stop(draft)
    if wanted is not None:
        draft.set(phase=wanted.phase)
        stands = (
            "stands where it is" if run.status.phase in ROLLOUT_PHASES and wanted.reason == "Paused" else "is stopped"
        )
        draft.condition("Progressing", "False", wanted.reason, f"Run {run.meta.name} {stands} {wanted.until}.")
        return True
    over = ends(draft)
    after = f" {over}: it is the last one." if over else ""
    why = _waits_for(run)
    if why is not None:
        draft.set(phase=JobPhase.WAITING)
        draft.condition("Progressing", "Unknown", why.reason, f"Run {run.meta.name} waits: {why.message}{after}")
    else:
        draft.set(phase=JobPhase.RUNNING)
        draft.condition("Progressing", "True", "RunInFlight", f"Run {run.meta.name} is in flight.{after}")
    return True


def _waits_for(run: RunFacts) -> Condition | None:
    """What holds a run up, if anything does: people who have not signed, or a pod that does not start."""
    phase, conditions = run.status.phase or RunPhase.PENDING, run.status.conditions
    if phase is RunPhase.AWAITING_APPROVAL:
        return find(conditions, "GatesPassed")
    rollout = run.status.rollout
    if phase in ROLLOUT_PHASES and rollout is not None and rollout.held_because == "AwaitingApproval":
        at = rollout.since or run.now
        return Condition(
            type="Safe",
            status="Unknown",
            reason="AwaitingApproval",
            message=rollout.message or "",
            last_transition_time=at,
        )
    admitted = find(conditions, "Admitted")
    if phase not in _WAITING_PHASES or admitted is None or admitted.status == "True" or admitted.reason == "Starting":
        return None
    return admitted


def triggered(draft: JobDraft) -> bool:
    """A run is due, for a person, a change of the spec or by itself. It starts if it is paid."""
    trigger = due(draft)
    if trigger is None:
        return False
    latest = draft.latest
    known = draft.status.latest_run.number if draft.status.latest_run else 0
    number = max(known, latest.spec.number if latest else 0) + 1
    try:
        run = planned(draft, trigger, number)
    except Unresolvable as error:
        draft.condition("Valid", "False", "InvalidSpec", str(error))
        draft.set(phase=JobPhase.INVALID)
        return True
    name, held = run.meta.name, hold(draft, run)
    if held is not None:
        draft.set(phase=JobPhase.HALTED)
        draft.condition("Progressing", "False", held.reason, held.message)
        draft.again_in(LOOK)
        return True
    draft.ledger = reserve(draft.ledger, run)
    said = find(draft.status.conditions, "Progressing")
    if said is None or said.reason != REFUSED:  # else each new try would write "in flight", and then "refused" again
        draft.set(phase=JobPhase.RUNNING)
        draft.condition("Progressing", "True", "RunInFlight", f"Run {name} is in flight.")
    draft.actions.insert(0, CreateRun(name, run.spec))
    return True


def idle(draft: JobDraft) -> bool:
    """Nothing in flight, nothing due."""
    last = draft.status.latest_run
    assert last is not None  # noqa: S101 - without one, a run would have been due
    draft.set(phase=JobPhase.IDLE)
    latest = draft.latest
    said = ""
    if latest is not None:
        failed = next((c for c in reversed(latest.status.conditions) if c.status == "False"), None)
        said = f" {failed.reason}: {failed.message}" if failed else ""
        ending = latest.status.rollout
        if ending is not None and ending.message:
            said = f" {ending.held_because}: {ending.message}"
    phase = last.phase or RunPhase.CANCELLED
    reason = "RunSucceeded" if phase is RunPhase.PROMOTED else f"Run{phase.value}"
    draft.condition("Progressing", "False", reason, f"Run {last.name} ended as {phase.value}.{said}")
    return True


RULES: tuple[Callable[[JobDraft], bool], ...] = (
    deleted,
    started,
    observed,
    recovered,
    reverted,
    served,
    looked,
    resumed,
    counted,
    valid,
    followed,
    watched,
    look,
    pruned,
    in_flight,
    stopped,
    ended,
    fruitless,
    triggered,
    idle,
)
