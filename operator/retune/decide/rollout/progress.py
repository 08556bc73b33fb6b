"""How a rollout goes on when nothing speaks against it: loaded, then stage by stage, then promoted.

Pure. Rules of the rollout's chain: each returns whether the matter is settled.
"""

from datetime import datetime
from math import isfinite

from retune.api import Promotion, RolloutIntent, RunPhase, seconds
from retune.decide.evidence.judge import expected_hours
from retune.decide.naming import PROMOTE_ANNOTATION
from retune.decide.rollout import figures
from retune.decide.rollout.course import Course
from retune.decide.rollout.harm import refused
from retune.decide.rollout.scene import arm_is
from retune.decide.rollout.separate import complaint, crashes, hosts
from retune.decide.rollout.stages import BY_HAND, after
from retune.decide.rollout.traffic import in_force, lagging, share

DEADLINE = 600.0  # s from when a pod is ready (or the candidate is to be loaded) until all must have it
HOUR = 3600.0
_WALKS = (RunPhase.CANARY, RunPhase.BAKING)


def loading(course: Course) -> bool:
    """Every ready pod must have the candidate before anybody meets it."""
    if course.stage is not None:
        return False
    failed = refused(course)
    if failed:
        said = "; ".join(f"{pod}: {message}" for pod, message in failed[:3])
        text = f"The candidate does not load where stable does; no user has met it. {said}"
        course.say("Loaded", "False", "TargetDown", text)
        return course.decide(RolloutIntent.ROLL_BACK, "TargetDown", text)
    pods = hosts(course)
    if not pods:
        return _none_ready(course)
    late = {p.uid for p in lagging(course)}
    have = [t for t in course.taps if arm_is(t.arms.get("canary"), course.candidate) and t.pod_uid not in late]
    if len(have) < len(pods) or not in_force(course):
        return _not_everywhere(course, len(have), len(pods))
    absent = _absent(course)
    if absent:
        return _series_absent(course, absent)
    hours = estimate(course)
    text = f"Loaded and read back on {len(have)} of {len(pods)} pods."
    course.draft.condition("Loaded", "True", "Loaded", f"{text} {_expected(course, hours)}")
    course.first_met()
    course.enter(
        course.stages[0],
        expected_hours=hours if hours is None or isfinite(hours) else None,
        before=figures.before(course),
        after=None,
    )
    return True


def _none_ready(course: Course) -> bool:
    waits = [f"{p.name}: {p.waiting[0]} {p.waiting[1]}" for p in course.seen.pods if p.waiting is not None]
    stable = course.scene.separate and any(not p.canary for p in course.ready)
    whose = "Not all pods of the candidate are" if stable else "No pod that serves is"
    text = f"{whose} ready yet. {'; '.join(waits[:3])}".strip()
    if stable and crashes(course) and course.since(course.status.since) >= DEADLINE:
        return _not_loaded(course, text)
    course.say("Loaded", "Unknown", "ServingNotReady", text)
    return course.hold("ServingNotReady", text)


def _not_loaded(course: Course, text: str) -> bool:
    course.say("Loaded", "False", "NotLoaded", text)
    return course.decide(RolloutIntent.GIVE_UP, "NotLoaded", f"Not loaded within {DEADLINE:.0f} s. {text}")


def _not_everywhere(course: Course, have: int, total: int) -> bool:
    text = f"{have} of {total} ready pods have loaded the candidate."
    names = [f"{p.name}: {course.seen.silent[p.uid]}" for p in course.ready if p.uid in course.seen.silent]
    text += f" Taps that do not answer: {'; '.join(names[:3])}." if names else ""
    text += f" {complaint(course)}" if course.scene.separate and complaint(course) else ""
    course.say("Loaded", "Unknown", "Loading", text)
    if course.since(_waiting_since(course)) >= DEADLINE:
        return _not_loaded(course, text)
    return course.hold("Loading", text)


def _waiting_since(course: Course) -> datetime | None:
    """Since when the candidate could have been loaded: a pod can only do so once it is ready itself."""
    times = [p.ready_since for p in course.ready if p.ready_since is not None]
    since = course.status.since
    return max([since, *times]) if since is not None else None


def _absent(course: Course) -> list[str]:
    """The user's own stop-losses of which stable has no series."""
    names = {w.name for w in course.plan.watched if w.builtin is None}
    return sorted(
        q.metric
        for q in course.seen.queries
        if q.metric in names and q.arm == "stable" and not q.error and (q.bad is None or q.total is None)
    )


def _series_absent(course: Course, absent: list[str]) -> bool:
    queries = {s.name: s.total for s in course.spec.stop_loss}
    told = "; ".join(f"spec.rollout.stopLoss {name}: {queries.get(name)}" for name in absent)[:600]
    text = f"Stable has no series for these queries, so the canary does not start. Mend the query: {told}"
    course.say("MetricsAvailable", "False", "SeriesAbsent", text)
    if course.since(course.status.since) >= seconds(course.spec.on_blind.abort):
        return course.decide(RolloutIntent.GIVE_UP, "SeriesAbsent", text)
    return course.hold("SeriesAbsent", text)


