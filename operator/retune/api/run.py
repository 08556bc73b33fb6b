"""FineTuneRun: one attempt to make a model, from a snapshot that never changes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from retune.api.base import Model, Rule, StatusModel, keyed
from retune.api.budget import Budget
from retune.api.conditions import Conditions
from retune.api.dataset import Dataset, DatasetFormat
from retune.api.evaluation import Evaluation, MetricName
from retune.api.gates import Gates, GateVerdict, Reading
from retune.api.method import Method
from retune.api.phases import TERMINAL_PHASES, RunPhase
from retune.api.quantity import (
    Currency,
    Digest,
    Duration,
    Image,
    Label,
    Line,
    Money,
    ObjectName,
    PromQL,
    Text,
    Time,
    Uri,
)
from retune.api.rollout import Rollout
from retune.api.serving import Serving
from retune.api.source import Source, Store
from retune.api.tracking import Tracking, TrackingStatus
from retune.api.training import Training

_TERMINAL = ", ".join(f"'{phase}'" for phase in RunPhase if phase in TERMINAL_PHASES)


class JobRef(Model):
    """The job that a run belongs to."""

    name: ObjectName = Field(description="Name of the job.")
    uid: Annotated[str, Field(max_length=64)] = Field(description="Identity of the job.")


class TriggerKind(StrEnum):
    """What started a run."""

    CREATED = "Created"
    SPEC_CHANGED = "SpecChanged"
    RETRY = "Retry"
    SCHEDULE = "Schedule"
    NEW_EXAMPLES = "NewExamples"
    DRIFT = "Drift"


class Trigger(Model):
    """What started the run, with its numbers."""

    kind: TriggerKind = Field(description="Created, SpecChanged, Retry, Schedule, NewExamples or Drift.")
    name: Line | None = Field(None, description="Name of the trigger, for Drift.")
    query: PromQL | None = Field(None, description="PromQL that was asked, for Drift.")
    value: float | None = Field(None, description="What was measured.")
    threshold: float | None = Field(None, description="What it was measured against.")
    window: Duration | None = Field(None, description="Over how long it was measured.")
    samples: int | None = Field(None, ge=0, description="Over how many samples it was measured.")
    noticed_at: Time | None = Field(
        None,
        description="When that began: drift beyond its threshold, examples counted, the time of the calendar.",
    )


class BaseModelSnapshot(Source):
    """The model to start from, pinned if the job has resolved it before."""

    digest: Digest | None = Field(None, description="What the URI stood for when the job first resolved it.")


class StableSnapshot(Model):
    """The model that serves when the run starts: what the candidate must not be worse than."""

    run: ObjectName = Field(description="Run that made it.")
    digest: Digest = Field(description="Identity of its artifact.")
    uri: Uri = Field(description="Where its artifact lies.")


class Prices(Model):
    """What an hour costs."""

    currency: Currency = Field(description="Currency of the prices.")
    gpu_hour: Money = Field(description="Price of one GPU for an hour.")
    cpu_hour: Money = Field(description="Price of one CPU core for an hour.")


class FineTuneRunSpec(Model):
    """The resolved snapshot that the run works from; never changes."""

    RULES: ClassVar = (Rule("self == oldSelf", "spec of a FineTuneRun never changes; change the FineTuneJob instead"),)

    job_ref: JobRef = Field(description="Job that the run belongs to.")
    number: int = Field(ge=1, le=1_000_000_000, description="Number of the run within its job.")
    trigger: Trigger = Field(description="What started the run.")
    base_model: BaseModelSnapshot = Field(description="Model to start from.")
    dataset: Dataset = Field(description="What to train on, and what to be judged by.")
    gates: Gates = Field(description="What must be true before a GPU starts.")
    method: Method = Field(description="How the model is tuned.")
    training: Training = Field(description="How training runs.")
    evaluation: Evaluation = Field(description="How the candidate is judged.")
    artifacts: Store = Field(description="Where models, checkpoints and reports go.")
    budget: Budget | None = Field(None, description="What the job may cost.")
    serving: Serving | None = Field(None, description="How the model is served; absent: train and publish only.")
    rollout: Rollout | None = Field(None, description="How the candidate meets its users.")
    tracking: Tracking | None = Field(None, description="Where the run is tracked; absent: nowhere else.")
    stable: StableSnapshot | None = Field(None, description="The model that serves; absent: none does yet.")
    prices: Prices = Field(description="What an hour costs.")
    image: Image = Field(description="Trainer image.")
    model_digest: Digest = Field(description="Digest of what makes the model, as the user wrote it.")
    operator_version: Line = Field(description="Version of the operator that made the run.")


class GateResult(StatusModel):
    """What a gate said."""

    name: Label = Field(description="Name of the gate.")
    verdict: GateVerdict = Field(description="Passed, Failed, Warned, Waiting or Skipped.")
    reason: Text = Field("", description="Why.")
    advice: Text = Field("", description="What to do about it, in one sentence.")
    values: Reading | None = Field(None, description="What it measured.")


class Approval(StatusModel):
    """A person's yes."""

    name: Label = Field(description="Name of the approval.")
    by: Line = Field(description="Who gave it.")
    at: Time = Field(description="When.")
    subject: Digest | None = Field(
        None, description="What was approved: digest of base model, data sources and kinds of personal data."
    )


