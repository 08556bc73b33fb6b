"""From answers to scores: pure functions, no model and no store."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from retune_trainer.config import RunConfig
from retune_trainer.data import Example, Format
from retune_trainer.errors import InputError
from retune_trainer.metrics import METRICS


@dataclass(frozen=True)
class Answer:
    """What the two models answered to one gold example."""

    example: Example
    base: str
    candidate: str


def acceptance_metric(config: RunConfig, form: Format) -> str:
    """The metric that decides: the spec's, or the default for the data's format.

    Raises:
        InputError: this image does not measure it.
    """
    wanted = config.spec.evaluation.acceptance.metric
    name = wanted or ("Top1" if form is Format.CLASSIFICATION else "TokenF1")
    if name not in METRICS:
        message = f"{name!r} is not measured by this trainer; use one of {', '.join(METRICS)}"
        raise InputError("MetricNotSupported", "spec.evaluation.acceptance.metric", message)
    return name


def measured(config: RunConfig, acceptance: str) -> list[str]:
    """All metrics to report, the deciding one first. Those not known here are the operator's to name."""
    wanted = [metric.name for metric in config.spec.evaluation.metrics if metric.name in METRICS]
    return list(dict.fromkeys([acceptance, *wanted]))


def choose(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most `limit` examples, and the same ones for every run, so that runs can be compared."""
    if limit is None or len(examples) <= limit:
        return list(examples)
    picked = random.Random(0).sample(range(len(examples)), limit)  # noqa: S311
    return [examples[index] for index in sorted(picked)]


def continuation(example: Example) -> Example:
    """A plain text as a question: its first half of words, to be continued by the second."""
    words = example.completion.split()
    middle = max(1, len(words) // 2)
    return Example(" ".join(words[:middle]), " " + " ".join(words[middle:]), segment=example.segment)


def _mean(values: Sequence[float]) -> float:
    return round(fmean(values), 6) if values else 0.0


def judge(answers: Sequence[Answer], names: Sequence[str], acceptance: str) -> dict[str, Any]:
    """`scores`, `metrics` and `segments` as the termination message has them."""
    metrics = {
        name: {
            "base": _mean([METRICS[name](a.base, a.example.completion) for a in answers]),
            "candidate": _mean([METRICS[name](a.candidate, a.example.completion) for a in answers]),
        }
        for name in names
    }
    score = METRICS[acceptance]
    segments = []
    for segment in sorted({a.example.segment for a in answers if a.example.segment is not None}):
        part = [a for a in answers if a.example.segment == segment]
        segments.append(
            {
                "name": segment,
                "n": len(part),
                "base": _mean([score(a.base, a.example.completion) for a in part]),
                "candidate": _mean([score(a.candidate, a.example.completion) for a in part]),
            }
        )
    base, candidate = metrics[acceptance]["base"], metrics[acceptance]["candidate"]
    scores = {
        "metric": acceptance,
        "base": base,
        "candidate": candidate,
        "uplift": round(candidate - base, 6),
        "n": len(answers),
    }
    return {"scores": scores, "metrics": metrics, "segments": segments}
