"""When there is evidence of no harm, what harm could have been missed, and how long a rollout will take.

The confidence sequence of a rate is that of the beta-binomial mixture (Robbins, 1970; Howard, Ramdas, McAuliffe and
Sekhon, 2021): {p : B(a+s, b+n-s) / B(a, b) * p^-s (1-p)^-(n-s) < 1/alpha'}. It holds at all times at once, so one may
look as often as one likes. All metrics must pass, so alpha is not split over them.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from retune.decide.evidence.eprocess import Floats
from retune.decide.evidence.terms import Plan, Watched

A, B = 0.5, 20.0
SMALLEST_MARGIN = 0.02
LONGEST = 10_000.0  # hours; beyond it, never
HALVINGS = 60


def bounds(bad: Floats | float, total: Floats | float, alpha: float) -> tuple[Floats, Floats]:
    """Both ends of the confidence sequence, each wrong with a chance of at most alpha over all times.

    Args:
        bad: effective count (divided by phi); need not be whole.
        total: the same of all.
        alpha: alpha'.

    Returns:
        (lower, upper), of the counts' shape; (0, 1) for no requests.
    """
    from scipy.special import (
        betaln,
        xlog1py,
        xlogy,
    )  # a sixth of the time that the operator needs to start: at first need

    s, n = np.broadcast_arrays(np.asarray(bad, dtype=np.float64), np.asarray(total, dtype=np.float64))
    mixed = betaln(A + s, B + n - s) - betaln(A, B)
    centre = np.where(n > 0, s / np.where(n > 0, n, 1), 0.5)

    def outside(p: Floats) -> Floats:
        found: Floats = mixed - xlogy(s, p) - xlog1py(n - s, -p) >= math.log(1 / alpha)
        return found

    lower = _edge(np.zeros_like(centre), centre, outside)
    upper = _edge(np.ones_like(centre), centre, outside)
    return lower, upper


def _edge(far: Floats, near: Floats, outside: Callable[[Floats], Floats]) -> Floats:
    """Where `outside` begins between `near`, which is inside, and `far`."""
    for _ in range(HALVINGS):
        middle = (far + near) / 2
        out = outside(middle)
        far, near = np.where(out, middle, far), np.where(out, near, middle)
    return far


def margin(watched: Watched, stable_bad: float, stable_total: float) -> float:
    """Harm that promotion must rule out: as asked, or max(0.02, half of stable's rate)."""
    if watched.margin is not None:
        return watched.margin
    return max(SMALLEST_MARGIN, 0.5 * stable_bad / stable_total) if stable_total > 0 else SMALLEST_MARGIN


def expected_hours(
    plan: Plan,
    *,
    requests_per_minute: float,
    rates: Mapping[str, float],
    steps: Sequence[tuple[float, float]],
    min_requests: int,
    bake: float,
    phi: float = 1.0,
) -> float:
    """Hours from the first step to the end of the bake if the candidate is as good as stable; inf: never.

    Args:
        plan: margins and confidence.
        requests_per_minute: of both arms together, as it is now.
        rates: stable's rate of bad answers by stop-loss; one that is missing counts as 0.
        steps: (weight as a fraction, hold in seconds), in order.
        min_requests: of the candidate at each step.
        bake: seconds.
        phi: how much fewer independent requests there are than requests.
    """
    if requests_per_minute <= 0:
        return math.inf
    hours = bake / 3600
    for index, (weight, hold) in enumerate(steps):
        following = steps[index + 1][0] if index + 1 < len(steps) else 1.0
        longest = max(hold / 3600, min_requests / (weight * requests_per_minute * 60))
        for watched in plan.watched:
            rate = rates.get(watched.name, 0.0)
            longest = max(
                longest, _needed(plan, watched, rate, requests_per_minute * 60 / phi, shares=(weight, following))
            )
        hours += longest
    return hours if hours < LONGEST else math.inf


def _needed(plan: Plan, watched: Watched, rate: float, per_hour: float, *, shares: tuple[float, float]) -> float:
    """Hours until a metric passes with as many bad answers as are expected. `shares`: the step's weight, the next."""
    weight, following = shares
    hours = np.geomspace(0.01, LONGEST, 400)
    canary, stable = hours * per_hour * weight, hours * per_hour * (1 - weight)
    alpha = (1 - plan.promote_confidence) / 2
    _, upper = bounds(canary * rate, canary, alpha)
    lower, _ = bounds(stable * rate, stable, alpha)
    passes = upper - lower <= margin(watched, rate, 1.0) / following
    return float(hours[passes.argmax()]) if passes.any() else math.inf
