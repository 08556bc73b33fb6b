"""A detector that bets on recent prompts being unlike the reference, and may be looked at at any time. Pure.

A bettor who has learned what recent prompts have more of (g, from prompts before this one) stakes a share λ of what
it has on this prompt having more of it than the reference. Without drift its wealth is a supermartingale (testing by
betting: Shekhar and Ramdas, "Nonparametric two-sample testing by betting", 2024; Podkopaev and Ramdas, 2023). A new
bettor starts at all times (Shin, Ramdas and Rinaldo, "E-detectors", 2024), with as much as the fraction of a year
that has gone by, here in days: the wealth M of all together is expected to be the number of days watched, whatever
the traffic was, and reaches `LIMIT` = 365 about once a year at most.

    M ← (M + days since the last look) · ∏ (1 + λ h)
    h = g(x) - mean of g over the reference - allowance

g is linear in the features, with standard deviation ½, so that the reference's mean is known from sums of all its
prompts and not from a sample of them. It runs along the mean of what came lately, less the usual: over about 300,
2,000 or 10,000 prompts, of all features (made independent) or of those that stand out. The allowance is for what the
reference, being finite, says wrong of g: `SURE` standard errors of that mean, and `ALLOWANCE` besides, below which a
shift is not worth a retraining. h is cut above at 2, which only makes it smaller. One number counts: the mean of M
over all λ and g.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from retune.decide.drift.evidence import WIDTH
from retune.decide.drift.pool import Floats, Vectors
from retune.decide.drift.reference import Usual

LIMIT = 365.0  # days
CEILING = float(np.log(LIMIT)) + 3.5  # of ln M, so that a return to the usual shows
STAKES: Floats = np.array([0.02, 0.05, 0.1, 0.2, 0.4])
MEMORIES: Floats = np.array([300.0, 2000.0, 10_000.0])  # prompts
LEARN = 25  # prompts from one g to the next
FEWEST = 100  # prompts before the first
SCALE = 0.5  # standard deviation of g
MOST = 2.0  # of h
ALLOWANCE = 0.02  # a shift of 0.04 standard deviations along g
SURE = 2.0
STANDS_OUT = 2.0  # standard errors
RUIN = -0.9  # of λ h, at least
SIGNALS = 2 * len(MEMORIES)


@dataclass(frozen=True, eq=False)
class Bettor:
    """What it has, and what it has learned.

    Attributes:
        wealth: ln M, signals x stakes.
        seen: prompts.
        means: by memory, 64: of recent prompts less the usual, made independent.
        apart: by memory, the same mean of 1 / prompts behind the usual.
        g: signals x 64, as last learned; zeros: nothing yet.
    """

    wealth: Floats = field(default_factory=lambda: np.full((SIGNALS, len(STAKES)), -np.inf))
    seen: int = 0
    means: Floats = field(default_factory=lambda: np.zeros((len(MEMORIES), WIDTH)))
    apart: Floats = field(default_factory=lambda: np.zeros(len(MEMORIES)))
    g: Floats = field(default_factory=lambda: np.zeros((SIGNALS, WIDTH)))

    @property
    def e_value(self) -> float:
        """M, in days; without drift it is expected to be those watched."""
        return float(np.exp(self.wealth).mean())


def wait(bettor: Bettor, days: float) -> Bettor:
    """After some time, before the prompts that came in it."""
    if days <= 0:
        return bettor
    return replace(bettor, wealth=np.minimum(np.logaddexp(bettor.wealth, np.log(days)), CEILING))


def bet(bettor: Bettor, usual: Usual, white: Floats, rows: Vectors) -> Bettor:
    """After more prompts of one moment, in the order they came. `white`: of the reference."""
    start = 0
    while start < len(rows):
        some = rows[start : start + LEARN - bettor.seen % LEARN]
        bettor = _learn(_stake(bettor, usual, white, some), usual, white, some)
        start += len(some)
    return bettor


def _stake(bettor: Bettor, usual: Usual, white: Floats, rows: Vectors) -> Bettor:
    used = np.any(bettor.g != 0, axis=1)
    if not used.any():
        return bettor
    g = white @ bettor.g.T
    sample = usual.rows @ g
    scale = SCALE / np.maximum(1e-9, np.sqrt(usual.weights @ (sample - usual.weights @ sample) ** 2))
    allowance = ALLOWANCE + SURE * SCALE / np.sqrt(usual.against)
    h = (rows @ g - (usual.others @ g).max(axis=0)) * scale - allowance
    growth = np.log1p(np.maximum(RUIN, np.minimum(MOST, h)[:, :, None] * STAKES)).sum(axis=0)
    wealth = np.where(used[:, None], bettor.wealth + growth, bettor.wealth)
    return replace(bettor, wealth=np.minimum(wealth, CEILING))


def _learn(bettor: Bettor, usual: Usual, white: Floats, rows: Vectors) -> Bettor:
    """Means with weights that fall by 1/memory per prompt; plain means until there are as many as that."""
    means, apart, seen = bettor.means, bettor.apart, bettor.seen
    n = len(rows)
    new = (rows.mean(axis=0) - usual.mean) @ white
    weight = np.maximum(n / (seen + n), 1 - (1 - 1 / MEMORIES) ** n)
    means = means + weight[:, None] * (new - means)
    apart = apart + weight * (1 / usual.apart - apart)
    seen += n
    bettor = replace(bettor, means=means, apart=apart, seen=seen)
    if seen % LEARN or seen < FEWEST:
        return bettor
    error = np.sqrt(1 / np.minimum(seen, 2 * MEMORIES) + apart)[:, None]
    sparse = np.sign(means) * np.maximum(0, np.abs(means) - STANDS_OUT * error)
    return replace(bettor, g=np.concatenate([means, sparse]))
