"""Made-up gold sets and answers whose true uplift is known: what the bounds are tried on. numpy only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from retune_trainer.statistics.paired import Paired

Draw = Callable[[np.random.Generator, int], Paired]


@dataclass(frozen=True)
class Population:
    """`draw` gives n examples; `truth` is the uplift over endlessly many."""

    name: str
    draw: Draw
    truth: float


def pairs(uplift: float, changed: float) -> Draw:
    """Right or wrong, a share of `changed` of the answers changing: `changed` = |uplift| means all go one way."""

    def draw(random: np.random.Generator, n: int) -> Paired:
        kind = random.choice(3, n, p=[(changed + uplift) / 2, max(0.0, (changed - uplift) / 2), 1 - changed])
        return Paired((kind == 1).astype(float), (kind == 0).astype(float), np.ones(n))

    return draw


def _word_overlap(random: np.random.Generator, n: int) -> Paired:
    """Scores such as TokenF1: most answers stay as they were, the others become somewhat better or worse."""
    before = random.beta(2, 1, n)
    after = np.where(random.random(n) < 0.6, before, np.clip(before + random.normal(0, 0.3, n), 0, 1))
    return Paired(before, after, np.ones(n))


def _seldom_far_worse(random: np.random.Generator, n: int) -> Paired:
    """A little better nearly always, and now and then much worse: the skew that fools a percentile bootstrap."""
    before = random.beta(5, 1, n)
    worse = random.random(n) < 0.05
    after = np.where(worse, before * random.random(n) * 0.2, np.minimum(1, before + 0.03 * random.random(n)))
    return Paired(before, after, np.ones(n))


def _weighted(random: np.random.Generator, n: int) -> Paired:
    """Right or wrong, mistakes costing between a fifth and five times the usual."""
    weights = random.lognormal(0, 0.7, n)
    before = random.random(n) < 0.8
    after = before ^ (random.random(n) < 0.12)
    return Paired(weights * before, weights * after, weights)


def _weighted_losses(random: np.random.Generator, n: int) -> Paired:
    """The same with a candidate that only ever loses."""
    weights = random.lognormal(0, 0.7, n)
    before = random.random(n) < 0.9
    after = before & (random.random(n) < 0.94)
    return Paired(weights * before, weights * after, weights)


def _few_weigh_most(random: np.random.Generator, n: int) -> Paired:
    """One mistake in twenty costs twenty times the rest, and the candidate only ever loses."""
    weights = np.where(random.random(n) < 0.05, 20.0, 1.0)
    before = random.random(n) < 0.9
    after = before & (random.random(n) < 0.94)
    return Paired(weights * before, weights * after, weights)


def _perplexity(random: np.random.Generator, n: int) -> Paired:
    tokens = random.integers(3, 120, n).astype(float)
    hard = tokens * random.gamma(4, 0.4, n)
    return Paired(hard * random.lognormal(0, 0.1, n), hard * random.lognormal(0, 0.25, n), tokens, exponential=True)


def _of(name: str, draw: Draw) -> Population:
    return Population(name, draw, draw(np.random.default_rng(1), 2_000_000).uplift)


def graded() -> list[Population]:
    """Those whose scores are more than right or wrong."""
    return [
        _of("TokenF1-like", _word_overlap),
        _of("seldom far worse", _seldom_far_worse),
        _of("weighted", _weighted),
        _of("weighted, losses only", _weighted_losses),
        _of("few weigh most", _few_weigh_most),
        _of("perplexity", _perplexity),
    ]
