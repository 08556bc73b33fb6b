"""Hard caps on what the candidate may serve, given to the pods as quotas: they hold even when nobody can look.

Pure. The same quota holds for every pod, and counts what its tap has given in this life since the rollout began; what
was given by pods that are gone, and by taps before they started again, is subtracted. While nobody looks, a tap that
starts again counts from 0: what that may add is bounded by the quota, and by its patience.
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
    """Note what the candidate has had of each life of a tap: one that ends takes its counters along."""
    seen = {_life(uid, tap.started): (tap.quota_requests, tap.quota_bad) for uid, tap in course.seen.taps.items()}
    old = course.kept.spent
    grown = {key: (max(n, old.get(key, (0, 0))[0]), max(b, old.get(key, (0, 0))[1])) for key, (n, b) in seen.items()}
    if any(any(v) for v in grown.values()) or old:
        course.kept = replace(course.kept, spent={**old, **grown})


def _life(uid: str, started: float) -> str:
    return f"{uid}@{started:.3f}"


def _newest(course: Course, uid: str) -> str:
    """The life of a pod's tap that there is now, as far as is known."""
    tap = course.seen.taps.get(uid)
    if tap is not None:
        return _life(uid, tap.started)
    known = [key for key in course.kept.spent if key.partition("@")[0] == uid]
    return max(known, key=lambda key: float(key.partition("@")[2] or 0), default=uid)


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
    there = {_newest(course, p.uid) for p in course.seen.pods}
    used = [course.kept.spent.get(life, (0, 0))[which] for life in sorted(there)]
    gone = sum(v[which] for life, v in course.kept.spent.items() if life not in there)
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
        spent = [course.kept.spent.get(_newest(course, p.uid), (0, 0))[which] for p in course.ready]
        if each is not None and all(used >= each for used in spent):
            total = sum(v[which] for v in course.kept.spent.values())
            return f"spec.rollout.exposure.{name} ({cap}) is used up: {total} before promotion. Raise it and retry."
    return ""
