"""Bounds for an uplift by the paired bootstrap over examples: for scores that are more than right or wrong.

Examples get weights at random (D. Rubin, The Bayesian bootstrap, Annals of Statistics 9, 1981), and one example is
added to those that were seen: the worst of them once more for the lower bound, the best for the upper (N. Gaffke,
Mathematical Methods of Statistics 14, 2005, adds the end of the range). Without it, the percentile, BCa and
studentised bootstrap accept falsely in 6 to 14 % of cases at a level of 5 % and n = 100, depending on how skewed the
differences are. Where these rest on few examples, what was seen says too little, and the worst that could be is added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from retune_trainer.statistics.paired import Numbers, Paired

# Resamples beyond the bound, wished for and needed; numbers drawn at most, for time; and at once, for memory.
TAIL, SPARSE_TAIL = 200, 20
FEWEST, MOST = 4000, 200_000
DRAWN, AT_ONCE = 100_000_000, 4_000_000
# Fewer examples, or fewer changes that are worth counting, and what was seen is not what can happen.
EXAMPLES, CHANGES = 20, 20.0
SEED = 0


@dataclass(frozen=True)
class Resampled:
    """The uplift under random weights: with the worst added (`low`), and with the best (`high`); sorted."""

    low: Numbers
    high: Numbers
    uplift: float

    def lower(self, alpha: float) -> float:
        """What the uplift exceeds with confidence 1 - `alpha`."""
        return self._quantile(self.low, alpha)

    def upper(self, alpha: float) -> float:
        """What the uplift stays below with confidence 1 - `alpha`."""
        return -self._quantile(np.sort(-self.high), alpha, -self.uplift)

    def p_above(self, at: float) -> float:
        """How likely so low an uplift is if the true one is `at` or more."""
        return float((1 + (self.high >= at).sum()) / (1 + len(self.high)))

    def _quantile(self, ordered: Numbers, alpha: float, middle: float | None = None) -> float:
        middle = self.uplift if middle is None else middle
        count = len(ordered)
        reached = max(alpha, SPARSE_TAIL / count)
        value = float(ordered[max(0, math.floor(reached * count) - 1)])
        if reached > alpha:
            # So far out there are no resamples: the tail goes on as the normal distribution's does.
            further = NormalDist().inv_cdf(alpha) / NormalDist().inv_cdf(reached)
            value = middle + (value - middle) * further
        return value


def resample(paired: Paired, alpha: float) -> Resampled | None:
    """Draw as many as `alpha` asks for; None where examples are too few for a bound.

    The same examples give the same numbers: the seed is fixed.
    """
    n = len(paired)
    few = paired.effective_changes < CHANGES
    if n < EXAMPLES or (few and paired.exponential):
        return None
    columns = paired.columns
    if few:
        heaviest = paired.weights.max()
        worst, best = np.array([heaviest, 0.0, heaviest]), np.array([0.0, heaviest, heaviest])
    else:
        influence = paired.influence()
        worst, best = columns[influence.argmin()], columns[influence.argmax()]
    count = max(FEWEST, min(math.ceil(TAIL / alpha), MOST, DRAWN // n))
    random = np.random.default_rng(SEED)
    low, high = np.empty(count), np.empty(count)
    size = max(1, AT_ONCE // n)
    for start in range(0, count, size):
        part = slice(start, min(count, start + size))
        rows = part.stop - part.start
        sums = random.standard_exponential((rows, n)) @ columns
        added = random.standard_exponential((rows, 1))
        low[part] = paired.uplift_of(sums + added * worst)
        high[part] = paired.uplift_of(sums + added * best)
    return Resampled(np.sort(low), np.sort(high), paired.uplift)
