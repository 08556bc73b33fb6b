"""Makes the taps follow the rollout's status: what they are told, whether they do it, and when an end is reached.

Pure. The arms are a function of the status (intent included), so that a crash between the two is mended by looking
again.
"""

from math import sqrt

from retune.api import RolloutIntent, RunPhase
from retune.decide.actions import ApplyServing, PushArms, WriteArms
from retune.decide.arms import Arms, Pilot, Split, Stage
from retune.decide.readings import ServingPod, TapReading
from retune.decide.rollout import separate
from retune.decide.rollout.course import Course
from retune.decide.rollout.exposure import quota
from retune.decide.rollout.separate import complaint, follows, held_over, own_pods, rolled, route
from retune.decide.serving import template_digest

FENCE = 30.0  # s that an end waits for a tap that does not answer; it reads the arms itself when it comes back
VERIFYING = 1.0  # s between two looks while what was written is not read back
SURE = 3.29  # standard deviations: 99.9 %, two-sided
FEWEST = 5.0  # variance of the count from which a share can be told from another
_STAGES = {
    RunPhase.LOADING: Stage.LOADING,
    RunPhase.SHADOW: Stage.SHADOW,
    RunPhase.PILOT: Stage.PILOT,
    RunPhase.CANARY: Stage.CANARY,
    RunPhase.BAKING: Stage.BAKING,
}
_ENDS = {
    RolloutIntent.PROMOTE: (RunPhase.PROMOTED, "True"),
    RolloutIntent.ROLL_BACK: (RunPhase.ROLLED_BACK, "False"),
    RolloutIntent.GIVE_UP: (RunPhase.INCONCLUSIVE, "Unknown"),
    RolloutIntent.CANCEL: (RunPhase.CANCELLED, "Unknown"),
}


def desired(course: Course) -> Arms:
    """What the taps must be told, by the status as it becomes."""
    status, scene = course.status, course.scene
    stage, spec, weight = course.stage, course.spec, status.weight
    if status.intent is RolloutIntent.PROMOTE:
        if not scene.separate or stage is None or rolled(course):
            return scene.promoted(course.candidate)
        weight = stage.weight  # it is watched until stable's own pods have the new model
    elif status.intent is not None:
        return scene.at_rest(course.candidate)
    quiet = status.interfered_at is not None  # copies and cohorts are load, too
    shadowing = spec.shadow if status.stage is RunPhase.SHADOW and not quiet else None
    cohort = spec.pilot if status.stage is RunPhase.PILOT and not quiet else None
    return scene.document(
        Split(
            stable=scene.stable,
            candidate=course.candidate,
            keep=tuple(a for a in scene.previous if a.digest not in (scene.stable.digest, course.candidate.digest)),
            stage=_STAGES[status.stage or RunPhase.LOADING],
            stratum=stage.stratum if stage is not None else f"{course.draft.facts.spec.number}:loading",
            weight=weight,
            salt=course.draft.facts.meta.uid,
            shadow=shadowing.percent if shadowing is not None else 0,
            pilot=Pilot(cohort.header, cohort.values) if cohort is not None else None,
            sticky_header=scene.serving.sticky_header,
            opt_out_header=None if scene.separate else scene.opt_out_header,
            edges=course.edges,
            quota=quota(course),
            features=scene.features,
            corrections=scene.corrections,
        )
    )


def _written(course: Course) -> bool:
    """What the status asks of the taps has been written, and no tap follows anything newer."""
    return desired(course).same_as(course.seen.arms) and not course.seen.overtaken


def in_force(course: Course) -> bool:
    """What the status asks for has been written, and the Gateways follow it where they split."""
    return _written(course) and follows(course)


def lagging(course: Course) -> tuple[ServingPod, ...]:
    """Ready pods that have not been read back at the document written last: silent, or behind."""
    written = course.seen.arms.generation if course.seen.arms is not None else 0
    return tuple(p for p in course.ready if (tap := course.seen.taps.get(p.uid)) is None or tap.generation < written)


