"""The smallest true uplift that so many examples would have shown: its lower bound is above 0 in 80 % of cases."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from retune_trainer.statistics.bootstrap import Resampled

POWER = 0.8


def binary(changed: int, n: int, alpha: float) -> float:
    """For right or wrong, given how many of `n` answers changed between right and wrong.

    Solves u * sqrt(n) = z(1 - alpha) * sqrt(d) + z(0.8) * sqrt(d - u²) for u, d being the share of changed answers
    (R. J. Connor, Biometrics 43, 1987). An uplift of u changes at least that share, so d is never below u.
    """
    wanted, power = NormalDist().inv_cdf(1 - alpha), NormalDist().inv_cdf(POWER)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        share = max(changed / n, middle)
        if middle * math.sqrt(n) < wanted * math.sqrt(share) + power * math.sqrt(share - middle**2):
            low = middle
        else:
            high = middle
    return high


def resampled(found: Resampled, alpha: float) -> float:
    """For other scores: as far as the lower bound lies below the uplift, and as much as the uplift varies."""
    return max(0.0, found.uplift - found.lower(alpha)) + NormalDist().inv_cdf(POWER) * float(np.std(found.high))
