"""Hard caps on what the candidate may serve, given to the pods as quotas: they hold even when nobody can look.

Pure. The same quota holds for every pod, and counts what the pod has given since the rollout began; what pods that
are gone have given is subtracted.
"""

from collections.abc import Sequence
from dataclasses import replace

from retune.decide.arms import Quota
from retune.decide.rollout.course import Course


def fits(cap: int, gone: int, used: Sequence[int]) -> int:
    """The largest quota q with gone + Σ max(used, q) ≤ cap, over the pods; 0: the cap is used up.

    Args:
        cap: of all pods together.
        gone: what pods that are gone have used.
        used: by each pod that is there.
    """
    left = cap - gone
    for used_more in range(len(used)):  # the pods that have used most may already be beyond q
        most = sorted(used, reverse=True)
        rest = most[used_more:]
        quota = (left - sum(most[:used_more])) // len(rest)
        if quota >= rest[0]:
            return max(quota, 0)
    return 0


def count(course: Course) -> None:
    """Note what the candidate has had at each pod: a pod that goes takes its counters along."""
    seen = {uid: (tap.quota_requests, tap.quota_bad) for uid, tap in course.seen.taps.items()}
    old = course.kept.spent
    grown = {uid: (max(n, old.get(uid, (0, 0))[0]), max(b, old.get(uid, (0, 0))[1])) for uid, (n, b) in seen.items()}
    if any(any(v) for v in grown.values()) or old:
        course.kept = replace(course.kept, spent={**old, **grown})


def quota(course: Course) -> Quota:
    """What each pod is given: as before while that fits, so that the arms do not change with every request."""
    caps = course.spec.exposure
    if caps is None:
        return Quota()
    last = course.written
    old = last.quota if last is not None and last.salt == course.draft.facts.meta.uid else Quota()
    return Quota(_one(course, caps.max_requests, old.requests, 0), _one(course, caps.max_bad, old.bad, 1))


def _one(course: Course, cap: int | None, old: int | None, which: int) -> int | None:
    if cap is None:
        return None
    there = {p.uid for p in course.seen.pods}
    used = [course.kept.spent.get(uid, (0, 0))[which] for uid in sorted(there)]
    gone = sum(v[which] for uid, v in course.kept.spent.items() if uid not in there)
    best = fits(cap, gone, used)
    if old is not None and old <= best and not all(u >= old for u in used):
        return old
    return best


def used_up(course: Course) -> str:
    """Which cap is used up at every pod, in words, or ""."""
    caps = course.spec.exposure
    if caps is None or not course.ready:
        return ""
    allowed = quota(course)
    for name, cap, each, which in (
        ("maxRequests", caps.max_requests, allowed.requests, 0),
        ("maxBad", caps.max_bad, allowed.bad, 1),
    ):
        spent = [course.kept.spent.get(p.uid, (0, 0))[which] for p in course.ready]
        if each is not None and all(used >= each for used in spent):
            total = sum(v[which] for v in course.kept.spent.values())
            return f"spec.rollout.exposure.{name} ({cap}) is used up: {total} before promotion. Raise it and retry."
    return ""
