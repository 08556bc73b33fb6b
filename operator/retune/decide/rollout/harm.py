"""What takes a candidate back: evidence, a person, a model that does not load, shadows that fail.

Pure. Rules of the rollout's chain: each returns whether the matter is settled.
"""

from collections.abc import Sequence
from dataclasses import replace

from retune.api import RolloutIntent, RunPhase
from retune.decide.readings import TapReading
from retune.decide.rollout.course import Course
from retune.decide.rollout.scene import arm_is
from retune.decide.rollout.separate import unheard
from retune.decide.rollout.stages import BACK_BY_HAND

DOWN = 60.0  # s that no ready pod may have the candidate, while stable is there
SHADOWS, SHADOW_SHARE = 20, 0.5  # fewest copies to judge by, and the share of them that may fail
_STOPPABLE = frozenset({None, RolloutIntent.PROMOTE, RolloutIntent.GIVE_UP})


def harmed(course: Course) -> bool:
    """The stop-loss: evidence of harm ends a rollout, whatever else is so. A promotion under way is taken back."""
    judged = course.judgement
    if judged is None or not judged.breached or course.status.intent not in _STOPPABLE:
        return False
    told = "; ".join(
        f"{m.name}: {m.bad} of {m.total} bad against stable's {m.stable_bad} of {m.stable_total} (E = {m.e_value:.3g})"
        for m in judged.metrics
        if m.name in judged.breached
    )
    text = f"Evidence of harm {judged.combined:.3g}, rollback from {judged.threshold:.3g}: {told}."
    course.decide(RolloutIntent.ROLL_BACK, "StopLoss", text)
    return False


def asked_back(course: Course) -> bool:
    """A person asks for a rollback, by an annotation of the job that has not been followed yet."""
    facts = course.draft.facts
    asked = bool(facts.rollback) and facts.rollback != facts.job.rolled_back
    if asked and course.status.intent in _STOPPABLE:
        text = f"Rolled back because the job's annotation retune.dev/rollback asks for run {facts.rollback}."
        course.decide(RolloutIntent.ROLL_BACK, BACK_BY_HAND, text)
    return False


def cancelled(course: Course) -> bool:
    """A person cancels the run."""
    cancel = course.draft.facts.cancel
    if cancel and course.status.intent is None:
        course.decide(RolloutIntent.CANCEL, "Cancelled", f"Cancelled by annotation: {cancel[:512]}")
    return False


def refused(course: Course) -> Sequence[tuple[str, str]]:
    """Pods that cannot load the candidate although stable is there: (pod, what its tap says)."""
    return [
        (t.pod, t.arms["canary"].message)
        for t in course.taps
        if has_stable(t) and (arm := t.arms.get("canary")) is not None and arm.state == "Failed" and _is(course, t)
    ]


def _is(course: Course, tap: TapReading) -> bool:
    return tap.arms["canary"].digest == course.candidate.digest


def has_stable(tap: TapReading) -> bool:
    """Whether stable can answer there."""
    arm = tap.arms.get("stable")
    return arm is not None and arm.state == "Ready"


def gone(course: Course) -> bool:
    """The candidate is at no ready pod, or at some pod it fails to load, for a minute, while stable is there."""
    if course.stage is None:
        return False
    if not course.taps or unheard(course):
        return False  # nothing is known; the clock goes on
    able = [t for t in course.taps if has_stable(t)]
    failed = refused(course)
    here = any(arm_is(t.arms.get("canary"), course.candidate) for t in (course.taps if course.scene.separate else able))
    if not able or (here and not failed):
        if course.status.down_since is not None:
            course.change(down_since=None)
        return False
    since = course.status.down_since or course.now
    course.change(down_since=since)
    if course.since(since) >= DOWN:
        said = "; ".join(f"{pod}: {message}" for pod, message in failed[:3])
        text = f"For {DOWN:.0f} s the candidate could not answer at {len(able)} ready pods where stable can. {said}"
        return course.decide(RolloutIntent.ROLL_BACK, "TargetDown", text.strip())
    return False


def shadow_failed(course: Course) -> bool:
    """More than half of the copies fail: users need not meet that."""
    if course.status.stage is not RunPhase.SHADOW:
        return False
    if not course.kept.shadow:
        course.kept = replace(course.kept, shadow={t.pod_uid: (t.shadow.sent, t.shadow.failed) for t in course.taps})
        course.moved = course.moved or bool(course.taps)
    sent = failed = 0
    for tap in course.taps:
        sent_before, failed_before = course.kept.shadow.get(tap.pod_uid, (0, 0))
        if tap.shadow.sent < sent_before:  # started again
            sent_before = failed_before = 0
        sent += tap.shadow.sent - sent_before
        failed += tap.shadow.failed - failed_before
    if sent < SHADOWS or failed <= SHADOW_SHARE * sent:
        return False
    text = f"{failed} of {sent} copies of requests failed at the candidate in shadow; nobody has seen them."
    return course.decide(RolloutIntent.ROLL_BACK, "ShadowFailed", text)
