"""What keeps a rollout from going on without being harm: people, blindness, used-up caps, time.

Pure. Rules of the rollout's chain: each returns whether the matter is settled.
"""

from retune.api import EvidenceState, RolloutIntent, RunPhase, seconds
from retune.decide.rollout.course import Course
from retune.decide.rollout.exposure import used_up
from retune.decide.rollout.separate import unheard
from retune.decide.rollout.stages import first_step

_BLIND = frozenset({EvidenceState.SOURCE_DOWN, EvidenceState.INVALID})


def suspended(course: Course) -> bool:
    """The job is suspended or halted: the candidate gets nothing, and the rollout begins again when it goes on."""
    facts = course.draft.facts
    if not facts.suspended or facts.paused:
        return False
    if course.stage is not None:
        course.enter(None, interfered_at=None, blind_since=None)
        course.kept = type(course.kept)(spent=course.kept.spent)
    if course.status.paused_since is None:
        course.change(paused_since=course.now)
    return course.hold(
        "Suspended", "The job is suspended or halted: weight 0. The rollout begins again when it goes on."
    )


def exposed(course: Course) -> bool:
    """The candidate has had all that it may have before promotion."""
    said = used_up(course) if course.stage is not None else ""
    return course.decide(RolloutIntent.GIVE_UP, "ExposureUsedUp", said) if said else False


def blinded(course: Course) -> bool:
    """Something cannot be measured: nothing moves on; after a while the candidate gets less, and then nothing."""
    reasons, status, limits = blind(course), course.status, course.spec.on_blind
    if not reasons:
        if status.blind_since is not None:
            course.change(blind_since=None)
        return False
    since = status.blind_since or course.now
    course.change(blind_since=since)
    dark, text = course.since(since), "; ".join(reasons)[:600]
    if dark >= seconds(limits.abort):
        said = f"Nothing could be measured for {limits.abort} (spec.rollout.onBlind.abort): {text}"
        return course.decide(RolloutIntent.GIVE_UP, "Blind", said)
    lowest = first_step(course.stages)
    stage = course.stage
    if dark >= seconds(limits.timeout) and stage is not None and stage.weight > lowest.weight and status.weight > 0:
        course.enter(lowest)
    return course.hold("Blind", f"It stays as it is while it cannot be measured: {text}")


def blind(course: Course) -> list[str]:
    """What cannot be measured, in words."""
    found = []
    if course.ready and not course.taps:
        said = next(iter(course.seen.silent.values()), "no answer")
        found.append(f"none of {len(course.ready)} taps answers ({said})")
    elif course.stage is not None:
        found += unheard(course)
    judged = course.judgement
    if judged is not None:
        details = {m.name: m.detail or m.state.value for m in judged.metrics}
        found += [f"{name}: {details.get(name, 'no value')}" for name in judged.blind]
    else:
        names = {w.name for w in course.plan.watched if w.builtin is None}
        down = {q.metric: q.error for q in course.seen.queries if q.error and q.metric in names}
        found += [f"{name}: {error}" for name, error in sorted(down.items())]
    return found


def paused(course: Course) -> bool:
    """A person holds the weight where it is. The clocks stand still; the stop-loss does not."""
    since = course.status.paused_since
    if course.draft.facts.paused:
        if since is None:
            course.change(paused_since=course.now)
        course.hold("Paused", "The job's annotation retune.dev/pause holds the weight; the stop-loss stays armed.")
        return True
    if since is not None:
        course.shift(course.since(since))
        course.change(paused_since=None)
    return False


def timed_out(course: Course) -> bool:
    """It could not be judged in time."""
    limit, status = course.spec.timeout, course.status
    if course.since(status.started_at) < seconds(limit) or status.held_because == "AwaitingApproval":
        return False
    last = f" It was held by {status.held_because}: {status.message}" if status.held_because else ""
    text = f"The rollout was not judged within {limit} (spec.rollout.timeout).{last}"
    return course.decide(RolloutIntent.GIVE_UP, "Timeout", text)


def unhealthy(course: Course) -> bool:
    """Stable itself is beyond its own limit: nothing can be learned by comparing with it."""
    judged = course.judgement
    ill = [m for m in judged.metrics if m.state is EvidenceState.BASELINE_UNHEALTHY] if judged is not None else []
    if not ill or course.status.stage not in (RunPhase.CANARY, RunPhase.BAKING):
        return False
    return course.hold("BaselineUnhealthy", f"Stable itself is beyond its limit: {', '.join(m.name for m in ill)}.")