def carry(course: Course) -> None:
    """Have the arms written where they are not in force, and pushed again to the taps that lag."""
    status, policy = course.status, course.draft.facts.policy
    written, late = _written(course), lagging(course)
    if course.scene.separate:
        _carry_separate(course)
    if not written:
        course.draft.actions.append(WriteArms(desired(course)))
    elif late:
        course.draft.actions.append(PushArms(late))
    exact = written and not late and follows(course) and (status.verified_at is not None or course.stage is None)
    course.draft.again_in(policy.poll_every if exact else min(VERIFYING, policy.poll_every))
    taps = f"{len(course.ready) - len(late)}/{len(course.ready)}" if written else f"0/{len(course.ready)}"
    if course.due or course.draft.status != course.draft.facts.status:  # a tap that comes and goes writes nothing
        course.change(taps=taps)


def _carry_separate(course: Course) -> None:
    """The route first: it alone takes users away from the candidate."""
    changed = route(course.scene.serving, separate.share(course), course.seen)
    if changed is not None:
        course.draft.actions.append(changed)
    if course.status.intent is None:
        made = own_pods(course)
        digest = template_digest(made)
        if course.seen.canary != digest:
            course.draft.actions.append(ApplyServing(made, digest))


def ended(course: Course) -> bool:
    """An end that was decided on: reached once every ready pod is read back, or the rest is fenced."""
    status = course.status
    if status.intent is None:
        return False
    phase, truth = _ENDS[status.intent]
    late = lagging(course)
    waits = bool(late) and course.since(status.intent_at) < FENCE
    said = status.message or ""
    course.change(taps=f"{len(course.ready) - len(late)}/{len(course.ready)}")
    kept = held_over(course) if status.intent is not RolloutIntent.PROMOTE else ()
    promoting = course.scene.separate and status.intent is RolloutIntent.PROMOTE
    if promoting and not rolled(course):
        said += " The pods of stable are being given the new model."
    elif course.scene.separate and complaint(course):
        said += f" {complaint(course)}"
    elif kept:
        names = ", ".join(p.name for p in kept[:5])
        said += f" Of stable's pods {names} have the candidate's model, until the Deployment has been rolled back."
    elif in_force(course) and not waits:
        if late:
            names = ", ".join(f"{p.name} ({course.seen.silent.get(p.uid, 'behind')})" for p in late[:5])
            said += (
                f" Not read back within {FENCE:.0f} s: {names}. Such a tap reads the arms itself when it comes back, "
                "and serves stable while nobody asks for its state."
            )
            course.change(message=said[:1024])
        course.draft.end(phase)
    elif late:
        said += f" {len(late)} of {len(course.ready)} ready pods are not read back yet."
    reason = status.held_because or status.intent.value
    course.draft.condition(
        "Safe", "True" if truth == "True" else "False" if truth == "False" else "Unknown", reason, said
    )
    return True


# --------------------------------------------------------------------------------------------------- is it really given


def share(course: Course) -> tuple[bool | None, str]:
    """Whether the counters show the weight that was set: (yes, no or not known yet; the figures in words).

    The share of n requests has a variance of w(1-w)/n; with sticky users it is at most w(1-w)·h, h being the largest
    share that one of them has of the requests (Σsᵢ² ≤ max sᵢ). Held within 3.29 standard deviations, 99.9 %.
    """
    stage = course.stage
    if stage is None or stage.weight == 0:
        return (True if stage is not None else None), ""
    giving = [t for t in course.taps if not t.held and t.weight == stage.weight]
    stable, canary = _routed(giving, stage.stratum)
    n, w = stable + canary, stage.weight / 100
    text = f"{canary} of {n} requests went to the candidate, {w:.0%} was set"
    if n * w * (1 - w) < FEWEST:
        return None, text
    heaviest = max(t.heaviest for t in giving) if _sticky(course) else 0.0
    allowed = SURE * sqrt(w * (1 - w) * max(1 / n, min(heaviest, 1.0))) + 0.5 / n
    if abs(canary / n - w) <= allowed:
        return (True if canary else None), text
    return False, f"{text}, within {allowed:.1%}"


def _sticky(course: Course) -> bool:
    """A Gateway gives each request its arm on its own."""
    return course.scene.serving.sticky_header is not None and not course.scene.separate


def _routed(taps: list[TapReading], stratum: str) -> tuple[int, int]:
    pairs = [t.routed.get(stratum, (0, 0)) for t in taps]
    return sum(p[0] for p in pairs), sum(p[1] for p in pairs)
