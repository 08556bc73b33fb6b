"""Bounds for the difference of two paired proportions: which of two models is right more often, on the same examples.

The score statistic is T. Tango's (Statistics in Medicine 17, 1998). Compared with the normal distribution it accepts
too often where nearly all changes go one way: up to 8 % at a level of 5 %, and 4 times too often at the small levels of
a late look (n = 100 to 1,000, by exact enumeration). So its tail is added up exactly instead, at the worst discordance
that the data leave possible (Berger and Boos, JASA 89, 1994).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]

# Part of the level that is spent on leaving out discordances that the data make incredible.
LEFT_OUT = 0.01
DISCORDANCES = 24
# Beyond this, a sum over all outcomes costs seconds, and the normal distribution is close enough.
MAX_CHANGED = 600
# Outcomes further than this from what is expected have a chance below 1e-14.
SPREAD = 8.0
STEPS = 24


def score(gained: Numbers | Counts | float, lost: Numbers | Counts | float, n: int, at: float) -> Numbers:
    """Tango's statistic: how many standard errors the difference lies above `at`.

    Args:
        gained: examples that only the candidate gets right.
        lost: examples that only the reference gets right.
        n: all examples.
        at: the true difference that is supposed, within (-1, 1).
    """
    gained, lost = np.asarray(gained, dtype=np.float64), np.asarray(lost, dtype=np.float64)
    # The most likely share of losses if the difference is `at`: the larger root of a quadratic (Tango, section 2).
    a = 2.0 * n
    b = (2 * n - gained + lost) * at - gained - lost
    c = -lost * at * (1 - at)
    share = (np.sqrt(np.maximum(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * np.maximum(2 * share + at * (1 - at), 0.0)
    difference = gained - lost - n * at
    certain = np.where(np.abs(difference) < 1e-9, 0.0, np.copysign(np.inf, difference))
    return np.where(variance > 0, difference / np.sqrt(np.where(variance > 0, variance, 1.0)), certain)


def p_value(gained: int, lost: int, n: int, at: float, level: float = 0.05) -> float:
    """The chance of a score this high or higher if the true difference is `at` (or lower), one-sided.

    `level` is what it will be held against: it sets which discordances are left out, not what is counted.
    """
    found = float(score(gained, lost, n, at))
    if gained + lost > MAX_CHANGED:
        return NormalDist().cdf(-found)
    return _tail(gained + lost, n, at, found, left_out=LEFT_OUT * level)


def lower(gained: int, lost: int, n: int, alpha: float) -> float:
    """The largest difference that is exceeded with confidence 1 - `alpha`, within [-1, 1]."""
    high = min(1.0 - 1e-12, (gained - lost) / n)
    low = -1.0 + 1e-12
    for _ in range(STEPS):
        middle = (low + high) / 2
        if p_value(gained, lost, n, middle, alpha) > alpha:
            high = middle
        else:
            low = middle
    return low if low > -1 + 1e-9 else -1.0


def upper(gained: int, lost: int, n: int, alpha: float) -> float:
    """The smallest difference that is undercut with confidence 1 - `alpha`, within [-1, 1]."""
    return -lower(lost, gained, n, alpha)


def _tail(changed: int, n: int, at: float, found: float, *, left_out: float) -> float:
    """The largest chance over the discordances that are left, and the chance of having left out the true one."""
    low, high = _discordances(changed, n, left_out)
    low = max(low, abs(at))
    if low > high:
        # No credible share of changes is as large as `at`: above it that speaks against `at`; below it, for less.
        return left_out if found > 0 else 1.0
    # Finer where it is small: there the chance changes fastest.
    shares = np.linspace(math.sqrt(low), math.sqrt(high), DISCORDANCES) ** 2
    gains = _window((low + at) / 2, (high + at) / 2, n)
    losses = _window((low - at) / 2, (high - at) / 2, n)
    as_high = score(gains[:, None], losses[None, :], n, at) >= found - 1e-9
    as_high &= gains[:, None] + losses[None, :] <= n
    rows, columns = np.nonzero(as_high)
    if not len(rows):
        return left_out
    b, c = gains[rows], losses[columns]
    unchanged = n - b - c
    log_factorial = _log_factorials(n)
    ways = log_factorial[n] - log_factorial[b] - log_factorial[c] - log_factorial[unchanged]
    worst = 0.0
    for share in shares:
        with np.errstate(divide="ignore"):
            better, worse, same = np.log([max(0.0, (share + at) / 2), max(0.0, (share - at) / 2), max(0.0, 1 - share)])
        chance = ways + _times(b, better) + _times(c, worse) + _times(unchanged, same)
        worst = max(worst, float(np.exp(chance).sum()))
    return min(1.0, worst + left_out)


def _times(count: Counts, logarithm: float) -> Numbers:
    """`count` * `logarithm`, where nothing is taken out of what cannot be."""
    if math.isinf(logarithm):
        return np.where(count == 0, 0.0, -np.inf)
    return np.asarray(count * logarithm, dtype=np.float64)


def _window(low: float, high: float, n: int) -> Counts:
    """The counts that can occur if the chance of each lies between `low` and `high`."""
    low, high = max(0.0, n * low), max(0.0, n * high)
    first = max(0, math.floor(low - SPREAD * math.sqrt(low) - SPREAD))
    last = min(n, math.ceil(high + SPREAD * math.sqrt(high) + 2 * SPREAD))
    return np.arange(first, last + 1)


def _log_factorials(n: int) -> Numbers:
    found = np.zeros(n + 1)
    found[1:] = np.cumsum(np.log(np.arange(1, n + 1)))
    return found


def _discordances(changed: int, n: int, left_out: float) -> tuple[float, float]:
    """The shares of changed examples that `changed` of `n` allow, but for a chance of `left_out` (Chernoff's bound)."""
    seen, allowed = changed / n, math.log(2 / left_out) / n

    def distance(share: float) -> float:
        first = seen * math.log(seen / share) if seen > 0 else 0.0
        second = (1 - seen) * math.log((1 - seen) / (1 - share)) if seen < 1 else 0.0
        return first + second

    ends = []
    for bound in (0.0, 1.0):
        near, far = seen, bound
        for _ in range(40):
            middle = (near + far) / 2
            if 0 < middle < 1 and distance(middle) <= allowed:
                near = middle
            else:
                far = middle
        ends.append(far)
    return ends[0], ends[1]
