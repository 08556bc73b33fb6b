"""FineTuneJob: what the user wants, for as long as the model lives."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AliasChoices, Field, GetJsonSchemaHandler

from retune.api.base import UNIQUE, WHOLE, Model, Rule, StatusModel, keyed
from retune.api.budget import Budget
from retune.api.conditions import Conditions
from retune.api.dataset import Dataset
from retune.api.evaluation import Evaluation
from retune.api.gates import Gates
from retune.api.method import Method
from retune.api.phases import JobPhase, RunPhase
from retune.api.quantity import Currency, Digest, Label, Line, Money, ObjectName, Text, Time, Uri
from retune.api.rollout import Rollout
from retune.api.run import Approval, ServingFigures
from retune.api.serving import Serving
from retune.api.source import Source, Store
from retune.api.tracking import Tracking
from retune.api.training import Training
from retune.api.triggers import Triggers

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


class NotificationEvent(StrEnum):
    """What a channel can be told of."""

    PROMOTED = "Promoted"
    DECLINED = "Declined"
    REJECTED = "Rejected"
    ROLLED_BACK = "RolledBack"
    INCONCLUSIVE = "Inconclusive"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    AWAITING_APPROVAL = "AwaitingApproval"
    DRIFT_DETECTED = "DriftDetected"
    HALTED = "Halted"


class Notification(Model):
    """Who is told of what."""

    RULES: ClassVar = (
        Rule(
            "has(self.on) != has(self.__true__)", "notifications[].on is missing; list the events to be told of", ".on"
        ),
    )

    channel: Label = Field(description="Name of a channel that the operator's administrator set up.")
    # YAML 1.1, which kubectl and Helm read, takes a bare `on` for the boolean true, and its key arrives as "true".
    on: Annotated[tuple[NotificationEvent, ...], Field(min_length=1, max_length=16), UNIQUE] = Field(
        validation_alias=AliasChoices("on", "true"),
        serialization_alias="on",
        description="Events that the channel is told of.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Take `true` for `on`."""
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        said = "What YAML 1.1 makes of on; the same."
        schema["properties"]["true"] = {**schema["properties"]["on"], "description": said}
        schema["required"].remove("on")
        return schema


class History(Model):
    """How many finished runs are kept."""

    succeeded: int = Field(5, ge=1, le=100, description="Promoted runs kept.")
    unsuccessful: int = Field(3, ge=0, le=100, description="Other finished runs kept.")


class DeletionPolicy(StrEnum):
    """What becomes of what serves when the job is deleted."""

    DELETE = "Delete"
    ORPHAN = "Orphan"


class FineTuneJobSpec(Model):
    """What the user wants."""

    RULES: ClassVar = (
        Rule(
            "!has(self.rollout) || has(self.serving)",
            "rollout needs serving; add serving: {} or remove rollout",
            ".rollout",
        ),
        Rule(
            "!has(self.serving) || self.method.type != 'Full' || self.serving.mode == 'Deployment'",
            "a full fine-tune has no adapter to load; set serving.mode to Deployment",
            ".serving.mode",
        ),
        Rule(
            "!has(self.serving) || self.serving.initial != 'Endpoint' || has(self.gates.baseline.endpoint)",
            "serving.initial Endpoint needs gates.baseline.endpoint; name the prompted model that serves today",
            ".serving.initial",
        ),
        Rule(
            "!has(self.evaluation.guard) || self.evaluation.guard.uri != self.dataset.train.uri",
            "evaluation.guard.uri is the same as dataset.train.uri; name a set that is never trained on",
            ".evaluation.guard.uri",
        ),
        Rule(
            "!has(self.rollout) || !has(self.rollout.pilot) || !has(self.serving) || !has(self.serving.optOutHeader) "
            "|| self.rollout.pilot.header.lowerAscii() != self.serving.optOutHeader.lowerAscii()",
            "rollout.pilot.header is the same as serving.optOutHeader, which always means stable; choose two headers",
            ".rollout.pilot.header",
        ),
    )

    suspend: bool = Field(
        False, description="Nothing new starts; the run in flight is checkpointed and stopped; stable keeps serving."
    )
    base_model: Source = Field(description="Model to start from; resolved once per change of this field.")
    dataset: Dataset = Field(description="What to train on, and what to be judged by.")
    gates: Gates = Field(default_factory=Gates, description="What must be true before a GPU starts.")
    method: Method = Field(default_factory=Method, description="How the model is tuned.")
    training: Training = Field(default_factory=lambda: Training(epochs=3), description="How training runs.")
    artifacts: Store | None = Field(
        None, description="Where models, checkpoints and reports go; absent: the operator's default."
    )
    evaluation: Evaluation = Field(default_factory=Evaluation, description="How a candidate is judged.")
    budget: Budget | None = Field(None, description="What the job may cost; absent: no limit.")
    triggers: Triggers = Field(default_factory=Triggers, description="What starts a run.")
    serving: Serving | None = Field(None, description="How the model is served; absent: train and publish only.")
    rollout: Rollout | None = Field(None, description="How a candidate meets its users; needs serving.")
    notifications: Annotated[tuple[Notification, ...], Field(max_length=16), keyed("channel")] = Field(
        (), description="Who is told of what."
    )
    tracking: Tracking | None = Field(None, description="Where experiments are tracked; absent: nowhere else.")
    history: History = Field(default_factory=History, description="How many finished runs are kept.")
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.DELETE, description="What becomes of what serves when the job is deleted."
    )


