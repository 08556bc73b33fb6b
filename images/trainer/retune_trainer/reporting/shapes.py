"""What the report reads, as lenient types: the run's status, `preflight.json` and `evaluation.json`.

Every field may be absent. One of another type or not a number counts as absent, so that a report is written of a run
whatever version of the operator or trainer had a part in it; a field that is not named here never gets into a report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel
from pydantic_core.core_schema import ValidationInfo


class Shape(BaseModel):
    """camelCase outside, snake_case inside; what does not fit becomes its field's default."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
    )

    @field_validator("*", mode="wrap")
    @classmethod
    def _lenient(cls, value: object, handler: Callable[[object], object], info: ValidationInfo) -> object:
        try:
            return handler(value)
        except ValidationError:
            return cls.model_fields[str(info.field_name)].get_default(call_default_factory=True)

    @classmethod
    def read(cls, content: object) -> Self:
        """Of anything that came out of JSON; what is no object is one without fields."""
        return cls.model_validate(content if isinstance(content, dict) else {})


def _objects(value: object) -> object:
    return [item for item in value if isinstance(item, dict | Shape)] if isinstance(value, list) else value


def _numbers(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {k: v for k, v in value.items() if isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e300}


def _strings(value: object) -> object:
    return {k: v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else value


Numbers = Annotated[dict[str, float], BeforeValidator(_numbers)]
"""Numbers by name; what is none is left out."""

Strings = Annotated[dict[str, str], BeforeValidator(_strings)]
"""Texts by name; what is none is left out."""


# ------------------------------------------------------------------------------------------------------------- status


class Condition(Shape):
    """What is so, and why."""

    type: str = ""
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class Gate(Shape):
    """What a gate said, with its numbers, and what to do about it."""

    name: str = ""
    verdict: str = "Unknown"
    reason: str = ""
    advice: str = ""
    values: Numbers = Field(default_factory=dict)


class Approval(Shape):
    """A person's yes, and to what."""

    name: str = ""
    by: str = ""
    at: str | None = None
    subject: str | None = None


class Attempt(Shape):
    """One try at a stage. Seconds of GPU and CPU are device-seconds: two GPUs for a minute are 120."""

    stage: str = "Train"
    number: int | None = None
    started_at: str | None = None
    ended_at: str | None = None
    exit: str | None = None
    reason: str | None = None
    message: str | None = None
    gpu_seconds: float = 0.0
    cpu_seconds: float = 0.0
    counted: bool = False


class Cost(Shape):
    """What the run has cost; `amount` is a decimal string, never a float."""

    gpu_seconds: float = 0.0
    cpu_seconds: float = 0.0
    amount: str | None = None
    currency: str | None = None


class Trigger(Shape):
    """What started the run."""

    kind: str | None = None
    name: str | None = None
    query: str | None = None
    value: float | None = None
    threshold: float | None = None
    window: str | None = None
    samples: int | None = None


class Identity(Shape):
    """Where an input lies and what it was found to be."""

    uri: str | None = None
    path: str | None = None
    digest: str | None = None
    examples: int | None = None
    format: str | None = None
    # Of the examples, those that people had corrected.
    corrections: int | None = None


class Prepared(Shape):
    """What was trained on instead of the source, and what of the newest was held out of it."""

    train: Identity | None = None
    fresh: Identity | None = None


class Resolved(Shape):
    """What preflight found behind the URIs."""

    base_model: Identity | None = None
    train: Identity | None = None
    gold: Identity | None = None
    prepared: Prepared | None = None


class Look(Shape):
    """Which look at this gold set it was, and the level that was left for it."""

    number: int | None = None
    alpha: float | None = None


class Scores(Shape):
    """The deciding comparison."""

    metric: str | None = None
    base: float | None = None
    stable: float | None = None
    candidate: float | None = None
    uplift: float | None = None
    interval: tuple[float | None, float | None] | None = None
    n: int | None = None


class Comparison(Shape):
    """The candidate against base or stable on one set. `lower`, `upper`: one-sided bounds of the uplift."""

    set: str = "Gold"
    against: str = "Base"
    metric: str | None = None
    reference: float | None = None
    candidate: float | None = None
    uplift: float | None = None
    lower: float | None = None
    upper: float | None = None
    n: int | None = None
    smallest: float | None = None


class Arms(Shape):
    """Scores of the three models by one metric."""

    base: float | None = None
    stable: float | None = None
    candidate: float | None = None


class Segment(Arms):
    """Scores on one segment; `p` is None where there are too few examples to say anything."""

    name: str = ""
    n: int | None = None
    p: float | None = None


def _arms(value: object) -> object:
    return {k: v for k, v in value.items() if isinstance(v, dict | Shape)} if isinstance(value, dict) else value


Metrics = Annotated[dict[str, Arms], BeforeValidator(_arms)]
Comparisons = Annotated[list[Comparison], BeforeValidator(_objects)]
Segments = Annotated[list[Segment], BeforeValidator(_objects)]


class StopLoss(Shape):
    """What one stop-loss has counted. `harm`: the most that the last step's counts leave possible, as a rate."""

    name: str = ""
    state: str = "Unknown"
    e_value: float | None = None
    threshold: float | None = None
    bad: int | None = None
    total: int | None = None
    stable_bad: int | None = None
    stable_total: int | None = None
    harm: float | None = None
    margin: float | None = None
    phi: float | None = None


class Figures(Shape):
    """What answers took, seconds, and cost, in the run's currency."""

    p95_seconds: float | None = None
    cost_per_1k: str | None = Field(None, alias="costPer1k")


class Recovery(Shape):
    """From drift to this run's promotion, as the job has reckoned it up."""

    noticed_at: str | None = None
    promoted_at: str | None = None
    seconds: float | None = None
    cost: str | None = None
    interventions: int | None = None


class Rollout(Shape):
    """How the candidate met its users, where it stood when that ended. `weight`: percent."""

    stage: str | None = None
    step: int | None = None
    weight: int | None = None
    started_at: str | None = None
    expected_hours: float | None = None
    held_because: str | None = None
    message: str | None = None
    before: Figures | None = None
    after: Figures | None = None
    evidence_at: str | None = None
    evidence: Annotated[list[StopLoss], BeforeValidator(_objects)] = Field(default_factory=list)


class Status(Shape):
    """FineTuneRun.status."""

    phase: str | None = None
    trigger: Trigger | None = None
    conditions: Annotated[list[Condition], BeforeValidator(_objects)] = Field(default_factory=list)
    started_at: str | None = None
    ended_at: str | None = None
    resolved: Resolved = Field(default_factory=Resolved)
    versions: Strings = Field(default_factory=dict)
    gates: Annotated[list[Gate], BeforeValidator(_objects)] = Field(default_factory=list)
    approvals: Annotated[list[Approval], BeforeValidator(_objects)] = Field(default_factory=list)
    attempts: Annotated[list[Attempt], BeforeValidator(_objects)] = Field(default_factory=list)
    look: Look | None = None
    scores: Scores | None = None
    comparisons: Comparisons = Field(default_factory=list)
    metrics: Metrics = Field(default_factory=dict)
    segments: Segments = Field(default_factory=list)
    segments_tested: int | None = None
    rollout: Rollout | None = None
    recovery: Recovery | None = None
    cost: Cost = Field(default_factory=Cost)
    artifact: Identity | None = None


# ------------------------------------------------------------------------------------------------------ preflight.json


class Pair(Shape):
    """Two lines that are copies; `similarity` from 0 to 1 for near ones."""

    a: int | None = None
    b: int | None = None
    similarity: float | None = None


def _pairs(value: object) -> object:
    """Pairs as lists, `[12, 40]` or `[12, 40, 0.93]`, or as objects with these numbers in this order."""
    if not isinstance(value, list):
        return value
    found = []
    for item in value:
        content = list(item.values()) if isinstance(item, dict) else item
        if not isinstance(content, list):
            continue
        numbers = [n for n in content if isinstance(n, int | float) and not isinstance(n, bool)]
        if len(numbers) >= 2:
            found.append({"a": numbers[0], "b": numbers[1], "similarity": numbers[2] if len(numbers) > 2 else None})
    return found


Pairs = Annotated[list[Pair], BeforeValidator(_pairs)]


class Copies(Shape):
    """Exact and near copies."""

    exact: Pairs = Field(default_factory=list)
    near: Pairs = Field(default_factory=list)


class Conflict(Shape):
    """One input that has several answers."""

    lines: list[int] = Field(default_factory=list)
    answers: list[str] = Field(default_factory=list)


class Balance(Shape):
    """A class's share in production and in training."""

    expected: float | None = None
    found: float | None = None


class Lengths(Shape):
    """How long examples are, in `unit`."""

    unit: str = "characters"
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class Kind(Shape):
    """How often one kind of personal data was found, and in how many rows. Never what."""

    occurrences: int | None = None
    rows: int | None = None


class Details(Shape):
    """What preflight found in the data."""

    duplicates: Copies = Field(default_factory=Copies)
    conflicts: Annotated[list[Conflict], BeforeValidator(_objects)] = Field(default_factory=list)
    leakage: Copies = Field(default_factory=Copies)
    balance: dict[str, Balance] = Field(default_factory=dict)
    lengths: Lengths | None = None
    privacy: dict[str, Kind] = Field(default_factory=dict)
    empty: list[int] = Field(default_factory=list)


class Preflight(Shape):
    """`preflight.json`."""

    resolved: Resolved = Field(default_factory=Resolved)
    versions: Strings = Field(default_factory=dict)
    measured: dict[str, Numbers] = Field(default_factory=dict)
    notes: Strings = Field(default_factory=dict)
    details: Details = Field(default_factory=Details)


# ------------------------------------------------------------------------------------------------------ evaluation.json


class Confusion(Shape):
    """Rows are gold answers, columns are answers; the last column is "(other)"."""

    classes: list[str] = Field(default_factory=list)
    counts: list[list[int]] = Field(default_factory=list)


class Confusions(Shape):
    """Of base and candidate."""

    base: Confusion | None = None
    candidate: Confusion | None = None


class Example(Shape):
    """A gold example and what the models answered."""

    prompt: str = ""
    reference: str = ""
    base: str | None = None
    stable: str | None = None
    candidate: str | None = None
    segment: str | None = None


class Point(Shape):
    """The learning curve at one step."""

    step: int | None = None
    loss: float | None = None
    held_out: float | None = None


class Training(Shape):
    """How it was trained. `settings` as the trainer wrote them."""

    settings: dict[str, Any] = Field(default_factory=dict)
    curve: Annotated[list[Point], BeforeValidator(_objects)] = Field(default_factory=list)


class Evaluation(Shape):
    """`evaluation.json`."""

    alpha: float | None = None
    bound: str | None = None
    scores: Scores | None = None
    comparisons: Comparisons = Field(default_factory=list)
    metrics: Metrics = Field(default_factory=dict)
    segments: Segments = Field(default_factory=list)
    segments_tested: int | None = None
    confusion: Confusions = Field(default_factory=Confusions)
    examples: Annotated[list[Example], BeforeValidator(_objects)] = Field(default_factory=list)
    training: Training = Field(default_factory=Training)
    notes: Any = None
    versions: Strings = Field(default_factory=dict)
