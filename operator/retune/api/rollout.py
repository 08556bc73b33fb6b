"""How a candidate meets its users: shadow, pilot, canary steps, bake, and what stops it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from retune.api.base import UNIQUE, WHOLE, Model, Rule, keyed
from retune.api.quantity import Confidence, Duration, Fraction, HeaderName, Label, Percent, PromQL, Weight


class Shadow(Model):
    """Copies of requests, whose answers nobody sees."""

    percent: Percent = Field(10, description="Share of requests that is copied, in percent.")
    duration: Duration = Field("10m", description="How long.")


class Pilot(Model):
    """A named cohort that meets the candidate first."""

    header: HeaderName = Field(description="Header that names a request's cohort.")
    values: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(min_length=1, max_length=32), UNIQUE
    ] = Field(description="Values of the header that belong to the cohort.")
    hold: Duration = Field("1d", description="How long the cohort is alone with it.")


class Step(Model):
    """A weight, and how long it is held at least."""

    weight: Weight = Field(description="Candidate's share of traffic, in percent.")
    hold: Duration = Field("10m", description="How long it is held at least.")


class Promotion(StrEnum):
    """What moves a canary on."""

    EVIDENCE = "Evidence"
    NO_HARM = "NoHarm"


class StopLossBuiltin(StrEnum):
    """Bad answers that the taps count by themselves."""

    ERRORS = "Errors"
    SLOW = "Slow"
    LONG = "Long"
    OVERRIDES = "Overrides"
    INVALID_OUTPUT = "InvalidOutput"


class SlowEdge(Model):
    """From when an answer counts as slow."""

    seconds: float = Field(gt=0, le=3600, description="Age from which it counts as slow.")
    of: Literal["FirstToken", "Response"] = Field("FirstToken", description="What must have come by then.")


class LongEdge(Model):
    """From when an answer counts as long."""

    tokens: int = Field(ge=1, le=10_000_000, description="Tokens from which it counts as long.")


class StopLoss(Model):
    """A count of bad answers that takes the candidate back."""

    RULES: ClassVar = (
        Rule(
            "has(self.builtin) ? !has(self.bad) && !has(self.total) : has(self.bad) && has(self.total)",
            "a stop-loss needs exactly one of builtin, and bad with total; remove one or add one",
            ".builtin",
        ),
        Rule(
            "(has(self.builtin) && self.builtin == 'Slow') == has(self.slow)",
            "builtin Slow needs slow.seconds, and nothing else has slow; add slow or remove it",
            ".slow",
        ),
        Rule(
            "(has(self.builtin) && self.builtin == 'Long') == has(self.long)",
            "builtin Long needs long.tokens, and nothing else has long; add long or remove it",
            ".long",
        ),
        Rule(
            "!has(self.bad) || self.bad.contains('$arm')",
            'stopLoss.bad does not say which arm it counts; select with a label such as model="$arm"',
            ".bad",
        ),
        Rule(
            "!has(self.total) || self.total.contains('$arm')",
            'stopLoss.total does not say which arm it counts; select with a label such as model="$arm"',
            ".total",
        ),
    )

    name: Label = Field(description="Name of the stop-loss, alone of its kind in the job.")
    builtin: StopLossBuiltin | None = Field(None, description="What the taps count; or bad and total.")
    bad: PromQL | None = Field(None, description="PromQL counter of bad answers of $arm, with total.")
    total: PromQL | None = Field(None, description="PromQL counter of all answers of $arm, with bad.")
    slow: SlowEdge | None = Field(None, description="From when an answer is slow, for Slow.")
    long: LongEdge | None = Field(None, description="From when an answer is long, for Long.")
    max_ratio: float = Field(1.25, ge=1, le=100, description="Most bad answers against stable's rate.")
    max_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Largest rate of bad answers whatever stable does; absent: no such limit."
    )
    margin: Fraction | None = Field(
        None, description="Harm that promotion must rule out; absent: max(0.02, half of stable's own rate)."
    )


class Exposure(Model):
    """Hard caps on what the candidate may serve before promotion."""

    max_requests: Annotated[int, Field(ge=1, le=1_000_000_000_000)] | None = Field(
        None, description="Most requests that the candidate may answer; absent: no cap."
    )
    max_bad: Annotated[int, Field(ge=1, le=1_000_000_000_000)] | None = Field(
        None, description="Most bad answers that the candidate may give; absent: no cap."
    )


class OnBlind(Model):
    """What happens while nothing can be measured."""

    RULES: ClassVar = (
        # CEL's own durations know no days; those are left to the operator.
        Rule(
            "self.timeout.contains('d') || self.abort.contains('d') || duration(self.timeout) < duration(self.abort)",
            "rollout.onBlind.abort must be longer than onBlind.timeout; raise abort or lower timeout",
            ".abort",
        ),
    )

    timeout: Duration = Field("2m", description="Time after which the weight goes back to the first step's.")
    abort: Duration = Field("30m", description="Time after which the run ends as Inconclusive.")


_STEPS = (Step(weight=10), Step(weight=25), Step(weight=50))


class Rollout(Model):
    """How a candidate meets its users."""

    RULES: ClassVar = (
        Rule(
            "self.steps.map(s, s.weight).isSorted() && "
            "self.steps.all(s, self.steps.exists_one(t, t.weight == s.weight))",
            "weights of rollout.steps must rise; put the smaller weight first and none twice",
            ".steps",
        ),
        Rule(
            "self.steps.all(s, s.weight <= self.bakeWeight)",
            "rollout.bakeWeight is below a weight of rollout.steps; raise bakeWeight or drop the step",
            ".bakeWeight",
        ),
    )

    shadow: Shadow | None = Field(None, description="Copies of requests first; absent: none.")
    pilot: Pilot | None = Field(None, description="A named cohort first; absent: none.")
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=16), WHOLE] = Field(
        _STEPS, description="Weights of the canary; they rise."
    )
    bake: Duration = Field("1h", description="How long the last weight is held before stable is let go.")
    bake_weight: Weight = Field(90, description="Candidate's share while it bakes; stable keeps the rest.")
    confidence: Confidence = Field(0.99, description="How sure a rollback must be that there is harm.")
    promotion: Promotion = Field(
        Promotion.EVIDENCE, description="Evidence of no harm moves a canary on, or, for small traffic, NoHarm seen."
    )
    promote_confidence: Confidence = Field(0.95, description="How sure a promotion must be that there is no harm.")
    min_requests: int = Field(50, ge=1, le=1_000_000_000, description="Fewest requests of the candidate at each step.")
    timeout: Duration = Field("24h", description="Time after which a rollout that cannot be judged is Inconclusive.")
    manual_approval: bool = Field(False, description="A person must approve the promotion.")
    stop_loss: Annotated[tuple[StopLoss, ...], Field(max_length=16), keyed("name")] = Field(
        (), description="What takes the candidate back; absent: Errors, Slow and Overrides."
    )
    exposure: Exposure | None = Field(None, description="Hard caps before promotion; absent: none.")
    on_blind: OnBlind = Field(default_factory=OnBlind, description="What happens while nothing can be measured.")