class AttemptStage(StrEnum):
    """Which pods an attempt is about."""

    PREFLIGHT = "Preflight"
    TRAIN = "Train"
    REPORT = "Report"


class Attempt(StatusModel):
    """One try at preflight, training or the report, by one Job."""

    stage: AttemptStage = Field(AttemptStage.TRAIN, description="Preflight, Train or Report.")
    number: int = Field(ge=1, description="Number of the attempt within its stage, from 1.")
    started_at: Time | None = Field(None, description="When its pod started.")
    ended_at: Time | None = Field(None, description="When it ended.")
    exit: Line | None = Field(None, description="How it ended, such as Succeeded, Crashed, Disrupted or OutOfMemory.")
    reason: Line | None = Field(None, description="Why it ended, as one PascalCase word.")
    message: Annotated[str, Field(max_length=4096)] | None = Field(None, description="Why it ended, for a reader.")
    gpu_seconds: float = Field(0.0, ge=0, description="GPU time it used.")
    cpu_seconds: float = Field(0.0, ge=0, description="CPU time it used.")
    counted: bool = Field(False, description="Whether it counts against training.maxRetries.")
    job_uid: Annotated[str, Field(max_length=64)] | None = Field(None, description="Identity of its Job.")


class Progress(StatusModel):
    """How far training is."""

    step: int | None = Field(None, ge=0, description="Optimiser steps done.")
    steps: int | None = Field(None, ge=0, description="Optimiser steps in all.")
    loss: float | None = Field(None, description="Loss last seen.")
    tokens_per_second: float | None = Field(None, ge=0, description="Speed.")
    eta: Time | None = Field(None, description="When training is expected to end.")
    display: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="In short, such as 12/40, for kubectl."
    )
    updated_at: Time | None = Field(None, description="When this was last written.")


class Scores(StatusModel):
    """How the candidate did on the gold set, by the metric that decides."""

    metric: MetricName | None = Field(None, description="Metric that decides.")
    base: float | None = Field(None, description="Score of the base model.")
    stable: float | None = Field(None, description="Score of the model that serves.")
    candidate: float | None = Field(None, description="Score of the candidate.")
    uplift: float | None = Field(None, description="Candidate's score less that of the base.")
    interval: Annotated[tuple[float, ...], Field(min_length=2, max_length=2)] | None = Field(
        None, description="Confidence interval of the uplift, lower and upper bound."
    )
    n: int | None = Field(None, ge=0, description="Gold examples behind the scores.")


class ComparisonSet(StrEnum):
    """What the models were asked."""

    GOLD = "Gold"
    FRESH = "Fresh"
    GUARD = "Guard"


class Reference(StrEnum):
    """What the candidate was compared with."""

    BASE = "Base"
    STABLE = "Stable"


class Comparison(StatusModel):
    """The candidate against one other model, over the same examples."""

    set: ComparisonSet = Field(description="Gold, Fresh (held out by time) or Guard (general ability).")
    against: Reference = Field(description="Base or Stable.")
    metric: MetricName = Field(description="Metric of the scores.")
    reference: float | None = Field(None, description="Score of the other model.")
    candidate: float | None = Field(None, description="Score of the candidate.")
    uplift: float | None = Field(None, description="How much better the candidate is.")
    lower: float | None = Field(None, description="One-sided lower bound of the uplift, at the level of status.look.")
    upper: float | None = Field(None, description="One-sided upper bound of the uplift, at the same level.")
    n: int = Field(0, ge=0, description="Examples behind it.")
    smallest: float | None = Field(None, description="Smallest uplift that so many examples would have shown.")


class Look(StatusModel):
    """How often this gold set has been looked at, and how sure this look must therefore be."""

    number: int = Field(ge=1, description="Number of this look at the gold set.")
    alpha: float = Field(gt=0, lt=1, description="One-sided level of its bounds.")


class MetricScores(StatusModel):
    """How the models did by one metric."""

    base: float | None = Field(None, description="Score of the base model.")
    stable: float | None = Field(None, description="Score of the model that serves.")
    candidate: float | None = Field(None, description="Score of the candidate.")


