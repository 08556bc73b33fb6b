"""What a decision may look at: plain values that `observe` fills in. Nothing here does anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from retune.api import (
    DriftBuiltin,
    FineTuneJobSpec,
    FineTuneJobStatus,
    FineTuneRunSpec,
    FineTuneRunStatus,
)
from retune.decide.ledger import Ledger
from retune.decide.news.told import Telling
from retune.decide.readings import Serving

if TYPE_CHECKING:  # names of labels are imported from beside, by commands that must not wait for numpy
    from retune.decide.drift.evidence import DriftEvidence
    from retune.decide.drift.memory import Memory


class Stage(StrEnum):
    """Which kind of pod: three of a run, and a job's watch; the value is the label, and the trainer image's command."""

    PREFLIGHT = "preflight"
    TRAIN = "train"
    REPORT = "report"
    WATCH = "watch"


@dataclass(frozen=True)
class Meta:
    """The part of an object's metadata that decisions read."""

    namespace: str
    name: str
    uid: str
    generation: int = 1
    resource_version: str = ""
    created: datetime | None = None
    deleting: bool = False
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Namespace and uid: what children are found by. A uid alone is a label that anybody can write, anywhere."""
        return f"{self.namespace}/{self.uid}"


@dataclass(frozen=True)
class Termination:
    """How a pod's container ended. `message` is the parsed termination message, empty if there was none."""

    exit_code: int
    reason: str
    message: dict[str, Any]
    started: datetime | None
    finished: datetime | None


@dataclass(frozen=True)
class Pod:
    """One pod of a run. `waiting` is why it is not running yet: (reason, message), as the kubelet or scheduler says."""

    name: str
    uid: str
    stage: Stage
    attempt: int
    phase: str
    ip: str = ""
    created: datetime | None = None
    deleting: bool = False
    disrupted: str = ""
    evicted: str = ""
    waiting: tuple[str, str] | None = None
    running_since: datetime | None = None
    termination: Termination | None = None

    @property
    def over(self) -> bool:
        """Nothing of this pod runs any more: the kubelet has said so (a lost node's pod stays False)."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True)
class Child:
    """A Kubernetes Job of a run: one attempt at one stage. Its end is read from its conditions, never from counters."""

    name: str
    uid: str
    stage: Stage
    attempt: int
    deleting: bool = False
    complete: bool = False
    failed: tuple[str, str] | None = None
    created: datetime | None = None

    @property
    def over(self) -> bool:
        """The Job controller has declared it complete or failed, so all its pods are terminal."""
        return self.complete or self.failed is not None


@dataclass(frozen=True)
class PodProgress:
    """What a training pod last said of itself (`GET /progress`)."""

    attempt: int
    stage: str
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True)
class Policy:
    """The administrator's settings that decisions depend on (chart values; flags of the operator)."""

    trainer_image: str
    operator_version: str
    artifacts_uri: str = ""
    currency: str = "EUR"
    gpu_hour_price: str = "0"
    cpu_hour_price: str = "0"
    waiting_deadline: int = 600  # s: a pod that cannot start for a reason of its own spec fails after this
    retry_backoff: int = 10  # s: before attempt 2; doubles, up to 5 minutes
    status_every: int = 10  # s: progress is written to the object at most this often
    poll_every: float = 2.0  # s between two looks at the taps while a candidate meets its users
    evidence_every: int = 60  # s: evidence is written to the object at most this often, unless a state changes
    feedback_window: float = 600.0  # s after an answer in which people's overrides count
    drift_every: float = 30.0  # s between two looks at a job's drift


@dataclass(frozen=True)
class Books:
    """The ledger of a job's name, and what is known of runs that it holds open and that are not the job's (any more).

    Attributes:
        ledger: as it was last read or written.
        former: runs that are still there, of a job that had the same name.
        gone: deleted runs as they were last seen, with the pods that are left of them.
        pods: by the name of a deleted run of which nothing else is known, the pods that are left of it.
    """

    ledger: Ledger = field(default_factory=Ledger)
    former: "tuple[RunFacts, ...]" = ()
    gone: "tuple[RunFacts, ...]" = ()
    pods: Mapping[str, tuple[Pod, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Counted:
    """How many examples there were at the last count: rows of the training set, and corrected answers beside it."""

    train: int
    corrections: int
    at: datetime


@dataclass(frozen=True)
class Sent:
    """A Kubernetes Job of the stage watch: what it was asked for, and its pods."""

    child: Child
    count: bool
    probe: bool
    pods: tuple[Pod, ...] = ()


@dataclass(frozen=True)
class KeptDrift:
    """What is remembered of a job's drift.

    Attributes:
        uid: of the job.
        memory: of the last look; None: what was written could not be read.
        written: when that was last written down, or tried; seconds since the epoch.
    """

    uid: str
    memory: "Memory | None"
    written: float


@dataclass(frozen=True)
class WatchFacts:
    """What was seen of the world that the model serves. None: nothing new at this look; what the status has, stays.

    Attributes:
        examples: the newest count.
        sent: the job's watch pods that there are, in any order.
        drift: what taps and Prometheus were asked for; what else is known of the job is added by the rule.
        kept: of the looks before; None: there was none.
    """

    examples: Counted | None = None
    sent: tuple[Sent, ...] = ()
    drift: "DriftEvidence | None" = None
    kept: KeptDrift | None = None


@dataclass(frozen=True)
class JobFacts:
    """Everything known of a FineTuneJob. `invalid`: why its spec could not be read by this operator."""

    meta: Meta
    spec: FineTuneJobSpec | None
    status: FineTuneJobStatus
    runs: "tuple[RunFacts, ...]"
    policy: Policy
    now: datetime
    invalid: str = ""
    books: Books = field(default_factory=Books)
    serving: Serving = field(default_factory=Serving)
    watch: WatchFacts = field(default_factory=WatchFacts)
    telling: Telling = field(default_factory=Telling)


@dataclass(frozen=True)
class RunFacts:
    """Everything known of a FineTuneRun. `suspended`, `orphaned` and `job` (its status) come from its job.

    `paused`: it is only that the job is paused, neither suspended nor halted; `suspended` is true then, too.
    `rollback`: value of the job's rollback annotation, "" if there is none. `signals`: drift that the job's triggers
    ask for.
    """

    meta: Meta
    spec: FineTuneRunSpec
    status: FineTuneRunStatus
    policy: Policy
    now: datetime
    suspended: bool = False
    orphaned: bool = False
    job: FineTuneJobStatus = field(default_factory=FineTuneJobStatus)
    cancel: str = ""
    paused: bool = False
    rollback: str = ""
    signals: frozenset[DriftBuiltin] = frozenset()
    children: tuple[Child, ...] = ()
    pods: tuple[Pod, ...] = ()
    progress: PodProgress | None = None
    denied: tuple[str, str] | None = None
    account_refused: str = ""
    serving: Serving = field(default_factory=Serving)