class StableModel(StatusModel):
    """The model that serves."""

    run: ObjectName = Field(description="Run that made it.")
    digest: Digest = Field(description="Identity of its artifact.")
    uri: Uri | None = Field(None, description="Where its artifact lies.")
    since: Time | None = Field(None, description="When it was promoted, or gone back to.")


class CandidateModel(StatusModel):
    """The model on its way to its users."""

    run: ObjectName = Field(description="Run that made it.")
    weight: int | None = Field(None, ge=0, le=100, description="Its share of traffic, in percent.")


class PreviousModel(StatusModel):
    """The model that served before, to go back to."""

    run: ObjectName = Field(description="Run that made it.")
    digest: Digest = Field(description="Identity of its artifact.")
    uri: Uri | None = Field(None, description="Where its artifact lies.")


class BudgetStatus(StatusModel):
    """Where the money is."""

    released: Money | None = Field(None, description="What may be spent now.")
    spent: Money = Field("0", description="What has been spent.")
    committed: Money = Field("0", description="What the run in flight may still spend.")
    currency: Currency | None = Field(None, description="Currency of these sums.")


class DriftState(StrEnum):
    """Where a drift trigger stands."""

    OK = "Ok"
    BREACHED = "Breached"
    FIRING = "Firing"
    UNKNOWN = "Unknown"


class DriftStatus(StatusModel):
    """What a drift trigger last saw."""

    name: Label = Field(description="Name of the trigger.")
    value: float | None = Field(None, description="Value last seen.")
    breached_since: Time | None = Field(None, description="Since when it is beyond its threshold.")
    samples: int | None = Field(None, description="Requests behind the value.")
    state: DriftState = Field(description="Ok, Breached, Firing or Unknown.")
    threshold: float | None = Field(None, description="Value beyond which it has drifted.")
    e_value: float | None = Field(None, description="Evidence of the betting detector, if it has one.")
    message: Text = Field("", description="Why it is so, in words.")


class NextRun(StatusModel):
    """When the next automatic run starts, as far as is known."""

    at: Time | None = Field(None, description="When it starts, at the earliest.")
    reason: Line = Field("", description="Why, or what it waits for.")


class CalendarStatus(StatusModel):
    """How far the calendar has been followed."""

    of: Annotated[str, Field(max_length=256)] = Field(description="The calendar that is followed: cron and time zone.")
    since: Time = Field(description="Up to here its times are done with; a later one starts a run.")


class ExamplesStatus(StatusModel):
    """How many examples there are to train on."""

    counted: int = Field(0, ge=0, description="Examples counted in the training set.")
    corrections: int = Field(0, ge=0, description="Corrected answers that are trained on, too.")
    trained: int | None = Field(None, ge=0, description="Of both, those there were when the newest run started.")
    at: Time | None = Field(None, description="When they were first found to be so many.")