class SegmentScores(StatusModel):
    """How base, stable and candidate did on one segment."""

    name: Line = Field(description="Value of the segment's column.")
    n: int = Field(ge=0, description="Gold examples of the segment.")
    base: float | None = Field(None, description="Score of the base model.")
    stable: float | None = Field(None, description="Score of the model that serves.")
    candidate: float | None = Field(None, description="Score of the candidate.")
    p: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="How likely such a loss is if the candidate is within maxSegmentRegression; absent: too few."
    )


class Cost(StatusModel):
    """What the run has cost."""

    gpu_seconds: float = Field(0.0, ge=0, description="GPU time, over all attempts.")
    cpu_seconds: float = Field(0.0, ge=0, description="CPU time, over all attempts.")
    amount: Money = Field("0", description="Price of that time.")
    currency: Currency | None = Field(None, description="Currency of the amount.")


class EvidenceState(StrEnum):
    """Where a stop-loss stands."""

    OK = "Ok"
    BREACHED = "Breached"
    NO_TRAFFIC = "NoTraffic"
    SERIES_ABSENT = "SeriesAbsent"
    SOURCE_DOWN = "SourceDown"
    INVALID = "Invalid"
    TARGET_DOWN = "TargetDown"
    BASELINE_UNHEALTHY = "BaselineUnhealthy"


class Evidence(StatusModel):
    """What one stop-loss has counted."""

    name: Label = Field(description="Name of the stop-loss.")
    e_value: float | None = Field(None, description="Evidence of harm so far.")
    threshold: float | None = Field(None, description="Evidence from which the candidate is taken back.")
    bad: int | None = Field(None, ge=0, description="Candidate's bad answers.")
    total: int | None = Field(None, ge=0, description="Candidate's answers.")
    stable_bad: int | None = Field(None, ge=0, description="Stable's bad answers.")
    stable_total: int | None = Field(None, ge=0, description="Stable's answers.")
    phi: float | None = Field(None, ge=1, description="How far requests depend on each other; counts weigh 1/phi.")
    harm: float | None = Field(
        None, description="Most harm that this step's counts leave possible: upper bound less stable's lower bound."
    )
    margin: float | None = Field(None, description="Harm that must be ruled out before the weight rises.")
    state: EvidenceState = Field(description="Ok, or what is in the way of judging.")


class RolloutIntent(StrEnum):
    """What has been decided and is being carried out."""

    PROMOTE = "Promote"
    ROLL_BACK = "RollBack"
    GIVE_UP = "GiveUp"
    CANCEL = "Cancel"


class ServingFigures(StatusModel):
    """What answers took and cost at one moment; absent: too few were counted, or nothing is known of it."""

    p95_seconds: float | None = Field(
        None, ge=0, description="Time within which 95 of 100 answers were complete, at the slowest tap."
    )
    cost_per_1k: Money | None = Field(
        None, alias="costPer1k", description="Price of the pods that serve, for a thousand answers."
    )


class RolloutStatus(StatusModel):
    """Where the rollout stands."""

    stage: RunPhase | None = Field(None, description="Loading, Shadow, Pilot, Canary or Baking.")
    step: int | None = Field(None, ge=0, description="Step of the canary, from 0.")
    weight: int = Field(0, ge=0, le=100, description="Candidate's share of traffic, in percent.")
    since: Time | None = Field(None, description="Since when, moved on by the time it was paused.")
    started_at: Time | None = Field(None, description="When the rollout began, moved on by the time it was paused.")
    expected_hours: float | None = Field(
        None, ge=0, description="Hours until promotion at the traffic there was before it began."
    )
    taps: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Ready pods that do as they were told, such as 2/2."
    )
    held_because: Line | None = Field(None, description="What keeps it from going on, or why it ends, in one word.")
    message: Annotated[str, Field(max_length=1024)] | None = Field(None, description="The same with its numbers.")
    intent: RolloutIntent | None = Field(None, description="What has been decided and is being carried out.")
    intent_at: Time | None = Field(None, description="When that was decided.")
    verified_at: Time | None = Field(None, description="When the counters showed that the weight is really given.")
    blind_since: Time | None = Field(None, description="Since when something cannot be measured.")
    down_since: Time | None = Field(None, description="Since when no ready pod has the candidate.")
    interfered_at: Time | None = Field(None, description="When stable got slow beside the candidate.")
    paused_since: Time | None = Field(None, description="Since when a person keeps it from going on.")
    before: ServingFigures | None = Field(None, description="Of stable, just before the candidate met its users.")
    after: ServingFigures | None = Field(None, description="Of the candidate, when it was decided to promote it.")
    evidence_at: Time | None = Field(None, description="When the evidence was last written here.")
    evidence: Annotated[tuple[Evidence, ...], Field(max_length=16), keyed("name")] = Field(
        (), description="What the stop-losses have counted."
    )