def estimate(course: Course) -> float | None:
    """Hours until promotion at stable's traffic of the last hour; None: there was none to go by."""
    until = max((t.now for t in course.taps), default=0.0)
    counted = {w.name: [0, 0] for w in course.plan.watched}
    oldest = until
    for tap in course.taps:
        for name, rows in tap.windows.items():
            recent = [row for row in rows if row[0] >= until - HOUR and name in counted]
            for start, bad, total in recent:
                counted[name][0] += bad
                counted[name][1] += total
                oldest = min(oldest, start)
    most = max((total for _, total in counted.values()), default=0)
    if most == 0 or until <= oldest:
        return None
    hours = expected_hours(
        course.plan,
        requests_per_minute=most / ((until - oldest) / 60),
        rates={name: bad / total for name, (bad, total) in counted.items() if total},
        steps=[(s.weight / 100, float(s.hold)) for s in course.stages if s.phase is RunPhase.CANARY],
        min_requests=course.spec.min_requests,
        bake=float(seconds(course.spec.bake)),
    )
    if course.spec.promotion is Promotion.NO_HARM:  # nothing but time and a few requests is asked for
        hours = sum(s.hold for s in course.stages) / HOUR
    return round(hours, 1) if isfinite(hours) else hours


def _expected(course: Course, hours: float | None) -> str:
    if hours is None:
        return "How long the rollout takes is not known: there was no traffic to go by."
    if hours * HOUR <= seconds(course.spec.timeout):
        return f"At the traffic of the last hour the rollout takes about {hours:.1f} hours."
    told = f"about {hours:.0f} hours" if isfinite(hours) else "for ever"
    return (
        f"At the traffic of the last hour the rollout takes {told}, and spec.rollout.timeout is {course.spec.timeout}. "
        "What helps: promotion NoHarm, a higher first step, shadow first, a larger margin, or a longer timeout."
    )


def promoted_by_hand(course: Course) -> bool:
    """A person skips what remains; the stop-loss has been asked before."""
    asked = course.draft.facts.meta.annotations.get(PROMOTE_ANNOTATION)
    if asked is None or not course.taps:
        return False
    by = f": {asked[:256]}" if asked else ""
    return _promote(course, BY_HAND, f"Promoted by its annotation {PROMOTE_ANNOTATION}{by}")


def _promote(course: Course, reason: str, text: str) -> bool:
    course.change(after=figures.after(course))
    return course.decide(RolloutIntent.PROMOTE, reason, text)


def verified(course: Course) -> bool:
    """What was set must be what is given, by the counters."""
    if course.status.verified_at is not None:
        return False
    if not in_force(course) or lagging(course):
        said = complaint(course) if course.scene.separate else ""
        return course.hold("Verifying", said or "The taps are being told of the new weight.")
    given, text = share(course)
    if given:
        course.change(verified_at=course.now)
        if course.status.held_because in ("Verifying", "ShareMismatch"):
            course.change(held_because=None, message=None)
        return False
    if given is None:
        return course.hold("Verifying", f"Too few requests yet to see that the weight is given: {text}.")
    return course.hold(
        "ShareMismatch", f"The weight is not what is given: {text}. Look at the taps and at stickyHeader."
    )


def onwards(course: Course) -> bool:
    """The next stage, or promotion, when its time has come and the evidence allows it."""
    stage = course.stage
    if stage is None:
        return True
    left = stage.hold - course.since(course.status.since)
    if left > 0:
        course.draft.again_in(left)
        if course.status.held_because is not None:
            course.change(held_because=None, message=None)
        return True
    if stage.phase in _WALKS and (reason := _not_yet(course)) is not None:
        return course.hold(*reason)
    following = after(course.stages, stage)
    if following is not None:
        course.enter(following)
        return True
    if course.spec.manual_approval:
        run = course.draft.facts.meta
        text = (
            "The bake is over and a person must agree: "
            f"kubectl annotate finetunerun {run.name} -n {run.namespace} {PROMOTE_ANNOTATION}=NAME"
        )
        return course.hold("AwaitingApproval", text)
    return _promote(course, "Promoted", _shown(course))


def _not_yet(course: Course) -> tuple[str, str] | None:
    judged, least = course.judgement, course.spec.min_requests
    if judged is None:
        return "NoTraffic", "Nothing has been counted yet."
    if judged.canary_total < least:
        reason = "TooFewRequests" if judged.canary_total else "NoTraffic"
        text = f"{judged.canary_total} of {least} requests (spec.rollout.minRequests) of this step are counted."
        return reason, text
    if course.spec.promotion is Promotion.EVIDENCE and not judged.may_advance:
        told = "; ".join(
            f"{m.name} {m.detail or ''}" if m.upper is None else f"{m.name} {m.total} answers, {_harm(m)}"
            for m in judged.metrics
            if not m.passes
        )
        return "MoreEvidence", f"Harm is not ruled out yet: {told}"
    return None


def _harm(metric: object) -> str:
    upper, lower = getattr(metric, "upper", None), getattr(metric, "stable_lower", None)
    margin = getattr(metric, "margin", None)
    if upper is None or lower is None:
        return "nothing to compare"
    return f"up to {upper - lower:.3f} above stable, {margin:.3f} at full weight is allowed" if margin else ""


def _shown(course: Course) -> str:
    judged = course.judgement
    if judged is None:
        return "All stages are over."
    if course.spec.promotion is Promotion.NO_HARM:
        unseen = [f"{m.name} {m.missed_harm:.3f}" for m in judged.metrics if m.missed_harm is not None]
        told = f"harm of up to {', '.join(unseen)} above stable could have gone unseen" if unseen else "nothing counted"
        return f"No harm was seen in {judged.canary_total} answers of the last stage; {told}."
    seen = f"evidence of harm {judged.combined:.3g}, rollback from {judged.threshold:.3g}"
    return f"Evidence of no harm, over {judged.canary_total} answers of the last stage; {seen}."
