"""Tests that may be looked at at any time: the comparative one (`maxRatio`) and the absolute one (`maxRate`).

An e-process is a non-negative supermartingale under its null hypothesis that starts at 1; the chance that it ever
reaches 1/alpha is at most alpha (Ville, 1939; Ramdas et al., "Game-theoretic statistics and safe anytime-valid
inference", 2023). A mixture over restart times keeps a fault that begins late from being masked by what was clean
before (Shin, Ramdas and Rinaldo, "E-detectors", 2024).

All functions work on whole arrays: any leading axes, alternatives (`RATIOS`) last.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RATIOS: Floats = np.exp(np.linspace(np.log(1.2), np.log(160.0), 24))  # how much worse than allowed
RESTARTS = 600.0  # seconds after which three quarters of the mixture's weight is given out
CEILING = 300.0  # of ln S, so that no exponential overflows


def comparative(bad: Floats, total: Floats, stable_bad: Floats, stable_total: Floats, max_ratio: float) -> Floats:
    """Log-likelihood ratios of p_canary = max_ratio * RATIOS * p_stable against p_canary = max_ratio * p_stable.

    Of c + b bad answers c are the canary's: binomial with pi(r) = r n_c / (r n_c + n_b), whatever the rate is that both
    arms share. 0 where an arm has no requests.

    Args:
        bad: of the canary in one stratum.
        total: of it.
        stable_bad: of stable.
        stable_total: of it; all of the same shape.
        max_ratio: r0.

    Returns:
        That shape and the 24 alternatives.
    """
    c, n_c, b, n_b = (np.asarray(each, dtype=np.float64)[..., None] for each in (bad, total, stable_bad, stable_total))
    both = (n_c > 0) & (n_b > 0)
    worse = np.log(max_ratio * RATIOS * n_c + n_b + ~both) - np.log(max_ratio * n_c + n_b + ~both)
    return np.where(both, c * np.log(RATIOS) - (c + b) * worse, 0.0)


def absolute(bad: Floats, total: Floats, max_rate: float) -> Floats:
    """Log-likelihood ratios of odds(p) = RATIOS * odds(max_rate) against p = max_rate, binomial.

    Returns:
        The shape of the counts, and the 24 alternatives.
    """
    c, n = (np.asarray(each, dtype=np.float64)[..., None] for each in (bad, total))
    odds = max_rate / (1 - max_rate)
    found: Floats = c * np.log(RATIOS) - n * (np.log1p(odds * RATIOS) - np.log1p(odds))
    return found


def given_out(t: float) -> float:
    """W(t): how much of the mixture's weight has begun t seconds after the test did; half of it at once."""
    return 0.5 + 0.5 * t / (t + RESTARTS) if t > 0 else 0.0


@dataclass(frozen=True, eq=False)
class Test:
    """One test as it stands. `limit`: of its null hypothesis; `began`: seconds since the epoch; `t`: since then.

    `logs`: ln S by alternative (last axis); the axis before it holds one test each, fed with different requests.
    """

    __test__ = False  # not one of pytest's

    limit: float
    began: float
    t: float
    logs: Floats


def begin(rows: tuple[int, ...], limit: float, at: float) -> Test:
    """Nothing seen yet. `rows`: the leading axes."""
    return Test(limit, at, 0.0, np.full((*rows, len(RATIOS)), -np.inf))


def update(test: Test, evidence: Floats, at: float, eta: float | Floats, *, ceiling: float = CEILING) -> Test:
    """The test after one poll: S_k <- (S_k + w) exp(eta * evidence_k), w = W(t) - W(t before).

    Args:
        test: before.
        evidence: log-likelihood ratios, summed over strata.
        at: seconds since the epoch; a clock that goes back counts as standing still.
        eta: tempering, at most 1, from past polls only; per leading axis or one for all.
        ceiling: ln S stays below it. Cutting an e-process leaves it one.
    """
    t = max(test.t, at - test.began)
    weight = given_out(t) - given_out(test.t)
    logs = test.logs if weight <= 0 else np.logaddexp(test.logs, np.log(weight))
    logs = np.minimum(logs + np.asarray(eta)[..., None] * evidence, ceiling)
    # Kept to seven digits, which is plenty and halves what a restart needs.
    return replace(test, t=t, logs=logs.astype(np.float32).astype(np.float64))


def e_value(test: Test) -> Floats:
    """E = mean of S_k + 1 - W(t), by leading axes."""
    total: Floats = np.exp(test.logs).mean(axis=-1)
    return total + 1 - given_out(test.t)
