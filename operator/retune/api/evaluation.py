"""How a candidate is judged on the gold set."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from retune.api.base import Kube, Model, Rule, keyed
from retune.api.quantity import Confidence, Fraction
from retune.api.source import Source


class MetricName(StrEnum):
    """How an answer is compared with the gold one."""

    EXACT_MATCH = "ExactMatch"
    TOKEN_F1 = "TokenF1"  # noqa: S105
    JSON_VALID = "JsonValid"
    TOP1 = "Top1"
    TOP3 = "Top3"
    PERPLEXITY = "Perplexity"


class Metric(Model):
    """One way to compare answers."""

    RULES: ClassVar = (
        Rule(
            "(self.name == 'JsonValid') == has(self.schema)",
            "JsonValid needs schema, a JSON Schema the answer must meet, and no other metric has one",
            ".schema",
        ),
    )

    name: MetricName = Field(description="ExactMatch, TokenF1, JsonValid, Top1, Top3 or Perplexity.")
    json_schema: Annotated[Mapping[str, Any], Kube({"x-kubernetes-preserve-unknown-fields": True})] | None = Field(
        None, alias="schema", description="JSON Schema that the answer must meet, for JsonValid."
    )


class Acceptance(Model):
    """When a candidate is good enough to ship."""

    metric: MetricName | None = Field(
        None, description="Metric that decides; absent: Top1 for Classification, else TokenF1."
    )
    minimum: float | None = Field(
        None, ge=0, le=1_000_000, description="Worst score of the candidate that is accepted."
    )
    min_uplift: float = Field(0.0, ge=-1, le=1, description="Least improvement over the base model.")
    max_regression: Fraction = Field(0.02, description="Most that may be lost against the serving model.")
    confidence: Confidence = Field(0.95, description="How sure the verdict must be.")


class Guard(Source):
    """A test of what the model could do before, which it must not forget."""

    metric: MetricName = Field(MetricName.TOKEN_F1, description="Metric on the guard set.")
    max_drop: Fraction = Field(0.03, description="Most that may be lost against the base model.")


class Evaluation(Model):
    """How a candidate is judged."""

    RULES: ClassVar = (
        Rule(
            "!has(self.metrics) || !has(self.acceptance.metric) || "
            "self.metrics.exists(m, m.name == self.acceptance.metric)",
            "evaluation.acceptance.metric is not among evaluation.metrics; add it there",
            ".acceptance.metric",
        ),
        Rule(
            "!has(self.guard) || self.guard.metric != 'JsonValid'",
            "evaluation.guard.metric cannot be JsonValid, which needs a schema; choose another metric",
            ".guard.metric",
        ),
    )

    metrics: Annotated[tuple[Metric, ...], Field(max_length=8), keyed("name")] = Field(
        (), description="Metrics to measure; absent: the one of acceptance."
    )
    acceptance: Acceptance = Field(default_factory=Acceptance, description="When a candidate is good enough to ship.")
    max_segment_regression: Fraction | None = Field(
        None, description="Most that any segment may lose; absent: segments do not decide."
    )
    max_examples: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="Gold examples to evaluate; absent: all."
    )
    guard: Guard | None = Field(None, description="A set that tests general ability; absent: not tested.")
