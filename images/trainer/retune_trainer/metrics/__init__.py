"""How answers are measured. A new metric is one new small file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from retune_trainer.metrics import exact_match, json_valid, perplexity, token_f1, top1, top3
from retune_trainer.metrics.metric import Metric, Score, of_answers

__all__ = ["METRICS", "WITH_SCHEMA", "Metric", "Score", "configured", "of_answers"]

METRICS: dict[str, Metric] = {
    "ExactMatch": of_answers(exact_match.score),
    "TokenF1": of_answers(token_f1.score),
    "JsonValid": of_answers(json_valid.JsonValid({})),
    "Top1": of_answers(top1.score),
    "Top3": top3.METRIC,
    "Perplexity": perplexity.METRIC,
}

# Those that a schema of the spec makes out of the plain ones above.
WITH_SCHEMA: dict[str, Callable[[Mapping[str, Any]], Score]] = {"JsonValid": json_valid.JsonValid}


def configured(name: str, schema: Mapping[str, Any] | None = None) -> Metric:
    """The metric of that name, with the schema that spec.evaluation.metrics gives it.

    Raises:
        KeyError: none has this name.
        InputError: the schema cannot be used.
    """
    if schema is not None and name in WITH_SCHEMA:
        return of_answers(WITH_SCHEMA[name](schema))
    return METRICS[name]
