"""What a metric is: what it asks of a model, what an example adds to it, and how that becomes one number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from retune_trainer.data import Example
from retune_trainer.learning.interface import Answered, Ask

# Of one answer and its reference: between 0 and 1, better when higher.
Score = Callable[[str, str], float]
# What an example adds: numerator and denominator of the metric, each a sum over examples.
Contribution = Callable[[Example, Answered], tuple[float, float]]


@dataclass(frozen=True)
class Metric:
    """A measure of a model on a set: aggregate(sum of numerators / sum of denominators).

    With `exponential` the aggregate is exp, and less is better; else it is the quotient itself, and more is better.
    """

    contribution: Contribution
    ask: Ask = field(default_factory=Ask)
    exponential: bool = False
    score: Score | None = None

    def __call__(self, answer: str, reference: str) -> float:
        """The score of one answer, for whoever has nothing but texts.

        Raises:
            TypeError: this metric needs more of a model than its answer.
        """
        if self.score is None:
            raise TypeError("this metric is not of one answer")
        return self.score(answer, reference)

    def aggregate(self, contributions: Iterable[tuple[float, float]]) -> float | None:
        """The metric over a set; None where nothing of it counts, or the number is too large to be written."""
        numerators, denominators = zip(*contributions, strict=True)
        total = math.fsum(denominators)
        if total <= 0:
            return None
        quotient = math.fsum(numerators) / total
        if not self.exponential:
            return quotient
        return math.exp(quotient) if quotient < 700 else None

    def loss(self, contribution: tuple[float, float]) -> float:
        """What an example takes from a perfect result, by its weight."""
        numerator, denominator = contribution
        return numerator if self.exponential else denominator - numerator


def of_answers(score: Score) -> Metric:
    """The mean of a score of single answers, by weight."""

    def contribution(example: Example, answered: Answered) -> tuple[float, float]:
        return example.weight * score(answered.texts[0], example.completion), example.weight

    return Metric(contribution, score=score)
