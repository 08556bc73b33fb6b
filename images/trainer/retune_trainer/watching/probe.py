"""Gold questions asked of the serving model, as its users ask it, and scored as evaluation scores.

Speaks to the job's own Service. A header that means stable goes with every question: none is split, or counted as
evidence.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune_stores.credentials import Credentials, Role, Scrubber
from retune_stores.errors import InputError, StoreError
from retune_trainer import data, evaluation
from retune_trainer.baseline import outbound, prompt, stoppable
from retune_trainer.baseline.ask import Patience, ask
from retune_trainer.baseline.endpoint import Endpoint, address
from retune_trainer.baseline.reply import Reply
from retune_trainer.config import Probe, RunConfig
from retune_trainer.data import Example, Format
from retune_trainer.inputs import DataFile, Sources
from retune_trainer.learning.interface import Answered
from retune_trainer.log import say
from retune_trainer.metrics import METRICS

FIELD = "spec.triggers.probe"
# Those that need more of a model than one answer.
NOT_ASKED = ("Top3", "Perplexity")
# Users come first: few at once, and no time for a server that has none.
PATIENCE = Patience(concurrency=4, tries=3, request=60, total=480)


@dataclass(frozen=True)
class Served(Endpoint):
    """The job's own Service. What is wrong with it is not the fault of a field of the spec."""

    header: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """With the one that means stable."""
        return super().headers | ({self.header: "1"} if self.header else {})

    def invalid(self, problem: str) -> InputError:
        """The error for a server that does not know the model, or takes no questions."""
        message = f"the serving model at {self.shown} {problem}; see the job's condition ServingHealthy"
        return InputError("ProbeRefused", FIELD, message)

    def rejected(self, problem: str) -> InputError:
        """The error for a server that asks for a key."""
        return self.invalid(problem)

    def unreachable(self, problem: str) -> StoreError:
        """The error for what may pass."""
        return StoreError(FIELD, f"the serving model at {self.shown} {problem}")


def probe(
    config: RunConfig,
    credentials: dict[Role, Credentials],
    asked: Probe,
    work: Path,
    *,
    patience: Patience = PATIENCE,
    resolve: outbound.Resolve = outbound.look_up,
) -> dict[str, Any]:
    """Ask a sample of the gold set: `asked`, `answered`, `score` (sum over the answered ones), `right`, `metric`.

    The sample is the same for the same seed. `score` is the metric times `answered`, so that examples that weigh more
    count for more, as in evaluation; `right` are answers without any fault.

    Raises:
        InputError: the metric is not of one answer, the gold set is wrong, or the server takes no questions.
        StoreError: a store, or the server, does not answer.
        InterruptedByOrderError: SIGTERM came.
    """
    gold = Sources(config, credentials).fetch(Role.GOLD, work)
    form, sample = _sample(config, gold, asked)
    name = evaluation.acceptance_metric(config, form)
    if name in NOT_ASKED:
        message = (
            f"a server gives no {name}; choose another spec.evaluation.acceptance.metric, or rely on rated answers"
        )
        raise InputError("MetricNotSupported", "spec.evaluation.acceptance.metric", message)
    metric = evaluation.metrics_of(config, name).get(name, METRICS[name])
    served = Served(address(asked.url), asked.model, None, None, None, Scrubber(credentials.values()), asked.header)
    # As it was trained and evaluated: a conversation through the chat template, anything else as it is.
    questions = [prompt.conversations([e], None)[0] if e.messages else e.prompt for e in sample]
    say("asking the serving model", url=served.shown, model=served.model, questions=len(questions))
    found = stoppable.run(ask(served, questions, prompt.longest_answer(sample), patience, resolve))
    scored = [
        metric.contribution(example, Answered((each.text,)))
        for example, each in zip(sample, found, strict=True)
        if isinstance(each, Reply)
    ]
    mean = metric.aggregate(scored) if scored else 0.0
    if mean is None:
        message = "every gold example that was asked weighs 0; give mistakes a cost"
        raise InputError("DatasetMalformed", "spec.dataset.weightField", message)
    result = {
        "asked": len(sample),
        "answered": len(scored),
        "score": round(mean * len(scored), 6),
        "right": sum(numerator == denominator for numerator, denominator in scored),
        "metric": name,
    }
    say("the serving model was asked", **result)
    return result


def _sample(config: RunConfig, gold: DataFile, asked: Probe) -> tuple[Format, list[Example]]:
    """Some of the gold examples that the model was judged by when it was accepted. The rest is read, and not kept."""
    form, examples = _open(config, gold)
    size = sum(1 for _ in examples)
    if not size:
        raise InputError("DatasetEmpty", gold.origin.field, f"{gold.origin.uri} holds no example: every row is empty")
    judged = evaluation.choose(range(size), config.spec.evaluation.max_examples)
    picked = set(random.Random(asked.seed).sample(judged, min(asked.examples, len(judged))))  # noqa: S311
    sample = [example for number, example in enumerate(_open(config, gold)[1]) if number in picked]
    return form, [evaluation.continuation(example) for example in sample] if form is Format.TEXT else sample


def _open(config: RunConfig, gold: DataFile) -> tuple[Format, Iterator[Example]]:
    dataset = config.spec.dataset
    return data.examples(gold.path, gold.origin, dataset.format, weight_field=dataset.weight_field)
