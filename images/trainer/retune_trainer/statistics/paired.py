"""Two models' results on the same examples, as sums that scores are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """What each example adds to a score: score = aggregate(sum of numerators / sum of denominators).

    `reference` and `candidate` are the numerators of the two models, `weights` the denominators of both, each of shape
    (n,). With `exponential` the aggregate is exp and less is better (perplexity), else it is the quotient itself, which
    lies in [0, 1], and more is better.
    """

    reference: Numbers
    candidate: Numbers
    weights: Numbers
    exponential: bool = False

    @classmethod
    def of(
        cls,
        reference: Sequence[float],
        candidate: Sequence[float],
        weights: Sequence[float],
        *,
        exponential: bool = False,
    ) -> Paired:
        """The same from plain numbers."""
        one, other, weight = (np.asarray(column, dtype=np.float64) for column in (reference, candidate, weights))
        return cls(one, other, weight, exponential=exponential)

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def columns(self) -> Numbers:
        """The three columns side by side: reference, candidate, weights; shape (n, 3)."""
        return np.stack([self.reference, self.candidate, self.weights], axis=1)

    def uplift_of(self, sums: Numbers) -> Numbers:
        """How much better the candidate is, from sums of the columns; shape (..., 3) to (...)."""
        with np.errstate(over="ignore", invalid="ignore"):
            reference, candidate = sums[..., 0] / sums[..., 2], sums[..., 1] / sums[..., 2]
            if self.exponential:
                return np.exp(reference) - np.exp(candidate)
            return candidate - reference

    @property
    def uplift(self) -> float:
        """How much better the candidate is on these examples."""
        return float(self.uplift_of(self.columns.sum(axis=0)))

    @property
    def binary(self) -> bool:
        """Whether every example counts the same and is either right or wrong."""
        if self.exponential or not len(self) or self.weights[0] <= 0:
            return False
        if not np.all(self.weights == self.weights[0]):
            return False
        shares = np.stack([self.reference, self.candidate]) / self.weights[0]
        return bool(np.all((shares == 0) | (shares == 1)))

    @property
    def changed(self) -> tuple[int, int]:
        """How many examples the candidate does better on, and how many worse (of numerators, whatever is better)."""
        difference = self.candidate - self.reference
        return int((difference > 0).sum()), int((difference < 0).sum())

    @property
    def effective_changes(self) -> float:
        """How many equally large changes the changes are worth: Kish's effective sample size.

        Few large ones among many small count little, and so do changes where few examples carry most of the weight.
        """
        size = np.abs(self.candidate - self.reference)
        return min(_effective(size), int((size > 0).sum()) * _effective(self.weights) / len(self))

    def influence(self) -> Numbers:
        """What each example adds to the uplift, to first order; shape (n,)."""
        total = self.columns.sum(axis=0)
        reference, candidate = total[0] / total[2], total[1] / total[2]
        lost = self.reference - reference * self.weights
        won = self.candidate - candidate * self.weights
        if self.exponential:
            return np.asarray(np.exp(reference) * lost - np.exp(candidate) * won)
        return np.asarray(won - lost)


def _effective(sizes: Numbers) -> float:
    squares = float((sizes**2).sum())
    return float(sizes.sum() ** 2 / squares) if squares > 0 else 0.0
