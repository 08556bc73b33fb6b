"""Top3: the label is among the three answers that the model finds most likely, compared as Top1 does."""

from retune_trainer.data import Example
from retune_trainer.learning.interface import Answered, Ask
from retune_trainer.metrics import top1
from retune_trainer.metrics.metric import Metric


def _contribution(example: Example, answered: Answered) -> tuple[float, float]:
    named = any(top1.score(text, example.completion) for text in answered.texts[:3])
    return example.weight * named, example.weight


METRIC = Metric(_contribution, Ask(best=3))
