"""Which metrics are measured, and on which examples. Pure; preflight uses it, too."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from retune_stores.errors import InputError
from retune_trainer.config import RunConfig
from retune_trainer.data import Example, Format
from retune_trainer.metrics import METRICS, Metric, configured

T = TypeVar("T")


def _known(name: str, field: str) -> None:
    if name not in METRICS:
        message = f"{name!r} is not measured by this trainer; use one of {', '.join(METRICS)}"
        raise InputError("MetricNotSupported", field, message)


def acceptance_metric(config: RunConfig, form: Format) -> str:
    """The metric that decides: the spec's, or the default for the data's format.

    Raises:
        InputError: this image does not measure it, or a metric's schema cannot be used.
    """
    wanted = config.spec.evaluation.acceptance.metric
    name = wanted or ("Top1" if form is Format.CLASSIFICATION else "TokenF1")
    _known(name, "spec.evaluation.acceptance.metric")
    if config.spec.evaluation.guard is not None:
        _known(config.spec.evaluation.guard.metric, "spec.evaluation.guard.metric")
    metrics_of(config, name)
    return name


def metrics_of(config: RunConfig, acceptance: str) -> Mapping[str, Metric]:
    """All metrics to measure on the gold set, by name, the deciding one first.

    Raises:
        InputError: this image does not measure one of them, or its schema cannot be used.
    """
    wanted = config.spec.evaluation.metrics
    for metric in wanted:
        _known(metric.name, "spec.evaluation.metrics")
    schemas = {metric.name: metric.json_schema for metric in wanted}
    names = dict.fromkeys([acceptance, *schemas])
    return {name: configured(name, schemas.get(name)) for name in names}


def choose(examples: Sequence[T], limit: int | None) -> list[T]:
    """At most `limit` examples, and the same ones for every run, so that runs can be compared."""
    if limit is None or len(examples) <= limit:
        return list(examples)
    picked = random.Random(0).sample(range(len(examples)), limit)  # noqa: S311
    return [examples[index] for index in sorted(picked)]


def continuation(example: Example) -> Example:
    """A plain text as a question: its first half of words, to be continued by the second."""
    words = example.completion.split()
    middle = max(1, len(words) // 2)
    return replace(example, prompt=" ".join(words[:middle]), completion=" " + " ".join(words[middle:]))