class Artifact(StatusModel):
    """What the run made."""

    uri: Uri = Field(description="Where it lies.")
    digest: Digest = Field(description="Its identity, by content.")


class ResolvedBaseModel(StatusModel):
    """What the base model's URI stood for."""

    uri: Uri = Field(description="URI with its revision.")
    digest: Digest = Field(description="Identity of the model.")


class ResolvedDataset(StatusModel):
    """What a dataset's URI stood for."""

    digest: Digest = Field(description="Identity of the data.")
    examples: int = Field(ge=0, description="Examples in it.")
    format: DatasetFormat = Field(description="How an example is written.")
    sketch: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="Sketch of the examples, by which a later run sees how many of them are new."
    )
    corrections: int | None = Field(None, ge=0, description="Of the examples, those that people corrected.")


class PreparedSet(StatusModel):
    """A set made from a source, in the run's own folder."""

    path: Annotated[str, Field(max_length=256)] = Field(description="Where it lies below the run's folder.")
    digest: Digest = Field(description="Identity of the data.")
    examples: int = Field(ge=0, description="Examples in it.")


class Prepared(StatusModel):
    """What is used in the place of the source: scrubbed, without what is held out."""

    train: PreparedSet = Field(description="What is trained on.")
    fresh: PreparedSet | None = Field(None, description="The newest examples, held out of training.")


class Resolved(StatusModel):
    """What preflight found behind the URIs; written once."""

    base_model: ResolvedBaseModel = Field(description="The model to start from.")
    train: ResolvedDataset = Field(description="The training set.")
    gold: ResolvedDataset = Field(description="The gold set.")
    prepared: Prepared | None = Field(None, description="What is used instead of the training set; absent: itself.")


class FineTuneRunStatus(StatusModel):
    """What has become of it."""

    RULES: ClassVar = (
        Rule(
            "!has(oldSelf.resolved) || (has(self.resolved) && self.resolved == oldSelf.resolved)",
            "status.resolved is written once; make a new run instead",
            ".resolved",
        ),
        Rule(
            f"!has(oldSelf.phase) || !(oldSelf.phase in [{_TERMINAL}]) || "
            "(has(self.phase) && self.phase == oldSelf.phase)",
            "status.phase is terminal and never changes; make a new run instead",
            ".phase",
        ),
    )

    phase: RunPhase | None = Field(None, description="Where the run stands.")
    trigger: Trigger | None = Field(None, description="What started the run.")
    conditions: Conditions = Field((), description="What is so, and why.")
    started_at: Time | None = Field(None, description="When the run left Pending.")
    ended_at: Time | None = Field(None, description="When the run ended.")
    resolved: Resolved | None = Field(None, description="What preflight found behind the URIs; written once.")
    versions: Annotated[Mapping[str, Annotated[str, Field(max_length=128)]], Field(max_length=32)] | None = Field(
        None, description="Versions of the trainer and its libraries."
    )
    gates: Annotated[tuple[GateResult, ...], Field(max_length=16), keyed("name")] = Field(
        (), description="What the gates said."
    )
    approvals: Annotated[tuple[Approval, ...], Field(max_length=16), keyed("name")] = Field(
        (), description="Who said yes."
    )
    early_signatures: Annotated[Mapping[str, Line], Field(max_length=16)] | None = Field(
        None,
        description="Signatures from before personal data was found, by approval; they count once they are put again.",
    )
    attempts: Annotated[tuple[Attempt, ...], Field(max_length=64), keyed("stage", "number")] = Field(
        (), description="Tries at preflight, training and the report, oldest first."
    )
    progress: Progress | None = Field(None, description="How far training is.")
    scores: Scores | None = Field(None, description="How the candidate did on the gold set.")
    look: Look | None = Field(None, description="Which look at this gold set this is.")
    comparisons: Annotated[tuple[Comparison, ...], Field(max_length=8), keyed("set", "against")] = Field(
        (), description="The candidate against the other models, with bounds."
    )
    metrics: Annotated[Mapping[str, MetricScores], Field(max_length=16)] | None = Field(
        None, description="How base and candidate did, by metric."
    )
    segments: Annotated[tuple[SegmentScores, ...], Field(max_length=20), keyed("name")] = Field(
        (), description="How the candidate did on each segment."
    )
    segments_tested: int = Field(0, ge=0, description="Segments with enough examples to judge.")
    cost: Cost | None = Field(None, description="What the run has cost.")
    rollout: RolloutStatus | None = Field(None, description="Where the rollout stands.")
    artifact: Artifact | None = Field(None, description="What the run made.")
    report_uri: Uri | None = Field(None, description="Where the report lies.")
    tracking: TrackingStatus | None = Field(None, description="Where the run is tracked, or why it is not.")
    observed_generation: int | None = Field(None, description="Generation of the spec that this speaks of.")
