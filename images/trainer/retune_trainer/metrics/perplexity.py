"""Perplexity of the reference answers: exp of a token's mean negative log-likelihood, over all tokens of the set."""

from retune_trainer.data import Example
from retune_trainer.learning.interface import Answered, Ask
from retune_trainer.metrics.metric import Metric


def _contribution(example: Example, answered: Answered) -> tuple[float, float]:
    if answered.nll is None or answered.tokens is None:
        raise TypeError("asked for answers without their likelihood")
    return example.weight * answered.nll, example.weight * answered.tokens


METRIC = Metric(_contribution, Ask(best=0, likelihood=True), exponential=True)
