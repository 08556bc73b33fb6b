"""What a decision can ask for. Each action is idempotent by construction: deterministic names, create-once or apply."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from retune.api import (
    BaselineEndpoint,
    FineTuneJobStatus,
    FineTuneRunSpec,
    FineTuneRunStatus,
    HttpRoute,
    Serving,
    Source,
    Store,
)
from retune.decide.arms import Arms
from retune.decide.facts import Stage
from retune.decide.ledger import Ledger
from retune.decide.news.told import Told
from retune.decide.readings import ServingPod

if TYPE_CHECKING:
    from retune.decide.drift.memory import Memory


@dataclass(frozen=True)
class CreateRun:
    """Create a FineTuneRun owned by the job, once; an existing one of that name is left as it is."""

    name: str
    spec: FineTuneRunSpec


@dataclass(frozen=True)
class DeleteRun:
    """Delete a finished run that history no longer keeps."""

    name: str
    uid: str


@dataclass(frozen=True)
class CreateConfig:
    """Create the run's immutable ConfigMap, once."""


@dataclass(frozen=True)
class CreateChild:
    """Create the Kubernetes Job of one attempt, once.

    Attributes:
        expected: what preflight resolved and how sure evaluation must be, as JSON, for training.
        status: the run's status as JSON, for the report.
        deadline: seconds after which the kubelet stops the pod, for training.
    """

    stage: Stage
    attempt: int
    expected: str = ""
    status: str = ""
    deadline: int = 0


@dataclass(frozen=True)
class DeleteChild:
    """Delete a child Job in the foreground: the Job stays until its pods are gone. `uid` guards against a namesake."""

    name: str
    uid: str


@dataclass(frozen=True)
class CreateWatch:
    """Create the Job of a watch pod, once, and its ConfigMap.

    Attributes:
        name: of both.
        attempt: one more than tries in a row that have failed.
        count: examples are to be counted.
        probe: the serving model is to be asked gold questions.
        seed: of the sample of questions.
    """

    name: str
    attempt: int
    count: bool
    probe: bool
    seed: int


@dataclass(frozen=True)
class WriteLedger:
    """Write the ledger of the job's name over the version that it was decided on."""

    ledger: Ledger


@dataclass(frozen=True)
class Alone:
    """The one arm that a pod is, in mode Deployment. `name`: as its server knows it; `digest`: "" for the base."""

    canary: bool
    name: str = "base"
    digest: str = ""


@dataclass(frozen=True)
class ServingTemplate:
    """What a serving pod is made from: the job's own words, and what only the operator knows.

    `alone`: None in mode Adapter. Of a trained model `base` is where it lies.
    """

    serving: Serving
    model: str
    base: Source
    base_digest: str
    artifacts: Store
    endpoint: BaselineEndpoint | None
    max_rank: int
    alone: Alone | None = None


@dataclass(frozen=True)
class ApplyServing:
    """Apply the Deployment, Service and disruption budget of a job's serving, as `template` says.

    Attributes:
        template: what the pods are made from.
        digest: of that; written beside it, so that only a change of it touches a running Deployment.
        refresh: value of the job's refresh annotation, so that it is followed once.
    """

    template: ServingTemplate
    digest: str
    refresh: str = ""


@dataclass(frozen=True)
class ApplyRoute:
    """Apply the HTTPRoute of a job, in mode Deployment.

    Attributes:
        weight: the candidate's share, percent.
        digest: of `route` and `port`; written beside it.
    """

    route: HttpRoute
    port: int
    weight: int
    digest: str


@dataclass(frozen=True)
class RemoveCanary:
    """Delete the candidate's own Deployment, Service and disruption budget, where they are the job's."""


@dataclass(frozen=True)
class StopServing:
    """Delete what serves for a job that serves no longer: HTTPRoute, Services, budgets, and last the Deployments."""


@dataclass(frozen=True)
class WriteArms:
    """Sign the document with the next generation, write it over the version it was decided on, push it to all taps."""

    arms: Arms


@dataclass(frozen=True)
class PushArms:
    """Push the document as it was last written to these pods' taps, which have an older one."""

    pods: tuple[ServingPod, ...]


@dataclass(frozen=True)
class WriteMemory:
    """Keep the rollout's evidence for a restart of the operator: JSON, in the run's own ConfigMap."""

    text: str


@dataclass(frozen=True)
class RememberDrift:
    """Keep what a look at drift has learned, for the next one; with `write`, also for a restart of the operator."""

    memory: "Memory"
    write: bool


@dataclass(frozen=True)
class Tell:
    """Have these channels told. It goes into a queue and cannot fail; what became of it is a fact of a later look."""

    told: Told
    channels: tuple[str, ...]


Action = (
    CreateRun
    | DeleteRun
    | WriteLedger
    | CreateConfig
    | CreateChild
    | DeleteChild
    | CreateWatch
    | ApplyServing
    | ApplyRoute
    | RemoveCanary
    | StopServing
    | WriteArms
    | PushArms
    | WriteMemory
    | RememberDrift
    | Tell
)


@dataclass(frozen=True)
class Event:
    """A Kubernetes Event about the object decided on: a repetition of a condition, never the only place."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class JobDecision:
    """The job's status is written first (intent), then the actions are carried out in order."""

    status: FineTuneJobStatus
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None


@dataclass(frozen=True)
class RunDecision:
    """The run's status is written first (intent), then the actions are carried out in order."""

    status: FineTuneRunStatus
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
