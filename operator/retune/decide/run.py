"""One step of a FineTuneRun: an ordered chain of small rules, each "given these facts, is this so, and what then".

The first rule that settles the matter ends the chain. A step can run at any moment, twice, or after a crash at any
line.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from retune.api import (
    Artifact,
    Comparison,
    ComparisonSet,
    GateVerdict,
    MetricScores,
    Progress,
    Reference,
    Resolved,
    RunPhase,
    Scores,
    SegmentScores,
)
from retune.decide import gates
from retune.decide.actions import RunDecision
from retune.decide.attempts import hold, run_stage, wait_for
from retune.decide.conditions import find
from retune.decide.draft import RunDraft
from retune.decide.facts import RunFacts, Stage
from retune.decide.looks import next_look
from retune.decide.outcome import FATAL, Exit, Outcome, outcome
from retune.decide.reporting import report
from retune.decide.rollout.chain import begin_rollout, rolled_out
from retune.decide.rollout.scene import serves
from retune.decide.settle import close, fail, memory_limit, of, open_attempt
from retune.decide.verdict import judge
from retune.decide.waiting import Wait

UNREADABLE = (KeyError, TypeError, AttributeError, ValueError, ArithmeticError)  # what a foreign result can lead to


def decide_run(facts: RunFacts) -> RunDecision:
    """The next step of a run: its new status, and the actions that this status asks for."""
    draft = RunDraft(facts, facts.status)
    for rule in RULES:
        if rule(draft):
            break
    if draft.status.phase is not None and draft.status.phase.is_terminal:
        report(draft)
    events = draft.finish()
    return RunDecision(draft.status, tuple(draft.actions), tuple(events), draft.requeue)


# ---------------------------------------------------------------------------------------------------------------- rules


def deleted(draft: RunDraft) -> bool:
    """Being deleted: the garbage collector takes the children, their pods write a checkpoint; nothing is left to do."""
    return draft.facts.meta.deleting or draft.facts.orphaned


def finished(draft: RunDraft) -> bool:
    """Terminal is terminal, whatever became of the children. What still runs is taken away."""
    phase = draft.status.phase
    if phase is None or not phase.is_terminal:
        return False
    draft.delete_live_children(keep=Stage.REPORT)
    return True


def begun(draft: RunDraft) -> bool:
    """First sight of the run."""
    if draft.status.phase is None:
        draft.set(
            phase=RunPhase.PENDING,
            trigger=draft.facts.spec.trigger,
            started_at=draft.facts.now,
        )
    draft.set(observed_generation=draft.facts.meta.generation)
    return False


def cancelled(draft: RunDraft) -> bool:
    """A person has asked for the end. The phase is written first; then the pods are taken away."""
    if not draft.facts.cancel:
        return False
    for attempt in draft.status.attempts:
        if not attempt.ended_at:
            close(draft, attempt, Outcome(Exit.CANCELLED, "Cancelled", "", {}))
    draft.condition("Trained", "False", "Cancelled", f"Cancelled by annotation: {draft.facts.cancel}")
    draft.end(RunPhase.CANCELLED)
    draft.delete_live_children()
    return True


def suspended(draft: RunDraft) -> bool:
    """The job is suspended: the pods are stopped (they write a checkpoint), and nothing starts until it is resumed."""
    if not draft.facts.suspended:
        return False
    attempt = open_attempt(draft.status)
    if attempt is not None:
        child, pods = of(draft.facts, attempt)
        ended = outcome(child, pods, memory_limit(draft.facts, attempt)) if child is not None else None
        if ended is not None and ended.exit in {Exit.SUCCEEDED, *FATAL}:
            return False  # it ended before it could be stopped: the usual rules read the result
        # One that was never seen stays open: its Job may still appear, and the same number can be created again.
        if child is None and (pods or attempt.job_uid) and all(p.over for p in pods):
            close(draft, attempt, Outcome(Exit.SUSPENDED, "Suspended", "Stopped because the job was suspended", {}))
    draft.delete_live_children()
    hold(draft)
    return True


def permitted(draft: RunDraft) -> bool:
    """A pod runs under a ServiceAccount of the user's only if the account's owner allows it."""
    if not draft.facts.account_refused:
        return False
    wait_for(draft, Stage.PREFLIGHT, Wait("ServiceAccountRefused", draft.facts.account_refused, fatal=True))
    if not draft.status.phase or not draft.status.phase.is_terminal:
        draft.again_in(30)  # ServiceAccounts are not watched
    return True


def checked(draft: RunDraft) -> bool:
    """Preflight: what can be known before a GPU is asked for, and what the gates say to it."""
    if draft.status.resolved is not None:
        return False
    result = run_stage(draft, Stage.PREFLIGHT)
    if result is None:
        return True
    before = draft.status
    try:
        draft.set(
            resolved=Resolved.model_validate(result["resolved"]),
            versions=dict(result.get("versions") or {}),
            gates=gates.judge(replace(draft.facts, status=draft.status), result),
        )
        draft.check()
    except UNREADABLE as error:
        draft.status = before
        fail(draft, Stage.PREFLIGHT, "InvalidResult", f"The preflight pod's result cannot be read: {error}")
        return True
    return False


def allowed(draft: RunDraft) -> bool:
    """The gates: one that says no ends the run, people who have not agreed yet hold it."""
    known = find(draft.status.conditions, "GatesPassed")
    if known is not None and known.status == "True":
        return False
    failed = [g for g in draft.status.gates if g.verdict is GateVerdict.FAILED]
    if failed:
        told = " ".join(f"{g.name}: {g.reason} {g.advice}" for g in failed)
        draft.condition("GatesPassed", "False", f"{failed[0].name.title()}GateFailed", told)
        draft.end(RunPhase.DECLINED)
        return True
    draft.set(early_signatures=gates.approvals.early(draft.facts, draft.status) or None)
    result, given = gates.approvals.judge(draft.facts, draft.status)
    others = tuple(g for g in draft.status.gates if g.name != result.name)
    draft.set(gates=(*others, result), approvals=given)
    if result.verdict is GateVerdict.WAITING:
        now = tuple(c for c in draft.status.conditions if (c.type, c.reason) != ("Admitted", "Suspended"))
        draft.set(phase=RunPhase.AWAITING_APPROVAL, conditions=now)  # if it was suspended, it is no more
        draft.condition("GatesPassed", "Unknown", "AwaitingApproval", f"{result.reason} {result.advice}")
        return True
    acceptance = draft.facts.spec.evaluation.acceptance
    draft.set(look=next_look(draft.facts.job.gold, draft.status, acceptance.confidence))
    summary = "; ".join(f"{g.name} {g.verdict.value}" for g in draft.status.gates)
    draft.condition("GatesPassed", "True", "GatesPassed", f"{summary}.")
    return False


def trained(draft: RunDraft) -> bool:
    """Training and evaluation, attempt after attempt, until one succeeds or none is left."""
    if (condition := find(draft.status.conditions, "Trained")) and condition.status == "True":
        return False
    result = run_stage(draft, Stage.TRAIN)
    if result is None:
        return True
    before = draft.status
    try:
        draft.set(
            scores=Scores.model_validate(result["scores"]),
            comparisons=compared(result["comparisons"]),
            metrics={k: MetricScores.model_validate(v) for k, v in (result.get("metrics") or {}).items()},
            segments=tuple(SegmentScores.model_validate(s) for s in result.get("segments") or []),
            segments_tested=int(result.get("segmentsTested") or 0),
            artifact=Artifact.model_validate(result["artifact"]),
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
        draft.check()
    except UNREADABLE as error:
        draft.status = before
        fail(draft, Stage.TRAIN, "InvalidResult", f"The training pod's result cannot be read: {error}")
        return True
    artifact = draft.status.artifact
    draft.condition(
        "Trained",
        "True",
        "Trained",
        f"{steps} steps; the model is at {artifact.uri if artifact else ''}",
    )
    return False


def compared(said: Iterable[object]) -> tuple[Comparison, ...]:
    """The comparisons of a training pod's result.

    Raises:
        ValueError: one is malformed, or candidate and base were not compared on the gold set.
    """
    comparisons = tuple(Comparison.model_validate(c) for c in said)
    gold = [c for c in comparisons if (c.set, c.against) == (ComparisonSet.GOLD, Reference.BASE)]
    if not gold or gold[0].candidate is None or gold[0].reference is None:
        raise ValueError("the candidate and the base model were not compared on the gold set")
    return comparisons


def judged(draft: RunDraft) -> bool:
    """The evaluation's verdict ends a run, unless it is accepted and asked to serve: then its rollout begins."""
    verdict = judge(draft.status, draft.facts.spec.evaluation)
    draft.condition("Accepted", "True" if verdict.accepted else "False", verdict.reason, verdict.message)
    if verdict.accepted and serves(draft.facts.spec):
        begin_rollout(draft)
    else:
        draft.end(RunPhase.PROMOTED if verdict.accepted else RunPhase.REJECTED)
    return True


RULES: tuple[Callable[[RunDraft], bool], ...] = (
    deleted,
    finished,
    begun,
    rolled_out,
    cancelled,
    suspended,
    permitted,
    checked,
    allowed,
    trained,
    judged,
)
