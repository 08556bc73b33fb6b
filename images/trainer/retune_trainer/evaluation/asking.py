"""Asks the models of a run every question, in the one order that works: base, stable, candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from retune_trainer.data import Example
from retune_trainer.learning.interface import Answered, Ask, Learner, Which
from retune_trainer.metrics import Metric


@dataclass(frozen=True)
class QuestionSet:
    """Examples to be asked, how the answers are measured (the deciding metric first), and whom to ask."""

    name: str
    examples: Sequence[Example]
    metrics: Mapping[str, Metric]
    models: tuple[Which, ...]

    @property
    def deciding(self) -> str:
        """The metric that the set is compared by."""
        return next(iter(self.metrics))

    @property
    def asks(self) -> list[Ask]:
        """What to ask of each model.

        Greedy answers and those of a beam search are asked for apart: the best of three beams is not what is served.
        """
        bests = sorted({metric.ask.best for metric in self.metrics.values()} - {0}) or [0]
        likelihood = any(metric.ask.likelihood for metric in self.metrics.values())
        return [Ask(best, likelihood and best == bests[0]) for best in bests]

    @property
    def questions(self) -> int:
        """How many answers there will be."""
        return len(self.examples) * len(self.models) * len(self.asks)


@dataclass(frozen=True)
class Answers:
    """A set with what each model answered, by how many best answers were asked for."""

    asked: QuestionSet
    given: dict[Which, dict[int, list[Answered]]] = field(default_factory=dict)
    _contributed: dict[tuple[Which, str], list[tuple[float, float]]] = field(default_factory=dict, repr=False)

    def plain(self, which: Which) -> list[Answered]:
        """A model's answers as they would be served."""
        return self.given[which][min(self.given[which])]

    def contributions(self, which: Which, metric: str) -> list[tuple[float, float]]:
        """What each example adds to a metric. Each answer is scored once, however many segments ask: it may be slow."""
        if (which, metric) not in self._contributed:
            measure = self.asked.metrics[metric]
            given = self.given[which].get(measure.ask.best) or self.plain(which)
            pairs = zip(self.asked.examples, given, strict=True)
            self._contributed[which, metric] = [measure.contribution(*each) for each in pairs]
        return self._contributed[which, metric]


def ask(learner: Learner, sets: Sequence[QuestionSet], on_answers: Callable[[int], None]) -> list[Answers]:
    """Every set's answers. Each model answers all sets before the next one is asked."""
    found = [Answers(each) for each in sets]
    for which in Which:
        for answers in found:
            asked = answers.asked
            if which in asked.models:
                answers.given[which] = {
                    each.best: learner.answers(which, asked.examples, each, on_answers) for each in asked.asks
                }
    return found