class Recovery(StatusModel):
    """From drift to a model that is fit again: the last time that this succeeded."""

    run: ObjectName = Field(description="Run that was promoted.")
    noticed_at: Time = Field(description="When the drift began to be beyond its threshold.")
    promoted_at: Time = Field(description="When the run was promoted.")
    seconds: int = Field(ge=0, description="Time from one to the other.")
    cost: Money = Field("0", description="What the runs in that time have cost.")
    interventions: int = Field(0, ge=0, description="Acts of people in that time, as docs/monitoring.md counts them.")
    before: ServingFigures | None = Field(None, description="What answers took and cost before the run's rollout.")
    after: ServingFigures | None = Field(None, description="What they took and cost when the run was promoted.")


class LatestRun(StatusModel):
    """The newest run of the job."""

    name: ObjectName = Field(description="Name of the run.")
    number: int = Field(ge=1, description="Its number.")
    phase: RunPhase | None = Field(None, description="How it ended; absent while it is in flight.")
    model_digest: Digest = Field("", description="Digest of what makes the model, as the user wrote it.")


class PinnedBaseModel(StatusModel):
    """The base model as it was found, kept until the field changes."""

    uri: Uri = Field(description="The URI as the user wrote it.")
    digest: Digest = Field(description="What it stood for.")
    resolved: Uri | None = Field(None, description="The URI with its revision, from which servers load it.")


class GoldLooks(StatusModel):
    """How often the gold set has judged a candidate: looking again and again fools itself."""

    digest: Digest = Field(description="Identity of the gold set that was last looked at.")
    sketch: Annotated[str, Field(max_length=512)] | None = Field(None, description="Sketch of its examples.")
    looks: int = Field(0, ge=0, description="Runs judged by it.")
    run: int = Field(0, ge=0, description="Number of the last run judged by it.")


class FineTuneJobStatus(StatusModel):
    """What has become of it."""

    phase: JobPhase | None = Field(None, description="Where the job stands.")
    conditions: Conditions = Field((), description="What is so, and why.")
    stable: StableModel | None = Field(None, description="The model that serves.")
    candidate: CandidateModel | None = Field(None, description="The model on its way to its users.")
    previous: PreviousModel | None = Field(None, description="The model that served before.")
    budget: BudgetStatus | None = Field(None, description="Where the money is.")
    fruitless_runs: int = Field(0, ge=0, description="Trained runs in a row that were not promoted.")
    resumed: Text | None = Field(None, description="Value of the annotation retune.dev/resume handled last.")
    resumed_after: int = Field(0, ge=0, description="Number of the newest run when a person last resumed the job.")
    approvals: Annotated[tuple[Approval, ...], Field(max_length=16), keyed("name")] = Field(
        (), description="Who approved what; holds for later runs while that stays the same."
    )
    gold: GoldLooks | None = Field(None, description="How often the gold set has been looked at.")
    drift: Annotated[tuple[DriftStatus, ...], Field(max_length=16), keyed("name")] = Field(
        (), description="What the drift triggers last saw."
    )
    next_run: NextRun | None = Field(None, description="When the next automatic run starts, or what it waits for.")
    calendar: CalendarStatus | None = Field(None, description="How far the calendar has been followed.")
    examples: ExamplesStatus | None = Field(None, description="How many examples there are to train on.")
    started: Annotated[tuple[Time, ...], Field(max_length=1000), WHOLE] = Field(
        (), description="When runs were started: those of the last 31 days, and the newest."
    )
    recovery: Recovery | None = Field(None, description="The last time that a run made good for drift.")
    told: Annotated[tuple[Line, ...], Field(max_length=64), WHOLE] = Field(
        (), description="What people have been told of, oldest first."
    )
    latest_run: LatestRun | None = Field(None, description="The newest run.")
    base_model: PinnedBaseModel | None = Field(None, description="The base model as it was found.")
    retried: Text | None = Field(None, description="Value of the annotation retune.dev/retry handled last.")
    rolled_back: Text | None = Field(None, description="Value of the annotation retune.dev/rollback handled last.")
    max_rank: int | None = Field(None, ge=1, description="Largest adapter rank that the servers take; never falls.")
    observed_generation: int | None = Field(None, description="Generation of the spec that this speaks of.")
