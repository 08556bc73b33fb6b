"""Stable that gets slow beside the candidate: both share a machine, so that a ratio between them shows nothing.

Pure. The candidate's load is taken away; if stable gets well without it, it was the candidate.
"""

from math import sqrt

from retune.api import RolloutIntent, StopLossBuiltin
from retune.decide.arms import ArmKind
from retune.decide.rollout.course import Course
from retune.decide.rollout.stages import first_step

RECOVERY = 300.0  # s in which stable must get well without the candidate, if it was the candidate
MINUTE = 60.0
FEWEST = 20  # requests of stable's last minute to judge by


def interfered(course: Course) -> bool:
    """Stable got slow beside the candidate: take the candidate's load away, and see whether stable gets well."""
    judged, since = course.judgement, course.status.interfered_at
    bad = judged is not None and judged.interference
    well = bool(course.taps) and (not bad or stable_well(course))
    if since is None:
        elsewhere = course.scene.separate or course.scene.stable.kind is ArmKind.ENDPOINT  # on another machine
        if not bad or elsewhere:
            return False
        course.change(interfered_at=course.now, weight=0)
        course.moved = True
        text = "Stable got slower than it was; the candidate, which shares its machine, gets nothing meanwhile."
        course.hold("Interference", text)
        return False
    over = course.since(since) > RECOVERY
    if over and bad:
        text = (
            f"Stable is still slow {RECOVERY:.0f} s after the candidate's load was taken away: it is not the candidate."
        )
        course.hold("BaselineUnhealthy", text)
    if not well or (over and bad):
        return False
    if not over:
        text = (
            f"Stable got slow beside the candidate and well again {course.since(since):.0f} s after its load was gone."
        )
        return course.decide(RolloutIntent.ROLL_BACK, "Interference", text)
    course.enter(first_step(course.stages), interfered_at=None)
    return True


def aside(course: Course) -> bool:
    """While stable is slow the candidate waits, and gets nothing."""
    return course.status.interfered_at is not None


def stable_well(course: Course) -> bool:
    """Whether stable's last minute is as the hour before the rollout was: the evidence itself forgets but slowly.

    No more slow answers than n·p + 2·√(n·p), p being maxRatio times the rate of that hour, which the evidence holds:
    taps are only asked for their newest windows.
    """
    now, known = course.now.timestamp(), course.kept.evidence
    since = max((course.status.interfered_at or course.now).timestamp(), now - MINUTE)
    for metric in course.plan.watched:
        if metric.builtin != StopLossBuiltin.SLOW.value:
            continue
        rows = [
            (begins + tap.skew(now), bad, total)
            for tap in course.taps
            for begins, bad, total in tap.windows.get(metric.name, ())
        ]
        lately = [row for row in rows if row[0] >= since]
        bad, total = known.metrics[metric.name].dispersion.before if known and metric.name in known.metrics else (0, 0)
        slow, n = sum(r[1] for r in lately), sum(r[2] for r in lately)
        expected = n * min(metric.max_ratio * (bad + 1) / (total + 1), 1.0)
        if n < FEWEST or slow > expected + 2 * sqrt(expected):
            return False
    return True
