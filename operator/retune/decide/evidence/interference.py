"""Is stable slower than it was, because of the candidate?

Arms that share a GPU share its fate: a candidate that slows everyone has a ratio near 1. So stable is tested against
itself: the absolute test on its requests since the rollout began, against maxRatio times the upper bound of its slow
rate in the hour before.
"""

import numpy as np

from retune.decide.evidence import eprocess
from retune.decide.evidence.eprocess import Floats, Test

FEWEST = 50  # effective requests in the hour before, below which stable's own rate is not known
SLOW = "Slow"
CUT = 3.5  # ln S stays below the threshold's by no more than this, so that stable can recover


def limit(before: tuple[int, int], phi: float, max_ratio: float, alpha: float) -> float | None:
    """Upper bound of the rate before (Clopper and Pearson, 1934), times maxRatio; None: too little traffic.

    Args:
        before: (bad, total) of stable in the hour before.
        phi: by which both are divided.
        max_ratio: of the stop-loss.
        alpha: chance that the bound is too low.
    """
    bad, total = before[0] / phi, before[1] / phi
    if total < FEWEST:
        return None
    from scipy.special import betaincinv  # a sixth of the time that the operator needs to start: at first need

    upper = float(betaincinv(bad + 1, max(total - bad, 1e-9), 1 - alpha))
    return upper * max_ratio if upper * max_ratio < 1 else None


def update(test: Test, found: tuple[int, int], at: float, eta: float, enough: float) -> Test:
    """With stable's (bad, total) in windows that have closed since the last look."""
    evidence: Floats = eprocess.absolute(np.array([found[0]]), np.array([found[1]]), test.limit)
    return eprocess.update(test, evidence, at, eta, ceiling=float(np.log(enough)) + CUT)
